"""The Old Man and the Sea, Broderick et al. (2018) as BIDS (OpenNeuro ds004408): 19 people, 20 runs, 128 electrodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.patterns import files_below
from neurodec.data.readers.bids_files import entities
from neurodec.data.readers.bids_meeg import bids_recordings, recording_name, run_fields
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.readers.speech.sentence_cuts import in_sentences
from neurodec.data.readers.speech.sound_files import with_durations
from neurodec.data.readers.speech.textgrid import read_words
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind

MONTAGE = "biosemi128"
_NUMBER = re.compile(r"\D*?0*(\d+)")


@dataclass(frozen=True)
class Broderick2019(SpeechReader):
    """Read ``sub-*/eeg/*_run-*_eeg.vhdr`` with ``stimuli/audio01.wav`` and ``stimuli/audio01.TextGrid``.

    A run hears the sound of its number, from the first sample on, and mostly goes on a little longer than that. Words
    are those of the TextGrid.

    Parameters
    ----------
    subjects : list of str, optional
        Labels to read; all by default.
    pause : float
        The TextGrids of the release have no punctuation, so a sentence ends where nothing is said for longer than this
        (s). With punctuation it ends at full stops. (Published results have sentences from a language model of
        written text, so their blocks and splits are others.)

    Notes
    -----
    Electrodes are those of the BioSemi cap of 128, A1 to D32; other EEG channels are taken for auxiliary ones.

    References
    ----------
    Broderick et al. (2018), Electrophysiological correlates of semantic dissimilarity reflect the comprehension of
    natural, narrative speech, Current Biology 28; files: OpenNeuro ds004408.
    """

    subjects: list[str] | None = None
    pause: float = 0.4
    modality: Kind = "eeg"

    def recordings(self, root: Path) -> list[Listened]:
        """List the runs; each needs its TextGrid."""
        grids = _by_number(root, "stimuli/*.TextGrid")
        found = []
        for path in bids_recordings(root, self.modality, self.subjects, None, None, None):
            number = _number(entities(path).get("run", ""))
            if number not in grids:
                raise NeurodecError(
                    f"{path} is run {number}, of which no TextGrid is below {root / 'stimuli'} (audio01.TextGrid, "
                    "say); fetch the stimuli."
                )
            files = (*source_files(path), grids[number])
            found.append(Listened(recording_name(path), path, run_fields(path), files))
        return found

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Open a run and put the electrodes in their places."""
        raw, clock = open_raw(listened.path, account)
        places = mne.channels.make_standard_montage(MONTAGE)
        kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
        others = [name for name, kind in kinds.items() if kind == "eeg" and name not in places.ch_names]
        raw.set_channel_types(dict.fromkeys(others, "misc"), on_unit_change="ignore", verbose="error")
        if "eeg" not in raw.get_channel_types():
            raise NeurodecError(
                f"{listened.path} has no electrode A1 to D32 of the BioSemi cap; rename its channels."
            )
        raw.set_montage(places, verbose="error")
        return raw, clock

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read the words, which count their time from the first sample."""
        grid = listened.files[-1]
        sounds = _by_number(root, "stimuli/*.wav")
        number = _number(grid.stem)
        if number not in sounds:
            raise NeurodecError(f"{grid.with_suffix('.wav')} is missing; fetch the stimuli.")
        return events_of_run(
            read_words(grid), sounds[number].relative_to(root).as_posix(), self.pause, root, grid
        )


def events_of_run(words: pd.DataFrame, audio: str, pause: float, root: Path, source: Path) -> pd.DataFrame:
    """Return the events of a run that begins with its sound.

    Parameters
    ----------
    words : DataFrame
        `word`, `start`, `duration` in the sound (s).
    audio : str
        The sound, a path below `root`.
    pause : float
        See `in_sentences`.
    root : Path
    source : Path
        Where the words are from.

    Raises
    ------
    NeurodecError
        If there are no words, or the sound ends before them.
    """
    if words.empty:
        raise NeurodecError(f"{source} holds no word; align the sound with its text again.")
    heard = {"kind": "sound", "start": 0.0, "duration": np.nan, "audio": audio, "offset": 0.0}
    events = pd.concat(
        [pd.DataFrame([heard]), in_sentences(words, pause).assign(kind="word")], ignore_index=True
    )
    return with_durations(events, root, str(source))


def _by_number(root: Path, pattern: str) -> dict[int, Path]:
    """Return files by the number that their name ends with."""
    files = [file for file in files_below(root, pattern) if _NUMBER.fullmatch(file.stem)]
    return {_number(file.stem): file for file in files}


def _number(text: str) -> int:
    found = _NUMBER.fullmatch(text)
    return int(found[1]) if found else 0
