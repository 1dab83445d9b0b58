"""What the in-context networks are meta-trained on: made-up voxels, and voxels and trials of training subjects.

Everything in a step follows from its seed, so that a resumed run sees the same tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.linear.voxel_prior import PopulationPrior

Batch = dict[str, Tensor]
Gather = Callable[[Tensor], Tensor]
_CONTRAST, _TEMPERATURE = 0.1, 0.2  # of stage 2's loss, as published
_NOISE = (0.3, 5.0)  # of made-up voxels, in standard deviations of their signal


@dataclass(frozen=True)
class SubjectVoxels:
    """What one training subject saw and answered.

    Parameters
    ----------
    images : Tensor, shape (n, E)
        Embeddings of unit length, one per picture.
    responses : Tensor, shape (n_voxels, n)
        z-scored and averaged over repetitions; voxels come first, since tasks are about voxels. 30,000 voxels and
        9,000 pictures take 1.1 GB.
    """

    images: Tensor
    responses: Tensor


class Voxels:
    """Draws made-up voxels whose answers to pictures of a pool are z-scored, as real ones are.

    Parameters
    ----------
    pool : ndarray, shape (N, E)
        Embeddings of pictures.
    prior : PopulationPrior, optional
        Of the weights; any direction is as likely as any other without it.
    noise : float, optional
        Standard deviation of the noise in that of the signal; drawn anew for every voxel by default.
    standardised : bool
        Scale weights and noise so that responses have mean 0 and variance 1 over the pool, give or take a tenth.
    """

    def __init__(
        self,
        pool: np.ndarray,
        prior: PopulationPrior | None = None,
        noise: float | None = None,
        *,
        standardised: bool = True,
    ) -> None:
        self.pool = torch.as_tensor(np.asarray(pool), dtype=torch.float32)
        self.mean = self.pool.mean(dim=0)
        centred = self.pool - self.mean
        self.covariance = centred.T @ centred / len(centred)
        self.noise, self.standardised = noise, standardised
        n_embed = self.pool.shape[1]
        prior = prior or PopulationPrior.isotropic(n_embed)
        values, vectors = np.linalg.eigh(prior.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))  # once, not in every step
        self._root = torch.as_tensor(root, dtype=torch.float32)
        self._mean = torch.as_tensor(prior.mean, dtype=torch.float32)

    def draw(self, shape: tuple[int, ...], random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (*shape, E), bias (*shape) and standard deviation of the noise (*shape)."""
        found = torch.randn(*shape, len(self._mean), generator=random) @ self._root.T + self._mean
        weights, bias = found[..., :-1], found[..., -1]
        signal = ((weights @ self.covariance) * weights).sum(dim=-1).clamp(min=1e-12).sqrt()
        low, high = np.log(_NOISE)
        level = torch.empty(shape).uniform_(low, high, generator=random).exp()
        if self.noise is not None:
            return (
                weights,
                bias,
                torch.full(shape, self.noise) if not self.standardised else signal * self.noise,
            )
        noise = signal * level
        if not self.standardised:
            return weights, bias, noise
        total = (signal.square() + noise.square()).sqrt() * (0.1 * torch.randn(shape, generator=random)).exp()
        weights = weights / total.unsqueeze(-1)
        bias = 0.1 * torch.randn(shape, generator=random) - weights @ self.mean
        return weights, bias, noise / total

    def pictures(self, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
        """Return embeddings of the pool, drawn with replacement, shape (*shape, E)."""
        return self.pool[torch.randint(len(self.pool), shape, generator=random)]


def encoder_batch(
    source: Voxels | Sequence[SubjectVoxels],
    n_context: int,
    n_queries: int,
    n_rows: int,
    random: torch.Generator,
) -> Batch:
    """Return tasks of stage 1, each about one voxel.

    Parameters
    ----------
    source : Voxels, or sequence of SubjectVoxels
        Made-up voxels, or those of one training subject, drawn by their numbers of voxels.
    n_context, n_queries, n_rows : int
        Queries are other pictures than the context's.
    random : torch.Generator

    Returns
    -------
    dict
        `images` (B, n, E), `responses` (B, n), `query` (B, Q, E) and `wanted` (B, Q).
    """
    n = n_context + n_queries
    if isinstance(source, Voxels):
        weights, bias, noise = source.draw((n_rows,), random)
        images = source.pictures((n_rows, n), random)
        clean = torch.einsum("bne,be->bn", images, weights) + bias.unsqueeze(1)
        responses = clean + noise.unsqueeze(1) * torch.randn(clean.shape, generator=random)
    else:
        sizes = torch.tensor([float(len(subject.responses)) for subject in source])
        subject = source[int(torch.multinomial(sizes, 1, generator=random))]
        if len(subject.images) < n:
            raise NeurodecError(
                f"A training subject saw {len(subject.images)} pictures, fewer than the {n} of a task ({n_context} of "
                f"context, {n_queries} queries); lower `size` or `n_queries` of the stage."
            )
        voxels = torch.randint(len(subject.responses), (n_rows,), generator=random)
        shown = torch.rand(n_rows, len(subject.images), generator=random).topk(n, dim=1).indices
        images, responses = subject.images[shown], subject.responses[voxels.unsqueeze(1), shown]
    return {
        "images": images[:, :n_context],
        "responses": responses[:, :n_context],
        "query": images[:, n_context:],
        "wanted": responses[:, n_context:],
    }


@dataclass(frozen=True)
class EncodedSubject:
    """A training subject whose voxels were encoded from several contexts.

    Parameters
    ----------
    voxels : SubjectVoxels
    contexts : list of ndarray of int
        Pictures of every context.
    encoders : list of Tensor, shape (n_voxels, E + 1)
        What stage 1 made of it.
    """

    voxels: SubjectVoxels
    contexts: list[np.ndarray]
    encoders: list[Tensor]


def inverter_batch(
    source: Voxels | Sequence[EncodedSubject], n_voxels: int, n_rows: int, random: torch.Generator
) -> Batch:
    """Return tasks of stage 2, each about one trial.

    Pictures of a context are never the target of encoders that were made from it: at test time they are not either.

    Parameters
    ----------
    source : Voxels, or sequence of EncodedSubject
    n_voxels, n_rows : int
    random : torch.Generator

    Returns
    -------
    dict
        `weights` (B, V, E), `bias` (B, V), `responses` (B, V) and `image` (B, E).
    """
    if isinstance(source, Voxels):
        weights, bias, noise = source.draw((n_rows, n_voxels), random)
        image = source.pictures((n_rows,), random)
        clean = torch.einsum("bve,be->bv", weights, image) + bias
        responses = clean + noise * torch.randn(clean.shape, generator=random)
        return {"weights": weights, "bias": bias, "responses": responses, "image": image}
    subject = source[int(torch.randint(len(source), (1,), generator=random))]
    run = int(torch.randint(len(subject.contexts), (1,), generator=random))
    free = np.setdiff1d(np.arange(len(subject.voxels.images)), subject.contexts[run])
    trials = torch.as_tensor(free)[torch.randint(len(free), (n_rows,), generator=random)]
    total = len(subject.voxels.responses)
    columns = torch.rand(n_rows, total, generator=random).topk(min(n_voxels, total), dim=1).indices
    encoders = subject.encoders[run][columns]
    return {
        "weights": encoders[..., :-1],
        "bias": encoders[..., -1],
        "responses": subject.voxels.responses[columns, trials.unsqueeze(1)],
        "image": subject.voxels.images[trials],
    }


def _alone(rows: Tensor) -> Tensor:
    return rows


def encoder_loss(network: torch.nn.Module, batch: Batch, gather: Gather = _alone) -> tuple[Tensor, Tensor]:
    """Return the squared error of predicted responses to the queries, and the share of variance explained."""
    found = network(batch["images"], batch["responses"])
    predicted = torch.einsum("bqe,be->bq", batch["query"], found[:, :-1]) + found[:, -1:]
    loss = F.mse_loss(predicted, batch["wanted"])
    spread = batch["wanted"].var(dim=1).clamp(min=1e-6)
    return loss, (1 - (batch["wanted"] - predicted).var(dim=1) / spread).mean()


def inverter_loss(network: torch.nn.Module, batch: Batch, gather: Gather = _alone) -> tuple[Tensor, Tensor]:
    """Return one minus the cosine, plus a contrastive term among the batch of all processes, and the cosine."""
    found = gather(F.normalize(network(batch["weights"], batch["bias"], batch["responses"]), dim=-1))
    wanted = gather(F.normalize(batch["image"], dim=-1))
    cosine = (found * wanted).sum(dim=-1).mean()
    logits, order = found @ wanted.T / _TEMPERATURE, torch.arange(len(found), device=found.device)
    contrastive = (F.cross_entropy(logits, order) + F.cross_entropy(logits.T, order)) / 2
    return 1 - cosine + _CONTRAST * contrastive, cosine


@dataclass(frozen=True)
class MetaStage:
    """One part of a curriculum.

    Parameters
    ----------
    name : str
    n_steps : int
    size : tuple of int
        Fewest and most pictures of a context (stage 1), or voxels (stage 2); drawn anew for every step.
    source : {"isotropic", "estimated", "subjects"}
        Made-up voxels with weights in any direction, made-up voxels as those of the training subjects, or these voxels.
    batch_size : int
        Voxels, or trials.
    n_queries : int
        Pictures on which an encoder is judged (stage 1).
    lr : float
        Highest learning rate; it rises over a tenth of the stage and falls along a cosine.
    """

    name: str
    n_steps: int
    size: tuple[int, int]
    source: Literal["isotropic", "estimated", "subjects"] = "isotropic"
    batch_size: int = 64
    n_queries: int = 50
    lr: float = 1e-3
