"""What was heard when: the event table of a recording of speech, its blocks, and the windows that are cut from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.blocks import cut_sounds, merged_blocks, split_of_text
from neurodec.errors import NeurodecError

WORD, PHONEME, SOUND = "word", "phoneme", "sound"
SILENCE = "-"
_MARGIN = 0.1  # s; of sounds at the borders of blocks, and of a second sound in a window
_AFTER = 2  # samples after the onset at which the spoken word is looked up
_TINY = 1e-6  # s


@dataclass(frozen=True)
class Cutting:
    """How recordings of speech are cut into windows, and texts divided; times in seconds.

    Parameters
    ----------
    tmin, tmax : float
        Window around a moment, both ends included.
    delay : float
        The brain is this much later than the sound: its first and the sound's last samples are left out.
    sfreq : float
        Hertz.
    step : float
        Between the moments of training windows; those of the test are word onsets.
    shortest_block : float
        Sentences are joined until they are longer; 0 leaves every one alone.
    blocks_by : {"sentence", "sound"}
        What begins a block: the first word of a sentence, or a sound.
    test, validation, removed : float
        Shares of the texts; what is removed would be for training.
    seed : int
        Of their draw.
    """

    tmin: float = -0.5
    tmax: float = 2.5
    delay: float = 0.15
    sfreq: float = 120.0
    step: float = 0.5
    shortest_block: float = 6.0
    blocks_by: str = "sentence"
    test: float = 0.2
    validation: float = 0.1
    removed: float = 0.0
    seed: int = 12

    @property
    def n_read(self) -> int:
        """Samples of a window."""
        return round((self.tmax - self.tmin) * self.sfreq) + 1

    @property
    def n_delay(self) -> int:
        """Samples of the delay."""
        return int(self.delay * self.sfreq + _TINY)


def checked_events(events: pd.DataFrame, where: str, account: Account) -> pd.DataFrame:
    """Bring an event table of speech into order.

    Parameters
    ----------
    events : DataFrame
        `start`, `duration` (s in the recording) and `kind` ("word", "phoneme", "sound"; others are passed over). Words
        have `word`, `sentence` (all of its text) and perhaps `word_index` (their place in it, from 0); sounds `audio`
        (a file below the data root) and perhaps `offset` (s in it). Words may have a `split`; otherwise the text of
        their block decides.
    where : str
        Names the recording in messages.
    account : Account
        Gets what was put right or left out.

    Returns
    -------
    DataFrame
        In order of `start`; `word_index` and `offset` complete.

    Raises
    ------
    NeurodecError
        If there is no word or no sound, or a word has no sentence.
    """
    known = events["kind"].isin((WORD, PHONEME, SOUND))
    account.events += int((~known).sum())
    account.leave_out("of another kind than word, phoneme and sound", int((~known).sum()))
    events = events[known]
    untimed = events["start"].isna() | (events["duration"].isna() & (events["kind"] == SOUND))
    account.leave_out("without onset or duration", int(untimed.sum()))
    events = events[~untimed].assign(duration=events["duration"].fillna(0.0))
    if len(events) and (np.diff(events["start"]) < 0).any():
        account.note("the events were not in order of time, and were sorted")
        events = events.sort_values("start", kind="stable")
    events = events.reset_index(drop=True)
    counts = events["kind"].value_counts()
    if not counts.get(WORD, 0):
        raise NeurodecError(
            f"{where} has no word among its {len(events)} events, so there is nothing to find; give words with their "
            "onsets (`kind` word), or correct the columns that name them."
        )
    if not counts.get(SOUND, 0):
        raise NeurodecError(
            f"{where} has words, but no sound that they were heard in; give a row of the kind sound with the file, its "
            "onset and duration."
        )
    words = events[events["kind"] == WORD]
    nameless = _blank(words["word"]) | _blank(words["sentence"])
    if nameless.any():
        row = words.index[nameless][0]
        raise NeurodecError(
            f"{where}: {int(nameless.sum())} words have no text or no sentence, first at {events['start'][row]:g} s; "
            "give every word its `word` and `sentence`."
        )
    if "word_index" not in events or words["word_index"].isna().any():
        begins = words["sentence"] != words["sentence"].shift()
        places = words.groupby(begins.cumsum()).cumcount()
        events = events.assign(word_index=places)
    return events.assign(offset=events.get("offset", pd.Series(0.0, events.index)).fillna(0.0))


def _blank(texts: pd.Series) -> pd.Series:
    """Mark what holds no text; "none" and "null" are words."""
    return texts.isna() | texts.astype(str).str.strip().isin(("", "n/a"))


def blocks_of(
    events: pd.DataFrame,
    cutting: Cutting,
    n_seconds: float,
    borders: dict[tuple[str, str], bool] | None = None,
) -> pd.DataFrame:
    """Return the blocks of a recording and the split of each: `start`, `stop` (s), `block` (the text), `split`.

    Parameters
    ----------
    events : DataFrame
        See `checked_events`.
    cutting : Cutting
    n_seconds : float
        Length of the recording, where the last block ends.
    borders : dict, optional
        See `merged_blocks`.
    """
    words = events[events["kind"] == WORD]
    first = events["kind"] == SOUND
    if cutting.blocks_by == "sentence":
        first = (events["kind"] == WORD) & (events["word_index"] == 0)
    starts = events["start"][first].to_numpy(dtype=float)
    if not len(starts):
        starts = words["start"].to_numpy(dtype=float)[:1]
    stops = np.append(starts[1:], max(n_seconds, starts[-1]))
    place = np.searchsorted(starts, words["start"].to_numpy(dtype=float) + _TINY, side="right") - 1
    texts = []
    for number in range(len(starts)):
        own = words[place == number]
        whole = own["sentence"].unique()
        texts.append(str(whole[0]) if len(whole) == 1 else " ".join(own["word"].astype(str)))
    blocks = pd.DataFrame({"start": starts, "duration": stops - starts, "uid": texts})
    if "split" in words and not _blank(words["split"]).all():
        return _given_splits(blocks, words, place)
    if cutting.shortest_block and cutting.blocks_by == "sentence":
        blocks = merged_blocks(blocks, cutting.shortest_block, borders)
    splits = [
        split_of_text(text, cutting.test, cutting.validation, cutting.seed, cutting.removed)
        for text in blocks["uid"]
    ]
    table = {
        "start": blocks["start"],
        "stop": blocks["start"] + blocks["duration"],
        "block": blocks["uid"],
        "split": splits,
    }
    return pd.DataFrame(table).dropna(subset="split").reset_index(drop=True)


def _given_splits(blocks: pd.DataFrame, words: pd.DataFrame, place: np.ndarray) -> pd.DataFrame:
    """Return blocks whose words tell the split; neighbours of one split are one block."""
    splits = []
    for number in range(len(blocks)):
        own = words["split"][place == number].unique().tolist()
        if len(own) > 1:
            raise NeurodecError(
                f"The words of {blocks['uid'][number][:60]!r} are of the splits {' and '.join(map(str, own))}; give a "
                "sentence one split."
            )
        splits += own or ["removed"]
    table = blocks.assign(split=splits, stop=blocks["start"] + blocks["duration"])
    runs = (table["split"] != table["split"].shift()).cumsum()
    joined = table.groupby(runs).agg(
        start=("start", "first"), stop=("stop", "last"), block=("uid", ",".join), split=("split", "first")
    )
    return joined[joined["split"] != "removed"].reset_index(drop=True)


def windows_of(
    events: pd.DataFrame,
    cutting: Cutting,
    n_samples: int,
    account: Account,
    borders: dict[tuple[str, str], bool] | None = None,
) -> pd.DataFrame:
    """Return the windows of a recording, those of one block after those of the former.

    Parameters
    ----------
    events : DataFrame
        See `checked_events`.
    cutting : Cutting
    n_samples : int
        Of the recording at `cutting.sfreq`.
    account : Account
        Gets the counts of what is left out.
    borders : dict, optional
        See `merged_blocks`.

    Returns
    -------
    DataFrame
        `onset` (s, the moment), `stimulus`, `split`, `block`, `sentence`, `word`, `word_index`, `audio`, `offset` and
        `duration` (s in the file, of what is compared), `clip_start`, `clip_stop` (s, the part of the file that lies in
        the block), `spoken` (stretches of words, s in the window).

    Notes
    -----
    A window lies within one block of its split, so texts of training and test are apart in time too. One whose sound is
    that of two files is left out and counted, and so is one without any.
    """
    rate = cutting.sfreq
    blocks = blocks_of(events, cutting, n_samples / rate, borders)
    words, sounds = (events[events["kind"] == kind].reset_index(drop=True) for kind in (WORD, SOUND))
    pieces = cut_sounds(sounds[["start", "duration", "offset", "audio"]], blocks, _MARGIN)
    found = []
    for block in blocks.itertuples():
        moments = np.arange(0, n_samples / rate, cutting.step)
        if block.split == "test":
            moments = words["start"].to_numpy(dtype=float)
        within = (moments + cutting.tmin >= block.start - _TINY) & (
            moments + cutting.tmax - 0.5 / rate < block.stop
        )
        found.append(pd.DataFrame({"onset": moments[within]}).assign(split=block.split, block=block.block))
    table = pd.concat(found, ignore_index=True)
    account.events += len(table)
    first = np.round((table["onset"] + cutting.tmin) * rate).astype(int)
    inside = (first >= 0) & (first + cutting.n_read <= n_samples)
    account.leave_out("at the edge of the recording", int((~inside).sum()))
    table = _with_sounds(table[inside].reset_index(drop=True), pieces, cutting, account)
    return _named(_with_words(table, words, cutting))


def _with_sounds(
    table: pd.DataFrame, pieces: pd.DataFrame, cutting: Cutting, account: Account
) -> pd.DataFrame:
    """Add what was heard in every window; leave out those of no sound, or of two."""
    begins = table["onset"].to_numpy(dtype=float) + cutting.tmin
    ends = begins + cutting.n_read / cutting.sfreq
    starts = pieces["start"].to_numpy(dtype=float)
    stops = starts + pieces["duration"].to_numpy(dtype=float)
    shared = np.minimum(ends[:, None], stops) - np.maximum(begins[:, None], starts)  # (n_windows, n_pieces)
    n_heard = (shared > _MARGIN).sum(axis=1)
    account.leave_out("without sound", int((n_heard == 0).sum()))
    account.leave_out("of two sounds", int((n_heard > 1).sum()))
    kept = n_heard == 1
    own = pieces.iloc[shared.argmax(axis=1)[kept]].reset_index(drop=True)
    table = table[kept].reset_index(drop=True)
    offset = own["offset"] + table["onset"] + cutting.tmin - own["start"]
    return table.assign(
        audio=own["audio"],
        offset=offset.round(3),
        duration=(cutting.n_read - cutting.n_delay) / cutting.sfreq,
        clip_start=own["offset"].round(3),
        clip_stop=(own["offset"] + own["duration"]).round(3),
    )


def _with_words(table: pd.DataFrame, words: pd.DataFrame, cutting: Cutting) -> pd.DataFrame:
    """Add the word at the moment of every window, and where in the window words are spoken."""
    starts = words["start"].to_numpy(dtype=float)
    stops = starts + words["duration"].to_numpy(dtype=float)
    moments = table["onset"].to_numpy(dtype=float)
    place = np.searchsorted(starts, moments + _AFTER / cutting.sfreq, side="right") - 1
    spoken = (place >= 0) & (stops[place] + _TINY >= moments)
    at = place.clip(min=0)
    first, last = (
        np.searchsorted(stops, moments + cutting.tmin, side="right"),
        np.searchsorted(starts, moments + cutting.tmax),
    )
    stretches = []
    for moment, begin, end in zip(moments, first, last, strict=True):
        edges = np.stack([starts[begin:end], stops[begin:end]], axis=1) - moment - cutting.tmin
        stretches.append(" ".join(f"{a:.3f}-{b:.3f}" for a, b in edges.clip(min=0)))
    texts = words["word"].astype(str).to_numpy()[at]
    return table.assign(
        word=np.where(spoken, [plain_word(text) for text in texts], SILENCE),
        sentence=np.where(spoken, words["sentence"].astype(str).to_numpy()[at], SILENCE),
        word_index=np.where(spoken, words["word_index"].to_numpy(dtype=int)[at], -1),
        spoken=stretches,
    )


def plain_word(word: str) -> str:
    """Return a word in lower case, without the full stop at its end."""
    return word.strip().lower().removesuffix(".")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Name what was heard: a word of a sentence, the same for all who hear it, or a stretch of a file."""
    texts = {text: hashlib.sha256(text.encode()).hexdigest()[:8] for text in table["sentence"].unique()}
    names = np.where(
        table["split"] == "test",
        table["word"] + "-" + table["sentence"].map(texts) + "-" + table["word_index"].astype(str),
        table["audio"] + "@" + table["offset"].map("{:.3f}".format),
    )
    return table.assign(stimulus=names)
