"""Encoders of voxels under a population prior: what the voxels of other people are like, and what this one answered.

Where voxels really are Gaussian this is the best possible encoder: no network has a smaller expected squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders, require_context
from neurodec.linear.voxel_ridge import RidgeEncoding, solve_left_out, with_noise

_AT_ONCE = 4096  # voxels
_NOISES = np.logspace(-2, 1, 25)  # variances that are tried; responses are z-scored


@dataclass(frozen=True)
class PopulationPrior:
    """Mean and covariance of ``[weights, bias]`` over the voxels of a population.

    Parameters
    ----------
    mean : ndarray, shape (E + 1,)
    covariance : ndarray, shape (E + 1, E + 1)
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def isotropic(cls, n_embed: int, weight_sd: float = 1.0, bias_sd: float = 0.3) -> PopulationPrior:
        """Return a prior that knows nothing of any direction."""
        return cls(np.zeros(n_embed + 1), np.diag([weight_sd**2] * n_embed + [bias_sd**2]))

    @classmethod
    def of(cls, subjects: Sequence[tuple[np.ndarray, np.ndarray]], n_iter: int = 20) -> PopulationPrior:
        """Estimate the prior from people with many pictures, by expectation maximisation.

        The covariance of ridge weights would add the error of these weights to their spread; here every voxel's
        posterior covariance takes part, so that noise is not taken for variety.

        Parameters
        ----------
        subjects : sequence of (images, responses)
            Shapes (n, E) and (n, V) of every person.
        n_iter : int

        Notes
        -----
        Every iteration costs O(E^3 + E^2 V): pictures enter by their inner products alone.
        """
        moments = []
        for images, responses in subjects:
            x = _with_one(images)
            y = np.asarray(responses, dtype=np.float64)
            moments.append((x.T @ x, x.T @ y, np.square(y).sum(axis=0), len(y)))
        n_embed = moments[0][0].shape[0] - 1
        spread = np.mean([squares.sum() / (n * len(squares)) for *_, squares, n in moments])
        start = cls.isotropic(n_embed, np.sqrt(spread), np.sqrt(spread) / 2)
        prior, noises = start, [np.full(len(squares), 0.8 * spread) for *_, squares, _ in moments]
        for _ in range(n_iter):
            means, covariance, n_voxels = [], np.zeros_like(prior.covariance), 0
            for place, (gram, cross, squares, n) in enumerate(moments):
                found, spread_of = prior._posterior(gram, cross, noises[place])
                explained = (found * (2 * cross.T - found @ gram)).sum(axis=1)
                freedom = spread_of.free(gram)
                noises[place] = np.maximum((squares - explained + freedom) / n, 1e-3 * spread)
                means.append(found)
                covariance += spread_of.total()
                n_voxels += len(found)
            everyone = np.concatenate(means)
            mean = everyone.mean(axis=0)
            centred = everyone - mean
            prior = cls(mean, (centred.T @ centred + covariance) / n_voxels)
        return prior

    def posterior(
        self, images: np.ndarray, responses: np.ndarray, noise_var: np.ndarray
    ) -> tuple[np.ndarray, _Spread]:
        """Return the posterior means (V, E + 1) of voxels with known noise, and their covariances.

        Parameters
        ----------
        images : ndarray, shape (n, E)
        responses : ndarray, shape (n, V)
        noise_var : ndarray, shape (V,)
        """
        x = _with_one(images)
        return self._posterior(x.T @ x, x.T @ np.asarray(responses, dtype=np.float64), noise_var)

    def likely_noise(self, images: np.ndarray, responses: np.ndarray) -> np.ndarray:
        """Return every voxel's noise variance at which its responses are most likely, shape (V,)."""
        x, y = _with_one(images), np.asarray(responses, dtype=np.float64)
        residual = y - (x @ self.mean)[:, None]
        scaled = x @ self._root
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        projected = np.square(vectors.T @ (scaled.T @ residual))  # (E + 1, V)
        total, values = np.square(residual).sum(axis=0), np.maximum(values, 0.0)
        likelihood = np.stack(
            [
                -len(x) * np.log(noise)
                - np.log1p(values / noise).sum()
                - (total - (1 / (noise + values)) @ projected) / noise
                for noise in _NOISES
            ]
        )
        return _NOISES[likelihood.argmax(axis=0)]

    @property
    def _root(self) -> np.ndarray:
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 1e-10 * values[-1]))

    def _posterior(
        self, gram: np.ndarray, cross: np.ndarray, noise_var: np.ndarray
    ) -> tuple[np.ndarray, _Spread]:
        root = self._root
        values, vectors = np.linalg.eigh(root.T @ gram @ root)
        basis, values = (
            root @ vectors,
            np.maximum(values, 0.0),
        )  # whitened by the prior, and diagonal in the data
        projected = basis.T @ (cross - (gram @ self.mean)[:, None])  # (E + 1, V)
        found = np.empty((cross.shape[1], len(self.mean)))
        for start in range(0, len(found), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found[part] = (projected[:, part] / (noise_var[part] + values[:, None])).T @ basis.T + self.mean
        return found, _Spread(basis, values, noise_var)


@dataclass(frozen=True)
class _Spread:
    """Posterior covariances of all voxels: ``basis diag(1 / (1 + values / noise)) basis'``."""

    basis: np.ndarray
    values: np.ndarray
    noise_var: np.ndarray

    def total(self) -> np.ndarray:
        """Return the sum over voxels."""
        return (self.basis * self._kept().sum(axis=1)) @ self.basis.T

    def free(self, gram: np.ndarray) -> np.ndarray:
        """Return the trace of every covariance times a matrix, shape (V,)."""
        return np.einsum("ji,jk,ki->i", self.basis, gram, self.basis, optimize=True) @ self._kept()

    def _kept(self) -> np.ndarray:
        return 1 / (1 + self.values[:, None] / self.noise_var)


def _with_one(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images, dtype=np.float64)
    return np.column_stack([images, np.ones(len(images))])


class PriorEncoding(Encoding):
    """The mean of a voxel's encoder, given its answers and a population prior.

    Parameters
    ----------
    prior : PopulationPrior, optional
        Estimated from the training subjects, or given.
    rank : int
        Shared noise factors that are kept; see `noise_of`.
    """

    def __init__(self, prior: PopulationPrior | None = None, rank: int = 10) -> None:
        self.prior, self.rank = prior, rank

    def encode(
        self,
        images: np.ndarray,
        responses: np.ndarray,
        voxels: Sequence[Any],
        about: dict[str, Any] | None = None,
    ) -> VoxelEncoders:
        """Solve; see `Encoding.encode`. The noise is that at which the responses are most likely."""
        prior = self.prior or PopulationPrior.isotropic(images.shape[1])
        require_context(images, responses, len(prior.mean) - 1)
        noise = prior.likely_noise(images, responses)
        found, spread = prior.posterior(images, responses, noise)
        x = _with_one(images)
        uncertainty = spread.free(x.T @ x / len(x))
        *_, residuals = solve_left_out(images, responses, RidgeEncoding().alphas)
        encoders = with_noise(
            found[:, :-1], found[:, -1], responses, residuals, voxels, self.rank, about, len(x), uncertainty
        )
        # Residuals of ridge hold the error of ridge as well; here noise and the encoder's own error are separated.
        own = np.maximum(noise - np.square(encoders.noise_factors).sum(axis=1), 0.05 * noise)
        return replace(encoders, noise_var=np.minimum(own, encoders.noise_var).astype(np.float32))
