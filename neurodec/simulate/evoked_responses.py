"""What a driven source does in time: phase-locked answers and rhythm bursts that vary from trial to trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodec.simulate.sources import NANO, Area

REACH = 2.6  # of the kernels to either side of the peak, in standard deviations


@dataclass(frozen=True)
class Responses:
    """How strongly areas answer and how much single trials differ.

    Attributes
    ----------
    evoked, induced : float
        Dipole moments of a source's phase-locked answer and of its rhythm's burst at full rate, ampere metres.
    gain : float
        Standard deviation of the logarithm of a trial's amplitude (attention, arousal), common to all areas.
    jitter : float
        Factor on the areas' latency jitter.
    """

    evoked: float = 8 * NANO
    induced: float = 60 * NANO
    gain: float = 0.25
    jitter: float = 1.5


def saturate(drive: np.ndarray) -> np.ndarray:
    """Turn a standardised drive into a firing rate between 0 and 1: half-wave rectified power law that saturates.

    References
    ----------
    Naka & Rushton (1966), J. Physiol. 185, 587; semi-saturation at one standard deviation above a threshold of -0.5.
    """
    rectified = np.maximum(drive + 0.5, 0.0) ** 2
    return rectified / (rectified + 1.0)


def gaussian(width: float, sfreq: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sample times around the peak (seconds) and the Gaussian envelope there."""
    half = int(np.ceil(REACH * width * sfreq))
    times = np.arange(-half, half + 1) / sfreq
    return times, np.exp(-0.5 * (times / width) ** 2)


def add_responses(
    currents: np.ndarray,
    area: Area,
    drive: np.ndarray,
    onsets: np.ndarray,
    sfreq: float,
    responses: Responses,
    trial_gain: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Add one area's answers to its source currents, in place.

    Parameters
    ----------
    currents : ndarray, shape (n_sources, n_samples), float32
        Ampere metres.
    area : Area
    drive : ndarray, shape (n_trials, 2 * n_sources)
        Standardised drive of every trial's stimulus: first of the phase-locked answers, then of the bursts.
    onsets : ndarray, shape (n_trials,)
        Samples.
    sfreq : float
        Hertz.
    responses : Responses
    trial_gain : ndarray, shape (n_trials,)
        Amplitude factor of every trial.
    rng : Generator

    Notes
    -----
    Cost: linear in trials and kernel length; about 20 µs per trial.
    """
    n_trials, n_sources = len(onsets), area.n_sources
    evoked = saturate(drive[:, :n_sources]) * (responses.evoked * trial_gain)[:, None]
    induced = saturate(drive[:, n_sources:]) * (responses.induced * trial_gain)[:, None]
    late = rng.normal(scale=area.jitter * responses.jitter, size=n_trials)
    shift = np.round(np.stack([area.latency + late, area.burst_latency + late]) * sfreq).astype(int)
    phase = rng.uniform(0, 2 * np.pi, n_trials)

    slow_times, slow_envelope = gaussian(area.width, sfreq)
    # a deflection and its rebound, so that the answer has no net current
    deflection = np.float32(-np.gradient(slow_envelope, slow_times) * area.width * np.sqrt(np.e))
    times, envelope = gaussian(area.burst_width, sfreq)
    lag = np.linspace(0, np.pi, n_sources, endpoint=False)[
        :, None
    ]  # each source keeps its lag to the area's rhythm
    carrier = 2 * np.pi * area.rhythm * times + lag
    in_phase, quadrature = np.float32(envelope * np.cos(carrier)), np.float32(envelope * np.sin(carrier))
    half, reach = len(slow_times) // 2, len(times) // 2
    for trial in range(n_trials):
        start = onsets[trial] + shift[0, trial] - half
        _add(currents, start, evoked[trial, :, None] * deflection)
        burst = np.cos(phase[trial]) * in_phase - np.sin(phase[trial]) * quadrature
        _add(currents, onsets[trial] + shift[1, trial] - reach, induced[trial, :, None] * burst)


def _add(currents: np.ndarray, start: int, kernel: np.ndarray) -> None:
    stop = min(start + kernel.shape[1], currents.shape[1])
    first = max(start, 0)
    if stop > first:
        currents[:, first:stop] += kernel[:, first - start : stop - start]
