"""Measures of predicted classes and numbers, of weighted trials: a resampling is a weight for every trial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import trapezoid

from neurodec.evaluation.classification.grouped import log_odds
from neurodec.evaluation.statistics.intervals import Kind, intervals_of

Measure = Callable[[np.ndarray], float]
_KINDS: dict[str, Kind] = {"kappa": "correlation", "pearson_r": "correlation", "r2": "mean", "rmse": "mean"}


def class_measures(scores: np.ndarray, labels: np.ndarray) -> dict[str, Measure]:
    """Return the measures of class scores, each a function of the trials' weights (n,).

    Parameters
    ----------
    scores : ndarray, shape (n, n_classes)
        The largest wins.
    labels : ndarray of int, shape (n,)

    Returns
    -------
    dict
        `accuracy`, `balanced_accuracy`, `kappa` (Cohen), `weighted_f1`, `auc` (AUROC; of more than two classes the mean
        over classes of one against the rest, by softmax probabilities), and of two classes `auc_pr` (of the second one:
        the trapezoid below the precision-recall curve, as published tables have it).
    """
    n_classes, named = scores.shape[1], scores.argmax(axis=1)

    def confusion(weights: np.ndarray) -> np.ndarray:
        return confusion_of(labels, named, n_classes, weights)

    found: dict[str, Measure] = {
        "accuracy": lambda weights: accuracy(confusion(weights)),
        "balanced_accuracy": lambda weights: balanced_accuracy(confusion(weights)),
        "kappa": lambda weights: kappa(confusion(weights)),
        "weighted_f1": lambda weights: weighted_f1(confusion(weights)),
    }
    if n_classes == 2:
        curve = Curve(scores[:, 1] - scores[:, 0], labels == 1)
        return found | {"auc": curve.auroc, "auc_pr": curve.auc_pr}
    ordered = log_odds(scores)
    curves = [Curve(ordered[:, label], labels == label) for label in range(n_classes)]
    return found | {"auc": lambda weights: float(np.nanmean([own.auroc(weights) for own in curves]))}


def number_measures(found: np.ndarray, true: np.ndarray) -> dict[str, Measure]:
    """Return `pearson_r`, `r2` and `rmse` of predicted numbers (n,), each a function of the trials' weights."""

    def r2(weights: np.ndarray) -> float:
        mean = np.average(true, weights=weights)
        return float(1 - (weights @ (found - true) ** 2) / max(weights @ (true - mean) ** 2, 1e-30))

    def r(weights: np.ndarray) -> float:
        one, other = (values - np.average(values, weights=weights) for values in (found, true))
        spread = np.sqrt((weights @ one**2) * (weights @ other**2))
        return float(weights @ (one * other) / spread) if spread > 0 else 0.0

    return {
        "pearson_r": r,
        "r2": r2,
        "rmse": lambda weights: float(np.sqrt(np.average((found - true) ** 2, weights=weights))),
    }


def confusion_of(
    labels: np.ndarray, named: np.ndarray, n_classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return (n_classes, n_classes) counts, or sums of weights, of trials by their class (rows) and the named one."""
    return np.bincount(labels * n_classes + named, weights, n_classes**2).reshape(n_classes, n_classes)


def accuracy(confusion: np.ndarray) -> float:
    """Return the share of right trials of a confusion matrix, true by predicted."""
    return float(np.trace(confusion) / confusion.sum())


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Return the mean, over the classes that are shown, of the share of right trials."""
    shown = confusion.sum(axis=1)
    return float((np.diag(confusion)[shown > 0] / shown[shown > 0]).mean())


def kappa(confusion: np.ndarray) -> float:
    """Return Cohen's kappa: agreement beyond what the frequencies of both sides would give."""
    total = confusion.sum()
    by_chance = (confusion.sum(axis=0) @ confusion.sum(axis=1)) / total**2
    return float((np.trace(confusion) / total - by_chance) / (1 - by_chance)) if by_chance < 1 else 0.0


def weighted_f1(confusion: np.ndarray) -> float:
    """Return the F1 of every class, weighted by how often it is shown."""
    right, shown, named = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = np.divide(2 * right, shown + named, out=np.zeros(len(right)), where=shown + named > 0)
    return float((f1 * shown).sum() / shown.sum())


class Curve:
    """One class against the rest, at every threshold; trials of one score pass it together.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    positive : ndarray of bool, shape (n,)
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(ordered)), len(scores) - 1)
        self.positive = positive[self.order]

    def _passed(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ordered = weights[self.order]
        hits, all_ = (np.cumsum(own)[self.ends] for own in (ordered * self.positive, ordered))
        return hits, all_ - hits

    def auroc(self, weights: np.ndarray) -> float:
        """Return the area below the receiver operating characteristic; NaN where one side is missing."""
        hits, false = self._passed(weights)
        if not hits[-1] or not false[-1]:
            return np.nan
        return float(trapezoid(np.append(0.0, hits), np.append(0.0, false)) / (hits[-1] * false[-1]))

    def auc_pr(self, weights: np.ndarray) -> float:
        """Return the trapezoid below the precision-recall curve; NaN without a positive trial."""
        hits, false = self._passed(weights)
        if not hits[-1]:
            return np.nan
        some = hits + false > 0
        precision = np.append(1.0, hits[some] / (hits + false)[some])
        return float(trapezoid(precision, np.append(0.0, hits[some] / hits[-1])))


def label_intervals(
    measures: dict[str, Measure], groups: np.ndarray, n_trials: float | None = None
) -> dict[str, list[float]]:
    """Return the 95 % interval of every measure.

    Parameters
    ----------
    measures : dict of callable
        From `class_measures` or `number_measures`.
    groups : ndarray, shape (n,)
        Whose trial it is: groups are what an interval generalises over. With one group, its trials.
    n_trials : float, optional
        See `interval`.
    """

    def of(rows: np.ndarray) -> np.ndarray:
        return np.array([measure(rows.astype(float)) for measure in measures.values()])

    kinds = [_KINDS.get(name, "share") for name in measures]
    return dict(zip(measures, intervals_of(of, kinds, groups, len(groups), n_trials=n_trials), strict=True))
