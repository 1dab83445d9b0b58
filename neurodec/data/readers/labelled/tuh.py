"""Corpora of Temple University Hospital with labels: TUAB (abnormal), TUEV (events), TUSL (slowing)."""

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
    at,
    clean,
    consecutive,
    names,
    opened,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.published_splits import split_of
from neurodec.errors import NeurodecError

PAIRS = names(
    "FP1-F7 F7-T3 T3-T5 T5-O1 FP2-F8 F8-T4 T4-T6 T6-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2"
)
"""The double banana: differences of neighbours, from the front to the back."""
_SEEN = "part of TUEG, on which the published weights of CSBrain and CBraMod were pre-trained, without labels"


@dataclass(frozen=True)
class TUAB(LabelledEEG):
    """TUH Abnormal EEG Corpus: normal and abnormal recordings, 16 bipolar channels, windows of ten seconds.

    200 Hz, 0.3 to 75 Hz, notch at 60 Hz. The official evaluation is the test; four fifths of the training people, class
    by class in the order of their names, are learned from. The corpus is part of TUEG, on which CSBrain is pre-trained.
    """

    classes = ("normal", "abnormal")
    ch_names = PAIRS
    layout = "edf/train/normal/01_tcp_ar/aaaaaaaq_s004_t000.edf, edf/eval/..."
    skips_damaged = True

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [
            (path, match[1], match[2])
            for path in files_below(root, "**/*.edf")
            if (match := re.search(r"/(train|eval)/(normal|abnormal)/", path.as_posix()))
        ]
        splits: dict[str, str] = {}
        abnormal = {_person(path) for path, part, kind in found if (part, kind) == ("train", "abnormal")}
        normal = {
            _person(path) for path, part, kind in found if (part, kind) == ("train", "normal")
        } - abnormal
        for people in (sorted(abnormal), sorted(normal)):  # who has recordings of both kinds goes with one
            splits |= split_of("TUAB", self.split, people) if people else {}
        tested = {_person(path) for path, part, _ in found if part == "eval"}
        _require_apart(tested, splits, root)
        return [
            Source(
                path.stem,
                _person(path),
                (path,),
                splits.get(_person(path), "test"),
                run=f"{kind}/{path.stem}",
            )
            for path, _, kind in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        account.note(_SEEN)
        raw = opened(source.files[0], {}, account, pairs=self.ch_names)
        parts = consecutive(values_of(clean(raw, 0.3, 75.0, 60.0)), 10.0, account)
        return Windows(parts, [source.run.split("/")[0]] * len(parts))


@dataclass(frozen=True)
class TUEV(LabelledEEG):
    """TUH EEG Events Corpus: six kinds of events of one second, each with two seconds before and after it.

    200 Hz, 0.3 to 75 Hz, notch at 60 Hz, 16 bipolar channels; at its ends the recording is continued by itself, as
    published. The labels are of single channels, and count here, as published, for the whole window. The official
    evaluation is the test. The corpus is part of TUEG, on which CSBrain is pre-trained.
    """

    classes = ("spsw", "gped", "pled", "eyem", "artf", "bckg")
    ch_names = PAIRS
    layout = "edf/train/aaaaaaar/aaaaaaar_00000001.edf and .rec, edf/eval/..."

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [
            (path, match[1])
            for path in files_below(root, "**/*.edf")
            if (match := re.search(r"/(train|eval)/", path.as_posix()))
        ]
        people = sorted({path.parent.name for path, part in found if part == "train"})
        splits = split_of("TUEV", self.split, people) if people else {}
        return [
            Source(
                f"{part}_{path.parent.name}_{path.stem}",
                path.parent.name if part == "train" else f"eval-{path.parent.name}",
                (path, path.with_suffix(".rec")),
                splits[path.parent.name] if part == "train" else "test",
                run=path.stem,
            )
            for path, part in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        account.note(_SEEN)
        path, listed = source.files
        events = _rows(listed, ",", 4)
        codes = events[:, 3].astype(int)
        if len(codes) and not set(codes.tolist()) <= set(range(1, 7)):
            raise NeurodecError(f"{listed} has the label {max(codes)}, and events are 1 to 6; correct it.")
        raw = opened(path, {}, account, pairs=self.ch_names)
        values = values_of(clean(raw, 0.3, 75.0, 60.0))
        pad = 2 * SFREQ
        around = np.pad(values, ((0, 0), (pad, pad)), mode="wrap")
        parts, kept = at(around, events[:, 1], 5.0, account)  # onset - 2 s, in what begins 2 s earlier
        return Windows(parts, [self.classes[codes[place] - 1] for place in kept])


@dataclass(frozen=True)
class TUSL(LabelledEEG):
    """TUH EEG Slowing Corpus: ten seconds of slowing, of seizures and of background, 19 channels.

    0.1 to 75 Hz, notch at 60 Hz, 200 Hz, in microvolts / 100: the release's z-score by mean and deviation of all data,
    tested ones included, is not repeated. People are drawn, by a seed, to 60, 20 and 20 %. The corpus is part of TUEG,
    on which CSBrain is pre-trained.
    """

    classes = ("bckg", "seiz", "slow")
    ch_names = names("FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T3 T4 T5 T6 FZ CZ PZ")
    layout = "edf/aaaaaaju/s005_2010/01_tcp_ar/aaaaaaju_s005_t000.edf and .tse_agg, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [path for path in files_below(root, "**/*.edf") if path.with_suffix(".tse_agg").is_file()]
        people = sorted({_person(path) for path in found})
        splits = split_of("TUSL", self.split, people) if people else {}
        return [
            Source(
                path.stem,
                _person(path),
                (path, path.with_suffix(".tse_agg")),
                splits[_person(path)],
                run=path.stem,
            )
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        account.note(_SEEN)
        path, listed = source.files
        lines = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
        rows = [line for line in lines if len(line) >= 3 and line[0] != "version"]
        unknown = {row[2] for row in rows} - set(self.classes)
        if unknown:
            raise NeurodecError(
                f"{listed} has the label {min(unknown)}, which is none of {', '.join(self.classes)}."
            )
        raw = opened(path, spellings(self.ch_names), account)
        values = values_of(clean(raw, 0.1, 75.0, 60.0, resample_first=False))
        parts, kept = at(values, [float(row[0]) for row in rows], 10.0, account)
        return Windows(parts, [rows[place][2] for place in kept])


def _person(path: Path) -> str:
    return path.name.split("_")[0]


def _require_apart(tested: set[str], trained: dict[str, str], root: Path) -> None:
    both = sorted(tested & set(trained))
    if both:
        raise NeurodecError(
            f"{both[0]} is among the training and the evaluation recordings below {root}; the corpus keeps them apart, "
            "so some files lie in the wrong folder."
        )


def _rows(path: Path, delimiter: str, n_columns: int) -> np.ndarray:
    """Return the numbers of a table without a header, shape (n, n_columns).

    Raises
    ------
    NeurodecError
        If a line has other things.
    """
    rows = []
    for place, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append([float(value) for value in line.split(delimiter)[:n_columns]])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != n_columns:
            raise NeurodecError(f"{path}, line {place}: {n_columns} numbers are expected; correct it.")
    return np.array(rows).reshape(-1, n_columns)
