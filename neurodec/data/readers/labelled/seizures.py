"""Epileptic seizures: CHB-MIT and Siena."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    opened,
    resampled,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.published_splits import split_of
from neurodec.errors import NeurodecError

SECONDS = 10.0
_STEP = 5.0  # s, between the further windows of a seizure
_MARGIN = 1.0  # s, before and after a seizure
_DAY = 86400
_LONGEST = 3600  # s; a seizure that seems longer has a wrong hour


@dataclass(frozen=True)
class SeizureEEG(LabelledEEG):
    """Windows of ten seconds, with or without a seizure.

    Parameters
    ----------
    labels : {"overlap", "published"}
        "overlap": a window that shares any time with a seizure is one, and training gets further windows of each
        seizure, every five seconds. "published": one only if the seizure begins or ends in it, so that windows within
        long seizures count as none, and all splits get the further windows.
    split
        See `LabelledEEG`.
    """

    labels: Literal["overlap", "published"] = "overlap"

    classes = ("background", "seizure")

    @abstractmethod
    def seizures(self, source: Source, account: Account) -> list[tuple[float, float]]:
        """Return beginning and end (s) of every seizure of a recording."""

    def cut(self, values: np.ndarray, sfreq: float, source: Source, account: Account) -> Windows:
        """Cut a recording (n_chans, n_times) into windows, and resample them to 200 Hz as published."""
        seizures, n = self.seizures(source, account), round(SECONDS * sfreq)
        duration = values.shape[1] / sfreq
        beyond = [seizure for seizure in seizures if seizure[1] > duration + 1 or seizure[0] >= seizure[1]]
        if beyond:
            raise NeurodecError(
                f"{source.files[-1]} puts a seizure of {source.files[0].name} at {beyond[0][0]:g} to "
                f"{beyond[0][1]:g} s, and the recording lasts {duration:.0f} s; correct the times, or "
                "leave the recording out."
            )
        begins = list(np.arange(values.shape[1] // n) * n / sfreq)
        found = [self._is_seizure(begin, seizures) for begin in begins]
        if source.split == "train" or self.labels == "published":
            further = [
                begin
                for first, last in seizures
                for begin in np.arange(max(0.0, first - _MARGIN), min(last + _MARGIN, duration), _STEP)
            ]
            short = [begin for begin in further if round(begin * sfreq) + n > values.shape[1]]
            account.leave_out("past an end of the recording", len(short))
            account.events += len(short)
            further = [begin for begin in further if begin not in short]
            if self.labels == "overlap":  # the margin alone is no seizure
                further = [begin for begin in further if self._is_seizure(begin, seizures)]
            begins, found = begins + further, found + [True] * len(further)
        if seizures:
            account.note(
                f"{len(seizures)} seizure(s) of {sum(last - first for first, last in seizures):.0f} s in all"
            )
        starts = [round(begin * sfreq) for begin in begins]
        parts = np.empty((len(starts), len(values), round(SECONDS * SFREQ)), dtype=np.float32)
        for place, start in enumerate(starts):
            parts[place] = resampled(values[:, start : start + n], parts.shape[-1])
        return Windows(parts, [self.classes[own] for own in found])

    def _is_seizure(self, begin: float, seizures: Sequence[tuple[float, float]]) -> bool:
        end = begin + SECONDS
        if self.labels == "published":
            return any(begin < edge < end for seizure in seizures for edge in seizure)
        return any(first < end and last > begin for first, last in seizures)


@dataclass(frozen=True)
class CHBMIT(SeizureEEG):
    """CHB-MIT (Shoeb 2009, PhysioNet): 24 recordings of children, 16 bipolar channels.

    The cases chb01 and chb21 are one child, a year and a half apart: the published split trains on one and chooses by
    the other, "by_people" keeps them together. Recordings without these channels are left out and listed.

    Parameters
    ----------
    labels, split
        See `SeizureEEG` and `LabelledEEG`.
    """

    ch_names = names(
        "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2"
    )
    layout = "chb01/chb01_03.edf and chb01/chb01-summary.txt, ..."
    skips_damaged = True

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [
            path for path in files_below(root, "**/chb*_*.edf") if re.match(r"chb\d\d[a-c]?_", path.name)
        ]
        people = sorted({path.parent.name for path in found})
        splits = split_of("CHBMIT", self.split, people) if people else {}
        return [
            Source(
                path.stem.replace("+", "p"),
                path.parent.name,
                (path, path.parent / f"{path.parent.name}-summary.txt"),
                splits[path.parent.name],
                run=path.stem,
            )
            for path in found
        ]

    def seizures(self, source: Source, account: Account) -> list[tuple[float, float]]:
        """Read the summary of a child's recordings."""
        path, summary = source.files
        text = summary.read_text(encoding="utf-8", errors="replace")
        blocks = re.split(r"File Name:\s*", text)[1:]
        block = next((own for own in blocks if own.split()[0] == path.name), None)
        if block is None:
            raise NeurodecError(
                f"{summary} does not speak of {path.name}, so its seizures are unknown; leave it out."
            )
        told = re.search(r"Number of Seizures in File:\s*(\d+)", block)
        begins, ends = (
            [float(value) for value in re.findall(rf"Seizure(?: \d+)? {word} Time:\s*(\d+)\s*sec", block)]
            for word in ("Start", "End")
        )
        if told is None or not int(told[1]) == len(begins) == len(ends):
            raise NeurodecError(
                f"{summary} tells of {told[1] if told else '?'} seizures in {path.name} and gives the times of "
                f"{len(begins)}; correct it."
            )
        return list(zip(begins, ends, strict=True))

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        raw = opened(source.files[0], {}, account, pairs=self.ch_names)
        return self.cut(values_of(raw), raw.info["sfreq"], source, account)


