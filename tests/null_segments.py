"""Segments of speech that say nothing of the brain: overlapping windows, smooth features, smooth noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from neurodec.evaluation.retrieval.similarity import Centre
from neurodec.evaluation.segments.segment_scores import SegmentScores, sequence_products
from neurodec.evaluation.segments.segment_summary import Candidates

N_FEATURES, N_TIMES, STEP = 4, 60, 8  # a window of 60 samples, words 8 samples apart


def null_segments(
    seed: int, n_texts: int = 12, n_subjects: int = 2, signal: float = 0.0
) -> tuple[SegmentScores, Candidates]:
    """Return scores of predictions that are noise, and hold `signal` times what was heard."""
    rng = np.random.default_rng(seed)
    candidates, rows, tables = [], [], []
    texts = [(text, int(rng.integers(6, 14))) for text in range(n_texts)]
    heard = []
    for _, n_words in texts:
        series = gaussian_filter1d(rng.standard_normal((N_FEATURES, n_words * STEP + N_TIMES)), 4, axis=1)
        heard.append(series / series.std())
        candidates += [heard[-1][:, STEP * word : STEP * word + N_TIMES] for word in range(n_words)]
    for subject in range(n_subjects):
        for (text, n_words), series in zip(texts, heard, strict=True):
            noise = gaussian_filter1d(rng.standard_normal(series.shape), 6, axis=1)
            found = signal * series + noise / noise.std()
            rows += [found[:, STEP * word : STEP * word + N_TIMES] for word in range(n_words)]
            about = {"subject": str(subject), "session": "1", "run": "1", "block": f"text {text}"}
            tables.append(pd.DataFrame({**about, "onset": STEP * np.arange(n_words)}))
    blocks = np.concatenate([[f"text {text}"] * n_words for text, n_words in texts])
    words = rng.choice([f"word {number}" for number in range(25)], len(blocks))
    zero = np.zeros((N_FEATURES, N_TIMES))
    cosine, product = sequence_products(np.stack(rows), np.stack(candidates), Centre(zero, zero))
    true = np.tile(np.arange(len(blocks)), n_subjects)
    return SegmentScores(cosine, product, true, pd.concat(tables, ignore_index=True)), Candidates(
        blocks, words
    )
