"""95 % intervals of scores and of their differences, at the numbers of trials and people that labs have.

One method for all. The variance of a score is that of the delete-one-cluster jackknife, Student's degrees of freedom
follow from the effective number of clusters, and a score between 0 and 1 gets the mid-P interval of the binomial that
has this variance, which keeps it within 0 and 1. At exactly 0 or 1 it is the Clopper-Pearson interval.

References
----------
Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive counts, Survey
Methodology 24 (binomials of effective size); Carter, Schnepel and Steigerwald (2017), Asymptotic behavior of a t-test
robust to cluster heterogeneity, Review of Economics and Statistics 99 (effective number of clusters); Agresti and Min
(2005), Simple improved confidence intervals for comparing matched proportions, Statistics in Medicine 24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import beta, norm, t

from neurodec.errors import NeurodecError

Kind = Literal["share", "correlation", "mean"]
_TAIL = 0.025
_MOST_BLOCKS = 100  # clusters that are left out one by one; more are joined at random
_LEAST = 0.25  # of the variance of independent trials: two runs that happen to agree prove little


def interval(
    scores: np.ndarray,
    clusters: np.ndarray | None = None,
    kind: Kind = "share",
    inflation: float = 1.0,
    n_trials: float | None = None,
) -> list[float]:
    """Return the 95 % interval of a mean score.

    Parameters
    ----------
    scores : ndarray, shape (n_rows,)
    clusters : ndarray, shape (n_rows,), optional
        Rows with the same value are not independent: those of a stimulus, a run or a person. Every row is on its own
        by default, and where all are of one cluster.
    kind : {"share", "mean"}
        Whether scores lie between 0 and 1, or anywhere.
    inflation : float
        Factor on the variance, such as that of cross-validation, whose folds share training trials.
    n_trials : float, optional
        What a share of exactly 0 or 1 is of. As many as there are clusters by default, since rows of a cluster may be
        one answer, as those of several people to a stimulus. Trials of a run or a person are more: give their number,
        of which few clusters leave fewer by Student's t.

    Returns
    -------
    [low, high]

    Raises
    ------
    NeurodecError
        If there are no scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores):
        raise NeurodecError("There are no test rows to score; check the `split` column of the trials.")
    codes = cluster_codes(clusters, len(scores))
    without, sizes = _means_without(scores, codes)
    least = _LEAST * scores.var() / len(scores)
    return jackknife_interval(float(scores.mean()), without, sizes, kind, least, inflation, n_trials)


def intervals_of(
    measures: Callable[[np.ndarray], np.ndarray],
    kinds: list[Kind],
    clusters: np.ndarray | None,
    n_rows: int,
    inflation: np.ndarray | float = 1.0,
    n_trials: float | None = None,
) -> list[list[float]]:
    """Return the 95 % intervals of measures that are no means, such as the area under a curve.

    Parameters
    ----------
    measures : callable
        From a mask of rows, shape (n_rows,), to values, shape (n_measures,); NaN where a value is not defined.
    kinds : list of {"share", "correlation", "mean"}
        Range of every measure: 0 to 1, -1 to 1, or anything.
    clusters, inflation
        As for `interval`.
    n_rows : int
    n_trials : float, optional
        See `interval`, and `balanced_size`.

    Returns
    -------
    list of [low, high]
        From the lowest to the highest possible value where a measure is not defined.
    """
    whole = measures(np.ones(n_rows, dtype=bool))
    without, sizes = without_blocks(measures, clusters, n_rows)
    factors = np.broadcast_to(np.asarray(inflation, dtype=float), whole.shape)
    found = []
    for value, left, kind, factor in zip(whole, without.T, kinds, factors, strict=True):
        known = np.isfinite(left)
        if not np.isfinite(value) or known.sum() < 2:
            found.append(_unknown(value, kind))
            continue
        least = _LEAST * value * (1 - value) / n_rows if kind == "share" else 0.0
        found.append(
            jackknife_interval(float(value), left[known], sizes[known], kind, least, float(factor), n_trials)
        )
    return found


