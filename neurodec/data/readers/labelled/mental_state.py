"""States of mind: vigilance (SEED-VIG), mental arithmetic, and depression (Mumtaz 2016)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.patterns import files_below
from neurodec.data.readers.labelled.labelled_eeg import (
    SFREQ,
    LabelledEEG,
    Source,
    Windows,
    clean,
    consecutive,
    names,
    number,
    opened,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.matlab_structs import field, numbers, read_struct
from neurodec.data.readers.labelled.published_splits import in_order, split_of, tables
from neurodec.errors import NeurodecError

_DIGITS = 6  # of the measure of vigilance
_NINETEEN = names("FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T3 T4 T5 T6 FZ CZ PZ")


@dataclass(frozen=True)
class SEEDVIG(LabelledEEG):
    """SEED-VIG (Zheng & Lu 2017): 23 drives of 21 people, the share of time with closed eyes (PERCLOS) every 8 s.

    Recordings of 17 channels at 200 Hz as distributed, in microvolts; 885 windows. The label is a number: take
    `neurodec.features.Numbers`. The published split counts files, of which two people have two.
    """

    ch_names = names("FT7 FT8 T7 T8 TP7 TP8 CP1 CP2 P1 PZ P2 PO3 POZ PO4 O1 OZ O2")
    layout = "Raw_Data/1_20151124_noon_2.mat, ... and perclos_labels/ with the same names"

    def sources(self, root: Path) -> list[Source]:
        """List the drives."""
        found = files_below(root, "**/Raw_Data/*.mat")
        if not found:
            return []
        if self.split == "by_people":
            people = sorted({path.stem.split("_")[0] for path in found}, key=number)
            of_person = split_of("SEEDVIG", "by_people", people)
            splits = {path.stem: of_person[path.stem.split("_")[0]] for path in found}
        else:
            splits = split_of("SEEDVIG", "published", [path.stem for path in found])
        return [
            Source(
                path.stem,
                path.stem.split("_")[0],
                (path, path.parent.parent / "perclos_labels" / path.name),
                splits[path.stem],
                run=path.stem,
            )
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one drive."""
        path = source.files[0]
        eeg = read_struct(path, "EEG")
        values = numbers(field(eeg, "data", path), 2, path, "samples").T / 100
        rate = float(eeg.get("sample_rate", SFREQ))
        if values.shape[0] != len(self.ch_names) or rate != SFREQ:
            raise NeurodecError(
                f"{path} has {values.shape[0]} channels at {rate:g} Hz, not {len(self.ch_names)} at {SFREQ} Hz."
            )
        labels = self._labels(source.files[1])
        parts = consecutive(values, 8.0, account)
        if len(parts) != len(labels):
            raise NeurodecError(
                f"{path} has {len(parts)} windows of 8 s, and {source.files[1]} {len(labels)} labels; they do not "
                "belong together."
            )
        return Windows(parts, labels)

    def _labels(self, path: Path) -> list[str]:
        found = np.ravel(read_struct(path, "perclos"))
        if not np.isfinite(found).all() or found.min() < 0 or found.max() > 1 + 1e-6:
            raise NeurodecError(f"{path}: PERCLOS is a share between 0 and 1, and some are not; correct it.")
        return [f"{value:.{_DIGITS}f}" for value in found]

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the numbers."""
        found = sorted({label for source in self.sources(root) for label in self._labels(source.files[1])})
        return pd.DataFrame({"stimulus": found, "concept": found})


@dataclass(frozen=True)
class MentalArithmetic(LabelledEEG):
    """PhysioNet's EEG During Mental Arithmetic Tasks (Zyma et al. 2019): 36 people at rest and while subtracting.

    200 Hz, windows of five seconds; 19 of the 20 published channels (A2-A1 is none of the head).
    """

    classes = ("rest", "arithmetic")
    ch_names = names("FP1 FP2 F3 F4 F7 F8 T3 T4 C3 C4 T5 T6 P3 P4 O1 O2 FZ CZ PZ")
    layout = "Subject00_1.edf, Subject00_2.edf, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [
            path
            for path in files_below(root, "**/Subject*_*.edf")
            if re.fullmatch(r"Subject\d+_[12]", path.stem)
        ]
        people = sorted({path.stem.split("_")[0] for path in found})
        splits = split_of("MentalArithmetic", self.split, people) if people else {}
        return [
            Source(path.stem, who, (path,), splits[who], run=part)
            for path in found
            for who, part in [path.stem.split("_")]
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        raw = opened(source.files[0], spellings(self.ch_names), account)
        parts = consecutive(values_of(clean(raw, None, None, None)), 5.0, account)
        return Windows(parts, [self.classes[int(source.run) - 1]] * len(parts))


@dataclass(frozen=True)
class Mumtaz2016(LabelledEEG):
    """Depressed and healthy people at rest (Mumtaz 2016, figshare 4244171), eyes open and closed.

    200 Hz, 0.3 to 75 Hz, notch at 50 Hz, windows of five seconds; recordings of a task are left out. The published
    split counts files in the order of their names, so that some people may be on both sides.
    """

    classes = ("healthy", "depressed")
    ch_names = _NINETEEN
    layout = "H S1 EC.edf, H S1 EO.edf, MDD S1 EC.edf, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the recordings at rest."""
        found = {}
        for path in files_below(root, "**/*.edf"):
            match = re.fullmatch(r"(?:\d+_)?(H|MDD) S(\d+)\s+(EC|EO)", path.stem.strip())
            if match:
                found[path] = (match[1], f"{match[1]}{int(match[2])}", match[3])
        splits: dict[str, str] = {}
        for group in ("H", "MDD"):
            own = [path for path, told in found.items() if told[0] == group]
            if self.split == "published" and found:
                counts = tables()["Mumtaz2016"]["published"][group]
                splits |= in_order("Mumtaz2016", [str(path) for path in own], counts, f"files of {group}")
            elif own:
                people = sorted({found[path][1] for path in own}, key=number)
                of_person = split_of("Mumtaz2016", "by_people", people)
                splits |= {str(path): of_person[found[path][1]] for path in own}
        return [
            Source(path.stem.replace(" ", "_"), who, (path,), splits[str(path)], run=eyes)
            for path, (_, who, eyes) in found.items()
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        raw = opened(source.files[0], spellings(self.ch_names), account)
        parts = consecutive(values_of(clean(raw, 0.3, 75.0, 50.0)), 5.0, account)
        return Windows(parts, [self.classes[source.subject.startswith("MDD")]] * len(parts))
