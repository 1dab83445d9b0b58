"""BIDS folders of EEG and MEG of people who listen to speech: recordings, ``events.tsv`` and WAV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.events import annotate_bad
from neurodec.data.readers.bids_files import companion
from neurodec.data.readers.bids_meeg import (
    apply_channels,
    bids_recordings,
    events_file,
    recording_name,
    run_fields,
)
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.stimuli import file_below
from neurodec.data.tables import is_missing, read_table
from neurodec.errors import NeurodecError

_STIMULI = "stimuli"


@dataclass(frozen=True)
class BidsSpeech(SpeechReader):
    """Read ``sub-*/[ses-*/]{meg,eeg}/*_{meg,eeg}.<ext>`` with ``*_events.tsv`` of words and sounds, and WAV files.

    The events name, in rows of the kind ``word``, the word and its sentence, and in rows of the kind ``sound`` a file
    below ``stimuli/``. Everything else follows `SpeechReader`.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read; all by default.
    entities : dict, optional
        As in `BidsEEG`.
    kind : str
        Column of the events that tells ``word``, ``phoneme`` and ``sound``; others are passed over.
    word, sentence : str
        Columns of the text of a word, and of the sentence that it belongs to.
    sound : str
        Column of the file that a sound is in.
    split : str, optional
        Column of words that tells train, validation and test; by default the text decides.
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    entities: dict[str, str | None] | None = None
    kind: str = "trial_type"
    word: str = "word"
    sentence: str = "sentence"
    sound: str = "stim_file"
    split: str | None = None

    def recordings(self, root: Path) -> list[Listened]:
        """List the recordings; each needs its events."""
        found = []
        for path in bids_recordings(
            root, self.modality, self.subjects, self.sessions, self.tasks, self.entities
        ):
            channels = companion(path, root, "_channels.tsv")
            files = (*source_files(path), events_file(path, root), *([channels] if channels else []))
            found.append(Listened(recording_name(path), path, run_fields(path), files))
        return found

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Open a recording, with the kinds of channels that its table tells."""
        raw, clock = open_raw(listened.path, account)
        table = next((file for file in listened.files if file.name.endswith("_channels.tsv")), None)
        apply_channels(raw, table, account)
        return raw, clock

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read the events table."""
        file = events_file(listened.path, root)
        named = {"kind": self.kind, "word": self.word, "sentence": self.sentence, "audio": self.sound}
        table = read_table(file, ("onset", "duration", *dict.fromkeys(named.values())))
        marks = table.assign(stimulus=table[self.kind])
        annotate_bad(raw, clock, marks)
        events = pd.DataFrame(
            {"start": clock.places(table["onset"]), "duration": table["duration"].to_numpy()},
            index=table.index,
        ).assign(**{name: table[column] for name, column in named.items()})
        events["kind"] = events["kind"].str.lower()
        for name in ("word_index", "offset"):
            if name in table:
                events[name] = pd.to_numeric(table[name].mask(is_missing(table[name])), errors="coerce")
        if self.split is not None:
            if self.split not in table:
                raise NeurodecError(f"{file} has no column {self.split}; correct `split`, or leave it out.")
            events["split"] = table[self.split]
        sounds = events.index[events["kind"] == "sound"]
        known = {name: _audio_file(name, root, file, row) for row, name in events["audio"][sounds].items()}
        return events.assign(audio=events["audio"].map(known))


def _audio_file(name: str, root: Path, file: Path, row: int) -> str:
    """Return the path below the root of a sound, which lies below ``stimuli/`` (BIDS) or where its name says."""
    if is_missing(pd.Series([name])).any():
        raise NeurodecError(f"{file} has a sound without a file at row {row + 2}; name its WAV file.")
    below = f"{_STIMULI}/{name}"
    return file_below(root, below if (root / below).is_file() else name, file, row, "audio")
