"""What all readers of recorded listeners share: from a recording and its event table to windows and stimuli."""

from __future__ import annotations

from abc import abstractmethod
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.dataset import Dataset, Part
from neurodec.data.readers.opening import open_raw
from neurodec.data.readers.raw_trials import sensor_info
from neurodec.data.readers.speech.resampled import cut, resampled
from neurodec.data.speech_events import Cutting, checked_events, windows_of
from neurodec.data.stretches import mark_seams, n_overlaps, untouched
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.files import track
from neurodec.preprocessing.channels import Kind
from neurodec.preprocessing.eeg import EEGPreprocessing

HEARD = (
    *("word", "word_index", "sentence", "block", "audio", "offset", "duration"),
    *("clip_start", "clip_stop", "spoken"),
)
"""Columns of the stimulus table that say what was heard in a window."""
_SAME_CLIP = 0.1  # s; borders of one block that differ by less are jitter of the events


def speech_preprocessing() -> EEGPreprocessing:
    """Return the settings of Défossez et al. (2023)."""
    return EEGPreprocessing(tmin=-0.5, tmax=2.5, sfreq=120.0, whiten="robust", clamp=20.0)


@dataclass(frozen=True)
class Listened:
    """One recording of a listener.

    Parameters
    ----------
    name : str
        Of the part.
    path : Path
        The recording.
    fields : dict
        `subject`, `session` and `run`.
    files : tuple of Path
        All source files, the recording first.
    """

    name: str
    path: Path
    fields: dict[str, str]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class SpeechReader(Dataset):
    """Base of readers of people who listen to speech: windows of 3 s, split by text.

    Parameters
    ----------
    preprocessing : EEGPreprocessing
        Window, filters, rate, baseline, scaling and limit; by default those of Défossez et al. (2023).
    delay : float
        How much later the brain is than the sound (s).
    step : float
        Between training windows (s); test windows begin at words.
    shortest_block : float
        Sentences are joined to blocks until these are longer (s).
    same_blocks : bool
        The first recording of a text decides where its blocks end. False joins sentences in every recording anew, as
        published; where people begin to listen at other times, one sentence may then be in the training of one and in
        the test of another, which is refused.
    test, validation, removed : float
        Shares of the texts. The text of a block decides, so that all people and sessions agree. What is removed would
        be for training: scores against it show what more hours bring.
    seed : int
        Of the split.
    modality : "meg", "mag", "grad", "eeg", "seeg" or "ecog"
        Kind of the channels.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, Methods.
    """

    preprocessing: EEGPreprocessing = field(default_factory=speech_preprocessing)
    delay: float = 0.15
    step: float = 0.5
    shortest_block: float = 6.0
    same_blocks: bool = True
    test: float = 0.2
    validation: float = 0.1
    removed: float = 0.0
    seed: int = 12
    modality: Kind = "meg"

    blocks_by = "sentence"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {})

    @abstractmethod
    def recordings(self, root: Path) -> list[Listened]:
        """List the recordings below `root`.

        Parameters
        ----------
        root : Path
        """

    @abstractmethod
    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Return the events of a recording as `checked_events` takes them, `start` in seconds from the first sample.

        Parameters
        ----------
        listened : Listened
        root : Path
        raw : mne.io.BaseRaw
        clock : Clock
        """

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Open a recording without reading its samples.

        Parameters
        ----------
        listened : Listened
        account : Account
        """
        return open_raw(listened.path, account)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        self._check()
        self._known.pop(root, None)  # type: ignore[attr-defined]  # tables may have changed since
        return [Part(own.name, own.fields["subject"], own.files) for own in self.recordings(root)]

    def load(self, part: Part, root: Path) -> Trials:
        """Read one recording; its windows stay windows of the resampled signals."""
        listened = next(own for own in self.recordings(root) if Part(own.name, "", ()).name == part.name)
        table, told = self._tables(root)[listened.name]
        account = deepcopy(told)
        raw, clock = self.open(listened, account)
        self.events(listened, root, raw, clock)  # marks bad segments
        where = str(listened.path)
        mark_seams(raw, clock)
        cutting = self.cutting
        seconds = cutting.n_read / cutting.sfreq
        begins = table["onset"].to_numpy(dtype=float) + cutting.tmin
        kept = untouched(raw, begins, seconds, account)
        signals, lost = resampled(raw, self.preprocessing, self.modality, where, account)
        torn = (n_overlaps(begins, seconds, *lost.T) > 0) & kept
        account.leave_out("with NaN", int(torn.sum()))
        first = np.round(begins * cutting.sfreq).astype(np.int64)
        fitting = first + cutting.n_read <= len(signals)
        table, first = table[kept & ~torn & fitting], first[kept & ~torn & fitting]
        if table.empty:
            raise NeurodecError(
                f"{where}: no window of {seconds:.2g} s is left; see that words lie within the recording, in blocks of "
                "more than that, and outside bad segments."
            )
        is_train = (table["split"] == "train").to_numpy()
        windows = cut(signals, first, is_train, self.preprocessing, cutting.n_delay, where, account)
        columns = table[["stimulus", "split", "onset", "block"]].assign(concept=table["sentence"])
        tmin = cutting.tmin + cutting.n_delay / cutting.sfreq
        info = sensor_info(raw, self.modality) | {"sfreq": cutting.sfreq, "tmin": tmin}
        info["units"] = info["units"] if self.preprocessing.whiten == "none" else "a.u."
        info["account"] = [account.entry(part.name, len(table), len(raw.ch_names))]
        return Trials(windows, with_defaults(columns, **listened.fields), info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List what was heard in all windows: words of the test once, whoever heard them."""
        heard = pd.concat([table for table, _ in self._tables(root).values()], ignore_index=True)
        _require_one_split(heard)
        heard = heard.drop_duplicates("stimulus").reset_index(drop=True)
        heard = _with_common_clips(heard)
        numbers = heard[list(HEARD)].astype(str)
        return numbers.assign(stimulus=heard["stimulus"], concept=heard["sentence"], split=heard["split"])

    @property
    def cutting(self) -> Cutting:
        """How recordings are cut."""
        own = self.preprocessing
        return Cutting(
            tmin=own.tmin,
            tmax=own.tmax,
            delay=self.delay,
            sfreq=own.sfreq or 0.0,
            step=self.step,
            shortest_block=self.shortest_block,
            blocks_by=self.blocks_by,
            test=self.test,
            validation=self.validation,
            removed=self.removed,
            seed=self.seed,
        )

    def _check(self) -> None:
        self.preprocessing.check()
        if self.preprocessing.sfreq is None:
            raise NeurodecError(
                "Recordings of speech are brought to one rate, and `preprocessing.sfreq` is null; set it (120)."
            )
        if self.preprocessing.keep_from is not None:
            raise NeurodecError(
                "`preprocessing.keep_from` has no place in recordings of speech; set `delay`, which drops the "
                "beginning of a window and the end of its sound."
            )
        if not 0 <= self.delay < self.preprocessing.tmax - self.preprocessing.tmin:
            raise NeurodecError(f"`delay` is {self.delay:g} s, which leaves nothing of a window; lower it.")
        for name, value in (("step", self.step), ("test", self.test)):
            if value <= 0:
                raise NeurodecError(f"`{name}` is {value:g}; give a number above 0.")
        if self.test + self.validation + self.removed >= 1:
            raise NeurodecError("`test`, `validation` and `removed` leave no text for training; lower them.")

    def _tables(self, root: Path) -> dict[str, tuple[pd.DataFrame, Account]]:
        """Return the windows of all recordings, listed once and in order: the first of a text decides on its blocks."""
        known: dict[Path, dict[str, tuple[pd.DataFrame, Account]]] = self._known  # type: ignore[attr-defined]
        if root not in known:
            borders: dict[tuple[str, str], bool] = {}
            tables = {}
            for listened in track(self.recordings(root), "events"):
                account, where = Account(), str(listened.path)
                raw, clock = self.open(listened, Account())
                events = checked_events(self.events(listened, root, raw, clock), where, account)
                _require_inside(events, raw.n_times / float(raw.info["sfreq"]), where, account)
                n_samples = int(raw.n_times * self.cutting.sfreq / raw.info["sfreq"])
                shared = borders if self.same_blocks else None
                tables[listened.name] = windows_of(events, self.cutting, n_samples, account, shared), account
            known[root] = tables
        return known[root]


def _require_inside(events: pd.DataFrame, n_seconds: float, where: str, account: Account) -> None:
    """Refuse events on another clock; tell of sounds that end before or after the recording does."""
    outside = (events["start"] < 0) | (events["start"] > n_seconds)
    if outside.mean() > 0.5:
        worst = events["start"][outside].iloc[0]
        raise NeurodecError(
            f"{where}: {int(outside.sum())} of {len(events)} events lie outside the recording of {n_seconds:g} s, "
            f"first at {worst:g} s; give onsets in seconds from the first sample."
        )
    if outside.any():
        account.note(f"{int(outside.sum())} events lie outside the recording")


def _require_one_split(heard: pd.DataFrame) -> None:
    """Refuse a text that is in two splits."""
    counts = heard.groupby("block")["split"].nunique()
    if (counts > 1).any():
        text = str(counts.index[counts > 1][0])
        raise NeurodecError(
            f"The text {text[:60]!r} is in two splits, so what is tested was trained on; correct the column `split`."
        )


def _with_common_clips(heard: pd.DataFrame) -> pd.DataFrame:
    """Let blocks that are one but for the jitter of events share their clip, so that it is computed once."""
    names = ["audio", "block"]
    first = heard.groupby(names, sort=False)[["clip_start", "clip_stop"]].transform("first")
    near = ((heard[["clip_start", "clip_stop"]] - first).abs() < _SAME_CLIP).all(axis=1)
    return heard.assign(**{name: heard[name].mask(near, first[name]) for name in first})
