"""Null distributions: scores under exchanged stimuli or labels, and the p values that follow.

Test rows of one stimulus (several subjects, several folds) are not independent, so *stimuli* are permuted, never rows;
so are labels within people, or among people who have one label each. No draw needs another forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

_DRAWS_AT_ONCE = 2_000_000  # numbers held per chunk of resampling: 16 MB


def _chunks(n_draws: int, size: int) -> Iterator[int]:
    """Yield how many draws of `size` numbers to make at once."""
    step = max(1, _DRAWS_AT_ONCE // max(1, size))
    for start in range(0, n_draws, step):
        yield min(step, n_draws - start)


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
    codes = pd.factorize(np.asarray(clusters))[0]
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


def exchanged_labels(
    labels: np.ndarray,
    groups: np.ndarray,
    n_draws: int,
    seed: int,
    within: Literal["permuted", "rotated"] = "permuted",
) -> Iterator[np.ndarray]:
    """Yield labels that say nothing of the trials.

    Groups with one label, such as people with a diagnosis, exchange it among themselves; within the others labels
    change places.

    Parameters
    ----------
    labels : ndarray, shape (n_trials,)
        Classes or numbers.
    groups : ndarray, shape (n_trials,)
        Run or person of every trial.
    n_draws : int
    seed : int
    within : {"permuted", "rotated"}
        Within a group: in any order, or turned around by a random number of places, which keeps the order of
        recordings whose successive trials are alike.

    Yields
    ------
    ndarray, shape (n_trials,)
    """
    rng = np.random.default_rng(seed)
    codes = pd.factorize(np.asarray(groups))[0]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    pure = [rows for rows in members if (labels[rows] == labels[rows[0]]).all()]
    mixed = [rows for rows in members if (labels[rows] != labels[rows[0]]).any()]
    of_pure = np.array([labels[rows[0]] for rows in pure])
    for _ in range(n_draws):
        drawn = labels.copy()
        for rows, label in zip(pure, rng.permutation(of_pure), strict=True):
            drawn[rows] = label
        for rows in mixed:
            own = labels[rows]
            drawn[rows] = (
                rng.permutation(own) if within == "permuted" else np.roll(own, rng.integers(len(own)))
            )
        yield drawn
