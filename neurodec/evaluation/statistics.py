"""Chance, intervals and tests for scores of test rows: bootstrap over stimuli, permutation, exact binomial.

Test rows of one stimulus (several subjects, several folds) are not independent, so everything here resamples or
permutes *stimuli*, never rows. All draws come from one seed and are vectorised; none needs another forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

from neurodec.errors import NeurodecError

_DRAWS_AT_ONCE = 2_000_000  # numbers held per chunk of resampling: 16 MB


def _chunks(n_draws: int, size: int) -> Iterator[int]:
    """Yield how many draws of `size` numbers to make at once."""
    step = max(1, _DRAWS_AT_ONCE // max(1, size))
    for start in range(0, n_draws, step):
        yield min(step, n_draws - start)


def _codes(clusters: np.ndarray | None, n_rows: int) -> np.ndarray:
    return np.arange(n_rows) if clusters is None else pd.factorize(np.asarray(clusters))[0]


def bootstrap(
    scores: np.ndarray, clusters: np.ndarray | None = None, n_bootstrap: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Draw bootstrap means, resampling whole clusters.

    Parameters
    ----------
    scores : ndarray, shape (n_rows,)
    clusters : ndarray, shape (n_rows,), optional
        Rows with the same value are resampled together, normally the stimulus. Every row on its own by default.
    n_bootstrap : int
        Number of draws.
    seed : int
        Equal seed and equal clusters give equal draws, so that two decoders can be compared draw by draw.

    Returns
    -------
    ndarray, shape (n_bootstrap,)
    """
    scores = np.asarray(scores, dtype=np.float64)
    codes = _codes(clusters, len(scores))
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=scores)
    rng = np.random.default_rng(seed)
    means = []
    for size in _chunks(n_bootstrap, len(counts)):
        drawn = rng.integers(len(counts), size=(size, len(counts)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def interval(
    scores: np.ndarray,
    clusters: np.ndarray | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[float]:
    """Return the percentile bootstrap interval of the mean score.

    Parameters
    ----------
    scores, clusters, n_bootstrap, seed
        As in `bootstrap`.
    level : float
        Coverage.

    Returns
    -------
    [low, high]
        Where all rows are right or all are wrong the bootstrap has no width; then it is the exact binomial
        (Clopper-Pearson) interval of as many independent trials as there are clusters.

    Raises
    ------
    NeurodecError
        If there are no scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores):
        raise NeurodecError("There are no test rows to score; check the `split` column of the trials.")
    tail = (1 - level) / 2
    if scores.min() == scores.max() and scores[0] in (0.0, 1.0):
        n_clusters = len(np.unique(_codes(clusters, len(scores))))
        edge = float(beta.ppf(1 - tail, 1, n_clusters))
        return [0.0, edge] if scores[0] == 0 else [1 - edge, 1.0]
    return np.quantile(bootstrap(scores, clusters, n_bootstrap, seed), [tail, 1 - tail]).tolist()


def paired_difference(
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    clusters: np.ndarray | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two decoders on the same test rows by a paired bootstrap.

    Returns
    -------
    dict
        `difference` (a minus b), `ci95`, `p_value` (two-sided: twice the share of draws on the other side of zero,
        with the draw at hand counted) and `p_floor`, the smallest that these draws can give.
    """
    difference = np.asarray(scores_a, np.float64) - np.asarray(scores_b, np.float64)
    draws = bootstrap(difference, clusters, n_bootstrap, seed)
    smaller = min((draws <= 0).sum(), (draws >= 0).sum())
    return {
        "difference": float(difference.mean()),
        "ci95": np.quantile(draws, [0.025, 0.975]).tolist(),
        "p_value": float(min(1.0, 2 * (1 + smaller) / (1 + n_bootstrap))),
        "p_floor": 2 / (1 + n_bootstrap),
    }


def stimulus_matrix(scores: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Add up the rows of each stimulus.

    Parameters
    ----------
    scores : ndarray, shape (n_rows, n_stimuli)
        Score of each row if each of the test stimuli were the true one, columns in the order in which the stimuli
        first appear in `clusters`.
    clusters : ndarray, shape (n_rows,)
        Stimulus of each row.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Divided by `n_rows`, so that its trace is the mean score.
    """
    codes = _codes(clusters, len(scores))
    summed = np.zeros((codes.max() + 1, scores.shape[1]))
    np.add.at(summed, codes, scores)
    return summed / len(scores)


def permuted_scores(matrix: np.ndarray, n_permutations: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the mean score under random exchanges of brain responses among the test stimuli.

    Parameters
    ----------
    matrix : ndarray, shape (n_stimuli, n_stimuli)
        From `stimulus_matrix`: row = whose response, column = which stimulus counts as true. All subjects' responses
        to a stimulus move together, which keeps what they share.
    n_permutations : int
        Number of random permutations.
    seed : int
        Seed of the draw; equal seeds give equal permutations.

    Returns
    -------
    ndarray, shape (n_permutations,)

    Notes
    -----
    A test-time encoder embeds each response on its own, so exchanging responses before the encoder and exchanging
    their embeddings after it are the same thing: no forward pass is needed.
    """
    n_stimuli = len(matrix)
    rng = np.random.default_rng(seed)
    rows = np.arange(n_stimuli)
    means = []
    for size in _chunks(n_permutations, n_stimuli):
        order = rng.permuted(np.broadcast_to(rows, (size, n_stimuli)), axis=1)
        means.append(matrix[rows, order].sum(axis=1))
    return np.concatenate(means)


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the one-sided p value of `observed` among `null`, the observed arrangement counted (never zero)."""
    # Sums of the same numbers in another order may differ in the last bit: count those as ties.
    tied_or_better = (null >= observed - 1e-12 * max(1.0, abs(observed))).sum()
    return float((1 + tied_or_better) / (1 + len(null)))
