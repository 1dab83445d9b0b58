"""The LightningModule that aligns any encoder to frozen embeddings."""

from __future__ import annotations

import inspect
import math
from typing import Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.training.datamodule import Batch
from neurodec.training.losses import info_nce, reconstruction_loss, retrieval_loss

_MAX_SCALE = 100.0


class AlignmentModule(L.LightningModule):
    """Contrastive alignment of brain responses to the embeddings of what was seen.

    Parameters
    ----------
    encoder : nn.Module
        ``forward(response, subject)``, or ``forward(response)`` as braindecode's models have it.
    objective : {"retrieval", "reconstruction"}
        ATM's mixes: InfoNCE with image and text, or squared error with a little InfoNCE.
    scale : {"exp", "raw", "softplus", "fixed"}
        Form of the learned logit scale, which starts at ln(1/0.07): "exp" clamped at 100 (CLIP; ATM 2026), "raw"
        (ATM 2024 and 2025), "softplus", or "fixed" at 1/0.07.
    normalize : bool
        Normalise the brain's embedding in the loss (ATM 2026) or not (2024, 2025).
    multi_positive : bool
        Treat rows of one stimulus in a batch as each other's positives instead of negatives.
    text_weight : float
        Share of the caption term in the retrieval objective.
    hide_subject : float
        Share of the training rows whose subject the encoder is not told (-1), so that it also learns to read people
        it has never met.
    lr, weight_decay : float
        AdamW.
    seed : int
        Chance in a step follows from (seed, step, process), so a run resumed at an epoch's end equals an unbroken one.

    References
    ----------
    Li et al. (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Literal["retrieval", "reconstruction"] = "retrieval",
        scale: Literal["exp", "raw", "softplus", "fixed"] = "exp",
        normalize: bool = True,
        multi_positive: bool = True,
        text_weight: float = 0.01,
        hide_subject: float = 0.1,
        lr: float = 3e-4,
        weight_decay: float = 0.01,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.encoder, self.objective, self.scale_form = encoder, objective, scale
        self.normalize, self.multi_positive, self.text_weight = normalize, multi_positive, text_weight
        self.hide_subject, self.lr, self.weight_decay, self.seed = hide_subject, lr, weight_decay, seed
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)), requires_grad=scale != "fixed")
        self._takes_subject = takes_subject(encoder)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, response: Tensor, subject: Tensor) -> Tensor:
        """Return the embedding (B, D)."""
        return self.encoder(response, subject) if self._takes_subject else self.encoder(response)

    @property
    def scale(self) -> Tensor:
        """The factor on the cosine similarities."""
        forms = {"raw": lambda s: s, "softplus": F.softplus}
        return forms.get(self.scale_form, lambda s: s.exp().clamp(max=_MAX_SCALE))(self.logit_scale)

    def loss(self, batch: Batch, brain: Tensor) -> Tensor:
        """Return the objective of one batch in full precision, with the negatives of every process."""
        with torch.autocast(brain.device.type, enabled=False):
            return self._objective(batch, brain.float())

    def _objective(self, batch: Batch, brain: Tensor) -> Tensor:
        """Both sides in float32: a trainer in half or double precision converts the targets of a batch as well."""
        groups = self._everyone(batch["stimulus"]) if self.multi_positive else None
        target = self._everyone(batch["target"].float())
        if self.objective == "reconstruction":
            return reconstruction_loss(self._everyone(brain), target, self.scale, groups=groups)
        brain = self._everyone(F.normalize(brain, dim=-1) if self.normalize else brain)
        target = F.normalize(target, dim=-1)
        if "text" not in batch:
            return info_nce(brain, target, self.scale, groups)
        text = F.normalize(self._everyone(batch["text"].float()), dim=-1)
        return retrieval_loss(brain, target, text, self.scale, 1 - self.text_weight, groups)

    def _everyone(self, rows: Tensor) -> Tensor:
        """Gather rows across processes, with gradients."""
        if self._trainer is None or self.trainer.world_size == 1:
            return rows
        return self.all_gather(rows, sync_grads=True).flatten(0, 1)

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Seed dropout from the step, for exact resumption."""
        step = self.trainer.fit_loop.total_batch_idx * self.trainer.world_size + self.global_rank
        torch.manual_seed(self.seed * 1_000_003 + step)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a batch."""
        hidden = torch.rand_like(batch["subject"], dtype=torch.float32) < self.hide_subject
        loss = self.loss(batch, self(batch["response"], batch["subject"].masked_fill(hidden, -1)))
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["stimulus"])
        )
        self._log_mean_predictor("train", batch)
        return loss

    @torch.no_grad()
    def _log_mean_predictor(self, part: str, batch: Batch) -> None:
        """Log what a model that reads nothing can reach: the mean target, or as near to all targets as to any."""
        target = batch["target"].float()
        mean = target.mean(dim=0) if self.objective == "reconstruction" else target.new_zeros(target.shape[1])
        loss = self.loss(batch, mean.expand(len(target), -1))
        self.log(f"{part}_loss_of_mean", loss, on_step=False, on_epoch=True, batch_size=len(target))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Keep the embeddings; the scores need all of them."""
        brain = self(batch["response"], batch["subject"])
        self.log("val_loss", self.loss(batch, brain), prog_bar=True, batch_size=len(brain))
        self._log_mean_predictor("val", batch)
        self._seen.append(
            tuple(map(self._everyone, (brain.float(), batch["stimulus"], batch["target"].float())))
        )

    def on_validation_epoch_end(self) -> None:
        """Log how often a held-out stimulus is found among all held-out ones."""
        brain, stimulus, target = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        gallery, true = stimulus.unique(return_inverse=True)
        first = torch.zeros_like(gallery).scatter_(
            0, true.flip(0), torch.arange(len(true), device=true.device).flip(0)
        )
        similarity = F.normalize(brain, dim=-1) @ F.normalize(target[first], dim=-1).T
        self.log("val_top1", (similarity.argmax(dim=1) == true).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW without a schedule, as published."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        half = any(parameter.dtype == torch.float16 for parameter in parameters)
        eps = 1e-4 if half else 1e-8  # which half precision rounds to nothing, and then divides by it
        return torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay, eps=eps)


def takes_subject(encoder: nn.Module) -> bool:
    """Tell whether an encoder's forward wants the subject: a second argument of that name, or one without default."""
    second = list(inspect.signature(encoder.forward).parameters.values())[1:2]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        argument.name == "subject" or (argument.default is argument.empty and argument.kind in positional)
        for argument in second
    )