@dataclass(frozen=True)
class Siena(SeizureEEG):
    """Siena (Detti et al. 2020, PhysioNet): 14 people, 29 channels, 0.1 to 75 Hz, notch at 50 Hz.

    The published split chooses an epoch by a fifth of the training people's own windows, which overlap with others;
    "by_people" by two people. Names in the lists that no file has (``PNO6-1.edf`` with a letter O) are taken for the
    file that they mean.

    Parameters
    ----------
    labels, split
        See `SeizureEEG` and `LabelledEEG`.
    """

    ch_names = names(
        "FP1 F3 C3 P3 O1 F7 T3 T5 FC1 FC5 CP1 CP5 F9 FZ CZ PZ FP2 F4 C4 P4 O2 F8 T4 T6 FC2 FC6 CP2 CP6 F10"
    )
    layout = "PN00/PN00-1.edf and PN00/Seizures-list-PN00.txt, ..."

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        found = [path for path in files_below(root, "**/PN*.edf") if re.match(r"PN\d\d-", path.name)]
        people = sorted({path.stem[:4] for path in found})
        splits = split_of("Siena", self.split, people) if people else {}
        return [
            Source(
                path.stem.replace(".", "-"),
                path.stem[:4],
                (path, path.parent / f"Seizures-list-{path.stem[:4]}.txt"),
                splits[path.stem[:4]],
                run=path.stem,
            )
            for path in found
        ]

    def seizures(self, source: Source, account: Account) -> list[tuple[float, float]]:
        """Read the list of a person's seizures, whose times are those of the clock."""
        path, listed = source.files
        found, current, registered, begin = [], "", None, None
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            match = re.match(r"\s*(.+?)\s*:\s*(\S+)", line)
            what = match[1].lower() if match else ""
            if "file name" in what:
                current = _letter(match[2])
            elif current != _letter(path.name) or "time" not in what or "registration end" in what:
                continue
            elif "registration start" in what:
                registered = _seconds(match[2], listed)
            elif "start" in what:
                begin = _seconds(match[2], listed)
            elif begin is not None and registered is not None:
                first = (begin - registered) % _DAY
                length = (_seconds(match[2], listed) - begin) % _DAY
                if length > _LONGEST:
                    length %= _LONGEST
                    account.note(
                        f"the end of the seizure at {first} s is whole hours off, and was taken without these"
                    )
                found.append((float(first), float(first + length)))
        return list(dict.fromkeys(found))

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        raw = opened(source.files[0], spellings(self.ch_names), account)
        clean(raw, 0.1, 75.0, 50.0, rate=None)
        found = self.cut(values_of(raw), raw.info["sfreq"], source, account)
        if self.split == "by_people" or source.split != "train":
            return found
        chosen = np.random.default_rng([0, *source.name.encode()]).random(len(found.labels)) < 0.2
        return Windows(found.values, found.labels, np.where(chosen, "validation", "train").tolist())


def _letter(name: str) -> str:
    """Return a name of a recording with the digit 0 in place of the letter O, and without its ending."""
    return name.upper().replace("PNO", "PN0").removesuffix(".EDF")


def _seconds(clock: str, path: Path) -> int:
    parts = re.split(r"[.:]", clock.strip())
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise NeurodecError(f"{path} has the time {clock!r}, which is no clock's; correct it.")
    hours, minutes, seconds = map(int, parts)
    return hours * 3600 + minutes * 60 + seconds
