"""Cutting epochs out of a continuous recording, block by block.

It gives what ``mne.Epochs(...).resample(...)`` gives. At an onset asynchrony of 200 ms the epochs of one THINGS-EEG2
session overlap six-fold and would take 12 GB before resampling, so they are never held together.
"""

from __future__ import annotations

import mmap

import numpy as np
from scipy import fft

from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

BLOCK = 32  # epochs cut at a time: enough to amortise the calls, small enough for the cache


def epoch_times(sfreq: float, settings: EEGPreprocessing) -> tuple[np.ndarray, float]:
    """Return the times of the finished epochs, shape (n_times,), and their sampling rate."""
    first, last = round(settings.tmin * sfreq), round(settings.tmax * sfreq)
    rate = settings.sfreq or sfreq
    n_times = max(1, round((last - first + 1) * rate / sfreq))
    times = first / sfreq + np.arange(n_times) / rate
    return times[_keep(times, settings, rate) :], rate


def _keep(times: np.ndarray, settings: EEGPreprocessing, rate: float) -> int:
    if settings.keep_from is None:
        return 0
    return int(np.searchsorted(times, settings.keep_from - 0.5 / rate))


def cut_epochs(
    signals: np.ndarray,
    onsets: np.ndarray,
    sfreq: float,
    settings: EEGPreprocessing,
    where: str,
    *,
    picks: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cut, baseline-correct and resample epochs from a continuous recording.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_samples)
        May be memory-mapped: only what lies around the onsets is read.
    onsets : ndarray of int, shape (n_trials,)
        Sample of every onset, in any order.
    sfreq : float
        Sampling rate of `signals`.
    settings : EEGPreprocessing
        Its epoch, baseline, `sfreq` and `keep_from`.
    where : str
        Names the recording in messages.
    picks : ndarray of int, optional
        Rows of `signals` to cut, in this order; all by default.
    out : ndarray, shape (n_trials, n_chans, n_times), optional
        Where to write.

    Returns
    -------
    ndarray, shape (n_trials, n_chans, n_times), float32
        Equal to ``mne.Epochs(...).resample(...)`` up to float32 rounding.

    Raises
    ------
    NeurodecError
        If an epoch reaches beyond the recording.
    """
    first, last = round(settings.tmin * sfreq), round(settings.tmax * sfreq)
    _require_inside(onsets, first, last, signals.shape[1], sfreq, where)
    base = _baseline_samples(first, last, sfreq, settings.baseline)
    skip = _keep(epoch_times(sfreq, _whole(settings))[0], settings, settings.sfreq or sfreq)
    picks = np.arange(len(signals)) if picks is None else picks
    n_times, n_window = len(epoch_times(sfreq, settings)[0]), last - first + 1
    if out is None:
        out = np.empty((len(onsets), len(picks), n_times), dtype=np.float32)
    order = np.argsort(onsets, kind="stable")  # read the file forwards
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        begin = onsets[rows[0]] + first
        slab = signals[:, begin : onsets[rows[-1]] + last + 1][picks].astype(np.float64, copy=False)
        offset = slab.mean(axis=1, keepdims=True)
        slab -= offset  # it would cost float32 its precision
        starts = onsets[rows] + first - begin
        windows = np.lib.stride_tricks.sliding_window_view(slab.astype(np.float32), n_window, axis=1)
        epochs = windows[:, starts]  # (n_chans, block, n_window)
        if settings.sfreq is not None and settings.sfreq != sfreq:
            epochs = resample(epochs, settings.sfreq / sfreq)
        epochs = epochs[..., skip:]
        if base is not None:  # resampling leaves a constant as it is, so the order does not matter
            epochs = epochs - _window_means(slab, starts + base.start, base.stop - base.start)[..., None]
        else:
            epochs = epochs + offset[..., None].astype(np.float32)
        out[rows] = epochs.swapaxes(0, 1)
        if start % (64 * BLOCK) == 0:
            _release(signals)
    return out


def _release(signals: np.ndarray) -> None:
    """Give the pages of a memory-mapped recording back, which else add up to the whole file."""
    owner = signals
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _window_means(slab: np.ndarray, starts: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the mean of the `n_samples` after every start, shape (n_chans, n_starts), float32."""
    windows = np.lib.stride_tricks.sliding_window_view(slab, n_samples, axis=1)[:, starts]
    return windows.mean(axis=-1).astype(np.float32)


def _whole(settings: EEGPreprocessing) -> EEGPreprocessing:
    return EEGPreprocessing(tmin=settings.tmin, tmax=settings.tmax, sfreq=settings.sfreq)


def _require_inside(
    onsets: np.ndarray, first: int, last: int, n_samples: int, sfreq: float, where: str
) -> None:
    outside = np.flatnonzero((onsets + first < 0) | (onsets + last >= n_samples))
    if len(outside):
        raise NeurodecError(
            f"{where}: {len(outside)} epoch(s) reach beyond the recording of {n_samples / sfreq:g} s, first event "
            f"{outside[0]} at {onsets[outside[0]] / sfreq:g} s with epoch {first / sfreq:g} to {last / sfreq:g} s; "
            "correct the onsets (seconds from the start of the file) or shorten the epoch."
        )


def _baseline_samples(
    first: int, last: int, sfreq: float, baseline: tuple[float | None, float | None] | None
) -> slice | None:
    if baseline is None:
        return None
    begin = 0 if baseline[0] is None else round(baseline[0] * sfreq) - first
    end = last - first if baseline[1] is None else round(baseline[1] * sfreq) - first
    if not 0 <= begin <= end <= last - first:
        raise NeurodecError(
            f"The baseline {baseline[0]} to {baseline[1]} s does not lie in the epoch, {first / sfreq:g} to "
            f"{last / sfreq:g} s; correct `baseline`, `tmin` or `tmax`."
        )
    return slice(begin, end + 1)


def resample(epochs: np.ndarray, ratio: float) -> np.ndarray:
    """Resample the last axis by FFT, like ``mne.Epochs.resample`` (edge padding to a power of two, no window).

    Parameters
    ----------
    epochs : ndarray, shape (..., n_times)
        Computed in its own precision; MNE goes signal by signal, here a block is one call.
    ratio : float
        New over old sampling rate.

    Returns
    -------
    ndarray, shape (..., round(ratio * n_times))
    """
    n_times = epochs.shape[-1]
    padded_len = 2 ** int(np.ceil(np.log2(n_times + 2 * min(n_times // 8, 100))))
    before = (padded_len - n_times) // 2
    padded = np.empty((*epochs.shape[:-1], padded_len), dtype=epochs.dtype)
    padded[..., :before] = epochs[..., :1]
    padded[..., before : before + n_times] = epochs
    padded[..., before + n_times :] = epochs[..., -1:]

    new_len, final_len = max(1, round(ratio * padded_len)), max(1, round(ratio * n_times))
    shorter = min(new_len, padded_len)
    spectrum = fft.rfft(padded, norm="forward")[..., : shorter // 2 + 1]
    if shorter % 2 == 0:  # the Nyquist bin stands for two bins on the longer grid
        spectrum[..., shorter // 2] *= 2 if new_len < padded_len else 0.5
    resampled = fft.irfft(spectrum, new_len, norm="forward")
    start = round(ratio * before)
    return resampled[..., start : start + final_len]
