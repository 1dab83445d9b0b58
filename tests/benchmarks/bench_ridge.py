"""The ridge engine: many targets from one decomposition, and a whole leave-one-subject-out fold.

Run: ``python tests/benchmarks/bench_ridge.py [--fraction 1.0]``. The first part solves 334 targets of 768 values (the
tokens of Brain-Diffuser) at fixed penalties, against scikit-learn once per token as its authors do, and compares the
weights; both are timed on a few tokens. The ratio grows with the rows, whose
square scikit-learn pays for every token. The second fits the baseline of a leave-one-subject-out fold of
THINGS-EEG2: 9 subjects x 16,540 pictures, 63 channels in 50 bins, 1,024 target values, 17 penalties by 5 folds.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from sklearn.linear_model import Ridge as Reference

from neurodec.linear.ridge import Ridge
from neurodec.linear.solvers import Factor

N_TOKENS, WIDTH, N_ROWS, N_VOXELS, ALPHA = 334, 768, 3000, 6000, 60000.0
N_TIMED = 5


def many_targets() -> None:
    """Solve all tokens from one decomposition, and some of them one by one."""
    rng = np.random.default_rng(0)
    voxels = rng.standard_normal((N_ROWS, N_VOXELS))
    voxels -= voxels.mean(axis=0)
    tokens = rng.standard_normal((N_TOKENS, N_ROWS, WIDTH), dtype=np.float32)
    started = time.perf_counter()
    operator = Factor.of(voxels).operator(ALPHA)
    set_up = time.perf_counter() - started
    started = time.perf_counter()
    weights = [(operator @ torch.as_tensor(token - token.mean(axis=0))).numpy() for token in tokens[:N_TIMED]]
    each = (time.perf_counter() - started) / N_TIMED
    ours = set_up + each * N_TOKENS
    started = time.perf_counter()
    for place in range(N_TIMED):
        reference = Reference(alpha=ALPHA).fit(voxels, tokens[place].astype(np.float64))
        np.testing.assert_allclose(weights[place], reference.coef_.T, atol=1e-6)
    theirs = (time.perf_counter() - started) / N_TIMED * N_TOKENS
    print(f"{N_TOKENS} targets of {WIDTH} values, {N_ROWS} x {N_VOXELS}: {ours:.0f} s from one decomposition ("
          f"{set_up:.0f} s, and {each:.2f} s per target), {theirs:.0f} s one by one with scikit-learn: "
          f"{theirs / ours:.0f} times, equal weights")  # fmt: skip


def whole_fold(fraction: float) -> None:
    """Fit the linear baseline of a leave-one-subject-out fold."""
    rng = np.random.default_rng(0)
    n_stimuli = int(16_540 * fraction)
    features = rng.standard_normal((9 * n_stimuli, 63, 50), dtype=np.float32)
    targets = np.tile(rng.standard_normal((n_stimuli, 1024), dtype=np.float32), (9, 1))
    concepts = np.tile(np.arange(n_stimuli) // 10, 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.perf_counter()
    Ridge(np.logspace(-2, 6, 17), n_folds=5).fit(features, targets, groups=concepts)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    held = (features.nbytes + targets.nbytes) / 2**30
    print(f"leave-one-subject-out fold, {len(features)} x 3150 -> 1024: {seconds:.0f} s, peak memory {peak:.1f} GiB, "
          f"of which responses and targets {held:.1f} GiB (before the fit {before:.1f} GiB)")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="share of the pictures of the second part"
    )
    chosen = parser.parse_args()
    whole_fold(chosen.fraction)
    many_targets()
