"""What a prior is fitted on: pairs of a prediction and the embedding of what was seen."""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf

from neurodec.linear.ridge import Ridge
from neurodec.priors.linear import held_out_residuals

_N_DRAWS = 4


def drawn_predictions(
    z: np.ndarray, targets: np.ndarray, groups: np.ndarray, wanted: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw predictions of further pictures as a system makes them of what it has not learned from.

    Predictions of trials that a network was fitted to are too good, and those that it was not fitted to are few. From
    these a linear-Gaussian model of the prediction given the embedding is estimated, its noise from held-out groups,
    and drawn from for all training pictures.

    Parameters
    ----------
    z : ndarray, shape (n, D)
        Predictions of trials that were not learned from; only their directions count.
    targets : ndarray, shape (n, D')
        Embeddings of what was seen.
    groups : ndarray, shape (n,)
        Concepts.
    wanted : ndarray, shape (m, D')
        Embeddings to draw predictions for.
    seed : int

    Returns
    -------
    z : ndarray, shape (4 m, D), float32
    targets : ndarray, shape (4 m, D')
    """
    directions = z / np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-12)
    ridge = Ridge().fit(targets, directions, groups)
    residuals = held_out_residuals(targets, directions, groups, ridge.alpha_ / len(z))
    covariance = ledoit_wolf(residuals, assume_centered=True)[0]
    factor = np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) * np.eye(len(covariance)))
    repeated = np.repeat(wanted, _N_DRAWS, axis=0)
    noise = np.random.default_rng(seed).standard_normal((len(repeated), len(factor))) @ factor.T
    return (ridge.predict(repeated) + noise).astype(np.float32), repeated
