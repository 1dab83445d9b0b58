"""Accuracy and AUC of trials that were scored group by group, with intervals that respect the groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata

from neurodec.evaluation.statistics.intervals import (
    Kind,
    balanced_size,
    interval,
    intervals_of,
    jackknife_variance,
    without_blocks,
)

_MEASURED = 20  # null labellings whose variance is estimated as that of the true one is


class Measures(NamedTuple):
    """Scores of one labelling, or what there is of each of them.

    Attributes
    ----------
    accuracy, balanced_accuracy : float
        Share of right trials; mean over the shown classes of their shares.
    auc : float
        NaN where no group shows a class beside others.
    """

    accuracy: Any
    balanced_accuracy: Any
    auc: Any


@dataclass(frozen=True)
class Grouped:
    """Labels of trials whose scores come from one fit per left-out group.

    Parameters
    ----------
    labels : ndarray of int, shape (n_trials,)
        Classes from 0.
    groups : ndarray of str, shape (n_trials,)
        The left-out group of every trial.
    n_classes : int
    """

    labels: np.ndarray
    groups: np.ndarray
    n_classes: int

    @cached_property
    def codes(self) -> np.ndarray:
        """Group of every trial, from 0."""
        return np.unique(self.groups, return_inverse=True)[1]

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Rows of every group."""
        return [np.flatnonzero(self.codes == code) for code in range(self.codes.max() + 1)]

    def select(self, rows: np.ndarray) -> Grouped:
        """Return some of the trials."""
        return Grouped(self.labels[rows], self.groups[rows], self.n_classes)

    def right(self, scores: np.ndarray) -> np.ndarray:
        """Tell of every trial whether the largest of its scores, shape (n_trials, n_classes), is the true class's."""
        return scores.argmax(axis=1) == self.labels

    def measure(self, scores: np.ndarray) -> Measures:
        """Score trials, shape (n_trials, n_classes)."""
        right = self.right(scores)
        balanced = float(balanced_accuracy(right[None], self.labels[None], self.n_classes)[0])
        return Measures(float(right.mean()), balanced, mean_auc(self._pairs(scores).sum(axis=0)))

    def details(self, scores: np.ndarray) -> dict[str, Any]:
        """Return `per_fold`, `confusion` (true by predicted counts), `n_trials` and the `majority` class's share."""
        confusion = np.zeros((self.n_classes, self.n_classes), dtype=int)
        np.add.at(confusion, (self.labels, scores.argmax(axis=1)), 1)
        shown = confusion.sum(axis=1)
        pairs = self._pairs(scores)
        per_fold = [
            {
                "group": str(self.groups[rows[0]]),
                "n_trials": len(rows),
                "accuracy": float(self.right(scores)[rows].mean()),
                "auc": _or_none(mean_auc(pairs[code])),
            }
            for code, rows in enumerate(self.members)
        ]
        return {
            "n_trials": len(self.labels),
            "majority": float(shown.max() / shown.sum()),
            "per_fold": per_fold,
            "confusion": confusion.tolist(),
        }

    def intervals(
        self, scores: np.ndarray, clusters: np.ndarray | None, inflation: Measures | None = None
    ) -> Measures:
        """Return the 95 % interval [low, high] of every measure.

        Parameters
        ----------
        scores : ndarray, shape (n_trials, n_classes)
        clusters : ndarray, shape (n_trials,), optional
            Trials that are not independent of each other; every trial on its own by default.
        inflation : Measures, optional
            Factor on the variance of every measure; 1 by default.
        """
        inflation = inflation or Measures(1.0, 1.0, 1.0)
        kinds: list[Kind] = ["share", "share"]
        others = intervals_of(
            self._others(scores),
            kinds,
            clusters,
            len(scores),
            np.array(inflation[1:]),
            balanced_size(self.labels),
        )
        return Measures(
            interval(self.right(scores), clusters, inflation=inflation.accuracy, n_trials=len(scores)),
            *others,
        )

    def variance(self, scores: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
        """Return the jackknife variance of every measure, shape (3,)."""
        measure = self._all(scores)
        whole = measure(np.ones(len(scores), dtype=bool))
        without, _ = without_blocks(measure, clusters, len(scores))
        return np.array([jackknife_variance(*pair) for pair in zip(whole, without.T, strict=True)])

    def _all(self, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda rows: np.array(self.select(rows).measure(scores[rows]))

    def _others(self, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda rows: self._all(scores)(rows)[1:]

    def exchanged(self, scores: np.ndarray, labels: np.ndarray) -> list[Measures]:
        """Measure the same scores under other labels, shape (n_labellings, n_trials)."""
        right = scores.argmax(axis=1) == labels
        accuracies, balanced = right.mean(axis=1), balanced_accuracy(right, labels, self.n_classes)
        pairs = np.zeros((len(labels), self.n_classes, 2))
        for rows in self.members:
            ranks = _ranks(log_odds(scores[rows]))
            pairs += _won_pairs(ranks, labels[:, rows], self.n_classes)
        found = (accuracies, balanced, mean_auc(pairs))
        return [Measures(*row) for row in zip(*(part.tolist() for part in found), strict=True)]

    def _pairs(self, scores: np.ndarray) -> np.ndarray:
        """Return won and all pairs of every group and class, shape (n_groups, n_classes, 2)."""
        return np.stack(
            [class_pairs(scores[rows], self.labels[rows], self.n_classes) for rows in self.members]
        )


def class_pairs(scores: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the pairs of one class's trial and another's that the scores order correctly; a tie counts half.

    Parameters
    ----------
    scores : ndarray, shape (..., n_trials, n_classes)
    labels : ndarray of int, shape (..., n_trials)
    n_classes : int

    Returns
    -------
    ndarray, shape (..., n_classes, 2)
        Pairs won, and all pairs.
    """
    return _won_pairs(_ranks(log_odds(scores)), labels, n_classes)


def balanced_accuracy(right: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean, over the classes that are shown, of the share of right trials.

    Parameters
    ----------
    right : ndarray of bool, shape (..., n_trials)
    labels : ndarray of int, shape (..., n_trials)
    n_classes : int

    Returns
    -------
    ndarray, shape (...)
    """
    return _balanced(_tally(right, labels, n_classes))


def mean_auc(pairs: np.ndarray) -> Any:
    """Return the AUC averaged over classes from pairs (..., n_classes, 2); NaN where there is no pair."""
    with np.errstate(invalid="ignore"):
        areas = pairs[..., 0] / pairs[..., 1]
    known = np.isfinite(areas)
    mean = np.where(known, areas, 0).sum(axis=-1) / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)
    return mean if mean.ndim else float(mean)


def inflation_of(nulls: Sequence[tuple[Grouped, np.ndarray]], clusters: np.ndarray | None) -> Measures:
    """Return by how much scores of refits with shuffled labels vary more than their own trials tell; at least 1.

    Folds share training trials, so their errors go together: the variance over trials or runs is too small by this
    factor.

    Parameters
    ----------
    nulls : sequence of (Grouped, ndarray)
        Shuffled labels, and the scores (n_trials, n_classes) of decoders that were fitted to them.
    clusters : ndarray, shape (n_trials,), optional
        As for `Grouped.intervals`.
    """
    values = np.array([grouped.measure(scores) for grouped, scores in nulls])
    within = np.array([grouped.variance(scores, clusters) for grouped, scores in nulls[:_MEASURED]])
    factors = []
    for own, told in zip(values.T, within.T, strict=True):
        own, told = own[np.isfinite(own)], told[np.isfinite(told)]  # the AUC may not be defined
        known = len(own) > 1 and len(told) > 0
        factors.append(max(own.var(ddof=1) / max(told.mean(), 1e-12), 1.0) if known else 1.0)
    return Measures(*map(float, factors))


def _tally(right: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Count right and all trials of every class, shape (..., n_classes, 2)."""
    shown = [labels == label for label in range(n_classes)]
    return np.stack(
        [np.stack([(right & own).sum(axis=-1), own.sum(axis=-1)], axis=-1) for own in shown], axis=-2
    )


def _balanced(tally: np.ndarray) -> np.ndarray:
    shown = tally[..., 1] > 0
    return (tally[..., 0] / np.maximum(tally[..., 1], 1)).sum(axis=-1) / shown.sum(axis=-1)


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Return what orders trials by each class, shape (..., n_classes): the logarithm of its softmax probability.

    Of two classes the difference of scores, which orders them alike and never saturates. Rounding keeps ties.
    """
    if scores.shape[-1] == 2:
        return scores - scores[..., ::-1]
    return np.round(log_softmax(np.asarray(scores, dtype=np.float64), axis=-1), 10)


def _ranks(margins: np.ndarray) -> np.ndarray:
    return rankdata(margins, axis=-2)


def _won_pairs(ranks: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return pairs (..., n_classes, 2) from ranks (..., n_trials, n_classes): the Mann-Whitney count."""
    positive = labels[..., None] == np.arange(n_classes)  # (..., n_trials, n_classes)
    n_positive = positive.sum(axis=-2)
    won = (ranks * positive).sum(axis=-2) - n_positive * (n_positive + 1) / 2
    return np.stack([won, n_positive * (labels.shape[-1] - n_positive)], axis=-1).astype(float)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
