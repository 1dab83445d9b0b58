"""Making a prior, and fitting it to what a system predicts of trials that it has not learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurodec.data import Study
from neurodec.evaluation.capabilities import Calibrates, require
from neurodec.evaluation.retrieval.curves import as_trials
from neurodec.features import Features
from neurodec.priors import Prior
from neurodec.priors.pairs import drawn_predictions
from neurodec.systems import System

_NOT = "learns from all training trials, so that a prior cannot be fitted to unseen ones (prior_from: training can)"
_FEW = 2  # times as many training pictures as were left out: then predictions of all are drawn


def fitted_prior(
    prior: Prior,
    system: System,
    train: Study,
    targets: dict[str, Features],
    *,
    seed: int = 0,
    held_out: bool = True,
    checkpoints: Path | None = None,
) -> Prior:
    """Fit a prior from predictions of a system to the embeddings of what was seen, unless it is fitted already.

    Parameters
    ----------
    prior : Prior
    system : System
        Fitted to `train`.
    train : Study
        Training trials.
    targets : dict of Features
    seed : int
        Of cross-fitting, and of draws.
    held_out : bool
        Fit to predictions of trials that the system has not learned from, averaged over repetitions; otherwise to
        predictions of the training trials themselves, as published code does.
    checkpoints : Path, optional
        Where a broken fit goes on from.

    Returns
    -------
    Prior
        The same, fitted.

    Raises
    ------
    NeurodecError
        If the system cannot predict trials that it has not learned from.
    """
    features = targets[system.head]
    if prior.embedding_space is not None:  # trained within the system
        return prior
    apart = held_out and prior.learns
    able = require(system, Calibrates, _NOT) if apart else None
    found = able.unseen(train, targets, seed) if able else system.predict(train)
    z, table = np.asarray(found.of(system.head)), found.table
    if apart:
        averaged = as_trials(z, table).average()
        z, table = np.asarray(averaged.responses).reshape(-1, *z.shape[1:]), averaged.table
    wanted, concepts = features.of(table["stimulus"]), table["concept"].to_numpy()
    shown = train.table.drop_duplicates("stimulus")
    if apart and z.ndim == 2 and len(shown) > _FEW * table["stimulus"].nunique():
        z, wanted = drawn_predictions(z, wanted, concepts, features.of(shown["stimulus"]), seed)
        concepts = np.repeat(shown["concept"].to_numpy(), len(wanted) // len(shown))
    space = features.embedding_space
    return prior.fit(z, wanted, concepts, embedding_space=space, checkpoints=checkpoints)


def prior_of(system: System) -> Prior | None:
    """Return the prior that was trained within a system, if there is one."""
    found = getattr(getattr(system, "objective", None), "prior", None)
    if not isinstance(found, Prior):
        return None
    found.embedding_space = found.embedding_space or system.config["embedding_spaces"][system.head]
    return found
