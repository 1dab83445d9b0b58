"""When and where the information is: time windows, sensor regions and single channels.

Two questions that papers mix up are kept apart. *Refit*: how much does a linear decoder find when it is trained on one
window or region only (what the recording holds). *Occlusion*: how much does a trained encoder find when everything
else is set to zero at test time (what the encoder uses).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.linear.ridge import Ridge
from neurodec.preprocessing.electrodes import REGIONS, region_of, tells_region

Predict = Callable[[Trials], np.ndarray]

# CTF sensors are named M + side (L, R, Z) + lobe + row and column, such as MLO11.
CTF_REGIONS = {"frontal": "F", "central": "C", "temporal": "T", "parietal": "P", "occipital": "O"}
_ALPHAS = tuple(np.logspace(-2, 6, 9))  # a coarser search than the baseline's: a curve has some thirty refits
_MANY_CHANS = 128  # beyond this the refits use coarser bins: their cost grows with the cube of chans x bins


@dataclass(frozen=True)
class Window:
    """A stretch of time, `tmin` included and `tmax` not (seconds from stimulus onset)."""

    kind: Literal["growing", "sliding"]
    tmin: float
    tmax: float


def regions_of(ch_names: Sequence[str]) -> dict[str, list[int]]:
    """Group channels by the region that their names tell.

    Parameters
    ----------
    ch_names : sequence of str
        10-20 style EEG names (any case) or CTF MEG names.

    Returns
    -------
    dict
        Region to channel indices. Names of no known scheme are in no region; empty regions are left out.
    """
    lobes = {letter: region for region, letter in CTF_REGIONS.items()}
    found: dict[str, list[int]] = {region: [] for region in REGIONS}
    for index, name in enumerate(ch_names):
        sensor = re.match(r"M[LRZ]([FCTPO])\d\d", name)
        if sensor:
            found[lobes[sensor.group(1)]].append(index)
        elif tells_region(name):
            found[REGIONS[region_of(name)]].append(index)
    return {region: members for region, members in found.items() if members}


def named_regions(ch_names: Sequence[str], groups: dict[str, list[str]]) -> dict[str, list[int]]:
    """Turn a recipe's own grouping into channel indices.

    Raises
    ------
    NeurodecError
        If a channel is not in the recording.
    """
    unknown = {name for group in groups.values() for name in group} - set(ch_names)
    if unknown:
        raise NeurodecError(
            f"`regions` names channel(s) {', '.join(sorted(unknown))}, which the recording lacks; it has "
            f"{', '.join(ch_names)}."
        )
    return {region: [list(ch_names).index(name) for name in group] for region, group in groups.items()}


def time_windows(times: np.ndarray, sfreq: float, width: float) -> list[Window]:
    """List growing windows [onset, onset + i width), and sliding windows of one width, also before onset.

    Parameters
    ----------
    times : ndarray, shape (n_times,)
        Seconds from stimulus onset.
    sfreq : float
        Hz.
    width : float
        Seconds; also the step.

    Raises
    ------
    NeurodecError
        If a window is shorter than a sample.
    """
    if width * sfreq < 1 - 1e-9:
        raise NeurodecError(f"`windows` of {width} s hold no sample at {sfreq:g} Hz; make them longer.")
    start = max(0.0, float(times[0]))
    n_windows = int((times[-1] + 1 / sfreq - start) / width + 1e-6)
    edges = np.round(start + width * np.arange(n_windows + 1), 6).tolist()
    growing = [Window("growing", edges[0], edge) for edge in edges[1:]]
    n_before = int(-float(times[0]) / width + 1e-6) if start == 0 else 0
    before = np.round(-width * np.arange(n_before, 0, -1), 6).tolist()
    return growing + [Window("sliding", low, high) for low, high in pairwise(before + edges)]


def bin_width(n_chans: int, sfreq: float, window: float) -> float:
    """Return the bin of refitted decoders: half a window, or a whole one with many channels or few samples."""
    return window / 2 if n_chans <= _MANY_CHANS and window * sfreq >= 2 else window


def refit(train: np.ndarray, targets: np.ndarray, test: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Fit a tuned ridge on one part of the responses and predict the same part of the test responses.

    Parameters
    ----------
    train : ndarray, shape (n_train, ...)
    targets : ndarray, shape (n_train, D)
    test : ndarray, shape (n_test, ...)
    groups : ndarray, shape (n_train,)
        Concepts, kept together when the penalty is tuned.

    Returns
    -------
    ndarray, shape (n_test, D)
    """
    return Ridge(_ALPHAS, n_folds=3).fit(train, targets, groups=groups).predict(test)


def keep_only(trials: Trials, *, window: Window | None = None, chans: Sequence[int] | None = None) -> Trials:
    """Return the trials with everything outside a window or outside some channels set to zero."""
    keep = np.ones(trials.responses.shape[1:], dtype=bool)
    if window is not None:
        half = 0.5 / trials.info["sfreq"]
        keep &= (trials.times > window.tmin - half) & (trials.times < window.tmax - half)
    if chans is not None:
        keep &= np.isin(np.arange(len(keep)), chans).reshape(-1, *[1] * (keep.ndim - 1))
    return replace(trials, responses=np.where(keep, trials.responses, np.float32(0)))


def without_chan(trials: Trials, chan: int) -> Trials:
    """Return the trials with one channel set to zero."""
    return keep_only(trials, chans=[index for index in range(trials.responses.shape[1]) if index != chan])


def advantage(similarities: np.ndarray, true: np.ndarray) -> float:
    """Return by how much the true candidate is more similar than the average candidate, over rows.

    Smoother than a top-1 share, so that the effect of a single channel shows with a few hundred rows.
    """
    mean = similarities.mean(axis=1)
    return float((similarities[np.arange(len(true)), true] - mean).mean())
