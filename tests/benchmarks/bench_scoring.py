"""Scoring the seven picture sets of a report at once, against one set after the other.

Run: ``python tests/benchmarks/bench_scoring.py``. One at a time every network is loaded for every set and sees the same
targets again. Together each is loaded once, the targets pass once, and so do pictures that two sets share (the brain's
and the shuffled ones). Six sets hold pictures of their own, which have to pass: 14 passes become 7, so where passes
count the ratio ends at 2; where loading counts, at 7. Random weights under the real file names.
"""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np
import torch
from torchvision import models

from neurodec.evaluation.reconstruction.judging_networks import NETWORKS
from neurodec.evaluation.reconstruction.picture_scores import score_reconstructions, score_sets

NAMES = ("alexnet_2", "alexnet_5", "inception_v3", "efficientnet_b1", "swav_resnet50", "tiny_clip")
N_SETS, DRAWS = 7, {"n_permutations": 1000}


def write_weights() -> None:
    """Write random weights where the package looks for published ones."""
    torch.manual_seed(0)
    for name in NAMES[:4]:
        weights = NETWORKS[name].weights
        weights.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights.build().state_dict(), weights.path)
    swav = {f"module.{name}": value for name, value in models.resnet50().state_dict().items()}
    swav = {name: value for name, value in swav.items() if ".fc." not in name}
    torch.save(swav, NETWORKS["swav_resnet50"].weights.path)


def pictures(seed: int, n: int) -> np.ndarray:
    """Return random pictures of 64 pixels a side."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8))
    return np.kron(coarse, np.ones((8, 8))).astype(np.uint8)


def main(sizes: tuple[int, ...] = (10, 50)) -> dict[int, float]:
    """Time both ways at several numbers of pictures, and compare every number; return the ratios."""
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = folder
        write_weights()
        for n in sizes:
            targets, sets = pictures(0, n), {str(place): pictures(place, n) for place in range(1, N_SETS)}
            sets["shuffled"] = np.roll(sets["1"], 1, axis=0)
            options = {"networks": NAMES, **DRAWS}
            started = time.perf_counter()
            alone = {name: score_reconstructions(targets, own, **options) for name, own in sets.items()}
            middle = time.perf_counter()
            together = score_sets(targets, sets, **options)
            seconds = middle - started, time.perf_counter() - middle
            for name, scores in alone.items():
                np.testing.assert_allclose(
                    scores.table.to_numpy(float), together[name].table.to_numpy(float), atol=1e-5
                )
            print(f"{N_SETS} sets of {n}: {seconds[0]:.1f} s one by one, {seconds[1]:.1f} s together: "
                  f"{seconds[0] / seconds[1]:.1f} times")  # fmt: skip
            ratios[n] = seconds[0] / seconds[1]
    return ratios


if __name__ == "__main__":
    main()
