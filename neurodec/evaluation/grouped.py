"""Accuracy and AUC of trials that were scored group by group, with intervals that respect the groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

_TRIALS_AT_ONCE = 4_000_000  # resampled scores held in memory: 32 MB


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

    def intervals(self, scores: np.ndarray, n_bootstrap: int, seed: int = 0) -> Measures:
        """Return the 95 % interval [low, high] of every measure, the wider of two percentile bootstraps.

        One resamples trials within every group, which knows nothing of differences between groups; the other resamples
        groups, which is coarse when they are few.
        """
        rng = np.random.default_rng(seed)
        right, pairs = self.right(scores), self._pairs(scores)
        sizes = np.array([len(rows) for rows in self.members])
        hits = np.array([right[rows].sum() for rows in self.members])
        tallies = np.stack([_tally(right[rows], self.labels[rows], self.n_classes) for rows in self.members])
        drawn = rng.integers(len(sizes), size=(n_bootstrap, len(sizes)))
        over_groups = Measures(
            hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1),
            _balanced(tallies[drawn].sum(axis=1)),
            mean_auc(pairs[drawn].sum(axis=1)),
        )
        counts, areas = np.zeros(n_bootstrap), np.zeros((n_bootstrap, self.n_classes, 2))
        tally = np.zeros_like(areas)
        for rows in self.members:
            step = max(1, _TRIALS_AT_ONCE // (len(rows) * self.n_classes))
            for start in range(0, n_bootstrap, step):
                draws = slice(start, min(start + step, n_bootstrap))
                picked = rows[rng.integers(len(rows), size=(draws.stop - start, len(rows)))]
                counts[draws] += right[picked].sum(axis=1)
                areas[draws] += class_pairs(scores[picked], self.labels[picked], self.n_classes)
                tally[draws] += _tally(right[picked], self.labels[picked], self.n_classes)
        over_trials = Measures(counts / len(right), _balanced(tally), mean_auc(areas))
        return Measures(*(wider(a, b) for a, b in zip(over_groups, over_trials, strict=True)))

    def exchanged(self, scores: np.ndarray, labels: np.ndarray) -> list[Measures]:
        """Measure the same scores under other labels, shape (n_labellings, n_trials)."""
        right = scores.argmax(axis=1) == labels
        accuracies, balanced = right.mean(axis=1), balanced_accuracy(right, labels, self.n_classes)
        pairs = np.zeros((len(labels), self.n_classes, 2))
        for rows in self.members:
            ranks = _ranks(_margins(scores[rows]))
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
    return _won_pairs(_ranks(_margins(scores)), labels, n_classes)


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


def grouped_permutations(labels: np.ndarray, codes: np.ndarray, n_permutations: int, seed: int) -> np.ndarray:
    """Return labels permuted within every group, shape (n_permutations, n_trials)."""
    rng = np.random.default_rng(seed)
    permuted = np.tile(labels, (n_permutations, 1))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        permuted[:, rows] = rng.permuted(permuted[:, rows], axis=1)
    return permuted


def _tally(right: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Count right and all trials of every class, shape (..., n_classes, 2)."""
    shown = [labels == label for label in range(n_classes)]
    return np.stack(
        [np.stack([(right & own).sum(axis=-1), own.sum(axis=-1)], axis=-1) for own in shown], axis=-2
    )


def _balanced(tally: np.ndarray) -> np.ndarray:
    shown = tally[..., 1] > 0
    return (tally[..., 0] / np.maximum(tally[..., 1], 1)).sum(axis=-1) / shown.sum(axis=-1)


def _margins(scores: np.ndarray) -> np.ndarray:
    """Return every class's score over the best of the others', which makes two classes one ranking."""
    if scores.shape[-1] == 2:
        return scores - scores[..., ::-1]
    best_two = -np.partition(-scores, 1, axis=-1)[..., :2]
    rival = np.where(scores == best_two[..., :1], best_two[..., 1:], best_two[..., :1])
    with np.errstate(invalid="ignore"):  # -inf - -inf: a class without training trials against none
        return np.nan_to_num(scores - rival, nan=-np.inf, neginf=-np.inf)


def _ranks(margins: np.ndarray) -> np.ndarray:
    return rankdata(margins, axis=-2)


def _won_pairs(ranks: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return pairs (..., n_classes, 2) from ranks (..., n_trials, n_classes): the Mann-Whitney count."""
    positive = labels[..., None] == np.arange(n_classes)  # (..., n_trials, n_classes)
    n_positive = positive.sum(axis=-2)
    won = (ranks * positive).sum(axis=-2) - n_positive * (n_positive + 1) / 2
    return np.stack([won, n_positive * (labels.shape[-1] - n_positive)], axis=-1).astype(float)


def wider(*bootstraps: np.ndarray) -> list[float]:
    """Return the wider of the 95 % intervals of several bootstraps, each (n_draws,)."""
    found = [np.nanquantile(draws, [0.025, 0.975]) for draws in bootstraps if np.isfinite(draws).any()]
    return max(found, key=np.ptp).tolist() if found else [0.0, 1.0]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
