"""Linear encoders of voxels: what a voxel (or a sensor at one time) answers to a picture, and how sure that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, write_json

_UNIT = 1e-3  # by how much the length of an embedding may differ from 1


@dataclass(frozen=True)
class VoxelEncoders:
    """The encoders of one person: ``response = weights @ embedding + bias + noise``.

    Parameters
    ----------
    weights : ndarray, shape (n_voxels, n_embed), float32
    bias : ndarray, shape (n_voxels,)
    noise_var : ndarray, shape (n_voxels,)
        Variance of what the encoder does not predict, on pictures that it was not made from.
    voxels : sequence
        Which voxels these are, in this order; compared before anything is decoded.
    accuracy : ndarray, shape (n_voxels,)
        Cross-validated share of the variance of the context that is explained, by ridge.
    noise_factors : ndarray, shape (n_voxels, k)
        Loadings of noise that voxels share, beside `noise_var`, which is their own; k may be 0.
    uncertainty : ndarray, shape (n_voxels,)
        Expected squared error of a prediction because the encoder itself is not known better; 0 where it is not told.
    about : dict
        `embedding_space`, `n_context` and the like.
    """

    weights: np.ndarray
    bias: np.ndarray
    noise_var: np.ndarray
    voxels: Sequence[Any]
    accuracy: np.ndarray
    noise_factors: np.ndarray
    uncertainty: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.weights)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the expected responses (n, n_voxels) to embeddings (n, n_embed)."""
        return np.asarray(images, dtype=np.float32) @ self.weights.T + self.bias

    def averaged(self, n_trials: float) -> VoxelEncoders:
        """Return the encoders of means over so many trials, whose noise is that much smaller."""
        if n_trials == 1:
            return self
        own, shared = self.noise_var / n_trials, self.noise_factors / np.sqrt(n_trials)
        return replace(self, noise_var=own, noise_factors=shared)

    def take(self, columns: np.ndarray) -> VoxelEncoders:
        """Return the encoders of some voxels, by position."""
        names = ("weights", "bias", "noise_var", "accuracy", "noise_factors", "uncertainty")
        parts = {name: getattr(self, name)[columns] for name in names}
        return replace(self, **parts, voxels=[self.voxels[column] for column in columns])

    def best(self, n_voxels: int) -> np.ndarray:
        """Return the positions of the voxels whose encoders are most accurate on the context, in ascending order."""
        order = np.argsort(-self.accuracy, kind="stable")[:n_voxels]
        return np.sort(order)

    def require_voxels(self, voxels: Sequence[Any]) -> None:
        """Refuse responses of other voxels, or of the same ones in another order.

        Raises
        ------
        NeurodecError
            Naming the first that differs.
        """
        if list(self.voxels) == list(voxels):
            return
        if len(self.voxels) != len(voxels):
            what = f"{len(voxels)} voxels, the encoders {len(self.voxels)}"
        else:
            place = next(
                i for i, pair in enumerate(zip(self.voxels, voxels, strict=True)) if pair[0] != pair[1]
            )
            what = f"voxel {voxels[place]} at place {place}, the encoders {self.voxels[place]}"
        raise NeurodecError(
            f"The responses have {what}; give those that the person was adapted with, in the same order."
        )

    def save(self, folder: str | Path) -> None:
        """Write ``encoders.safetensors`` and ``encoders.json``, the latter last."""
        names = ("weights", "bias", "noise_var", "accuracy", "noise_factors", "uncertainty")
        arrays = {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in names}
        with atomic_path(Path(folder) / "encoders.safetensors") as partial:
            save_file(arrays, partial)
        write_json(Path(folder) / "encoders.json", {"voxels": list(self.voxels), "about": self.about})

    @classmethod
    def load(cls, folder: str | Path) -> VoxelEncoders:
        """Read a folder that `save` wrote.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged.
        """
        told = read_json(Path(folder) / "encoders.json")
        with reading(folder, "the encoders of a person", "delete it and adapt again"):
            arrays = load_file(Path(folder) / "encoders.safetensors")
            odd = [name for name, values in arrays.items() if len(values) != len(told["voxels"])]
            if odd:
                raise NeurodecError(
                    f"The encoders of a person in {folder} name {len(told['voxels'])} voxels and have {odd[0]} for "
                    f"{len(arrays[odd[0]])}; delete the folder and adapt again."
                )
            return cls(**arrays, voxels=told["voxels"], about=told["about"])


