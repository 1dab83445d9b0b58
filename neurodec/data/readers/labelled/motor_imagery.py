"""Imagined movements: BCI Competition IV 2a, PhysioNet's motor imagery, and SHU's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from scipy.signal import butter, lfilter

from neurodec.data.account import Account
from neurodec.data.patterns import files_below, find_files
from neurodec.data.readers.labelled.labelled_eeg import (
    LabelledEEG,
    Source,
    Windows,
    at,
    clean,
    names,
    opened,
    resampled,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.matlab_structs import field, numbers, read_struct
from neurodec.data.readers.labelled.published_splits import split_of
from neurodec.errors import NeurodecError


@dataclass(frozen=True)
class BCICIV2a(LabelledEEG):
    """BCI Competition IV, set 2a, as BNCI Horizon 2020 distributes it (001-2014): nine people, four movements.

    As published: the mean over channels is subtracted, a causal Butterworth filter of order 5 passes 0.3 to 40 Hz, and
    2 to 6 s after the beginning of a trial are kept. Both sessions are read; of the runs those with trials.

    Parameters
    ----------
    artifacts : bool
        Keep trials that the experts marked, as published.
    split
        See `LabelledEEG`.
    """

    artifacts: bool = True

    classes = ("left hand", "right hand", "feet", "tongue")
    ch_names = tuple(
        "Fz FC3 FC1 FCz FC2 FC4 C5 C3 C1 Cz C2 C4 C6 CP3 CP1 CPz CP2 CP4 P1 Pz P2 POz".upper().split()
    )
    layout = "A01T.mat, A01E.mat, ... A09E.mat"

    def sources(self, root: Path) -> list[Source]:
        """List the sessions."""
        found = [path for path in files_below(root, "**/A*.mat") if re.fullmatch(r"A\d\d[TE]", path.stem)]
        people = sorted({path.stem[:3] for path in found})
        splits = split_of("BCICIV2a", self.split, people) if people else {}
        return [
            Source(path.stem, path.stem[:3], (path,), splits[path.stem[:3]], session=path.stem[3])
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one session."""
        path = source.files[0]
        runs = read_struct(path, "data")
        runs = runs if isinstance(runs, (list, np.ndarray)) else [runs]
        values, labels = [], []
        for run in runs:
            onsets = np.atleast_1d(field(run, "trial", path)).astype(int)
            if not onsets.size:  # recordings of the eyes
                continue
            signal = numbers(field(run, "X", path), 2, path, "samples")[:, : len(self.ch_names)]
            codes = np.atleast_1d(field(run, "y", path)).astype(int)
            sfreq = float(field(run, "fs", path))
            bad = np.atleast_1d(run.get("artifacts", np.zeros(len(onsets)))).astype(bool)
            account.events += len(onsets)
            for onset, code, marked in zip(onsets - 1, codes, bad, strict=True):  # MATLAB counts from 1
                stop = onset + round(6 * sfreq)
                if marked and not self.artifacts:
                    account.leave_out("marked as artefact", 1)
                elif stop > len(signal):
                    account.leave_out("past an end of the recording", 1)
                elif not 1 <= code <= len(self.classes):
                    raise NeurodecError(f"{path} has the label {code}, and classes are 1 to 4; correct it.")
                else:
                    trial = signal[onset:stop].T
                    trial = _causal(trial - trial.mean(axis=0), sfreq)[:, round(2 * sfreq) :]
                    values.append(resampled(trial, 800) / 100)
                    labels.append(self.classes[code - 1])
        return Windows(np.array(values).reshape(len(values), len(self.ch_names), 800), labels)


def _causal(values: np.ndarray, sfreq: float) -> np.ndarray:
    return lfilter(*butter(5, [0.3, 40.0], "bandpass", fs=sfreq), values, axis=-1)


