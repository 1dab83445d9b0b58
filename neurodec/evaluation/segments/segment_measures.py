"""Segments and words among candidates: the accuracies of the speech decoder (Défossez et al. 2023), and their null."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_AT_ONCE = 1024  # windows whose scores are sorted at once


def word_scores(product: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the logarithm of every word's probability, the sum of those of its candidates.

    Parameters
    ----------
    product : ndarray, shape (n, n_candidates)
        Whose softmax gives probabilities.
    words : ndarray, shape (n_candidates,)
        Word of every candidate.

    Returns
    -------
    scores : ndarray, shape (n, n_words), float64
    vocabulary : ndarray, shape (n_words,)
        In order.
    places : ndarray of int, shape (n_candidates,)
        Column of every candidate's word.
    """
    vocabulary, places = np.unique(words, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(vocabulary)))
    found = np.empty((len(product), len(vocabulary)))
    for start in range(0, len(product), _AT_ONCE):
        block = product[start : start + _AT_ONCE].astype(np.float64)
        weights = np.exp(block - block.max(axis=1, keepdims=True))
        sums = np.add.reduceat(weights[:, order], starts, axis=1) / weights.sum(axis=1, keepdims=True)
        found[start : start + _AT_ONCE] = np.log(np.maximum(sums, np.finfo(np.float64).tiny))
    return found, vocabulary, places


def carried(scores: np.ndarray, true: np.ndarray, words: np.ndarray, k: int) -> np.ndarray:
    """Return whether one of the k best candidates carries the right word, shape (n,).

    Parameters
    ----------
    scores : ndarray, shape (n, n_candidates)
    true : ndarray of int, shape (n,)
        Right column of every row.
    words : ndarray, shape (n_candidates,)
    k : int
    """
    k = min(k, scores.shape[1])
    found = np.empty(len(scores), dtype=bool)
    for start in range(0, len(scores), _AT_ONCE):
        best = np.argpartition(-scores[start : start + _AT_ONCE], k - 1, axis=1)[:, :k]
        right = words[true[start : start + _AT_ONCE]]
        found[start : start + _AT_ONCE] = (words[best] == right[:, None]).any(axis=1)
    return found


def hits(scores: np.ndarray, k: int) -> np.ndarray:
    """Return whether every column is among the k best of its row, ties shared, shape of `scores`.

    Parameters
    ----------
    scores : ndarray, shape (n, n_columns)
    k : int

    Notes
    -----
    Where several columns tie for the last places, each is a hit with the same probability.
    """
    n_columns = scores.shape[1]
    k = min(k, n_columns)
    found = np.empty(scores.shape, dtype=np.float32)
    for start in range(0, len(scores), _AT_ONCE):
        block = scores[start : start + _AT_ONCE]
        last = -np.partition(-block, k - 1, axis=1)[:, k - 1 : k]
        above, tied = block > last, block == last
        share = (k - above.sum(axis=1)) / tied.sum(axis=1)
        found[start : start + _AT_ONCE] = above + tied * share[:, None]
    return found


def exchanged(found: np.ndarray, true: np.ndarray, answers: np.ndarray | None = None) -> np.ndarray:
    """Return the mean hit if the windows of one candidate had been of another, shape (n_candidates, n_candidates).

    Parameters
    ----------
    found : ndarray, shape (n_windows, n_columns)
        From `hits`.
    true : ndarray of int, shape (n_windows,)
        The candidate that was heard.
    answers : ndarray of int, shape (n_candidates,), optional
        Column of every candidate; each has its own by default.

    Returns
    -------
    ndarray
        Divided by `n_windows`, so that the trace is the accuracy.
    """
    n_candidates = found.shape[1] if answers is None else len(answers)
    summed = np.zeros((n_candidates, found.shape[1]))
    np.add.at(summed, true, found)
    return (summed if answers is None else summed[:, answers]) / len(true)


def nulls_of(
    matrices: Sequence[np.ndarray], blocks: np.ndarray, n_permutations: int, seed: int
) -> np.ndarray:
    """Return accuracies under random exchanges of whole texts, shape (n_matrices, n_permutations).

    Windows at successive words overlap, and so do their candidates, so that hits come in runs; an exchange of single
    candidates would break these and make chance look narrower than it is. Texts are put in a random order, turned
    around by a random number of words, and laid beside the windows.

    Parameters
    ----------
    matrices : sequence of ndarray, each (n_candidates, n_candidates)
        From `exchanged`.
    blocks : ndarray, shape (n_candidates,)
        Text of every candidate, those of one text one after the other.
    n_permutations, seed : int
    """
    rng = np.random.default_rng(seed)
    n = len(blocks)
    edges = np.flatnonzero(np.r_[True, blocks[1:] != blocks[:-1], True])
    runs = [np.arange(first, last) for first, last in itertools.pairwise(edges)]
    rows, found = np.arange(n), np.empty((len(matrices), n_permutations))
    for draw in range(n_permutations):
        order = np.concatenate([runs[place] for place in rng.permutation(len(runs))])
        order = np.roll(order, rng.integers(n))
        found[:, draw] = [matrix[rows, order].sum() for matrix in matrices]
    return found
