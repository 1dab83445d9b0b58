"""What linear decoders read of trials: channels in bins of time, or voxels as they are."""

from __future__ import annotations

import numpy as np

from neurodec.data.responses import blocks_of
from neurodec.data.trial_tables import has_time
from neurodec.data.trials import Trials

_BIN = 0.02  # s


def linear_features(trials: Trials) -> np.ndarray:
    """Return what a linear decoder reads: EEG and MEG in bins of 20 ms, voxels as they are.

    Rhythms whose phase is new in every trial are noise to a linear decoder; averaged away, it does better.

    Returns
    -------
    ndarray, shape (n_trials, n_chans, n_bins) or (n_trials, n_voxels), float32
    """
    if not has_time(trials.info):
        return np.asarray(trials.responses)
    width = max(_BIN, 1 / trials.info["sfreq"])
    n_bins = max(1, int(len(trials.times) / trials.info["sfreq"] / width + 1e-6))
    return binned(trials, float(trials.times[0]), width, n_bins)


def binned(trials: Trials, start: float, width: float, n_bins: int) -> np.ndarray:
    """Average the samples within time bins, reading a few trials at a time.

    Parameters
    ----------
    trials : Trials
        EEG or MEG; may be memory-mapped.
    start, width : float
        Seconds: bin i covers ``start + i width <= time < start + (i + 1) width``.
    n_bins : int
        Number of bins; none may be empty.

    Returns
    -------
    ndarray, shape (n_trials, n_chans, n_bins), float32
    """
    index = np.floor((trials.times - start) / width + 1e-6).astype(int)
    first = np.searchsorted(index, np.arange(n_bins + 1))
    out = np.empty((*trials.responses.shape[:2], n_bins), dtype=np.float32)
    for rows in blocks_of(len(trials)):
        block = trials.responses[rows, :, first[0] : first[-1]]
        out[rows] = np.add.reduceat(block, first[:-1] - first[0], axis=-1) / np.diff(first)
    return out
