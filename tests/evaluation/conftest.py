"""A tiny recording whose information sits in two occipital channels between 0.1 and 0.3 s."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Trials
from neurodec.features import Features

CH_NAMES = ["Fp1", "Fz", "Cz", "T7", "Pz", "O1", "Oz"]
SFREQ, TMIN, N_TIMES, WIDTH = 50.0, -0.2, 35, 8


@dataclass(frozen=True)
class Recording:
    train: Trials
    train_targets: np.ndarray
    test: Trials
    stimuli: pd.DataFrame
    features: Features
    weights: np.ndarray  # (n_chans * n_times, WIDTH): the decoder that knows the truth

    def predict(self, trials):
        return np.asarray(trials.responses).reshape(len(trials), -1) @ self.weights


def responses_to(values, mixing, noise, rng):
    signal = np.zeros((len(values), len(CH_NAMES), N_TIMES))
    signal[:, 5:7, 15:25] = (values @ mixing).reshape(-1, 2, 10)  # O1, Oz; 0.1 to 0.3 s
    return (signal + noise * rng.standard_normal(signal.shape)).astype(np.float32)


def trials_of(stimuli, values, mixing, subjects, n_repetitions, noise, rng):
    rows = [
        {
            "stimulus": name,
            "concept": name.split("-")[0],
            "subject": subject,
            "repetition": repetition,
            "at": at,
        }
        for subject in subjects
        for at, name in enumerate(stimuli)
        for repetition in range(n_repetitions)
    ]
    table = pd.DataFrame(rows).assign(
        split="test" if stimuli[0].startswith("t") else "train", session="1", run="1"
    )
    info = {
        "modality": "eeg",
        "units": "a.u.",
        "sfreq": SFREQ,
        "tmin": TMIN,
        "ch_names": CH_NAMES,
        "ch_pos": None,
    }
    return Trials(responses_to(values[table.pop("at")], mixing, noise, rng), table, info)


@pytest.fixture(scope="session")
def recording():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((WIDTH, 20))
    names = {
        "train": [f"c{i}-1" for i in range(150)],
        "test": [f"t{i}-1" for i in range(30)],
        "gallery": [f"t{i}-{j}" for i in range(30) for j in (2, 3)],
    }
    concepts = rng.standard_normal((30, WIDTH))
    values = {
        "train": rng.standard_normal((150, WIDTH)),
        "test": concepts + 0.2 * rng.standard_normal((30, WIDTH)),
        "gallery": np.repeat(concepts, 2, axis=0) + 0.2 * rng.standard_normal((60, WIDTH)),
    }
    stimuli = pd.DataFrame(
        [
            {"stimulus": name, "concept": name.split("-")[0], "split": split, "image": "", "caption": ""}
            for split, group in names.items()
            for name in group
        ]
    )
    features = Features(
        np.concatenate(list(values.values())).astype(np.float32), stimuli["stimulus"].tolist(), {}
    )
    train = trials_of(names["train"], values["train"], mixing, ["01"], 2, 1.5, rng)
    test = trials_of(names["test"], values["test"], mixing, ["01", "02"], 6, 5.0, rng)
    weights = np.zeros((len(CH_NAMES), N_TIMES, WIDTH))
    weights[5:7, 15:25] = np.linalg.pinv(mixing).reshape(2, 10, WIDTH)
    targets = values["train"][np.repeat(np.arange(150), 2)].astype(np.float32)
    return Recording(train, targets, test, stimuli, features, weights.reshape(-1, WIDTH))
