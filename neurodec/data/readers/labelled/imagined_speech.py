"""Imagined speech: track 3 of the 2020 International BCI Competition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.patterns import files_below
from neurodec.data.readers.labelled.labelled_eeg import LabelledEEG, Source, Windows, names, resampled
from neurodec.data.readers.labelled.matlab_structs import field, numbers, read_struct
from neurodec.data.readers.labelled.published_splits import SPLITS, split_of
from neurodec.errors import NeurodecError, reading

_FOLDERS = {"Training set": "epo_train", "Validation set": "epo_validation", "Test set": "epo_test"}
_SAMPLES = 768  # the last three seconds at 256 Hz
_SHEET = "Track3_Answer Sheet_Test.xlsx"


@dataclass(frozen=True)
class BCIC2020(LabelledEEG):
    """Track 3 of the 2020 International BCI Competition: 15 people imagine to say five phrases (OSF pq7vb).

    The last three seconds of every trial, in microvolts; the answers of the test are in a sheet (pip install openpyxl).
    The published split is the competition's, of the same people.
    """

    classes = ("hello", "help me", "stop", "thank you", "yes")
    ch_names = names(
        "FP1 FP2 F7 F3 FZ F4 F8 FC5 FC1 FC2 FC6 T7 C3 CZ C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 PZ P4 P8 "
        "PO9 O1 OZ O2 PO10 AF7 AF3 AF4 AF8 F5 F1 F2 F6 FT9 FT7 FC3 FC4 FT8 FT10 C5 C1 C2 C6 TP7 CP3 CPZ "
        "CP4 TP8 P5 P1 P2 P6 PO7 PO3 POZ PO4 PO8"
    )
    layout = f"Training set/Data_Sample01.mat, Validation set/..., Test set/... and Test set/{_SHEET}"

    def sources(self, root: Path) -> list[Source]:
        """List the files of trials."""
        found = [
            (folder, path)
            for folder in _FOLDERS
            for path in files_below(root, f"**/{folder}/Data_Sample*.mat")
        ]
        people = sorted({path.stem for _, path in found})
        by_people = split_of("BCIC2020", "by_people", people) if found and self.split == "by_people" else {}
        of_folder = dict(zip(_FOLDERS, SPLITS, strict=True))
        return [
            Source(
                f"{path.stem}_{folder.split()[0]}",
                path.stem.removeprefix("Data_Sample").removesuffix("_Test"),
                (path, path.parent / _SHEET) if folder == "Test set" else (path,),
                by_people.get(path.stem, of_folder[folder]),
                session=folder.split()[0],
            )
            for folder, path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read the trials of one person."""
        path = source.files[0]
        name = _FOLDERS[path.parent.name]
        struct = read_struct(path, name)
        values = numbers(field(struct, "x", path), 3, path, "trials")
        if path.parent.name == "Test set":  # of MATLAB 7.3, with reversed axes
            labels = answers_of(source.files[1], path.stem)
        else:
            values = values.transpose(2, 1, 0)
            labels = numbers(field(struct, "y", path), 2, path, "labels").argmax(axis=0)
        if len(values) != len(labels) or values.shape[1] != len(self.ch_names) or values.shape[2] < _SAMPLES:
            raise NeurodecError(
                f"{path} holds {values.shape} numbers for {len(labels)} labels; {len(self.ch_names)} channels and one "
                "label per trial are expected."
            )
        return Windows(
            resampled(values[:, :, -_SAMPLES:], 600) / 100, [self.classes[code] for code in labels]
        )


def answers_of(path: Path, sample: str) -> np.ndarray:
    """Return the classes (n_trials,) from 0 of one person's test trials, from the competition's sheet.

    Raises
    ------
    NeurodecError
        If the sheet cannot be read, or does not have the person.
    """
    with reading(path, "a sheet of answers", "install openpyxl (pip install openpyxl), or download it again"):
        sheet = pd.read_excel(path, header=None)
    name = sample.removesuffix("_Test")
    for row, column in np.argwhere(sheet.iloc[:4].map(lambda cell: str(cell).strip() == name).to_numpy()):
        codes = (
            pd.to_numeric(sheet.iloc[row + 2 :, column + 1], errors="coerce").dropna().astype(int).to_numpy()
        )
        if len(codes) and set(codes.tolist()) <= set(range(1, 6)):
            return codes - 1
    raise NeurodecError(f"{path} has no answers 1 to 5 for {name}; download it again.")
