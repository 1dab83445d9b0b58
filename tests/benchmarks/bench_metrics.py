"""Scores of 1,000 reconstructions against a plain loop over pairs, as the published scripts have it.

Run: ``python tests/benchmarks/bench_metrics.py``. The loops call numpy's `corrcoef` for every pair of feature rows
(982 x 982 times in Takagi & Nishimoto's script), torchvision's resize, `corrcoef` and scikit-image's
`structural_similarity` picture by picture. Where a time grows evenly with the number of pictures it is taken on a few
and multiplied, which the lines say. Both give the same numbers. One torch thread; best of several turns, because other
programs only slow one down.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms.v2 import functional as V

from neurodec.evaluation.reconstruction.measures import pixel_scores, two_way
from neurodec.evaluation.reconstruction.picture_sets import Resize, as_pairs

N, SIZE = 1000, 425
N_FEATURES = 57_600  # of AlexNet(5) at 256 pixels
N_LOOPED_RECONS, N_PICTURES = 2, 20


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
    name: str,
    loop: Callable[[], np.ndarray],
    ours: Callable[[], np.ndarray],
    n_done: tuple[int, int],
    n_rounds: int,
) -> None:
    """Time both in turn, check that they agree, and print one line.

    Parameters
    ----------
    name : str
    loop, ours : callable
        Score the first pictures.
    n_done : tuple of int
        How many the loop scores, and how many we do.
    n_rounds : int
    """
    seconds, found = ([], []), ([], [])
    for _ in range(n_rounds):
        for place, run in enumerate((loop, ours)):
            start = time.perf_counter()
            found[place].append(run())
            seconds[place].append(time.perf_counter() - start)
    if np.abs(found[0][0] - found[1][0][: n_done[0]]).max() > 1e-4:
        raise SystemExit(f"{name} differs from the loop")
    theirs, own = (min(times) * N / n for times, n in zip(seconds, n_done, strict=True))
    print(
        f"{name} of {N} pictures: loop {theirs:.1f} s (from {n_done[0]} pictures), ours {own:.2f} s "
        f"(from {n_done[1]}), ratio {theirs / own:.1f}x"
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
        (N_LOOPED_RECONS, N),
        n_rounds=3,
    )
    seen, made = rng.integers(0, 256, (2, N_PICTURES, 3, 256, 256), dtype=np.uint8)
    compare(
        "PixCorr and SSIM",
        lambda: looped_pixels(seen, made),
        lambda: np.stack(pixel_scores(as_pairs(seen, made), [Resize(SIZE)], "2d"), axis=1),
        (N_PICTURES, N_PICTURES),
        n_rounds=10,
    )


if __name__ == "__main__":
    main()