@dataclass(frozen=True)
class PhysioNetMI(LabelledEEG):
    """PhysioNet's EEG Motor Movement/Imagery Dataset: 109 people imagine to move a fist, both, or their feet.

    Runs 4, 8, 12 (left, right fist) and 6, 10, 14 (both fists, feet), average reference, high-pass of 0.3 Hz, notch at
    60 Hz, then 200 Hz; four seconds from each cue, rest left out.
    """

    classes = ("left fist", "right fist", "both fists", "both feet")
    ch_names = names(
        "FC5 FC3 FC1 FCZ FC2 FC4 FC6 C5 C3 C1 CZ C2 C4 C6 CP5 CP3 CP1 CPZ CP2 CP4 CP6 FP1 FPZ FP2 AF7 AF3 "
        "AFZ AF4 AF8 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FT8 T7 T8 T9 T10 TP7 TP8 P7 P5 P3 P1 PZ P2 P4 P6 P8 "
        "PO7 PO3 POZ PO4 PO8 O1 OZ O2 IZ"
    )
    layout = "S001/S001R04.edf, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the runs of imagery."""
        found = [
            path
            for path in files_below(root, "**/S*R*.edf")
            if re.fullmatch(r"S\d{3}R(04|06|08|10|12|14)", path.stem)
        ]
        people = sorted({path.stem[:4] for path in found})
        splits = split_of("PhysioNetMI", self.split, people) if people else {}
        return [
            Source(path.stem, path.stem[:4], (path,), splits[path.stem[:4]], run=path.stem[5:])
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one run."""
        raw = opened(source.files[0], spellings(self.ch_names), account)
        with mne.utils.use_log_level("error"):
            raw.set_eeg_reference("average", projection=False)
        clean(raw, 0.3, None, 60.0, resample_first=False, lowest=100)  # 160 Hz, three people 128
        marks = [mark for mark in raw.annotations if mark["description"] in ("T1", "T2")]
        other = [mark for mark in raw.annotations if mark["description"] not in ("T1", "T2")]
        first = 0 if source.run in ("04", "08", "12") else 2
        values, kept = at(values_of(raw), [mark["onset"] for mark in marks], 4.0, account)
        account.events += len(other)
        account.leave_out("rest", len(other))
        labels = [self.classes[first + (marks[place]["description"] == "T2")] for place in kept]
        return Windows(values, labels)


@dataclass(frozen=True)
class SHUMI(LabelledEEG):
    """SHU's motor imagery (Ma et al. 2022, Scientific Data 9, 531): 25 people in five sessions, left and right hand.

    Trials of four seconds as the authors prepared them, in microvolts; of 32 channels A1 and A2 are left out.
    """

    classes = ("left hand", "right hand")
    ch_names = names(
        "FP1 FP2 FZ F3 F4 F7 F8 FC1 FC2 FC5 FC6 CZ C3 C4 T3 T4 CP1 CP2 CP5 CP6 PZ P3 P4 T5 T6 PO3 PO4 OZ "
        "O1 O2"
    )
    layout = "sub-001_ses-01_task_motorimagery_eeg.mat, ..."
    _left_out = (16, 17)  # A1, A2

    def sources(self, root: Path) -> list[Source]:
        """List the sessions."""
        paths = files_below(root, "**/sub-*_ses-*_task_motorimagery_eeg.mat")
        if not paths:
            return []
        found = find_files(paths[0].parent, "sub-{subject}_ses-{session}_task_motorimagery_eeg.mat")
        splits = split_of("SHUMI", self.split, sorted({fields["subject"] for _, fields in found}))
        return [
            Source(
                f"sub-{fields['subject']}_ses-{fields['session']}",
                fields["subject"],
                (path,),
                splits[fields["subject"]],
                session=fields["session"],
            )
            for path, fields in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one session."""
        path = source.files[0]
        values = numbers(read_struct(path, "data"), 3, path, "trials")
        codes = np.ravel(numbers(read_struct(path, "labels"), 1, path, "labels")).astype(int)
        if len(values) != len(codes) or values.shape[1] != 32:
            raise NeurodecError(
                f"{path} holds {values.shape} numbers for {len(codes)} labels; 32 channels and one label per trial are "
                "expected."
            )
        if not set(codes.tolist()) <= {1, 2}:
            raise NeurodecError(f"{path} has the label {max(codes)}, and classes are 1 and 2; correct it.")
        values = np.delete(values, self._left_out, axis=1)
        return Windows(resampled(values, 800) / 100, [self.classes[code - 1] for code in codes])
