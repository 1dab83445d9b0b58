"""Neighbouring windows of one sentence, scored together."""

from __future__ import annotations

import itertools

import numpy as np

from neurodec.evaluation.segments.segment_scores import SegmentScores


def in_context(scores: SegmentScores, blocks: np.ndarray, reach: int) -> SegmentScores:
    """Return scores to which the neighbours of a window add theirs for the neighbours of a candidate.

    Scores are z-scored over the candidates of a window, since windows differ in how far scores spread. Sums of as many
    scores are divided by their deviation, so that candidates at the edge of a text, which have fewer neighbours, are
    neither preferred nor passed over where nothing is decoded.

    Parameters
    ----------
    scores : SegmentScores
    blocks : ndarray, shape (n_candidates,)
        Text of every candidate; candidates of one text follow each other in time.
    reach : int
        Words before and after.
    """
    cosine = scores.cosine
    z = (cosine - cosine.mean(axis=1, keepdims=True)) / np.maximum(cosine.std(axis=1, keepdims=True), 1e-12)
    table = scores.table
    keys = table["subject"] + "/" + table["session"] + "/" + table["run"] + "/" + table["block"]
    order = np.lexsort((table["onset"].to_numpy(dtype=float), keys.to_numpy(dtype=str)))
    groups = keys.to_numpy(dtype=str)[order]
    found, counts = np.empty_like(z), np.empty(z.shape, dtype=np.int8)
    edges = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1], True])
    for first, last in itertools.pairwise(edges):
        rows = order[first:last]
        found[rows], counts[rows] = _joined(z[rows], blocks, reach)
    for count in np.unique(counts):
        alike = counts == count
        found[alike] /= max(float(found[alike].std()), 1e-12)
    return SegmentScores(found, scores.product, scores.true, table)


def _joined(z: np.ndarray, blocks: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Add up scores along the diagonals of one text's windows (rows, in order) and all candidates."""
    total, count = np.zeros_like(z), np.zeros(z.shape, dtype=np.int8)
    n_rows, n_candidates = z.shape
    for step in range(-reach, reach + 1):
        rows = slice(max(0, -step), n_rows - max(0, step))
        columns = slice(max(0, -step), n_candidates - max(0, step))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        shifted_rows = slice(rows.start + step, rows.stop + step)
        shifted = slice(columns.start + step, columns.stop + step)
        same = blocks[columns] == blocks[shifted]
        total[rows, columns] += np.where(same, z[shifted_rows, shifted], 0.0)
        count[rows, columns] += same
    return total, count
