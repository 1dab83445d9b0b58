"""Segments and words among candidates: the accuracies of the speech decoder (Défossez et al. 2023, Methods)."""

from __future__ import annotations

import numpy as np


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