@dataclass(frozen=True)
class EncodedTrials:
    """Responses of a person whose voxels have encoders, on the scale of the encoders.

    Parameters
    ----------
    responses : ndarray, shape (n, n_voxels)
    table : DataFrame
        One row per response.
    encoders : dict of VoxelEncoders
        By the way they were made.
    regions : dict of ndarray
        Positions of every region's voxels.
    attention : ndarray, shape (n_voxels,), optional
        Share of its attention that a network gives each voxel, mean over these responses.
    """

    responses: np.ndarray
    table: pd.DataFrame
    encoders: dict[str, VoxelEncoders]
    regions: dict[str, np.ndarray]
    attention: np.ndarray | None = None


class Encoding(ABC):
    """Makes encoders of a person's voxels from what they answered to a few pictures."""

    @abstractmethod
    def encode(
        self,
        images: np.ndarray,
        responses: np.ndarray,
        voxels: Sequence[Any],
        about: dict[str, Any] | None = None,
    ) -> VoxelEncoders:
        """Return the encoders of all voxels.

        Parameters
        ----------
        images : ndarray, shape (n, n_embed)
            Embeddings of the pictures, of unit length.
        responses : ndarray, shape (n, n_voxels)
            z-scored; the mean over repetitions of a picture.
        voxels : sequence
            Which voxels these are.
        about : dict, optional
            Kept with the encoders.
        """


def require_context(images: np.ndarray, responses: np.ndarray, n_embed: int | None = None) -> None:
    """Refuse a context that no encoder can be made from.

    Parameters
    ----------
    images : ndarray, shape (n, n_embed)
    responses : ndarray, shape (n, n_voxels)
    n_embed : int, optional
        Width that is needed.

    Raises
    ------
    NeurodecError
        If there is no pair, embeddings have another width or not unit length, or a response is not finite or constant
        over more than one picture.
    """
    if not len(images) or not responses.shape[1]:
        raise NeurodecError(
            f"The context holds {len(images)} picture(s) and {responses.shape[1]} voxel(s); give at least one of each."
        )
    if len(images) != len(responses):
        raise NeurodecError(
            f"The context holds {len(images)} pictures and {len(responses)} responses; each response needs one."
        )
    if n_embed is not None and images.shape[1] != n_embed:
        raise NeurodecError(
            f"The context's embeddings have {images.shape[1]} numbers, the network reads {n_embed}; embed the pictures "
            "in the space that it was trained in."
        )
    require_unit(images)
    bad = np.flatnonzero(~np.isfinite(responses).all(axis=0))
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} voxel(s) of the context, first number {bad[0]}, hold NaN or infinity; leave them out."
        )


def require_unit(images: np.ndarray) -> None:
    """Refuse embeddings (n, n_embed) that have not unit length.

    Raises
    ------
    NeurodecError
        Naming the first.
    """
    lengths = np.linalg.norm(images, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
    if len(wrong):
        raise NeurodecError(
            f"{len(wrong)} embedding(s), first number {wrong[0]}, have not unit length ({lengths[wrong[0]]:.3g}); "
            "divide each by its length, or pass normalize=True."
        )


def varying(responses: np.ndarray) -> np.ndarray:
    """Tell which voxels vary over the pictures; others say nothing. With a single picture all may."""
    if len(responses) == 1:
        return np.ones(responses.shape[1], dtype=bool)
    return np.ptp(responses, axis=0) > 0


def noise_of(residuals: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the covariance of residuals into shared factors and a variance of every voxel's own.

    Principal components of the residuals, each lessened by what pure noise would put there (the mean of the remaining
    eigenvalues), as in probabilistic PCA.

    Parameters
    ----------
    residuals : ndarray, shape (n, n_voxels)
        Of predictions on pictures that the encoder was not made from.
    rank : int
        Number of factors; fewer where there are fewer pictures.

    Returns
    -------
    noise_var : ndarray, shape (n_voxels,)
    noise_factors : ndarray, shape (n_voxels, k)
    """
    residuals = np.asarray(residuals, dtype=np.float64)
    n, n_voxels = residuals.shape
    total = np.maximum(np.square(residuals).mean(axis=0), 1e-6)
    k = min(rank, n // 4, n_voxels // 4)
    if k < 1:
        return total, np.zeros((n_voxels, 0))
    gram = residuals @ residuals.T / n  # (n, n): the same eigenvalues as the covariance of voxels
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = values[k:].sum() / max(1, min(n, n_voxels) - k)
    strength = np.sqrt(np.maximum(values[:k] - floor, 0.0) / np.maximum(values[:k], 1e-12) / n)
    factors = (residuals.T @ vectors[:, :k]) * strength
    return np.maximum(total - np.square(factors).sum(axis=1), 0.05 * total), factors
