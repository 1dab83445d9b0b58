"""Ridge encoders of voxels, each with a penalty of its own, all from one decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders, noise_of, require_context, varying

_AT_ONCE = 4096  # voxels


@dataclass
class RidgeEncoding(Encoding):
    """Ridge with the penalty that leave-one-out cross-validation chooses for every voxel.

    Parameters
    ----------
    alphas : list of float
        Penalties, in the scale of the eigenvalues of the centred embeddings' inner products divided by their mean.
    rank : int
        Shared noise factors that are kept; see `noise_of`.

    Notes
    -----
    With the hat matrix ``H = U diag(L / (L + alpha)) U' + 1/n`` (the intercept is not penalised) the leave-one-out
    error is ``(y - H y) / (1 - diag H)``, exactly, without a refit. Cost: O(n^3 + n^2 n_voxels n_alphas).
    """

    alphas: list[float] = field(default_factory=lambda: np.logspace(-3, 4, 15).tolist())
    rank: int = 10

    def encode(
        self,
        images: np.ndarray,
        responses: np.ndarray,
        voxels: Sequence[Any],
        about: dict[str, Any] | None = None,
    ) -> VoxelEncoders:
        """Solve; see `Encoding.encode`."""
        require_context(images, responses)
        weights, bias, residuals = solve_left_out(images, responses, self.alphas)
        return with_noise(weights, bias, responses, residuals, voxels, self.rank, about, len(images))


def solve_left_out(
    images: np.ndarray, responses: np.ndarray, alphas: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (V, E), bias (V,) and leave-one-out residuals (n, V) at every voxel's best penalty.

    Parameters
    ----------
    images : ndarray, shape (n, E)
    responses : ndarray, shape (n, V)
    alphas : sequence of float
        See `RidgeEncoding`.
    """
    x, y = np.asarray(images, dtype=np.float64), np.asarray(responses, dtype=np.float64)
    n, n_voxels = y.shape
    if n == 1:  # one picture tells the voxel's level and no more
        return np.zeros((n_voxels, x.shape[1])), y[0].copy(), y.copy()
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    values = singular**2
    penalties = np.asarray(alphas) * max(values.mean(), 1e-12)
    shrink = values / (values + penalties[:, None])  # (n_alphas, r)
    leverage = np.square(left) @ shrink.T + 1 / n  # (n, n_alphas)
    weights, residuals = np.empty((n_voxels, x.shape[1])), np.empty((n, n_voxels))
    for start in range(0, n_voxels, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        projected = left.T @ y[:, part]  # (r, v)
        best = np.full(projected.shape[1], np.inf)
        chosen = np.zeros(projected.shape[1], dtype=int)
        for number, row in enumerate(shrink):
            free = np.maximum(1 - leverage[:, number], 1e-9)[:, None]
            error = (y[:, part] - left @ (row[:, None] * projected)) / free
            total = np.square(error).sum(axis=0)
            better = total < best
            best[better], chosen[better] = total[better], number
            residuals[:, part][:, better] = error[:, better]
        scaled = projected * (singular[:, None] / (values[:, None] + penalties[chosen]))
        weights[part] = scaled.T @ right
    return weights, mean_y - weights @ mean_x, residuals


def with_noise(
    weights: np.ndarray,
    bias: np.ndarray,
    responses: np.ndarray,
    residuals: np.ndarray,
    voxels: Sequence[Any],
    rank: int,
    about: dict[str, Any] | None,
    n_context: int,
    uncertainty: np.ndarray | None = None,
) -> VoxelEncoders:
    """Return encoders with the noise that left-out residuals tell; voxels that never vary get no weight, nor trust."""
    kept = varying(responses)
    noise_var, factors = noise_of(residuals, rank)
    spread = np.maximum(responses.var(axis=0), 1e-12)
    accuracy = np.where(kept, 1 - np.square(residuals).mean(axis=0) / spread, -np.inf)
    weights = np.where(kept[:, None], weights, 0.0)
    return VoxelEncoders(
        weights.astype(np.float32),
        np.asarray(bias, dtype=np.float32),
        np.where(kept, noise_var, 1e6).astype(np.float32),
        list(voxels),
        accuracy.astype(np.float32),
        np.where(kept[:, None], factors, 0.0).astype(np.float32),
        (np.zeros(len(weights)) if uncertainty is None else uncertainty).astype(np.float32),
        {"n_context": n_context, **(about or {})},
    )
