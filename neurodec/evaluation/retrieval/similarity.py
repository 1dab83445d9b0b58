"""Find the stimulus among candidates: similarities, ranks, and every k-way score from one forward pass.

The published evaluations draw distractors at random and run the encoder again for every k, with batches of one. Both
are unnecessary: the similarity of every response with every candidate is known after one pass, and the expected score
over all possible draws of distractors has a closed form in the rank of the true candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from neurodec.data.responses import View, blocks_of
from neurodec.errors import NeurodecError

_BLOCK = 1 << 28  # bytes of float64 rows that are compared at once
# Cosines closer than this are tied. Far below what float32 embeddings resolve and far above the rounding of the
# float64 product, so that equal candidates tie whatever the batching.
TIE = 1e-10
GalleryKind = Literal["stimulus", "concept_centre", "answer"]


@dataclass(frozen=True)
class Centre:
    """Where directions start: means over the training trials, of what is predicted and of what was shown.

    Both sides of a comparison are centred, whatever the decoder: one that shrinks its predictions to the mean target,
    as ridge does, and one that was trained on angles are ranked by the same rule.

    Parameters
    ----------
    prediction : ndarray, shape (D,) or (n_tokens, D)
    target : ndarray, shape (D,) or (n_tokens, D)
    """

    prediction: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Gallery:
    """Candidates for retrieval.

    Parameters
    ----------
    values : ndarray or View, shape (n_candidates, ...)
        One embedding, sequence or set of tokens per candidate; read in blocks.
    stimuli : sequence of str
        The stimulus that stands for each candidate (for a concept centre: the one shown).
    concepts : sequence of str
        The concept of each candidate.
    kind : {"stimulus", "concept_centre", "answer"}
        What a candidate is; an answer, such as a word, stands in the place of the concept.
    centre : Centre, optional
        Taken off predictions and candidates before they are compared; nothing by default.
    answers : sequence of str, optional
        What every candidate stands for, such as the word that a sound begins with.
    """

    values: np.ndarray | View
    stimuli: Sequence[str]
    concepts: Sequence[str]
    kind: GalleryKind = "stimulus"
    centre: Centre | None = None
    answers: Sequence[str] | None = None

    def true_index(self, table: pd.DataFrame) -> np.ndarray:
        """Return the candidate that belongs to each row of a trial table, shape (n_rows,).

        Raises
        ------
        NeurodecError
            If a row has no candidate.
        """
        column, names = ("stimulus", self.stimuli) if self.kind == "stimulus" else ("concept", self.concepts)
        index = pd.Index(names).get_indexer(table[column])
        if (index < 0).any():
            missing = table[column].to_numpy()[index < 0]
            raise NeurodecError(
                f"{len(set(missing))} tested {column}(s), first {missing[0]}, are not among the "
                f"{len(names)} retrieval candidates; add them to the stimulus table."
            )
        return index

    def similarity(self, z: np.ndarray) -> np.ndarray:
        """Return the cosine of every prediction (n, ...) with every candidate, shape (n, n_candidates)."""
        return similarity(z, self.values, centre=self.centre)


def concept_centres(values: np.ndarray, concepts: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Return the mean embedding of each wanted concept.

    Parameters
    ----------
    values : ndarray, shape (n_images, ...)
        Embeddings of images that were *not* shown: leave the stimulus itself out, as NICE (Song et al. 2024) does.
    concepts : sequence of str
        Concept of each image.
    wanted : sequence of str
        Concepts, in the order of the result.

    Returns
    -------
    ndarray, shape (len(wanted), ...), float64; not brought to unit length

    Raises
    ------
    NeurodecError
        If a concept has no image.
    """
    codes = pd.Index(wanted).get_indexer(np.asarray(concepts))
    counts = np.bincount(codes[codes >= 0], minlength=len(wanted))
    if (counts == 0).any():
        first = wanted[int(np.argmin(counts > 0))]
        raise NeurodecError(
            f"{(counts == 0).sum()} concept(s), first {first}, have no image besides the shown one; add images with "
            'split "gallery" to the stimulus table or use gallery: stimulus.'
        )
    centres = np.zeros((len(wanted), *values.shape[1:]))
    np.add.at(centres, codes[codes >= 0], values[codes >= 0])
    return centres / counts.reshape(-1, *[1] * (values.ndim - 1))


def unit_rows(values: np.ndarray | View, origin: np.ndarray | None = None) -> np.ndarray:
    """Return float64 rows of unit length, tokens flattened and less an origin; rows of zeros stay zero."""
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    flat = flat if origin is None else flat - origin.ravel()
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def similarity(
    z: np.ndarray | View,
    gallery: np.ndarray | View,
    *,
    renormalise: bool = True,
    centre: Centre | None = None,
) -> np.ndarray:
    """Return how similar every prediction is to every candidate.

    Parameters
    ----------
    z : ndarray or View, shape (n_test, ...)
        Predicted embeddings, of any length: they are brought to unit length.
    gallery : ndarray or View, shape (n_candidates, ...)
    renormalise : bool
        Cosine. False leaves the candidates' lengths in the product, as NICE's published code does with its concept
        centres, which favours concepts whose images are alike.
    centre : Centre, optional
        Taken off both sides first.

    Returns
    -------
    ndarray, shape (n_test, n_candidates), float64

    Raises
    ------
    NeurodecError
        If the widths differ, or a prediction or candidate is not finite.

    Notes
    -----
    Beside the result, memory is bounded by blocks of 256 MB, whatever the length of sequences.
    """
    width, other = (int(np.prod(side.shape[1:])) for side in (z, gallery))
    if width != other:
        raise NeurodecError(
            f"The encoder predicts {width} values but the candidates have {other}; use the features that the encoder "
            "was trained on."
        )
    origins = (None, None) if centre is None else (centre.prediction, centre.target)
    found = np.empty((len(z), len(gallery)))
    at_once = max(1, _BLOCK // (8 * max(width, 1)))
    for columns in blocks_of(len(gallery), at_once):
        candidates = gallery[columns]
        _require_finite(candidates, "candidate", columns.start)
        if renormalise:
            candidates = unit_rows(candidates, origins[1])
        else:
            candidates = np.asarray(candidates, np.float64).reshape(len(candidates), -1)
        for rows in blocks_of(len(z), at_once):
            if not columns.start:
                _require_finite(z[rows], "prediction", rows.start)
            found[rows, columns] = unit_rows(z[rows], origins[0]) @ candidates.T
    return found


def _require_finite(values: np.ndarray, name: str, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} {name}(s), first row {first + bad[0]}, hold NaN or infinity; check the responses and the "
            "training loss."
        )


