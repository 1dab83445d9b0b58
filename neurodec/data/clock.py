"""Clocks: which sample of a recording was taken when, whatever the file's own idea of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mne
import numpy as np

SEAMS = ("edge", "bad boundary", "boundary", "new segment")
"""How annotations begin that mark where two pieces of a recording were joined (MNE, EEGLAB, BrainVision)."""

_TOLERANCE = 0.5  # samples


@dataclass(frozen=True)
class Clock:
    """The pieces of a recording, and the time at which each begins.

    A recording without pauses is one piece. Where the recorder paused, samples follow each other that were not
    taken one after the other.

    Parameters
    ----------
    sfreq : float
        Sampling rate (Hz).
    n_samples : int
        Samples in the file.
    starts : ndarray of int, shape (n_pieces,)
        First sample of every piece; the first is 0.
    seconds : ndarray, shape (n_pieces,)
        Time of these samples on the recording's clock, in seconds from the first sample. Formats that do not say how
        long a pause was count none: there, the clock is the place in the file.
    rate : float, optional
        Samples per second of the clock, where its seconds are not those that `sfreq` counts (XDF).
    """

    sfreq: float
    n_samples: int
    starts: np.ndarray
    seconds: np.ndarray
    rate: float | None = None

    def places(self, seconds: np.ndarray) -> np.ndarray:
        """Turn clock times into places in the file, seconds from its first sample; NaN where nothing was recorded."""
        seconds = np.asarray(seconds, dtype=float)
        piece = np.searchsorted(self.seconds, seconds + _TOLERANCE / self.sfreq, side="right") - 1
        within = (seconds - self.seconds[np.maximum(piece, 0)]) * (self.rate or self.sfreq) / self.sfreq
        places = self.starts[np.maximum(piece, 0)] / self.sfreq + within
        ends = np.append(self.starts[1:], self.n_samples) / self.sfreq
        last = len(self.starts) - 1
        paused = (piece >= 0) & (piece < last) & (places > ends[piece] - _TOLERANCE / self.sfreq)
        return np.where(paused, np.nan, places)

    def spans(self, onsets: np.ndarray, durations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn stretches of clock time into the places in the file where they begin and end."""
        begins, ends = self.places(onsets), self.places(onsets + durations)
        seams = self.starts / self.sfreq
        for times, places in ((onsets, begins), (onsets + durations, ends)):  # in a pause: the seam itself
            paused = np.isnan(places)
            places[paused] = seams[
                np.searchsorted(self.seconds, times[paused], side="right").clip(max=len(seams) - 1)
            ]
        return begins, ends

    def crosses(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Tell which stretches from sample `first` to sample `last`, both included, contain a seam."""
        return np.searchsorted(self.starts, last, side="right") != np.searchsorted(
            self.starts, first, side="right"
        )

    @property
    def paused(self) -> float:
        """Seconds of all pauses whose length is known."""
        return float(np.sum(np.diff(self.seconds) - np.diff(self.starts) / (self.rate or self.sfreq)))


def clock_of(raw: mne.io.BaseRaw, gaps: tuple[Any, ...] | None = None) -> Clock:
    """Return the clock of a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Its annotations mark seams.
    gaps : tuple, optional
        First samples and clock times of the pieces, and samples per second, where the file states them (EDF+D, XDF).
    """
    sfreq, n_samples = float(raw.info["sfreq"]), int(raw.n_times)
    if gaps is not None:
        return Clock(sfreq, n_samples, *gaps)
    marks = [text.lower().startswith(SEAMS) for text in raw.annotations.description]
    seams = np.round(annotation_seconds(raw)[marks] * sfreq).astype(int)
    starts = np.unique(np.r_[0, seams[(seams > 0) & (seams < n_samples)]])
    return Clock(sfreq, n_samples, starts, starts / sfreq)


def annotation_seconds(raw: mne.io.BaseRaw) -> np.ndarray:
    """Return the onsets of a recording's annotations in seconds from its first sample.

    MNE counts them from where the acquisition began, with a measurement date and without, so that a file saved
    after ``raw.crop(5.0)`` has its first event at 6 s if it comes 1 s after the first sample that is left.
    """
    return raw.annotations.onset - raw.first_time
