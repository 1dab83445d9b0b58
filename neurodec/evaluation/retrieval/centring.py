"""How predictions and candidates are compared: projected alike, and each less its mean over the training trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neurodec.data import Study
from neurodec.data.responses import View, blocks_of, select
from neurodec.evaluation.retrieval.similarity import Centre
from neurodec.evaluation.section import Predictor
from neurodec.features import Features

_ROWS = 4096  # training rows whose predictions are averaged


class Projected(View):
    """Targets as a system compares them with a head, projected where they are read.

    Parameters
    ----------
    system : Predictor
    head : str
    values : ndarray or View, shape (n, ...)
    """

    dtype = np.dtype(np.float32)

    def __init__(self, system: Predictor, head: str, values: np.ndarray | View) -> None:
        self.system, self.head, self.values = system, head, values
        self.shape = (len(values), *self.read(np.arange(1)).shape[1:])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows, shape (len(rows), ...)."""
        found = self.system.project(self.head, np.asarray(self.values[rows]))
        return np.asarray(found).astype(np.float32)


def projected(system: Predictor, head: str, features: Features) -> Features:
    """Return targets as the system compares them with a head; those of thousands of training stimuli stay unread."""
    return replace(features, values=Projected(system, head, features.values))


def mean_of(values: np.ndarray | View) -> np.ndarray:
    """Return the mean row, in float64, of rows that need not fit into memory together."""
    total = np.zeros(values.shape[1:])
    for rows in blocks_of(len(values)):
        total += np.asarray(values[rows], dtype=np.float64).sum(axis=0)
    return total / len(values)


def training_centre(
    system: Predictor,
    head: str,
    train: Study,
    features: Features,
    subjects: Sequence[str],
    *,
    single: bool = False,
    seed: int = 0,
) -> Centre:
    """Return the means of a system's predictions and of its targets over training trials.

    Parameters
    ----------
    system : Predictor
    head : str
    train : Study
        Of the tested subjects where it has any; up to 4,096 rows are predicted, drawn once.
    features : Features
        Targets as the system compares them.
    subjects : sequence of str
        Who is tested.
    single : bool
        Predict single trials, where tested ones are averaged after the system; by default averages over repetitions.
    seed : int
        Of the draw.
    """
    own = train.part(subjects=subjects)
    train = own if len(own) else train
    study = train if single else train.average()
    rng, share = np.random.default_rng(seed), min(1.0, _ROWS / len(study))
    rows = {
        name: np.sort(rng.permutation(len(trials))[: max(1, round(share * len(trials)))])
        for name, trials in study.spaces.items()
    }
    found = system.predict(study.select(rows)).of(head)
    shown = features.rows(train.table["stimulus"].drop_duplicates())
    return Centre(mean_of(found), mean_of(select(features.values, shown)))