def rank_bounds(similarities: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the worst rank that the true candidate can take, given ties.

    Parameters
    ----------
    similarities : ndarray, shape (n, n_candidates)
    true : ndarray of int, shape (n,) or (n, m)
        Candidate(s) of each row whose rank is asked.

    Returns
    -------
    best, worst : ndarray of int, shape of `true`
        From 1. Without ties they are equal; their mean is the rank that ties share.
    """
    true = np.asarray(true)
    columns = true if true.ndim == 2 else true[:, None]
    best, worst = (np.empty(columns.shape, dtype=np.int64) for _ in range(2))
    n_candidates = similarities.shape[1]
    for row, wanted in enumerate(columns):  # a sort per row: memory stays at one row
        ordered = np.sort(similarities[row])
        score = similarities[row, wanted]
        best[row] = 1 + n_candidates - np.searchsorted(ordered, score + TIE, side="right")
        worst[row] = n_candidates - np.searchsorted(ordered, score - TIE, side="left")
    return best.reshape(true.shape), worst.reshape(true.shape)


def expected_top(best: np.ndarray, worst: np.ndarray, n_candidates: int, k: int, m: int = 1) -> np.ndarray:
    """Return the chance that the true candidate is among the top `m` of `k`, over all draws of k - 1 distractors.

    With the true candidate at rank r of N, a draw of k - 1 of the N - 1 others holds j better ones with
    hypergeometric probability, and the true one is in the top m if j < m. For k = N that is ``r <= m``. Ties are
    broken at random: the mean over all ranks from best to worst. This is the exact expectation of the published
    sampled k-way accuracy, without its sampling noise.

    Parameters
    ----------
    best, worst : ndarray of int
        From `rank_bounds`.
    n_candidates : int
        N, the size of the full gallery.
    k : int
        Size of the drawn gallery, true candidate included.
    m : int
        How many guesses are allowed.

    Returns
    -------
    ndarray, shape of `best`

    Raises
    ------
    NeurodecError
        If `k` is not between 1 and `n_candidates`.
    """
    if not 1 <= k <= n_candidates:
        raise NeurodecError(f"{k}-way retrieval needs 1 to {n_candidates} candidates; change `k_way`.")
    ranks = np.arange(1, n_candidates + 1)
    hit = ranks <= m if k == n_candidates else hypergeom.cdf(m - 1, n_candidates - 1, ranks - 1, k - 1)
    upto = np.concatenate([[0.0], np.cumsum(hit, dtype=np.float64)])
    return (upto[worst] - upto[best - 1]) / (worst - best + 1)


def chance_top(k: int, m: int = 1) -> float:
    """Return the chance that a guess among `k` candidates has the true one in its top `m`."""
    return min(m, k) / k


def top_candidates(similarities: np.ndarray, k: int = 5) -> np.ndarray:
    """Return the `k` most similar candidates per row, best first, shape (n, k); ties in gallery order."""
    rounded = -np.round(similarities, 10)
    return np.argsort(rounded, axis=1, kind="stable")[:, :k]


def pooled_retrieval(scores: np.ndarray, pools: np.ndarray) -> dict[str, np.ndarray]:
    """Score retrieval both ways within pools of paired rows, as the NSD literature reports it.

    Used by MindEye, MindBridge and Brain-Diffuser with 30 pools of 300.

    Parameters
    ----------
    scores : ndarray, shape (n, n)
        Similarity of every response (rows) with every image (columns); response i saw image i.
    pools : ndarray of int, shape (n_pools, pool)
        Rows that make up each pool.

    Returns
    -------
    dict of ndarray, shape (n_pools,)
        `image_retrieval`: share of responses whose best image is their own; `image_retrieval_top5`;
        `brain_retrieval`: share of images whose best response is their own. Chance is 1 / pool.
    """
    diagonal = np.arange(pools.shape[1])
    shares: dict[str, list[float]] = {
        "image_retrieval": [],
        "image_retrieval_top5": [],
        "brain_retrieval": [],
    }
    for pool in pools:
        block = scores[np.ix_(pool, pool)]
        for name, side, m in (
            ("image_retrieval", block, 1),
            ("image_retrieval_top5", block, 5),
            ("brain_retrieval", block.T, 1),
        ):
            ranks = rank_bounds(side, diagonal)
            shares[name].append(float(expected_top(*ranks, len(pool), len(pool), m).mean()))
    return {name: np.asarray(values) for name, values in shares.items()}
