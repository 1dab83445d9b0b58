"""Categories decoded in context: labels take the place of pictures, and training trials are the context."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_network import NetworkEncoding, NetworkInversion
from neurodec.linear import Classifier
from neurodec.linear.inversion import BayesianInversion, Gallery, Inversion
from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders
from neurodec.linear.voxel_ridge import RidgeEncoding
from neurodec.systems.in_context.meta_training import meta_train
from neurodec.systems.in_context.tasks import (
    MetaStage,
    Voxels,
    encoder_batch,
    encoder_loss,
    inverter_batch,
    inverter_loss,
)

_SIZES = {"width": 32, "n_layers": 2, "ffn_dim": 64, "n_heads": 4, "hidden": 64}


class InContextClassifier(Classifier):
    """Encoders of voxels from labelled trials, inverted to the label of a new trial.

    Every category is a corner of a simplex, and a voxel's encoder what it answers to each. The networks are
    meta-trained once, on made-up voxels alone: they have seen no brain at all, and a fold costs one pass.

    Parameters
    ----------
    way : {"network", "ridge"}
        What makes encoders.
    inverse : {"network", "bayes"}
        What inverts them.
    n_steps : int
        Of each network's training.
    n_voxels : int, optional
        The voxels with the most accurate encoders on the context; all by default.
    seed : int

    References
    ----------
    Yu et al. (2025), arXiv 2505.15813; BrainCoDec (2026), arXiv 2604.08537.
    """

    n_shuffles: ClassVar[int] = 49

    def __init__(
        self,
        way: str = "network",
        inverse: str = "network",
        n_steps: int = 600,
        n_voxels: int | None = 200,
        seed: int = 0,
    ) -> None:
        self.way, self.inverse, self.n_steps, self.n_voxels, self.seed = way, inverse, n_steps, n_voxels, seed
        self._learned: dict[int, tuple[Encoding, Inversion]] = {}

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> InContextClassifier:
        """Encode the voxels from the training trials, once for every labelling; see `Classifier.fit`."""
        features = np.asarray(responses, dtype=np.float64).reshape(len(responses), -1)
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._sd = np.where(spread > 0, spread, 1.0)
        scores = ((features - self._mean) / self._sd).astype(np.float32)
        self._codes = simplex(int(labels.max()) + 1)
        encoding, self._inversion = self._networks(len(self._codes))
        self._encoders: list[tuple[np.ndarray, VoxelEncoders]] = []
        for row in labels:
            images = self._codes[row]
            ranked = RidgeEncoding(rank=0).encode(images, scores, range(scores.shape[1]))
            columns = ranked.best(self.n_voxels or scores.shape[1])
            self._encoders.append((columns, encoding.encode(images, scores[:, columns], columns.tolist())))
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the inner product of what is decoded with every category; see `Classifier.scores`."""
        features = np.asarray(responses, dtype=np.float64).reshape(len(responses), -1)
        found = ((features - self._mean) / self._sd).astype(np.float32)
        decoded = [
            self._inversion.decode(encoders, found[:, columns]) for columns, encoders in self._encoders
        ]
        return np.stack([one @ self._codes.T for one in decoded])

    def _networks(self, n_classes: int) -> tuple[Encoding, Inversion]:
        """Return what encodes and inverts in the space of so many categories; networks are trained when first asked."""
        if n_classes not in self._learned:
            pool = simplex(n_classes)
            encoding: Encoding = RidgeEncoding()
            inversion: Inversion = BayesianInversion(Gallery.of(np.repeat(pool, 20, axis=0)))
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                if self.way == "network":
                    encoding = NetworkEncoding(self._encoder(pool))
                if self.inverse == "network":
                    inversion = NetworkInversion(self._inverter(pool))
            self._learned[n_classes] = encoding, inversion
        return self._learned[n_classes]

    def _encoder(self, pool: np.ndarray) -> InContextEncoder:
        source, network = Voxels(pool), InContextEncoder(len(pool), n_registers=4, **_SIZES)
        stage = MetaStage(
            "encoder", self.n_steps, (2 * len(pool), 12 * len(pool)), n_queries=len(pool), lr=2e-3
        )

        def draw(n: int, random: torch.Generator) -> dict[str, Any]:
            return encoder_batch(source, n, stage.n_queries, stage.batch_size, random)

        meta_train(network, [(stage, draw)], encoder_loss, None, self.seed)
        return network

    def _inverter(self, pool: np.ndarray) -> InContextInverter:
        source, network = Voxels(pool), InContextInverter(len(pool), n_registers=4, dropout=0.0, **_SIZES)
        most = self.n_voxels or 300
        stage = MetaStage("inverter", self.n_steps, (min(20, most), most), batch_size=32, lr=1e-3)

        def draw(n: int, random: torch.Generator) -> dict[str, Any]:
            return inverter_batch(source, n, stage.batch_size, random)

        meta_train(network, [(stage, draw)], inverter_loss, None, self.seed)
        return network


def simplex(n_classes: int) -> np.ndarray:
    """Return one unit vector per category, all at equal angles, shape (n_classes, n_classes), float32."""
    corners = np.eye(n_classes) - 1 / n_classes
    return (corners / np.linalg.norm(corners, axis=1, keepdims=True)).astype(np.float32)
