"""People in four states, as continuous EDF recordings: many without labels, some with annotations of what they do.

The states differ in the strength of rhythms, which no two people have at the same place, in the same direction and at
the same frequency: imagining to move a hand weakens the rolandic rhythms (mu and beta) of the other side, and closed
eyes strengthen alpha. Nothing is locked to an onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path
from neurodec.simulate.recording import ALPHA_CENTRE, Head, Nuisance, background
from neurodec.simulate.sensor_noise import band, bursting, shaped
from neurodec.simulate.sources import NANO, eeg_info, gain, orient, scatter

TEN_TWENTY = [
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T3", "T4", "T5", "T6", "Fz", "Cz", "Pz"),
]
TEN_TEN = [
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "FC5", "FC1", "FC2", "FC6", "T7", "C3", "Cz", "C4", "T8"),
    *("CP5", "CP1", "CP2", "CP6", "P7", "P3", "Pz", "P4", "P8", "PO3", "PO4", "O1", "Oz", "O2"),
]
_NEW = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
MU, BETA, ALPHA = "mu", "beta", "alpha"
_CENTRE = {MU: (0.040, 0.002, 0.052), BETA: (0.036, 0.010, 0.055), ALPHA: tuple(ALPHA_CENTRE)}
_FREQUENCY = {MU: 11.0, BETA: 21.0, ALPHA: 10.0}
_MOMENT = {MU: 35 * NANO, BETA: 20 * NANO, ALPHA: 22 * NANO}
_N_SOURCES = 4
# Factors on the left and the right sources of every rhythm.
STATES = {
    "rest": {},
    "left hand": {MU: (1.0, 0.45), BETA: (1.0, 0.6)},
    "right hand": {MU: (0.45, 1.0), BETA: (0.6, 1.0)},
    "eyes closed": {ALPHA: (2.2, 2.2)},
}
NUISANCE = Nuisance(background=12.5 * NANO, alpha=0.0, blink=180 * NANO, muscle=10 * NANO)
SECONDS = 5.0
"""Length of a labelled stretch."""


@dataclass(frozen=True)
class Person:
    """Gains and frequencies of one person's rhythms under one montage."""

    head: Head
    rhythms: dict[str, np.ndarray]
    frequencies: dict[str, float]

    @classmethod
    def draw(cls, ch_names: list[str], sfreq: float, rng: np.random.Generator) -> Person:
        """Draw a person."""
        info = eeg_info([_NEW.get(name, name) for name in ch_names], sfreq)
        head = Head.draw(info, rng)
        rhythms = {}
        for name, centre in _CENTRE.items():
            places = scatter(np.array(centre), _N_SOURCES, 0.007, rng)
            rhythms[name] = gain(info, places, orient(places, 0.7, rng)) * rng.lognormal(0.0, 0.3, _N_SOURCES)
        frequencies = {name: own + rng.normal(scale=0.06 * own) for name, own in _FREQUENCY.items()}
        return cls(head, rhythms, frequencies)

    def record(self, states: list[str], seconds: float, sfreq: float, rng: np.random.Generator) -> np.ndarray:
        """Return volts (n_chans, n_times) of states that follow each other, each of so many seconds."""
        n = round(seconds * sfreq)
        n_times = n * len(states)
        data = background(self.head, n_times, sfreq, NUISANCE, rng)
        level = np.exp(0.25 * rng.normal(size=len(states)))  # nobody is equally awake all the time
        for name, gains in self.rhythms.items():
            width = 0.9 if name != BETA else 2.0
            currents = shaped(_N_SOURCES, n_times, sfreq, band(self.frequencies[name], width), rng)
            currents = bursting(currents, sfreq, 0.6, rng)
            factors = np.array([STATES[state].get(name, (1.0, 1.0)) for state in states])
            sides = np.arange(_N_SOURCES) % 2  # `scatter` puts every second one to the left
            steps = factors[:, [1, 0]][:, sides] * level[:, None]
            currents *= np.repeat(steps, n, axis=0).T.astype(np.float32)
            data += (gains.astype(np.float32) @ currents) * np.float32(_MOMENT[name])
        return data


@dataclass(frozen=True)
class StatesSize:
    """How much is simulated.

    Attributes
    ----------
    n_unlabelled : int
        Recordings of people without labels; every third one has another montage.
    minutes : int
        Length of each.
    n_labelled : int
        Further people, who do what they are told.
    n_stretches : int
        Stretches of five seconds of every state and person.
    """

    n_unlabelled: int = 24
    minutes: int = 4
    n_labelled: int = 15
    n_stretches: int = 16


def files(root: Path, size: StatesSize) -> list[Path]:
    """List all recordings."""
    without = [f"unlabelled/sub-U{who:02d}_task-any_eeg.edf" for who in range(1, size.n_unlabelled + 1)]
    labelled = [f"labelled/sub-L{who:02d}_task-states_eeg.edf" for who in range(1, size.n_labelled + 1)]
    return [root / name for name in [*without, *labelled]]


def write(path: Path, number: int, size: StatesSize, seed: int) -> None:
    """Write one recording, the same bits for the same seed.

    Parameters
    ----------
    path : Path
    number : int
        Place in `files`.
    size : StatesSize
    seed : int

    Raises
    ------
    NeurodecError
        If edfio, which writes EDF, is not installed.
    """
    rng = np.random.default_rng([seed, number])
    labelled = number >= size.n_unlabelled
    second = not labelled and number % 3 == 2
    ch_names, sfreq = (TEN_TEN, 250.0) if second else (TEN_TWENTY, 256.0)
    person = Person.draw(ch_names, sfreq, rng)
    if labelled:
        states = list(rng.permutation(np.repeat(list(STATES), size.n_stretches)))
    else:
        states = list(rng.choice(list(STATES), round(size.minutes * 60 / SECONDS)))
    data = person.record(states, SECONDS, sfreq, rng)
    names = ch_names if second else [f"EEG {name}-REF" for name in ch_names]
    raw = mne.io.RawArray(data, mne.create_info(names, sfreq, "eeg"), verbose="error")
    if labelled:
        onsets = SECONDS * np.arange(len(states))
        raw.set_annotations(mne.Annotations(onsets, SECONDS, states), verbose="error")
    try:
        with atomic_path(path) as partial:
            mne.export.export_raw(partial, raw, fmt="edf", overwrite=True, verbose="error")
    except ImportError as error:
        raise NeurodecError("Writing EDF needs edfio: pip install edfio.") from error
