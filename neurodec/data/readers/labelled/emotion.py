"""Emotions that films evoke: FACED and SEED-V."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurodec.data.account import Account
from neurodec.data.patterns import files_below
from neurodec.data.readers.labelled.labelled_eeg import (
    SFREQ,
    LabelledEEG,
    Source,
    Windows,
    clean,
    names,
    number,
    opened,
    resampled,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.matlab_structs import numbers
from neurodec.data.readers.labelled.published_splits import split_of, tables
from neurodec.data.unpickle import load_pickled
from neurodec.errors import NeurodecError

# Of every session of SEED-V: when each film begins and ends (s), and the class of each.
_BEGINS = {
    "1": (30, 132, 287, 555, 773, 982, 1271, 1628, 1730, 2025, 2227, 2435, 2667, 2932, 3204),
    "2": (30, 299, 548, 646, 836, 1000, 1091, 1392, 1657, 1809, 1966, 2186, 2333, 2490, 2741),
    "3": (30, 353, 478, 674, 825, 908, 1200, 1346, 1451, 1711, 2055, 2307, 2457, 2726, 2888),
}
_ENDS = {
    "1": (102, 228, 524, 742, 920, 1240, 1568, 1697, 1994, 2166, 2401, 2607, 2901, 3172, 3359),
    "2": (267, 488, 614, 773, 967, 1059, 1331, 1622, 1777, 1908, 2153, 2302, 2428, 2709, 2817),
    "3": (321, 418, 643, 764, 877, 1147, 1284, 1418, 1679, 1996, 2275, 2425, 2664, 2857, 3066),
}
_FILMS = {
    "1": (4, 1, 3, 2, 0, 4, 1, 3, 2, 0, 4, 1, 3, 2, 0),
    "2": (2, 1, 3, 0, 4, 4, 0, 3, 2, 1, 3, 4, 1, 2, 0),
    "3": (2, 1, 3, 0, 4, 4, 0, 3, 2, 1, 3, 4, 1, 2, 0),
}


@dataclass(frozen=True)
class FACED(LabelledEEG):
    """FACED (Chen et al. 2023, Scientific Data 10, 740): 123 people watch 28 films of nine emotions.

    The authors' processed data, 30 s of every film in microvolts at 250 Hz; three windows of ten seconds; the last two
    of 32 channels (A1, A2) are left out. The pickles are read without running what they hold.
    """

    classes = (
        "anger",
        "disgust",
        "fear",
        "sadness",
        "neutral",
        "amusement",
        "inspiration",
        "joy",
        "tenderness",
    )
    ch_names = names(
        "FP1 FP2 FZ F3 F4 F7 F8 FC1 FC2 FC5 FC6 CZ C3 C4 T7 T8 CP1 CP2 CP5 CP6 PZ P3 P4 P7 P8 PO3 PO4 OZ "
        "O1 O2"
    )
    layout = "Processed_data/sub000.pkl, ..."
    _films = (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8)

    def sources(self, root: Path) -> list[Source]:
        """List the people."""
        found = [path for path in files_below(root, "**/sub*.pkl") if re.fullmatch(r"sub\d+", path.stem)]
        people = [path.stem for path in found]
        splits = split_of("FACED", self.split, people) if people else {}
        return [Source(path.stem, path.stem, (path,), splits[path.stem]) for path in found]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one person."""
        path = source.files[0]
        values = numbers(load_pickled(path), 3, path, "films")
        if values.shape[:2] != (len(self._films), 32):
            raise NeurodecError(f"{path} holds {values.shape} numbers, not 28 films of 32 channels.")
        values = resampled(np.asarray(values[:, :30], dtype=np.float64), 30 * SFREQ) / 100
        parts = values.reshape(len(values), 30, 3, -1).swapaxes(1, 2).reshape(-1, 30, 10 * SFREQ)
        return Windows(parts, [self.classes[code] for code in self._films for _ in range(3)])


@dataclass(frozen=True)
class SEEDV(LabelledEEG):
    """SEED-V (Liu et al. 2021): 16 people watch fifteen films of five emotions in each of three sessions.

    Neuroscan recordings, 200 Hz, 0.3 to 75 Hz, windows of one second of every film. The published split trains, chooses
    and tests on the films 1 to 5, 6 to 10 and 11 to 15 of the same people.
    """

    classes = ("disgust", "fear", "sad", "neutral", "happy")
    ch_names = names(
        "FP1 FPZ FP2 AF3 AF4 F7 F5 F3 F1 FZ F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 T7 C5 C3 C1 "
        "CZ C2 C4 C6 T8 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 P7 P5 P3 P1 PZ P2 P4 P6 P8 PO7 PO5 PO3 POZ "
        "PO4 PO6 PO8 CB1 O1 OZ O2 CB2"
    )
    layout = "EEG_raw/1_1_20180804.cnt, ... (subject, session, date)"

    def sources(self, root: Path) -> list[Source]:
        """List the sessions."""
        found = sorted(
            (path for path in files_below(root, "**/*.cnt") if re.fullmatch(r"\d+_[123]_\d+", path.stem)),
            key=lambda path: number(path.stem),
        )
        people = list(dict.fromkeys(path.stem.split("_")[0] for path in found))
        by_people = split_of("SEEDV", "by_people", people) if self.split == "by_people" else {}
        return [
            Source(path.stem, who, (path,), by_people.get(who, "cv"), session=session)
            for path in found
            for who, session, _ in [path.stem.split("_")]
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one session."""
        raw = opened(source.files[0], spellings(self.ch_names), account)
        values = values_of(clean(raw, 0.3, 75.0, None))
        told = tables()["SEEDV"]["published"]
        of_film = {int(film): split for split, films in told.items() for film in films}
        parts, labels, splits = [], [], []
        for film, (begin, end, code) in enumerate(
            zip(*(table[source.session] for table in (_BEGINS, _ENDS, _FILMS)), strict=True), 1
        ):
            n = end - begin
            if end * SFREQ > values.shape[1]:
                n = max(0, values.shape[1] // SFREQ - begin)
                account.leave_out("past an end of the recording", end - begin - n)
            film_values = values[:, begin * SFREQ : (begin + n) * SFREQ]
            parts.append(film_values.reshape(len(values), n, SFREQ).swapaxes(0, 1))
            labels += [self.classes[code]] * n
            splits += [of_film[film] if self.split == "published" else source.split] * n
            account.events += end - begin
        return Windows(np.concatenate(parts), labels, splits)
