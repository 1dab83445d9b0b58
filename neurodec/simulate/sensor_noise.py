"""What a recording holds besides the answers: ongoing activity, alpha, eyes, muscles, drift and mains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft


def shaped(
    n_rows: int,
    n_samples: int,
    sfreq: float,
    amplitude: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw Gaussian noise of a given amplitude spectrum.

    Parameters
    ----------
    n_rows, n_samples : int
    sfreq : float
        Hertz.
    amplitude : callable
        Amplitude at each frequency (hertz), up to a factor.
    rng : Generator

    Returns
    -------
    ndarray, shape (n_rows, n_samples), float32
        Unit variance per row, on average.
    """
    length = fft.next_fast_len(n_samples, real=True)
    weights = amplitude(fft.rfftfreq(length, 1 / sfreq))
    weights *= np.sqrt(length / (2 * np.sum(weights**2)))  # white noise has unit power per bin
    out = np.empty((n_rows, n_samples), dtype=np.float32)
    for row in out:  # one at a time: a session's spectra would need more memory than the session
        spectrum = fft.rfft(rng.standard_normal(length, dtype=np.float32))
        row[:] = fft.irfft(spectrum * weights.astype(np.float32), length)[:n_samples]
    return out


def pink(exponent: float, corner: float = 0.5) -> Callable[[np.ndarray], np.ndarray]:
    """Return the amplitude spectrum of 1/f^exponent power, flat below `corner` (hertz)."""
    return lambda frequency: np.maximum(frequency, corner) ** (-exponent / 2)


def band(centre: float, width: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a Gaussian amplitude spectrum (hertz)."""
    return lambda frequency: np.exp(-0.5 * ((frequency - centre) / width) ** 2)


def slow(below: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the spectrum of drifts: power falling with the square of frequency and gone above `below` (hertz)."""
    return lambda frequency: np.where(
        frequency > 0, np.exp(-((frequency / below) ** 2)) / np.maximum(frequency, 0.01), 0.0
    )


def bursting(rows: np.ndarray, sfreq: float, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Let an ongoing rhythm or muscle noise wax and wane, in place: log-normal amplitude, seconds long."""
    waxing = shaped(len(rows), rows.shape[1], sfreq, band(0.0, 0.4), rng)
    rows *= np.exp(depth * waxing - depth**2)
    return rows


def blinks(n_samples: int, sfreq: float, per_minute: float, rng: np.random.Generator) -> np.ndarray:
    """Draw blinks: Gaussian lid movements of 80 ms standard deviation and variable height, shape (n_samples,)."""
    trace = np.zeros(n_samples, dtype=np.float32)
    gaps = rng.gamma(4.0, 15.0 / per_minute, size=int(n_samples / sfreq * per_minute / 60 * 2) + 4)
    onsets = (np.cumsum(gaps) * sfreq).astype(int)
    half = int(0.25 * sfreq)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sfreq / 0.08) ** 2).astype(np.float32)
    for onset in onsets[(onsets > half) & (onsets < n_samples - half - 1)]:
        trace[onset - half : onset + half + 1] += rng.lognormal(0.0, 0.3) * kernel
    return trace


def mains(n_chans: int, n_samples: int, sfreq: float, rng: np.random.Generator) -> np.ndarray:
    """Return 50 Hz hum with a harmonic, amplitude and phase differing by channel, shape (n_chans, n_samples)."""
    time = np.arange(n_samples) / sfreq
    weights = rng.normal(size=(n_chans, 4)) * [1.0, 1.0, 0.3, 0.3]
    waves = [f(2 * np.pi * frequency * time) for frequency in (50.0, 100.0) for f in (np.sin, np.cos)]
    return (weights @ np.stack(waves)).astype(np.float32)
