"""Ridge regression from responses to embeddings: the baseline beside every deep encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from sklearn.model_selection import GroupKFold

from neurodec.errors import NeurodecError


def ridge_path(
    features: np.ndarray, targets: np.ndarray, alphas: Sequence[float], queries: np.ndarray
) -> np.ndarray:
    """Predict `queries` by ridge regression for every penalty, from one eigendecomposition.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        Centred.
    targets : ndarray, shape (n, t)
        Centred.
    alphas : sequence of float
        Penalties.
    queries : ndarray, shape (m, p)

    Returns
    -------
    ndarray, shape (n_alphas, m, t)

    Notes
    -----
    Works on the smaller of the n × n and p × p products. Cost: one product, n p min(n, p), one
    eigendecomposition, min(n, p)³, and per penalty m min(n, p) t.
    """
    dual = len(features) <= features.shape[1]
    values, vectors = eigh(features @ features.T if dual else features.T @ features)
    right = vectors.T @ (targets if dual else features.T @ targets)
    left = (queries @ features.T if dual else queries) @ vectors
    return np.stack([left @ (right / (np.maximum(values, 0) + alpha)[:, None]) for alpha in alphas])


class Ridge:
    """Multi-target ridge whose penalty is tuned by grouped cross-validation on the training data.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, relative to the number of training rows (features are standardised).
    n_folds : int
        Folds of the tuning.
    """

    def __init__(self, alphas: Sequence[float] = tuple(np.logspace(-2, 6, 17)), n_folds: int = 5) -> None:
        self.alphas, self.n_folds = alphas, n_folds

    def fit(self, features: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None) -> Ridge:
        """Tune and solve.

        Parameters
        ----------
        features : ndarray, shape (n, ...)
            Flattened per row and standardised here.
        targets : ndarray, shape (n, t)
        groups : ndarray, shape (n,), optional
            Rows of one group (concept, run) stay in one fold.

        Returns
        -------
        Ridge
            Itself, with `alpha_`, `coef_` (p, t) and `intercept_` (t,).

        Raises
        ------
        NeurodecError
            If there are fewer groups than folds.
        """
        features = features.reshape(len(features), -1).astype(np.float32)
        groups = np.arange(len(features)) if groups is None else np.asarray(groups)
        if len(np.unique(groups)) < 2:
            raise NeurodecError("Ridge needs training rows of at least two groups to tune its penalty; add trials.")
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale[scale == 0] = 1
        unit = (features - centre) / scale
        mean = targets.mean(axis=0)
        penalties = np.asarray(self.alphas) * len(unit)
        self.alpha_ = float(penalties[np.argmin(self._errors(unit, targets - mean, groups, penalties))])
        self.coef_ = self._solve(unit, targets - mean) / scale[:, None]
        self.intercept_ = mean - centre @ self.coef_
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return predicted targets (m, t) of `features` (m, ...)."""
        return features.reshape(len(features), -1) @ self.coef_ + self.intercept_

    def _errors(self, unit: np.ndarray, targets: np.ndarray, groups: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        errors = np.zeros(len(penalties))
        folds = GroupKFold(min(self.n_folds, len(np.unique(groups))))
        for train, held_out in folds.split(unit, groups=groups):
            predicted = ridge_path(unit[train], targets[train], penalties, unit[held_out])
            errors += ((predicted - targets[held_out]) ** 2).sum(axis=(1, 2))
        return errors

    def _solve(self, unit: np.ndarray, targets: np.ndarray) -> np.ndarray:
        n_rows, n_features = unit.shape
        if n_rows <= n_features:
            kernel = unit @ unit.T
            kernel.flat[:: n_rows + 1] += self.alpha_
            return unit.T @ np.linalg.solve(kernel, targets.astype(np.float32))
        gram = unit.T @ unit
        gram.flat[:: n_features + 1] += self.alpha_
        return np.linalg.solve(gram, unit.T @ targets.astype(np.float32))
