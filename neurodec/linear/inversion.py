"""From encoders of voxels back to what was seen: Bayesian inversion, and identification by likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neurodec.errors import NeurodecError, reading
from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders

_TEMPERATURES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class Inversion(ABC):
    """Turns responses of voxels with known encoders into embeddings."""

    @abstractmethod
    def decode(self, encoders: VoxelEncoders, responses: np.ndarray) -> np.ndarray:
        """Return embeddings, shape (n, n_embed).

        Parameters
        ----------
        encoders : VoxelEncoders
        responses : ndarray, shape (n, n_voxels)
            Of the same voxels in the same order, z-scored as those that the encoders are of.
        """

    def calibrated(
        self, encoding: Encoding, images: np.ndarray, responses: np.ndarray, voxels: Sequence
    ) -> Inversion:
        """Return the inversion with what a person's own context can tell it; itself where that is nothing."""
        return self


@dataclass(frozen=True)
class Gallery:
    """What pictures are like before any response: mean and covariance of embeddings, none of them of the test set.

    Parameters
    ----------
    mean : ndarray, shape (E,)
    covariance : ndarray, shape (E, E)
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray) -> Gallery:
        """Estimate them, with the covariance shrunk a little towards its mean variance."""
        x = np.asarray(embeddings, dtype=np.float64)
        mean = x.mean(axis=0)
        covariance = (x - mean).T @ (x - mean) / max(1, len(x) - 1)
        level = np.trace(covariance) / len(mean)
        weight = min(0.5, len(mean) / (10 * max(1, len(x))))
        return cls(mean, (1 - weight) * covariance + max(weight, 1e-3) * level * np.eye(len(mean)))


@dataclass(frozen=True)
class BayesianInversion(Inversion):
    """The mean of what was seen, given the responses, linear encoders and Gaussian noise.

    ``x = m + (C^-1 + W' S^-1 W)^-1 W' S^-1 (y - b - W m)`` with the noise `S` of every voxel's own variance, the
    uncertainty of its encoder, and noise that voxels share (Woodbury), times a temperature.

    Parameters
    ----------
    gallery : Gallery
    temperature : float
        What `S` is multiplied with: voxels share more noise than a few factors tell, so that 1 is over-confident.
        `calibrated` chooses it on the person's own context.
    shared : bool
        Take the shared noise into account.

    Notes
    -----
    One E x E system per person serves all trials; `W' S^-1 W` costs O(E^2 n_voxels).
    """

    gallery: Gallery
    temperature: float = 1.0
    shared: bool = True

    def decode(self, encoders: VoxelEncoders, responses: np.ndarray) -> np.ndarray:
        """Solve; see `Inversion.decode`."""
        gram, back = self._whitened(encoders)
        mean = self.gallery.mean
        centred = np.asarray(responses, dtype=np.float64) - encoders.bias - encoders.weights @ mean
        with reading("The covariance of the embeddings", "one that can be inverted", "fit the system again"):
            precision = np.linalg.inv(self.gallery.covariance)
            found = np.linalg.solve(
                precision + gram / self.temperature, (centred @ back).T / self.temperature
            )
        return (mean + found.T).astype(np.float32)

    def _whitened(self, encoders: VoxelEncoders) -> tuple[np.ndarray, np.ndarray]:
        """Return ``W' S^-1 W`` and ``S^-1 W``."""
        weights = np.asarray(encoders.weights, dtype=np.float64)
        inverse = noise_inverse(encoders, self.shared)
        back = inverse(weights)
        return weights.T @ back, back

    def calibrated(
        self, encoding: Encoding, images: np.ndarray, responses: np.ndarray, voxels: Sequence
    ) -> BayesianInversion:
        """Choose the temperature at which context trials that the encoders have not seen are decoded best.

        Parameters
        ----------
        encoding : Encoding
            Makes the encoders anew without the left-out trials.
        images : ndarray, shape (n, E)
        responses : ndarray, shape (n, n_voxels)
        voxels : sequence
        """
        n = len(images)
        if n < 10:
            return self
        folds = np.array_split(np.random.default_rng(0).permutation(n), 4)
        scores = np.zeros(len(_TEMPERATURES))
        target = images - self.gallery.mean
        for out in folds:
            kept = np.setdiff1d(np.arange(n), out)
            encoders = encoding.encode(images[kept], responses[kept], voxels)
            for place, temperature in enumerate(_TEMPERATURES):
                found = (
                    replace(self, temperature=temperature).decode(encoders, responses[out])
                    - self.gallery.mean
                )
                lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(target[out], axis=1)
                scores[place] += ((found * target[out]).sum(axis=1) / np.maximum(lengths, 1e-12)).sum()
        return replace(self, temperature=_TEMPERATURES[int(scores.argmax())])


def noise_inverse(encoders: VoxelEncoders, shared: bool = True) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that multiplies (n_voxels, k) by the inverse of the noise covariance."""
    own = np.asarray(encoders.noise_var, dtype=np.float64) + encoders.uncertainty
    factors = np.asarray(encoders.noise_factors, dtype=np.float64)
    if not shared or not factors.shape[1]:
        return lambda values: values / own[:, None]
    scaled = factors / own[:, None]
    inner = np.linalg.inv(np.eye(factors.shape[1]) + factors.T @ scaled)

    def inverse(values: np.ndarray) -> np.ndarray:
        return values / own[:, None] - scaled @ (inner @ (scaled.T @ values))

    return inverse


def likelihoods(
    encoders: VoxelEncoders, responses: np.ndarray, gallery: np.ndarray, *, shared: bool = True
) -> np.ndarray:
    """Return how likely every response is under every candidate, up to a constant per response, shape (n, N).

    ``-1/2 (y - b - W x)' S^-1 (y - b - W x)``: identification without decoding, often the best there is when the
    candidates are known.

    Parameters
    ----------
    encoders : VoxelEncoders
    responses : ndarray, shape (n, n_voxels)
    gallery : ndarray, shape (N, E)
    shared : bool
        Take shared noise into account.

    Raises
    ------
    NeurodecError
        If the candidates have another width than the encoders' weights.
    """
    if gallery.shape[1] != encoders.weights.shape[1]:
        raise NeurodecError(
            f"The candidates have {gallery.shape[1]} numbers, the encoders {encoders.weights.shape[1]}; take both in "
            "one embedding space."
        )
    weights = np.asarray(encoders.weights, dtype=np.float64)
    back = noise_inverse(encoders, shared)(weights)
    centred = np.asarray(responses, dtype=np.float64) - encoders.bias
    x = np.asarray(gallery, dtype=np.float64)
    quadratic = np.einsum("ne,ef,nf->n", x, weights.T @ back, x, optimize=True)
    return (centred @ back) @ x.T - 0.5 * quadratic
