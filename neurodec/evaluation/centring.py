"""How predictions and candidates are compared: projected alike, and each less its mean over the training trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neurodec.data import Study
from neurodec.evaluation.section import Predictor
from neurodec.evaluation.similarity import Centre
from neurodec.features import Features

_ROWS = 4096  # training rows whose predictions are averaged


def projected(system: Predictor, head: str, features: Features) -> Features:
    """Return targets as the system compares them with a head."""
    return replace(features, values=system.project(head, np.asarray(features.values)).astype(np.float32))


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
    found = np.asarray(system.predict(study.select(rows)).of(head), dtype=np.float64)
    shown = features.of(train.table["stimulus"].drop_duplicates())
    return Centre(found.mean(axis=0), np.asarray(shown, dtype=np.float64).mean(axis=0))
