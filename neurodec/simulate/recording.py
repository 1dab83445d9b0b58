"""One person under one sensor array: the forward model of brain and nuisance, and what the sensors record."""

from __future__ import annotations

from dataclasses import dataclass, field

import mne
import numpy as np

from neurodec.simulate.evoked_responses import Responses, add_responses
from neurodec.simulate.sensor_noise import band, blinks, bursting, mains, pink, shaped, slow
from neurodec.simulate.sources import AREAS, NANO, Area, cortex, gain, orient, scatter

N_BACKGROUND = 48
N_ALPHA = 8
ALPHA_CENTRE = np.array([0.022, -0.055, 0.028])
EYES = np.array([[-0.030, 0.070, -0.015], [0.030, 0.070, -0.015]])
MUSCLE_CENTRE = np.array([0.068, 0.005, -0.025])  # both temporal muscles


@dataclass(frozen=True)
class Nuisance:
    """Strength of everything that is no answer; dipole moments in ampere metres, sensor terms as a share.

    Attributes
    ----------
    background : float
        Ongoing activity of each of 48 cortical sources, 1/f.
    alpha : float
        Posterior rhythm of 10 Hz, waxing and waning.
    blink : float
        Height of a blink at the eyes.
    blinks_per_minute : float
    muscle : float
        Broad-band bursts of the temporal muscles.
    contact, unsteadiness : float
        Noise of every sensor by itself (electrode contact, movement; 1/f) and the deviation of the logarithm of
        its strength, which changes within seconds and by sensor.
    drift, mains, sensor : float
        Slow drift, hum and white sensor noise. These and `contact` are relative to the background's standard deviation
        at the sensors.
    """

    background: float = 5 * NANO
    alpha: float = 15 * NANO
    blink: float = 900 * NANO
    blinks_per_minute: float = 12.0
    muscle: float = 10 * NANO
    contact: float = 0.3
    unsteadiness: float = 1.2
    drift: float = 0.6
    mains: float = 0.15
    sensor: float = 0.08


@dataclass(frozen=True)
class Head:
    """The gains of one person's sources, volt or tesla per ampere metre.

    Attributes
    ----------
    areas : tuple of ndarray, each (n_chans, n_sources)
    background, alpha, eyes, muscle : ndarray, shape (n_chans, n_sources)
    """

    areas: tuple[np.ndarray, ...]
    background: np.ndarray
    alpha: np.ndarray
    eyes: np.ndarray
    muscle: np.ndarray
    visual: tuple[Area, ...] = field(default=AREAS)

    @classmethod
    def draw(cls, info: mne.Info, rng: np.random.Generator, visual: tuple[Area, ...] = AREAS) -> Head:
        """Draw a person: positions, orientations and strengths of all sources."""
        placed = [scatter(np.array(area.centre), area.n_sources, 0.006, rng) for area in visual]
        kinds = [
            *((positions, 0.6) for positions in placed),
            (cortex(N_BACKGROUND, rng), 0.8),
            (scatter(ALPHA_CENTRE, N_ALPHA, 0.010, rng), 0.4),
            (EYES, 0.0),
            (scatter(MUSCLE_CENTRE, 6, 0.006, rng), 0.5),
        ]
        positions = np.concatenate([where for where, _ in kinds])
        positions *= np.minimum(1.0, 0.077 / np.linalg.norm(positions, axis=1, keepdims=True))
        orientations = np.concatenate([orient(where, tangential, rng) for where, tangential in kinds])
        all_gains = gain(info, positions, orientations) * rng.lognormal(0.0, 0.2, len(positions))
        ends = np.cumsum([len(where) for where, _ in kinds])[:-1]
        parts = np.split(all_gains.astype(np.float32), ends, axis=1)
        return cls(tuple(parts[: len(visual)]), *parts[len(visual) :], visual=visual)


def record(
    head: Head,
    drives: list[np.ndarray],
    onsets: np.ndarray,
    n_samples: int,
    sfreq: float,
    responses: Responses,
    nuisance: Nuisance,
    rng: np.random.Generator,
) -> np.ndarray:
    """Record one run.

    Parameters
    ----------
    head : Head
    drives : list of ndarray, each (n_trials, 2 * n_sources)
        Per area, the standardised drive of every trial.
    onsets : ndarray, shape (n_trials,)
        Samples.
    n_samples : int
    sfreq : float
        Hertz.
    responses : Responses
    nuisance : Nuisance
    rng : Generator

    Returns
    -------
    ndarray, shape (n_chans, n_samples), float32
        Volt or tesla.
    """
    data = background(head, n_samples, sfreq, nuisance, rng)
    trial_gain = rng.lognormal(-0.5 * responses.gain**2, responses.gain, len(onsets))
    for area, area_gain, drive in zip(head.visual, head.areas, drives, strict=True):
        currents = np.zeros((area.n_sources, n_samples), dtype=np.float32)
        add_responses(currents, area, drive, onsets, sfreq, responses, trial_gain, rng)
        data += area_gain @ currents
    return data


def background(
    head: Head, n_samples: int, sfreq: float, nuisance: Nuisance, rng: np.random.Generator
) -> np.ndarray:
    """Record a run in which nothing is shown, shape (n_chans, n_samples)."""
    data = head.background @ shaped(N_BACKGROUND, n_samples, sfreq, pink(1.2), rng)
    data *= np.float32(nuisance.background)
    level = np.float32(data[:, :20_000].std())
    alpha = bursting(shaped(N_ALPHA, n_samples, sfreq, band(10.0, 0.8), rng), sfreq, 0.5, rng)
    data += head.alpha @ (alpha * np.float32(nuisance.alpha))
    n_muscles = head.muscle.shape[1]
    muscle = bursting(shaped(n_muscles, n_samples, sfreq, band(60.0, 25.0), rng), sfreq, 1.0, rng)
    data += head.muscle @ (muscle * np.float32(nuisance.muscle))
    lids = blinks(n_samples, sfreq, nuisance.blinks_per_minute, rng) * np.float32(nuisance.blink)
    data += head.eyes.sum(axis=1, keepdims=True) * lids
    contact = bursting(shaped(len(data), n_samples, sfreq, pink(1.0), rng), sfreq, nuisance.unsteadiness, rng)
    data += contact * (nuisance.contact * level)
    data += shaped(len(data), n_samples, sfreq, slow(0.3), rng) * (nuisance.drift * level)
    data += mains(len(data), n_samples, sfreq, rng) * (nuisance.mains * level)
    for row in data:
        row += rng.standard_normal(n_samples, dtype=np.float32) * (nuisance.sensor * level)
    return data
