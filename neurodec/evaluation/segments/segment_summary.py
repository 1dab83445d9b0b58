"""The numbers of a decoder of segments, as `results.json` names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from neurodec.evaluation.retrieval.similarity import rank_bounds
from neurodec.evaluation.segments.segment_context import in_context
from neurodec.evaluation.segments.segment_measures import carried, exchanged, hits, nulls_of, word_scores
from neurodec.evaluation.segments.segment_scores import SegmentScores
from neurodec.evaluation.statistics.intervals import interval, paired_difference
from neurodec.evaluation.statistics.permutations import permutation_p

PLACES = (1, 5, 10)


class Settings(Protocol):
    """What of `Segments` these numbers follow from."""

    context: int
    n_frequent: int
    n_permutations: int
    seed: int


@dataclass(frozen=True)
class Candidates:
    """Text and word of every candidate.

    Parameters
    ----------
    blocks, words : ndarray of str, shape (n_candidates,)
    """

    blocks: np.ndarray
    words: np.ndarray


def summary_of(scores: SegmentScores, about: Candidates, settings: Settings) -> dict[str, Any]:
    """Return the metrics of one decoder.

    Parameters
    ----------
    scores : SegmentScores
    about : Candidates
    settings : Segments
    """
    texts = scores.table["block"].to_numpy(dtype=str)
    found, matrices = _top(scores.cosine, scores.true)
    of_words, vocabulary, codes = word_scores(scores.product, about.words)
    word_hits, word_matrices = _top(of_words, scores.true, codes)
    nulls = nulls_of([*matrices, *word_matrices], about.blocks, settings.n_permutations, settings.seed)
    best, worst = rank_bounds(scores.cosine, scores.true)
    own: dict[str, Any] = {
        "n_candidates": scores.n_candidates,
        "n_windows": len(scores.true),
        "n_texts": len(set(about.blocks.tolist())),
        **_shares(found, texts, nulls[:3]),
        **{f"chance_top{k}": min(1.0, k / scores.n_candidates) for k in PLACES},
        "p_value": permutation_p(float(found[10].mean()), nulls[2]),
        "p_floor": 1 / (1 + settings.n_permutations),
        "median_rank": float(np.median((best + worst) / 2)),
        "uncentred_top10": float(_right(hits(scores.product, 10), scores.true).mean()),
        "words": {
            "n_candidates": len(vocabulary),
            **_shares(word_hits, texts, nulls[3:]),
            **{f"chance_top{k}": float(null.mean()) for k, null in zip(PLACES, nulls[3:], strict=True)},
            "carried_top10": float(carried(scores.product, scores.true, about.words, 10).mean()),
        },
        "frequent_words": _frequent(scores, about, texts, settings.n_frequent),
        "per_subject": _per_subject(found, scores.table, texts),
        "null_top10": nulls[2],
    }
    if settings.context:
        joined, joined_matrices = _top(in_context(scores, about.blocks, settings.context).cosine, scores.true)
        null = nulls_of(joined_matrices, about.blocks, settings.n_permutations, settings.seed)
        own["context"] = {"n_neighbours": settings.context, **_shares(joined, texts, null)}
    return own


def compared(scores: SegmentScores, other: SegmentScores, about: Candidates) -> dict[str, Any]:
    """Return the paired difference of the top-10 accuracies of two decoders on the same windows."""
    first, second = (_right(hits(one.cosine, 10), one.true) for one in (scores, other))
    return paired_difference(first, second, about.blocks[scores.true])


def _top(
    scores: np.ndarray, true: np.ndarray, answers: np.ndarray | None = None
) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
    """Return every window's hits, and the matrices of exchanged candidates.

    Parameters
    ----------
    scores : ndarray, shape (n_windows, n_columns)
    true : ndarray of int, shape (n_windows,)
        The candidate that was heard.
    answers : ndarray of int, shape (n_candidates,), optional
        Column of every candidate, where several share one, as those of a word do.
    """
    found, matrices = {}, []
    for k in PLACES:
        every = hits(scores, k)
        found[k] = _right(every, true if answers is None else answers[true])
        matrices.append(exchanged(every, true, answers))
    return found, matrices


def _right(every: np.ndarray, true: np.ndarray) -> np.ndarray:
    return every[np.arange(len(true)), true].astype(np.float64)


def _shares(found: dict[int, np.ndarray], texts: np.ndarray, nulls: np.ndarray) -> dict[str, Any]:
    """Return accuracies with intervals over texts and p values."""
    own: dict[str, Any] = {}
    for k, null in zip(PLACES, nulls, strict=True):
        mean = float(found[k].mean())
        own |= {
            f"top{k}": mean,
            f"ci95_top{k}": interval(found[k], texts),
            f"p_value_top{k}": permutation_p(mean, null),
        }
    return own


def _frequent(scores: SegmentScores, about: Candidates, texts: np.ndarray, n_frequent: int) -> dict[str, Any]:
    """Decode the most frequent words among themselves; every word counts alike."""
    heard = pd.Series(about.words[scores.true]).value_counts(sort=True)
    chosen = heard.index[:n_frequent]
    columns = np.flatnonzero(np.isin(about.words, chosen))
    rows = np.flatnonzero(np.isin(about.words[scores.true], chosen))
    of_words, vocabulary, _ = word_scores(scores.product[rows][:, columns], about.words[columns])
    true = np.searchsorted(vocabulary, about.words[scores.true][rows])
    own: dict[str, Any] = {"n_candidates": len(vocabulary), "n_windows": len(rows)}
    for k in (1, 10):
        right = _right(hits(of_words, k), true)
        by_word = pd.Series(right).groupby(true).mean()
        own |= {
            f"balanced_top{k}": float(by_word.mean()),
            f"top{k}": float(right.mean()),
            f"ci95_top{k}": interval(right, texts[rows]),
            f"chance_balanced_top{k}": min(1.0, k / len(vocabulary)),
        }
    return own


def _per_subject(
    found: dict[int, np.ndarray], table: pd.DataFrame, texts: np.ndarray
) -> dict[str, dict[str, Any]]:
    subjects = table["subject"].to_numpy(dtype=str)
    own = {}
    for subject in dict.fromkeys(subjects.tolist()):
        rows = subjects == subject
        own[subject] = {
            "n": int(rows.sum()),
            **{f"top{k}": float(found[k][rows].mean()) for k in PLACES},
            "ci95_top10": interval(found[10][rows], texts[rows]),
        }
    return own
