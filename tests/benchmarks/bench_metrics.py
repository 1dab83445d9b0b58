"""Scores of 1,000 reconstructions against a plain loop over pairs, as the published scripts have it.

Run: ``python tests/benchmarks/bench_metrics.py``. The loops call numpy's `corrcoef` for every pair of feature rows
(982 x 982 times in Takagi & Nishimoto's script), torchvision's resize, `corrcoef` and scikit-image's
`structural_similarity` picture by picture. A loop is timed on part of the work and its time multiplied, which the line
says; ours is timed on all of it. Both give the same numbers. One torch thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms.v2 import functional as V

from neurodec.evaluation.pictures import Resize, as_pairs
from neurodec.evaluation.reconstruction import pixel_scores, two_way

N, SIZE = 1000, 425
N_FEATURES = 57_600  # of AlexNet(5) at 256 pixels
N_LOOPED_RECONS, N_LOOPED_PICTURES = 4, 25


def looped_two_way(targets: np.ndarray, recons: np.ndarray, n_recons: int) -> np.ndarray:
    """Identify the first reconstructions, one pair of rows at a time."""
    found = []
    for j in range(n_recons):
        r = [np.corrcoef(target, recons[j])[0, 1] for target in targets]
        found.append(sum(value < r[j] for value in r) / (len(targets) - 1))
    return np.array(found)


def looped_pixels(targets: np.ndarray, recons: np.ndarray) -> np.ndarray:
    """Resize, correlate and compare one pair at a time; shape (n, 2)."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    found = []
    for pair in zip(targets, recons, strict=True):
        a, b = (
            V.resize(torch.from_numpy(one).float() / 255, [SIZE, SIZE], antialias=True).numpy()
            for one in pair
        )
        greys = (rgb2gray(one.transpose(1, 2, 0)) for one in (a, b))
        found.append((np.corrcoef(a.ravel(), b.ravel())[0, 1], structural_similarity(*greys, **settings)))
    return np.array(found)


def compare(
    name: str, loop: Callable[[], np.ndarray], whole: Callable[[], np.ndarray], n_looped: int
) -> None:
    """Time both, check that they agree, and print one line."""
    start = time.perf_counter()
    expected = loop()
    theirs = (time.perf_counter() - start) * N / n_looped
    start = time.perf_counter()
    found = whole()
    ours = time.perf_counter() - start
    if np.abs(found[:n_looped] - expected).max() > 1e-4:
        raise SystemExit(f"{name} differs from the loop")
    print(
        f"{name} of {N} pictures: loop {theirs:.1f} s (extrapolated from {n_looped}), ours {ours:.2f} s, "
        f"ratio {theirs / ours:.1f}x"
    )


def main() -> None:
    """Compare on random features and random pictures of 256 pixels."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((N, N_FEATURES), dtype=np.float32)
    recons = 0.02 * targets + rng.standard_normal((N, N_FEATURES), dtype=np.float32)
    compare(
        f"two-way ({N_FEATURES} features)",
        lambda: looped_two_way(targets, recons, N_LOOPED_RECONS),
        lambda: two_way(targets, recons),
        N_LOOPED_RECONS,
    )
    seen, made = rng.integers(0, 256, (2, N, 3, 256, 256), dtype=np.uint8)
    compare(
        "PixCorr and SSIM",
        lambda: looped_pixels(seen[:N_LOOPED_PICTURES], made[:N_LOOPED_PICTURES]),
        lambda: np.stack(pixel_scores(as_pairs(seen, made), [Resize(SIZE)], "2d"), axis=1),
        N_LOOPED_PICTURES,
    )


if __name__ == "__main__":
    main()
