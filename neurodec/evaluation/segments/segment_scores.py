"""How much every candidate segment fits every window, computed in blocks: sequences are too long to keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurodec.data import Study
from neurodec.data.responses import View, blocks_of
from neurodec.evaluation.retrieval.similarity import Centre
from neurodec.evaluation.section import Predictor
from neurodec.files import track

_ROWS = 512  # windows predicted at once
_CANDIDATES = 128
_TINY = 1e-12


@dataclass(frozen=True)
class SegmentScores:
    """How much every candidate fits every test window.

    Parameters
    ----------
    cosine : ndarray, shape (n_windows, n_candidates), float32
        Cosine of prediction and candidate, each less its mean over training windows: the rule of all rankings here.
    product : ndarray, shape (n_windows, n_candidates), float32
        Product with the candidate of unit length, as published; its softmax gives probabilities.
    true : ndarray of int, shape (n_windows,)
        The candidate that was heard.
    table : DataFrame
        `subject`, `session`, `run`, `onset` and `block` of every window.
    """

    cosine: np.ndarray
    product: np.ndarray
    true: np.ndarray
    table: pd.DataFrame

    @property
    def n_candidates(self) -> int:
        """Size of the gallery."""
        return self.cosine.shape[1]


def segment_scores(
    system: Predictor,
    head: str,
    study: Study,
    candidates: View | np.ndarray,
    names: list[str],
    centre: Centre,
) -> SegmentScores:
    """Predict test windows a block at a time, and score all candidates for each.

    Parameters
    ----------
    system : Predictor
    head : str
        Name of the prediction.
    study : Study
        Test windows.
    candidates : View or ndarray, shape (n_candidates, n_features, n_times)
        As the system compares them.
    names : list of str
        Stimulus of every candidate.
    centre : Centre

    Notes
    -----
    Memory: 512 predictions in double precision, 128 candidates, and the result.
    """
    cosines, products, tables = [], [], []
    lengths = _lengths(candidates, centre)
    total = sum(-(-len(trials) // _ROWS) for trials in study.spaces.values())
    for rows in track(_parts(study), "segments", total=total):
        found = system.predict(rows)
        cosine, product = sequence_products(np.asarray(found.of(head)), candidates, centre, lengths)
        cosines.append(cosine)
        products.append(product)
        tables.append(found.table)
    table = pd.concat(tables, ignore_index=True)
    true = pd.Index(names).get_indexer(table["stimulus"])
    return SegmentScores(np.concatenate(cosines), np.concatenate(products), true, table)


def _parts(study: Study) -> Iterator[Study]:
    for name, trials in study.spaces.items():
        for rows in blocks_of(len(trials), _ROWS):
            yield Study({name: trials.select(np.arange(rows.start, rows.stop))}, study.stimuli)


def _lengths(candidates: View | np.ndarray, centre: Centre) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every candidate's length, its length less the centre, and its product with the centre of predictions."""
    target, prediction = np.ravel(centre.target), np.ravel(centre.prediction)
    plain, centred, shared = [], [], []
    for columns in blocks_of(len(candidates), _CANDIDATES):
        block = _flat(candidates[columns])
        plain.append(np.linalg.norm(block, axis=1))
        centred.append(np.linalg.norm(block - target, axis=1))
        shared.append(block @ prediction)
    return np.concatenate(plain), np.concatenate(centred), np.concatenate(shared)


def sequence_products(
    found: np.ndarray,
    candidates: View | np.ndarray,
    centre: Centre,
    lengths: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return centred cosines, and products with candidates of unit length, from one pass over the candidates.

    Parameters
    ----------
    found : ndarray, shape (n, n_features, n_times)
        Predictions.
    candidates : View or ndarray, shape (n_candidates, n_features, n_times)
    centre : Centre
    lengths : tuple of ndarray, optional
        What was computed of the candidates before.

    Returns
    -------
    cosine, product : ndarray, shape (n, n_candidates), float32
    """
    plain, centred, shared = lengths or _lengths(candidates, centre)
    target, prediction = np.ravel(centre.target), np.ravel(centre.prediction)
    rows = _flat(found)
    of_rows = np.linalg.norm(rows - prediction, axis=1)
    raw = np.empty((len(rows), len(candidates)))
    for columns in blocks_of(len(candidates), _CANDIDATES):
        raw[:, columns] = rows @ _flat(candidates[columns]).T
    inner = raw - (rows @ target)[:, None] - shared + prediction @ target
    cosine = inner / np.maximum(of_rows[:, None] * centred, _TINY)
    product = raw / np.maximum(plain, 1e-8)
    return cosine.astype(np.float32), product.astype(np.float32)


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


class NoiseResponses(View):
    """Gaussian noise in place of responses, the same for the same row: what remains of a score is no decoding.

    Parameters
    ----------
    shape : tuple of int
    size : float
        Standard deviation.
    seed : int
    """

    dtype = np.dtype(np.float32)

    def __init__(self, shape: tuple[int, ...], size: float, seed: int) -> None:
        self.shape, self.size, self.seed = shape, size, seed

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows."""
        drawn = [
            np.random.default_rng([self.seed, int(row)]).standard_normal(self.shape[1:], dtype=np.float32)
            for row in rows
        ]
        return np.float32(self.size) * np.stack(drawn)
