"""Resampling by a windowed sinc, the kernel of the speech decoder's preprocessing (julius 0.2.8)."""

from __future__ import annotations

import math

import numpy as np

from neurodec.errors import NeurodecError

_BLOCK = 1 << 16  # input samples at a time: memory is bounded for hours of hundreds of channels


def resample_sinc(
    signals: np.ndarray, old_rate: float, new_rate: float, zeros: int = 24, rolloff: float = 0.945
) -> np.ndarray:
    """Resample the last axis by windowed-sinc interpolation.

    Parameters
    ----------
    signals : ndarray, shape (..., n_times)
        May be memory-mapped, or anything else with a `shape` that reads samples ``[..., index]``.
    old_rate, new_rate : float
        Hertz; whole numbers.
    zeros : int
        Zero crossings of the kernel on either side.
    rolloff : float
        Cut-off, as a share of the lower rate's half.

    Returns
    -------
    ndarray, shape (..., floor(new_rate * n_times / old_rate)), float32

    Raises
    ------
    NeurodecError
        If a rate is no whole number of hertz.

    Notes
    -----
    Every output phase is one kernel, so a block of all channels is one matrix product. Edges repeat the first and last
    sample.
    """
    if old_rate != int(old_rate) or new_rate != int(new_rate):
        raise NeurodecError(
            f"Rates must be whole hertz, and are {old_rate:g} and {new_rate:g}; round them first."
        )
    shared = math.gcd(int(old_rate), int(new_rate))
    old, new = int(old_rate) // shared, int(new_rate) // shared
    if old == new:
        return np.array(signals[..., np.arange(signals.shape[-1])], dtype=np.float32)
    kernels, width = _kernels(old, new, zeros, rolloff)  # (new, 2 * width + old)
    n_times = signals.shape[-1]
    n_out = new * n_times // old
    found = np.empty((*signals.shape[:-1], n_out), dtype=np.float32)
    steps = -(-n_out // new)  # each gives `new` outputs from `old` inputs
    at_once = max(1, _BLOCK // old)
    for start in range(0, steps, at_once):
        stop = min(start + at_once, steps)
        wanted = np.arange(start * old - width, stop * old + width).clip(0, n_times - 1)
        part = np.asarray(signals[..., wanted], dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(part, kernels.shape[1], axis=-1)[..., ::old, :]
        block = (windows[..., : stop - start, :] @ kernels.T).reshape(*signals.shape[:-1], -1)
        last = min(stop * new, n_out)
        found[..., start * new : last] = block[..., : last - start * new]
    return found


def _kernels(old: int, new: int, zeros: int, rolloff: float) -> tuple[np.ndarray, int]:
    """Return one kernel per output phase, and how far they reach beyond their inputs."""
    rate = rolloff * min(old, new)
    width = math.ceil(zeros * old / rate)
    places = np.arange(-width, width + old) / old
    phases = np.arange(new)[:, None] / new
    t = (rate * (places - phases)).clip(-zeros, zeros)
    kernels = np.sinc(t) * np.cos(np.pi * t / (2 * zeros)) ** 2
    return (kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32), width
