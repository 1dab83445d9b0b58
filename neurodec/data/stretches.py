"""Stretches of a recording that no window may touch, or that say what a window shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mne
import numpy as np

from neurodec.data.account import Account
from neurodec.data.clock import SEAMS, Clock, annotation_seconds

_SEAM = "BAD boundary"
_TINY = 1e-6  # seconds


def mark_seams(raw: mne.io.BaseRaw, clock: Clock) -> None:
    """Annotate where pieces of a recording were joined, so that resampling keeps it."""
    onsets = annotation_seconds(raw)
    known = onsets[[text.lower().startswith(SEAMS) for text in raw.annotations.description]]
    for place in clock.starts[1:] / clock.sfreq:
        if not np.any(np.abs(known - place) < 0.5 / clock.sfreq):
            raw.annotations.append(place + raw.first_time, 0.0, _SEAM)


def untouched(raw: mne.io.BaseRaw, onsets: np.ndarray, seconds: float, account: Account) -> np.ndarray:
    """Tell which windows touch no segment annotated as bad and cross no pause of the recorder.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Its annotations, seams included (`mark_seams`).
    onsets : ndarray, shape (n_windows,)
        Seconds from the first sample.
    seconds : float
        Length of a window.
    account : Account
        Gets the counts.

    Returns
    -------
    ndarray of bool, shape (n_windows,)
    """
    texts = [text.lower() for text in raw.annotations.description]
    seams = np.array([text.startswith(SEAMS) for text in texts], dtype=bool)
    bad = np.array([text.startswith("bad") for text in texts], dtype=bool) & ~seams
    begins = annotation_seconds(raw)
    ends = begins + raw.annotations.duration
    onsets = np.asarray(onsets, dtype=float)
    in_bad = n_overlaps(onsets, seconds, begins[bad], ends[bad]) > 0
    across = (n_overlaps(onsets, seconds, begins[seams], begins[seams]) > 0) & ~in_bad
    account.leave_out("in a bad segment", int(in_bad.sum()))
    account.leave_out("across a pause of the recorder", int(across.sum()))
    return ~(in_bad | across)


def one_class(
    onsets: np.ndarray,
    labels: np.ndarray,
    seconds: float,
    stretches: Mapping[str, Sequence[tuple[float, float]]],
) -> np.ndarray:
    """Tell which windows lie in stretches of one class only, the first of several equal ones.

    Parameters
    ----------
    onsets : ndarray, shape (n_windows,)
        Seconds.
    labels : ndarray of str, shape (n_windows,)
    seconds : float
        Length of a window.
    stretches : mapping
        Class to where its annotations begin and end (s).

    Returns
    -------
    ndarray of bool, shape (n_windows,)
    """
    sole = np.zeros(len(onsets), dtype=bool)
    sole[np.unique(np.round(onsets, 4), return_index=True)[1]] = True
    for name, own in stretches.items():
        bounds = np.array(own, dtype=float).reshape(-1, 2)
        sole &= (labels == name) | (n_overlaps(onsets, seconds, *bounds.T) == 0)
    return sole


def n_overlaps(onsets: np.ndarray, seconds: float, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Count the stretches that each window shares time with; one that only touches its edge does not."""
    begun = np.searchsorted(np.sort(begins), onsets + seconds - _TINY, side="left")
    over = np.searchsorted(np.sort(ends), onsets + _TINY, side="right")
    return begun - over
