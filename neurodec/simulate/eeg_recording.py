"""A simulated subject in the raw layout of THINGS-EEG2."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from neurodec.data.readers.datasets.things_eeg2 import CHANNELS, TARGET
from neurodec.files import atomic_path
from neurodec.simulate.evoked_responses import Responses
from neurodec.simulate.recording import Head, Nuisance, record
from neurodec.simulate.rendered_stimuli import Study, shuffled
from neurodec.simulate.sources import eeg_info

SFREQ = 1000.0
SOA = 0.2
LEAD, TAIL = 2.0, 2.0  # seconds of rest before the first and after the last picture
TARGET_EVERY = 20  # pictures per catch trial
RESPONSES = Responses()
NUISANCE = Nuisance()
PARTS = {"training": 0, "test": 1}


class EEGSession:
    """One session: half of the training pictures twice, every test picture several times.

    Parameters
    ----------
    study : Study
    subject, session : int
        From 1.
    test_repetitions : int
        Of every test picture in this session.
    seed : int
    sfreq : float
        Hertz; THINGS-EEG2 has 1000.

    Notes
    -----
    Memory: about three times the training file, 0.8 GB for 4,000 pictures at 1000 Hz.
    """

    def __init__(
        self, study: Study, subject: int, session: int, test_repetitions: int, seed: int, sfreq: float = SFREQ
    ) -> None:
        self.study, self.subject, self.session = study, subject, session
        self.test_repetitions, self.seed, self.sfreq = test_repetitions, seed, sfreq

    @cached_property
    def head(self) -> Head:
        """The person, the same in every session."""
        return Head.draw(eeg_info(CHANNELS, self.sfreq), np.random.default_rng([self.seed, self.subject]))

    def write(self, root: Path) -> None:
        """Write ``raw_eeg_training.npy`` and ``raw_eeg_test.npy``, each atomically, unless they are there."""
        for part, file in zip(PARTS, session_files(root, self.subject, self.session), strict=True):
            if not file.exists():
                with atomic_path(file) as partial, partial.open("wb") as handle:
                    np.save(handle, np.array(self.record(part), dtype=object), allow_pickle=True)

    def record(self, part: str) -> dict[str, object]:
        """Record one part, ``"training"`` or ``"test"``, as the dict that THINGS-EEG2 pickles."""
        rng = np.random.default_rng([self.seed, self.subject, self.session, PARTS[part]])
        codes = self._sequence(part, rng)
        onsets = np.round((LEAD + SOA * np.arange(len(codes))) * self.sfreq).astype(int)
        n_samples = int(onsets[-1] + TAIL * self.sfreq)
        data = np.zeros((len(CHANNELS) + 1, n_samples), dtype=np.float32)
        drives = self._drives(part, codes)
        data[:-1] = record(self.head, drives, onsets, n_samples, self.sfreq, RESPONSES, NUISANCE, rng)
        data[-1, onsets] = codes
        return {
            "raw_eeg_data": data,
            "ch_names": [*CHANNELS, "stim"],
            "ch_types": ["eeg"] * len(CHANNELS) + ["stim"],
            "sfreq": int(self.sfreq),
        }

    def _sequence(self, part: str, rng: np.random.Generator) -> np.ndarray:
        """Draw the event codes: condition numbers from 1, and catch trials."""
        if part == "training":
            half = (self.session - 1) % 2
            shown = shuffled(rng, np.arange(1, self.study.n_train + 1)[half::2], 2)
        else:
            shown = shuffled(rng, np.arange(1, self.study.n_test + 1), self.test_repetitions)
        places = rng.integers(0, len(shown) + 1, size=len(shown) // TARGET_EVERY)
        return np.insert(shown, np.sort(places), TARGET)

    def _drives(self, part: str, codes: np.ndarray) -> list[np.ndarray]:
        """Look up every area's drive; the catch picture, always the same, drives all units on average."""
        first = self.study.n_train if part == "test" else 0
        is_target = codes == TARGET
        rows = np.where(is_target, 0, codes - 1 + first)
        return [drive[rows] * ~is_target[:, None] for drive in self.study.drives]


def session_files(root: Path, subject: int, session: int) -> tuple[Path, Path]:
    """Return the training and the test file of a session."""
    folder = root / "Raw_data" / f"sub-{subject:02d}" / f"ses-{session:02d}"
    return folder / "raw_eeg_training.npy", folder / "raw_eeg_test.npy"
