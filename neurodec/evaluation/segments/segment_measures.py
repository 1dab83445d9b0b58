"""Segments and words among candidates: the accuracies of the speech decoder (Défossez et al. 2023), and their null."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_AT_ONCE = 1024  # windows whose scores are sorted at once


def segment_accuracy(probabilities: np.ndarray, true: np.ndarray, k: int) -> float:
    """Return how often the right column is among the k most probable.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_candidates)
    true : ndarray of int, shape (n,)
        Right column of every row.
    k : int
    """
    return float((_best(probabilities, k) == np.asarray(true)[:, None]).any(axis=1).mean())


def word_probabilities(probabilities: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed probability of the candidates of every word, and the words in order.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_candidates)
    words : ndarray, shape (n_candidates,)
        Word of every candidate.

    Returns
    -------
    summed : ndarray, shape (n, n_words)
    vocabulary : ndarray, shape (n_words,)
    """
    vocabulary, places = np.unique(words, return_inverse=True)
    member = np.zeros((len(places), len(vocabulary)), dtype=probabilities.dtype)
    member[np.arange(len(places)), places] = 1
    return probabilities @ member, vocabulary


def word_accuracy(probabilities: np.ndarray, true: np.ndarray, words: np.ndarray, k: int) -> float:
    """Return how often one of the k most probable candidates carries the right word.

    Parameters
    ----------
    probabilities : ndarray, shape (n, n_candidates)
    true : ndarray of int, shape (n,)
        Right column of every row.
    words : ndarray, shape (n_candidates,)
    k : int
    """
    words = np.asarray(words)
    return float((words[_best(probabilities, k)] == words[true][:, None]).any(axis=1).mean())


def _best(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Return the k most probable columns of every row, in no order."""
    k = min(k, probabilities.shape[1])
    return np.argpartition(-probabilities, k - 1, axis=1)[:, :k]


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
