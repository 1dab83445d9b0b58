"""Alice in Wonderland, Brennan & Hale (2019): 33 people hear the first chapter, 60 electrodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.patterns import files_below
from neurodec.data.readers.labelled.matlab_structs import field, numbers, read_struct
from neurodec.data.readers.speech.array_raw import array_raw
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.readers.speech.sound_files import with_durations
from neurodec.data.stimuli import file_below
from neurodec.data.tables import read_table, same_name
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind

EXCLUDED = frozenset({"S02", "S24", "S26", "S27", "S30", "S32", "S34", "S35", "S36"})
"""People whom published results leave out."""
N_EEG = 60
MONTAGE = "easycap-M10"
_MICROVOLT = 1e-6
_STORY = "AliceChapterOne-EEG.csv"
_AUDIO = "audio/DownTheRabbitHoleFinal_SoundFile{}.wav"
_NAME = re.compile(r"S\d\d\.mat")
_COLUMNS = ("Word", "Position", "Sentence", "Segment", "onset", "offset")


@dataclass(frozen=True)
class Brennan2019(SpeechReader):
    """Read ``S01.mat`` ... (FieldTrip), ``proc/S01.mat``, ``AliceChapterOne-EEG.csv`` and ``audio/*.wav``.

    The electrodes are 1 to 61 without 29, in microvolts; VEOG and the channel of the sound stay out. A word of the
    table begins at its row of ``proc.trl``, which is that of its `Order` where both have this column. The first three
    columns of a `trl` are begin, end and offset, in samples from 1: as FieldTrip defines it, the event is at begin -
    offset. The sound of a segment begins at its first word less the word's `onset`, before the recording sometimes.

    Parameters
    ----------
    subjects : list of str, optional
        Names to read (``S01``); by default all but `EXCLUDED`.

    References
    ----------
    Brennan & Hale (2019), Hierarchical structure guides rapid linguistic predictions during naturalistic listening,
    PLOS ONE 14; files: https://deepblue.lib.umich.edu/data/concern/data_sets/bg257f92t.
    """

    subjects: list[str] | None = None
    modality: Kind = "eeg"

    def recordings(self, root: Path) -> list[Listened]:
        """List the recordings; each needs its ``proc/SXX.mat``."""
        found = []
        for path in files_below(root, "*.mat"):
            if not _NAME.fullmatch(path.name) or not self._wanted(path.stem):
                continue
            beside = (root / "proc" / path.name, root / _STORY)
            absent = next((file for file in beside if not file.is_file()), None)
            if absent is not None:
                raise NeurodecError(
                    f"{absent} is missing, which tells when the words of {path.name} were heard; fetch it."
                )
            fields = {"subject": path.stem, "session": "01", "run": "01"}
            found.append(Listened(f"sub-{path.stem}", path, fields, (path, *beside)))
        if not found:
            raise NeurodecError(
                f"No S01.mat, S02.mat, ... of the wanted subjects is in {root}; correct --data-root."
            )
        return found

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Read a recording, and put the electrodes in their places."""
        path = listened.path
        content = read_struct(path, "raw")
        header = field(content, "hdr", path)
        rate = header.get("Fs", content.get("fsample")) if isinstance(header, dict) else None
        if rate is None or np.size(rate) != 1:
            raise NeurodecError(f"{path} does not tell its sampling rate; it should be `raw.hdr.Fs`, 500 Hz.")
        names = [str(name) for name in np.ravel(np.asarray(field(header, "label", path), dtype=object))]
        signals = _samples(field(content, "trial", path), len(names), path)
        expected = [str(number) for number in range(1, N_EEG + 2) if number != 29]
        absent = [name for name in expected if name not in names]
        if absent:
            raise NeurodecError(f"{path} has no electrode {absent[0]}; 1 to 61 without 29 belong there.")
        rows = [names.index(name) for name in expected]
        account.leave_out_channels("no electrode", [name for name in names if name not in expected])
        signals = signals[rows] * _MICROVOLT
        return array_raw(signals, expected, ["eeg"] * N_EEG, float(np.ravel(rate)[0]), MONTAGE, str(path))

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Join the words of the story with the moments at which they were heard."""
        _, proc, story = listened.files
        table = _story(story)
        table["start"] = _moments(proc, table) / float(raw.info["sfreq"])
        words = pd.DataFrame(
            {
                "kind": "word",
                "start": table["start"],
                "duration": table["offset"] - table["onset"],
                "word": table["Word"],
                "sentence": table["sentence"],
                "word_index": table["word_index"],
            }
        )
        sounds = []
        for segment, own in table[table["start"].notna()].groupby("Segment", sort=False):
            first = own.iloc[0]
            audio = file_below(root, _AUDIO.format(segment), story, int(own.index[0]), "audio")
            sounds.append(
                {"kind": "sound", "start": first["start"] - first["onset"], "audio": audio, "offset": 0.0}
            )
        events = pd.concat([pd.DataFrame(sounds), words]).sort_values(
            "start", kind="stable", ignore_index=True
        )
        return with_durations(events, root, str(proc))

    def _wanted(self, name: str) -> bool:
        if self.subjects is None:
            return name not in EXCLUDED
        return any(same_name(str(own).lstrip("S"), name.lstrip("S")) for own in self.subjects)


def _story(path: Path) -> pd.DataFrame:
    """Read the words of the chapter; sentences are the runs of one number."""
    table = read_table(path, _COLUMNS).reset_index(drop=True)
    for name in ("onset", "offset"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    wrong = table.index[table[["onset", "offset"]].isna().any(axis=1)]
    if len(wrong):
        raise NeurodecError(f"{path} has no time at row {wrong[0] + 2}; fetch it again.")
    runs = (table["Sentence"] != table["Sentence"].shift()).cumsum()
    return table.assign(
        sentence=table.groupby(runs)["Word"].transform(" ".join), word_index=table.groupby(runs).cumcount()
    )


def _moments(path: Path, table: pd.DataFrame) -> np.ndarray:
    """Return the sample, from 0, at which every word of the story begins; NaN where it was not kept."""
    content = read_struct(path, "proc")
    trl = numbers(field(content, "trl", path), 2, path, "proc.trl")
    names = [str(name) for name in np.ravel(np.asarray(content.get("varnames", []), dtype=object))]
    if trl.shape[0] < trl.shape[1]:  # version 7.3
        trl = trl.T
    if trl.shape[1] < max(3, len(names)):
        raise NeurodecError(
            f"{path}: proc.trl has {trl.shape[1]} columns; begin, end and offset belong there."
        )
    moments = trl[:, 0] - trl[:, 2] - 1.0
    found = np.full(len(table), np.nan)
    if "Order" in names and "Order" in table:
        order = trl[:, trl.shape[1] - len(names) + names.index("Order")].astype(int)
        place = {int(number): row for row, number in enumerate(pd.to_numeric(table["Order"]))}
        known = np.array([number in place for number in order], dtype=bool)
        found[[place[number] for number in order[known]]] = moments[known]
    elif len(trl) == len(table):
        found = moments
    else:
        raise NeurodecError(
            f"{path}: proc.trl has {len(trl)} rows, {_STORY} {len(table)} words, and no column Order tells which is "
            "which; leave this person out."
        )
    return found


def _samples(trial: Any, n_chans: int, path: Path) -> np.ndarray:
    """Return the samples of the one trial of a continuous recording (n_chans, n_samples)."""
    signals = np.asarray(trial[0] if isinstance(trial, list) else trial)
    if signals.dtype == object and signals.size == 1:
        signals = np.asarray(signals.ravel()[0])
    signals = numbers(signals, 2, path, "raw.trial")
    if signals.shape[0] != n_chans and signals.shape[1] == n_chans:  # version 7.3
        signals = signals.T
    if signals.shape[0] != n_chans:
        raise NeurodecError(
            f"{path}: raw.trial has {signals.shape[0]} channels and raw.hdr.label {n_chans}; fetch it again."
        )
    return signals.astype(np.float64)
