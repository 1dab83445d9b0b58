"""Recordings of one's own, whose annotations say what is going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.patterns import all_fields, find_files
from neurodec.data.readers.labelled.labelled_eeg import (
    LabelledEEG,
    Source,
    Windows,
    at,
    clean,
    number,
    opened,
    spellings,
    values_of,
)
from neurodec.data.readers.labelled.published_splits import split_of
from neurodec.data.readers.opening import source_files
from neurodec.data.stretches import one_class, untouched
from neurodec.errors import NeurodecError


@dataclass(frozen=True)
class AnnotatedWindows(LabelledEEG):
    """Windows of recordings that lie within annotations, labelled by these.

    Parameters
    ----------
    files : str
        Which recordings, with ``*`` and the fields ``{subject}``, ``{session}``, ``{run}``.
    labels : dict of str
        Text of an annotation to the class that it stands for; other annotations are left out and counted.
    channels : list of str
        Channels that every recording must have, under old or new names and with what recorders add.
    seconds : float
        Length of a window; an annotation is cut into as many as it holds, and one without a duration begins one.
        Windows that touch a segment annotated as bad (``BAD_...``), a pause of the recorder or an annotation of
        another class are left out and counted.
    l_freq, h_freq, notch : float, optional
        Hz, after resampling to 200 Hz.
    split
        See `LabelledEEG`: 60, 20 and 20 % of the people in the order of their names.
    """

    files: str = "sub-{subject}_*.edf"
    labels: dict[str, str] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    seconds: float = 5.0
    l_freq: float | None = 0.3
    h_freq: float | None = 75.0
    notch: float | None = 50.0

    @property
    def ch_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names and order of the channels."""
        return tuple(self.channels)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of all classes."""
        return tuple(dict.fromkeys(self.labels.values()))

    def sources(self, root: Path) -> list[Source]:
        """List the recordings."""
        if not self.labels or not self.channels:
            raise NeurodecError(
                "AnnotatedWindows needs `labels` (text of an annotation: class) and `channels`; give both."
            )
        found = [(path, all_fields(fields)) for path, fields in find_files(root, self.files)]
        people = sorted({fields["subject"] for _, fields in found}, key=number)
        splits = split_of("AnnotatedWindows", self.split, people)
        return [
            Source(
                path.relative_to(root).with_suffix("").as_posix().replace("/", "_").replace(".", "-"),
                fields["subject"],
                source_files(path),
                splits[fields["subject"]],
                fields["session"],
                fields["run"],
            )
            for path, fields in found
        ]

    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording."""
        raw = opened(source.files[-1], spellings(self.channels), account)
        clean(raw, self.l_freq, self.h_freq, self.notch)
        marks = [mark for mark in raw.annotations if mark["description"] in self.labels]
        account.events += len(raw.annotations) - len(marks)
        account.leave_out("annotations that are not in `labels`", len(raw.annotations) - len(marks))
        onsets, labels = [], []
        stretches: dict[str, list[tuple[float, float]]] = {name: [] for name in self.classes}
        for mark in marks:
            begin = mark["onset"] - raw.first_time
            stretches[self.labels[mark["description"]]].append(
                (begin, begin + (mark["duration"] or self.seconds))
            )
            n_windows = max(1, int(mark["duration"] / self.seconds + 1e-6))
            if 0 < mark["duration"] < self.seconds - 1e-3:
                account.events += 1
                account.leave_out("shorter than a window", 1)
                continue
            onsets += [begin + place * self.seconds for place in range(n_windows)]
            labels += [self.labels[mark["description"]]] * n_windows
        if not onsets:
            raise NeurodecError(
                f"{source.files[-1]} has no annotation of `labels` that holds a window; it has "
                f"{', '.join(sorted(set(raw.annotations.description))[:8]) or 'none'}."
            )
        sole = one_class(np.array(onsets), np.array(labels), self.seconds, stretches)
        account.events += int((~sole).sum())
        account.leave_out("in annotations of two classes, or twice in one", int((~sole).sum()))
        places = np.flatnonzero(sole)
        whole = untouched(raw, np.array(onsets)[places], self.seconds, account)
        account.events += int((~whole).sum())
        places = places[whole]
        values, kept = at(values_of(raw), [onsets[place] for place in places], self.seconds, account)
        if not len(kept):
            raise NeurodecError(
                f"{source.files[-1]} has no window that lies in one class, in no bad segment and across no pause; "
                "check its annotations, or leave it out."
            )
        return Windows(np.asarray(values), [labels[places[place]] for place in kept])

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the classes."""
        return pd.DataFrame({"stimulus": list(self.classes), "concept": list(self.classes)})
