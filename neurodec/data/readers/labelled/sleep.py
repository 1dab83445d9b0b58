"""Stages of sleep: ISRUC and HMC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.patterns import files_below
from neurodec.data.readers.labelled.labelled_eeg import (
    SFREQ,
    LabelledEEG,
    Source,
    Windows,
    at,
    clean,
    names,
    number,
    opened,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.published_splits import split_of
from neurodec.data.stimuli import BETWEEN
from neurodec.errors import NeurodecError, reading

SECONDS = 30.0
STAGES = ("W", "N1", "N2", "N3", "R")
_CODES = {"0": "W", "1": "N1", "2": "N2", "3": "N3", "5": "R"}
_SPARE = 30  # epochs at the end that one expert left out
_NO_STAGES = ("Lights off", "Lights on")


@dataclass(frozen=True)
class ISRUC(LabelledEEG):
    """ISRUC-Sleep (Khalighi et al. 2016), group 1: a night of 100 people, scored every 30 s.

    0.3 to 35 Hz, notch at 50 Hz; channels by name, in microvolts / 100 as the other sets (CSBrain's loader forgets to
    divide). The scores of the first expert, of code 0, 1, 2, 3 and 5.

    Parameters
    ----------
    sequence : int
        Epochs in a row that make one trial, 20 as published, whose label is then the sequence of their stages
        (``W|N1|...``); 1 takes each alone.
    split
        See `LabelledEEG`.
    """

    sequence: int = 1

    ch_names = names("F3 C3 O1 F4 C4 O2")
    layout = "1/1.rec and 1/1_1.txt, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the people."""
        found = sorted(
            (path for path in files_below(root, "**/*.rec") if re.fullmatch(r"\d+", path.stem)),
            key=lambda path: number(path.stem),
        )
        people = [path.stem for path in found]
        splits = split_of("ISRUC", self.split, people) if people else {}
        return [
            Source(path.stem, path.stem, (path, path.with_name(f"{path.stem}_1.txt")), splits[path.stem])
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one night."""
        path, scored = source.files
        codes = scored.read_text(encoding="utf-8", errors="replace").split()
        unknown = set(codes) - set(_CODES)
        if unknown:
            raise NeurodecError(
                f"{scored} has the code {min(unknown)}, and stages are 0, 1, 2, 3 and 5; correct it."
            )
        with _named_edf(path) as link:
            raw = opened(link, spellings(self.ch_names, ("A1", "A2", "M1", "M2")), account)
        values = values_of(clean(raw, 0.3, 35.0, 50.0, resample_first=False))
        n = round(SECONDS * SFREQ)
        n_epochs = values.shape[1] // n
        if abs(n_epochs - len(codes)) > _SPARE:
            raise NeurodecError(
                f"{path} lasts {n_epochs} epochs of 30 s, and {scored} scores {len(codes)}; they differ."
            )
        kept = min(n_epochs, len(codes)) // self.sequence * self.sequence
        account.events = max(n_epochs, len(codes))
        account.leave_out("after the last whole sequence, or not scored", account.events - kept)
        epochs = values[:, : kept * n].reshape(len(values), -1, n * self.sequence).swapaxes(0, 1)
        stages = [_CODES[code] for code in codes[:kept]]
        rows = np.reshape(stages, (-1, self.sequence))
        account.events -= kept - len(epochs)
        return Windows(epochs, [BETWEEN.join(row) for row in rows])

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the stages, or the sequences that there are."""
        if self.sequence == 1:
            return pd.DataFrame({"stimulus": list(STAGES), "concept": list(STAGES)})
        found = set()
        for source in self.sources(root):
            codes = source.files[1].read_text(encoding="utf-8", errors="replace").split()
            stages = [_CODES.get(code, code) for code in codes]
            whole = len(stages) // self.sequence
            found |= {
                BETWEEN.join(stages[place * self.sequence : (place + 1) * self.sequence])
                for place in range(whole)
            }
        return pd.DataFrame({"stimulus": sorted(found), "concept": sorted(found)})


@dataclass(frozen=True)
class HMC(LabelledEEG):
    """Haaglanden Medisch Centrum's sleep staging database (PhysioNet): a night of 151 people, scored every 30 s.

    0.1 to 75 Hz, notch at 50 Hz, then 200 Hz; the stages are the annotations of ``SN001_sleepscoring.edf``.
    """

    classes = STAGES
    ch_names = names("F4 C4 O2 C3")
    layout = "recordings/SN001.edf and recordings/SN001_sleepscoring.edf, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the people."""
        found = [path for path in files_below(root, "**/SN*.edf") if re.fullmatch(r"SN\d+", path.stem)]
        people = [path.stem for path in found]
        splits = split_of("HMC", self.split, people) if people else {}
        return [
            Source(
                path.stem,
                path.stem,
                (path, path.with_name(f"{path.stem}_sleepscoring.edf")),
                splits[path.stem],
            )
            for path in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one night."""
        path, scored = source.files
        marks = annotations_of(scored)
        stages = [mark for mark in marks if mark[2].startswith("Sleep stage")]
        others = {mark[2] for mark in marks} - {mark[2] for mark in stages}
        others = {text for text in others if not text.startswith(_NO_STAGES)}
        if others:
            account.note(f"annotations that are no stages are left out: {', '.join(sorted(others)[:8])}")
        known = [mark for mark in stages if mark[2].split()[-1] in STAGES and abs(mark[1] - SECONDS) < 0.5]
        account.events += len(stages) - len(known)
        account.leave_out("of no known stage, or not of 30 s", len(stages) - len(known))
        raw = opened(path, spellings(self.ch_names, ("M1", "M2")), account)
        values = values_of(clean(raw, 0.1, 75.0, 50.0, resample_first=False))
        parts, kept = at(values, [mark[0] for mark in known], SECONDS, account)
        return Windows(parts, [known[place][2].split()[-1] for place in kept])


@contextmanager
def _named_edf(path: Path) -> Iterator[Path]:
    """Give an EDF file of another ending the one that MNE asks for; messages name the file itself."""
    with TemporaryDirectory() as folder:
        link = Path(folder) / f"{path.stem}.edf"
        link.symlink_to(path.resolve())
        try:
            yield link
        except NeurodecError as error:
            raise NeurodecError(str(error).replace(str(link), str(path))) from error


def annotations_of(path: Path) -> list[tuple[float, float, str]]:
    """Return onset (s), duration (s) and text of all annotations of an EDF+ file.

    Raises
    ------
    NeurodecError
        If the file is missing or damaged.
    """
    with reading(path, "annotations", "copy it again"), mne.utils.use_log_level("error"):
        found = mne.read_annotations(path)
    return list(zip(found.onset, found.duration, found.description, strict=True))
