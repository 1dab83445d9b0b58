"""Muse CSV: continuous EEG of a consumer headband, one file per run, with a marker column."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import files_below
from neurodec.data.readers.raw_trials import trials_of_raw
from neurodec.data.stimuli import stimuli_of_trials
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError, reading
from neurodec.preprocessing.eeg import EEGPreprocessing

MICROVOLT = 1e-6
_GAP = 0.05  # seconds without a sample; a few lost samples are within the jitter of the clock


@dataclass(frozen=True)
class MuseCSV(Dataset):
    """Read every ``*.csv`` or ``*.csv.gz`` below the data root: seconds, microvolts per electrode, and a marker.

    Parameters
    ----------
    event_id : dict
        Stimulus name to marker value; other values than these are no events.
    ch_names : list of str
        Electrode columns to read, in this order; further ones are ignored.
    marker : str
        Start of the name of the marker column, in any case; 0 or nothing where there is no event.
    time : str
        Column of seconds. Files without it are taken to be gapless.
    sfreq : float
        Sampling rate (Hz), compared with the column of seconds.
    preprocessing : EEGPreprocessing
        Filter, reference, epoch, baseline, scaling.

    Notes
    -----
    Subject and session come from folders such as ``subject2/session1`` (or ``sub-02/ses-01``), "01" without; the file
    name is the run. A run without any event is left out with a warning, as are events whose epoch is cut short by the
    ends of the recording or lies over lost samples.
    """

    event_id: dict[str, int]
    ch_names: list[str] = field(default_factory=lambda: ["TP9", "AF7", "AF8", "TP10"])
    marker: str = "marker"
    time: str = "timestamps"
    sfreq: float = 256.0
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the runs that have events; the files are short enough to be looked into."""
        self.preprocessing.check()
        files = sorted({*files_below(root, "**/*.csv"), *files_below(root, "**/*.csv.gz")})
        if not files:
            raise NeurodecError(f"No .csv or .csv.gz file was found below {root}; check --data-root.")
        parts, silent, contents, codes = [], [], {}, set()
        for file in files:
            text = _text(file)
            _refuse_twin(contents, text, file)
            table = self._read(text, file)
            codes |= set(_codes(table["marker"]).tolist()) - {0}
            if len(self._events(table)):
                subject, session = _place(file, root)
                parts.append(Part(f"sub-{subject}_ses-{session}_{_run(file)}", subject, (file,)))
            else:
                silent.append(file)
        if not parts:
            found = ", ".join(map(str, sorted(codes))) or "none"
            raise NeurodecError(
                f"No file below {root} has an event of {self._wanted()} (marker values found: {found}); correct "
                "`event_id`, or check that markers were recorded."
            )
        for file in silent:
            warnings.warn(f"{file} is left out: it has no event of {self._wanted()}.", stacklevel=2)
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one run and cut the epochs that lie in it whole."""
        file, account = part.files[0], Account()
        table = self._read(_text(file), file)
        info = mne.create_info(self.ch_names, self.sfreq, "eeg")
        raw = mne.io.RawArray(table[self.ch_names].to_numpy(float).T * MICROVOLT, info, verbose="error")
        clock = self._clock(table, file)
        subject, session = _place(file, root)
        fields = {"subject": subject, "session": session, "run": _run(file)}
        events = self._events(table)
        markers = _codes(table["marker"])
        n_other = int(((markers != 0) & (np.r_[0, markers[:-1]] != markers)).sum()) - len(events)
        account.events += len(events) + n_other
        account.leave_out("not named in `event_id`", n_other)
        trials = trials_of_raw(raw, clock, events, self.preprocessing, "eeg", fields, str(file), account)
        if not len(trials):
            raise NeurodecError(
                f"{file} has {len(events)} event(s), none with a whole epoch of {self.preprocessing.tmin:g} to "
                f"{self.preprocessing.tmax:g} s; shorten the epoch or leave the file out."
            )
        return trials

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the names of the markers, which tell the class only."""
        names = pd.DataFrame({"stimulus": sorted(self.event_id)})
        return stimuli_of_trials({"`event_id`": names})

    def _wanted(self) -> str:
        return " or ".join(f"{name} ({code})" for name, code in self.event_id.items())

    def _read(self, text: bytes, file: Path) -> pd.DataFrame:
        """Return the electrodes, `marker`, and `time` (seconds, or None where the file has no such column)."""
        with reading(file, "a CSV file", "copy it again"):
            table = pd.read_csv(io.BytesIO(text))
        markers = [name for name in table if str(name).lower().startswith(self.marker.lower())]
        missing = [name for name in self.ch_names if name not in table]
        missing += [] if markers else [f"{self.marker}..."]
        if missing:
            raise NeurodecError(
                f"{file} lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, table))}, so correct "
                "`ch_names` or `marker`, or leave the file out."
            )
        kept = table[self.ch_names].assign(
            marker=table[markers[0]],
            time=table[self.time] if self.time in table else np.nan,  # noqa: SIM401
        )
        try:
            return kept.astype(float)
        except ValueError as error:
            raise NeurodecError(
                f"{file} holds text among its numbers ({error}); repair or copy it again."
            ) from None

    def _events(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return an event wherever the marker takes a known value: `onset` (place in the file, s), `stimulus`."""
        codes = _codes(table["marker"])
        rows = np.flatnonzero((codes != 0) & (np.r_[0, codes[:-1]] != codes))
        names = {code: name for name, code in self.event_id.items()}
        rows = rows[np.isin(codes[rows], list(names))]
        shown = [names[code] for code in codes[rows].tolist()]
        return pd.DataFrame({"onset": rows / self.sfreq, "stimulus": shown, "concept": shown, "split": "cv"})

    def _clock(self, table: pd.DataFrame, file: Path) -> Clock:
        """Return the clock of a run: its pieces are the stretches between lost samples.

        Raises
        ------
        NeurodecError
            If the sampling rate is another.
        """
        seconds, starts = table["time"].to_numpy(), np.zeros(1, dtype=int)
        if np.isfinite(seconds).all():
            steps = np.diff(seconds)
            lost = (steps > _GAP) | (steps < 0)
            rate = 1 / steps[~lost].mean() if (~lost).any() else 0.0
            if abs(rate / self.sfreq - 1) > 0.02:
                raise NeurodecError(
                    f"{file} was sampled at {rate:.4g} Hz by its column {self.time}, not at {self.sfreq:g} Hz; correct "
                    "`sfreq`."
                )
            starts = np.r_[0, np.flatnonzero(lost) + 1]
        return Clock(self.sfreq, len(table), starts, starts / self.sfreq)


def _text(file: Path) -> bytes:
    """Return the content of a file, gzip or not whatever its name says."""
    with reading(file, "a CSV file", "it is cut short or damaged, so copy it again"):
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _refuse_twin(contents: dict[str, Path], text: bytes, file: Path) -> None:
    """Refuse a recording that is there twice; gzip files of one recording differ, so this compares what is in them."""
    first = contents.setdefault(hashlib.sha256(text).hexdigest(), file)
    if first != file:
        raise NeurodecError(
            f"{file} is the same recording as {first}; counted twice it would leak between training and test, so "
            "remove one of them."
        )


def _codes(marker: pd.Series) -> np.ndarray:
    return marker.fillna(0).round().astype(np.int64).to_numpy()


def _place(file: Path, root: Path) -> tuple[str, str]:
    """Return subject and session from the names of the folders."""
    folders = file.relative_to(root).parts[:-1]
    found = []
    for word in ("sub(?:ject)?", "ses(?:sion)?"):
        matches = [re.fullmatch(rf"{word}[-_ ]?(\w+)", folder, re.IGNORECASE) for folder in folders]
        found.append(next((match[1] for match in matches if match), "01"))
    return found[0], found[1]


def _run(file: Path) -> str:
    """Return the file name without ``.csv`` and ``.gz``, which some names repeat, as a safe name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", re.sub(r"(\.csv|\.gz)+$", "", file.name))
