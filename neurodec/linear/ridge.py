"""Ridge regression from responses to targets: the baseline beside every deep encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from neurodec.errors import NeurodecError
from neurodec.linear.solvers import Factor, held_out_errors


class Ridge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Multi-target ridge on standardised features, its penalty tuned by grouped cross-validation on the training data.

    An estimator as scikit-learn has them, on features of any number of axes.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, relative to the number of training rows.
    n_folds : int
        Folds of the tuning.
    per_target : bool
        Tune a penalty for every target instead of one for all.

    Notes
    -----
    One decomposition serves every penalty and target. With n rows, p features and r = min(n, p): O(n p r + r³), and for
    the tuning either `n_folds` times r³ or systems of the folds' size, whichever is less (see `held_out_errors`).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from neurodec import Ridge
    >>> rng = np.random.default_rng(0)
    >>> epochs = rng.normal(size=(80, 4, 10))  # (n_trials, n_chans, n_times)
    >>> targets = epochs.reshape(80, -1) @ rng.normal(size=(40, 3))
    >>> bool(cross_val_score(Ridge(), epochs, targets, cv=4).mean() > 0.9)
    True
    """

    def __init__(
        self,
        alphas: Sequence[float] = tuple(np.logspace(-2, 6, 17)),
        n_folds: int = 5,
        per_target: bool = False,
    ) -> None:
        self.alphas, self.n_folds, self.per_target = alphas, n_folds, per_target

    def fit(
        self,
        features: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> Ridge:
        """Tune and solve.

        Parameters
        ----------
        features : ndarray, shape (n, ...)
            Flattened per row and standardised here.
        y : ndarray, shape (n, t) or (n,)
            Targets.
        groups : ndarray, shape (n,), optional
            Rows of one group (concept, run) stay in one fold.
        sample_weight : ndarray, shape (n,), optional
            Of the squared errors, such as the number of repetitions that a row is the mean of. A row of weight 2 counts
            as two rows of one group; rows of weight 0 are left out.

        Returns
        -------
        Ridge
            Itself, with `alpha_` (a number, or one per target), `coef_` (p, t) and `intercept_` (t,).

        Raises
        ------
        NeurodecError
            If there is only one group, or all rows are the same.
        ValueError
            If a weight is negative or not finite, or there is not one for every row.
        """
        accepted = {"allow_nd": True, "multi_output": True, "y_numeric": True, "ensure_min_samples": 2}
        features, targets = validate_data(self, features, y, dtype="numeric", **accepted)
        self._one = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
            kept = weight > 0
            features, targets, weight = features[kept], targets[kept], weight[kept]
            groups = None if groups is None else np.asarray(groups)[kept]
        self._scaler = Standardised.of(features, weight)
        rows = self._scaler.rows(features)
        mean = np.average(targets, axis=0, weights=weight)
        centred = np.asarray(targets - mean, dtype=np.float64)
        total = len(rows) if weight is None else weight.sum()
        if weight is not None:
            rows *= np.sqrt(weight).astype(np.float32)[:, None]
            centred *= np.sqrt(weight)[:, None]
        factor, penalties = Factor.of(rows), np.asarray(self.alphas, dtype=np.float64) * total
        errors = held_out_errors(factor, centred, penalties, grouped_folds(len(rows), groups, self.n_folds))
        chosen = (
            penalties[errors.argmin(axis=0)] if self.per_target else penalties[errors.sum(axis=1).argmin()]
        )
        self.alpha_ = chosen if self.per_target else float(chosen)
        weights = factor.solve(centred, np.atleast_1d(chosen))
        self.coef_, self.intercept_ = self._scaler.on_raw(weights, mean)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return predicted targets (m, t) of `features` (m, ...); (m,) if they were fitted as such.

        Parameters
        ----------
        features : ndarray
        """
        check_is_fitted(self)
        features = validate_data(self, features, dtype="numeric", allow_nd=True, reset=False)
        found = features.reshape(len(features), -1) @ self.coef_ + self.intercept_
        return found[:, 0] if self._one else found


class Standardised:
    """Centre and scale of every feature over the training rows; a constant feature keeps its scale.

    Parameters
    ----------
    centre, scale : ndarray, shape (p,)
    """

    def __init__(self, centre: np.ndarray, scale: np.ndarray) -> None:
        self.centre, self.scale = centre, scale

    @classmethod
    def of(cls, features: np.ndarray, weight: np.ndarray | None = None) -> Standardised:
        """Measure features (n, ...), whose rows may have weights (n,)."""
        flat = np.asarray(features).reshape(len(features), -1)
        if weight is None:
            centre, scale = flat.mean(axis=0, dtype=np.float64), flat.std(axis=0, dtype=np.float64)
        else:
            centre = np.average(flat, axis=0, weights=weight)
            scale = np.sqrt(np.average(np.square(flat - centre), axis=0, weights=weight))
        return cls(centre, np.where(scale == 0, 1, scale))

    def rows(self, features: np.ndarray) -> np.ndarray:
        """Return features (n, p) in units of the training rows, float32."""
        rows = np.array(features, dtype=np.float32).reshape(len(features), -1)
        rows -= self.centre.astype(np.float32)
        rows /= self.scale.astype(np.float32)
        return rows

    def on_raw(self, weights: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (p, t) and intercept (t,) that apply to raw features, given those on standardised ones."""
        raw = weights / self.scale[:, None]
        return raw, mean - self.centre @ raw


def grouped_folds(n_rows: int, groups: np.ndarray | None, n_folds: int) -> list[np.ndarray]:
    """Return the rows that each fold holds out, groups kept whole.

    Raises
    ------
    NeurodecError
        If there is only one group.
    """
    groups = np.arange(n_rows) if groups is None else np.asarray(groups)
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise NeurodecError(
            "Ridge needs training rows of at least two groups to tune its penalty; add trials."
        )
    splits = GroupKFold(min(n_folds, n_groups)).split(np.empty(n_rows), groups=groups)
    return [held_out for _, held_out in splits]
