"""Ridge regression from responses to embeddings: the baseline beside every deep encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from sklearn.model_selection import GroupKFold

from neurodec.errors import NeurodecError

_RANK_TOLERANCE = 1e-7  # of the largest eigenvalue, in float32


class Ridge:
    """Multi-target ridge whose penalty is tuned by grouped cross-validation on the training data.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, relative to the number of training rows (features are standardised).
    n_folds : int
        Folds of the tuning.

    Notes
    -----
    One eigendecomposition serves every fold and every penalty. With n rows, p features and r = min(n, p): time
    O(n p r + r³) and, per penalty, O(n² r / n_folds); memory n p + n r + r² floats.
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
            If there is only one group.
        """
        features = features.reshape(len(features), -1).astype(np.float32)
        groups = np.arange(len(features)) if groups is None else np.asarray(groups)
        if len(np.unique(groups)) < 2:
            raise NeurodecError(
                "Ridge needs training rows of at least two groups to tune its penalty; add trials."
            )
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale[scale == 0] = 1
        features -= centre  # our own copy
        features /= scale
        mean = targets.mean(axis=0)
        centred = (targets - mean).astype(np.float32)
        penalties = np.asarray(self.alphas, dtype=np.float32) * len(features)
        vectors, squares = left_singular(features)
        folds = GroupKFold(min(self.n_folds, len(np.unique(groups)))).split(features, groups=groups)
        errors = held_out_errors(vectors, squares, centred, penalties, [held_out for _, held_out in folds])
        self.alpha_ = float(penalties[errors.argmin()])
        # X'(XX' + a)^-1 Y, written in the singular basis: the same for tall and for wide features.
        weights = features.T @ (vectors @ ((vectors.T @ centred) / (squares + self.alpha_)[:, None]))
        self.coef_ = weights / scale[:, None]
        self.intercept_ = mean - centre @ self.coef_
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return predicted targets (m, t) of `features` (m, ...)."""
        return features.reshape(len(features), -1) @ self.coef_ + self.intercept_


def left_singular(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left singular vectors and squared singular values, through the smaller Gram matrix.

    Parameters
    ----------
    features : ndarray, shape (n, p)

    Returns
    -------
    vectors : ndarray, shape (n, r)
    squares : ndarray, shape (r,)
        Of the directions that the features span, so that ``features @ features.T == vectors * squares @ vectors.T``.
    """
    n_rows, n_features = features.shape
    if n_rows <= n_features:
        squares, vectors = eigh(features @ features.T, overwrite_a=True)
        kept = squares > _RANK_TOLERANCE * squares[-1]
        return vectors[:, kept], squares[kept]
    squares, axes = eigh(features.T @ features, overwrite_a=True)
    kept = squares > _RANK_TOLERANCE * squares[-1]
    return features @ (axes[:, kept] / np.sqrt(squares[kept])), squares[kept]


def held_out_errors(
    vectors: np.ndarray,
    squares: np.ndarray,
    targets: np.ndarray,
    penalties: np.ndarray,
    folds: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the squared error of ridge on held-out rows for every penalty, without refitting.

    Parameters
    ----------
    vectors, squares : ndarray, shape (n, r) and (r,)
        From `left_singular`.
    targets : ndarray, shape (n, t)
        Centred.
    penalties : ndarray, shape (n_penalties,)
    folds : sequence of ndarray of int
        The rows that each fold holds out.

    Returns
    -------
    ndarray, shape (n_penalties,)

    Notes
    -----
    With the hat matrix H = X (X'X + a)^-1 X', the residual of rows g under a fit without them is
    ``(I - H_gg)^-1 (Y - H Y)_g``: exact, the block form of the leave-one-out identity (Cook and Weisberg 1982, 2.2).
    """
    inner = vectors.T @ targets
    errors = np.zeros(len(penalties))
    for place, penalty in enumerate(penalties):
        shrinkage = squares / (squares + penalty)
        residual = targets - vectors @ (shrinkage[:, None] * inner)
        for rows in folds:
            block = -(vectors[rows] * shrinkage) @ vectors[rows].T
            block.flat[:: len(rows) + 1] += 1
            errors[place] += (np.linalg.solve(block, residual[rows]) ** 2).sum()
    return errors