def without_blocks(
    measures: Callable[[np.ndarray], np.ndarray], clusters: np.ndarray | None, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return measures without each cluster, shape (n_clusters, n_measures), and the clusters' sizes.

    More than 100 clusters are joined at random to 100, so that the cost is bounded.
    """
    codes = cluster_codes(clusters, n_rows)
    n_clusters = codes.max() + 1
    if n_clusters > _MOST_BLOCKS:
        places = np.arange(n_clusters) % _MOST_BLOCKS
        codes = np.random.default_rng(0).permutation(places)[codes]
    kept = [codes != code for code in range(codes.max() + 1)]
    return np.array([measures(rows) for rows in kept]), np.bincount(codes)


def cluster_codes(clusters: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Return the cluster of every row, from 0; every row is its own where all would be of one cluster."""
    if clusters is None:
        return np.arange(n_rows)
    codes = pd.factorize(np.asarray(clusters))[0]
    return codes if codes.max() > 0 else np.arange(n_rows)


def jackknife_variance(value: float, without: np.ndarray) -> float:
    """Return the variance of a value from its values without each cluster, shape (n_clusters,)."""
    return float((len(without) - 1) / len(without) * np.square(without - value).sum())


def jackknife_interval(
    value: float,
    without: np.ndarray,
    sizes: np.ndarray,
    kind: Kind,
    least: float,
    inflation: float = 1.0,
    n_trials: float | None = None,
) -> list[float]:
    """Return the 95 % interval of a value.

    Parameters
    ----------
    value : float
    without : ndarray, shape (n_clusters,)
        The value without each cluster.
    sizes : ndarray, shape (n_clusters,)
        Rows of every cluster.
    kind : {"share", "correlation", "mean"}
    least : float
        Variance below which no share's goes.
    inflation : float
        Factor on the variance.
    n_trials : float, optional
        See `interval`.
    """
    if len(without) < 2:
        return _unknown(value, kind)
    reach = float(t.isf(_TAIL, _degrees(sizes)))
    if kind == "share":
        if value <= 0 or value >= 1:
            if n_trials is None:
                return _clopper_pearson(value, len(without))
            fewer = 1.0 if sizes.max() == 1 else (norm.isf(_TAIL) / reach) ** 2
            return _clopper_pearson(value, n_trials * fewer / inflation)
        variance = max(jackknife_variance(value, without) * (reach / norm.isf(_TAIL)) ** 2, least)
        return _mid_p(value, value * (1 - value) / max(variance * inflation, 1e-12))
    if kind == "correlation":
        edge = 1 - 1e-9
        if abs(value) >= edge:  # as of a share: agreement of all trials has no spread either
            share = jackknife_interval(float(value > 0), without, sizes, "share", least, inflation, n_trials)
            return [2 * bound - 1 for bound in share]
        turned = np.arctanh(np.clip([value, *without], -edge, edge))
        half = reach * np.sqrt(inflation * jackknife_variance(turned[0], turned[1:]))
        return np.tanh([turned[0] - half, turned[0] + half]).tolist()
    half = reach * np.sqrt(inflation * jackknife_variance(value, without))
    return [value - half, value + half]


def paired_difference(
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    clusters: np.ndarray | None = None,
    step: float | None = 1.0,
    inflation: float = 1.0,
) -> dict[str, Any]:
    """Compare two decoders on the same test rows.

    Parameters
    ----------
    scores_a, scores_b : ndarray, shape (n_rows,)
    clusters, inflation
        As for `interval`.
    step : float, optional
        The largest difference that one row can make, 1 for hits: as if two more rows differed by it, half a row each
        way, so that decoders that never differ get an interval too. None where there is no largest.

    Returns
    -------
    dict
        `difference` (a minus b), `ci95` and the two-sided `p_value`, both by Student's t.
    """
    difference = np.asarray(scores_a, np.float64) - np.asarray(scores_b, np.float64)
    n_rows, mean = len(difference), float(difference.mean())
    codes = cluster_codes(clusters, n_rows)
    without, sizes = _means_without(difference, codes)
    variance = jackknife_variance(mean, without) if n_rows > 1 else 0.0
    if step is not None:
        squares, shrunk = np.square(difference).sum() + step**2, difference.sum() / (n_rows + 2)
        of_rows = squares / (n_rows + 2) ** 2 - shrunk**2 / (n_rows + 2)
        alone = len(sizes) == n_rows or not difference.any()
        variance = max(variance, of_rows if alone else _LEAST * of_rows)
    error = np.sqrt(variance * inflation)
    df = _degrees(sizes)
    p = 2 * t.sf(abs(mean) / error, df) if error > 0 else float(mean == 0)
    half = float(t.isf(_TAIL, df) * error)
    return {"difference": mean, "ci95": [mean - half, mean + half], "p_value": float(p)}


def balanced_size(labels: np.ndarray) -> float:
    """Return how many trials in equal classes tell as much as these (n,) do of a mean over classes."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) ** 2 / float((1 / counts).sum())


def _means_without(scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean without each cluster, and the clusters' sizes."""
    sizes, sums = np.bincount(codes), np.bincount(codes, weights=scores)
    rest = np.maximum(len(scores) - sizes, 1)  # of a single row nothing is left
    return (scores.sum() - sums) / rest, sizes


def _degrees(sizes: np.ndarray) -> float:
    """Return the degrees of freedom: the effective number of clusters less one; at least 1."""
    return max(float(sizes.sum()) ** 2 / float(np.square(sizes.astype(float)).sum()) - 1, 1.0)


def _unknown(value: float, kind: Kind) -> list[float]:
    """Return what one row, or an undefined value, tells: nothing, but for the hit or miss of a single trial."""
    if kind == "share" and value in (0.0, 1.0):
        return _clopper_pearson(value, 1)
    return {"share": [0.0, 1.0], "correlation": [-1.0, 1.0]}.get(kind, [np.nan, np.nan])


def _clopper_pearson(share: float, n: float) -> list[float]:
    """Return the exact binomial interval of 0 or all of `n` trials."""
    edge = float(beta.isf(_TAIL, 1, n))
    return [0.0, edge] if share <= 0 else [1 - edge, 1.0]


def _mid_p(share: float, n: float) -> list[float]:
    """Return the mid-P interval of a share of `n` trials, neither of which need be whole."""
    hits = share * n

    def tail(p: float) -> float:  # P(X > hits) + P(X = hits) / 2
        return 0.5 * float(betainc(hits, n - hits + 1, p) + betainc(hits + 1, n - hits, p))

    return [brentq(lambda p, edge=edge: tail(p) - edge, 0.0, 1.0, xtol=1e-9) for edge in (_TAIL, 1 - _TAIL)]
