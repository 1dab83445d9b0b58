"""Objectives that pull predictions to the embedding of what was seen, and away from others: ATM's, and of classes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.contrastive_losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.training.objectives.objective import Objective

_MAX_SCALE = 100.0


class LogitScale(nn.Module):
    """The factor on similarities: from ``s = ln(1/0.07)``, learned unless "fixed".

    Parameters
    ----------
    form : {"exp", "raw", "softplus", "fixed"}
        exp(s), clamped at 100 (CLIP; ATM 2026); s itself (ATM 2024 and 2025); softplus(s); exp(s), not learned.
    """

    def __init__(self, form: Literal["exp", "raw", "softplus", "fixed"] = "exp") -> None:
        super().__init__()
        self.form = form
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)), requires_grad=form != "fixed")

    def forward(self) -> Tensor:
        """Return the factor."""
        forms = {"raw": lambda s: s, "softplus": F.softplus}
        return forms.get(self.form, lambda s: s.exp().clamp(max=_MAX_SCALE))(self.logit_scale)


class RetrievalObjective(Objective):
    """ATM's retrieval objective: InfoNCE with the picture and, with a small weight, with its caption.

    Parameters
    ----------
    image : str
        Name of the target, and of the head.
    text : str, optional
        Name of the caption's target; None leaves the term out.
    text_weight : float
        Share of the caption term.
    scale : {"exp", "raw", "softplus", "fixed"}
        See `LogitScale`.
    normalize : bool
        Normalise the brain's embedding (ATM 2026, NICE) or not (ATM 2024 and 2025). Targets are normalised.
    multi_positive : bool
        Treat rows of one stimulus in a batch as each other's positives instead of negatives.

    References
    ----------
    Li et al. (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion, section 3.3.
    """

    def __init__(
        self,
        image: str = "image",
        text: str | None = None,
        text_weight: float = 0.01,
        scale: Literal["exp", "raw", "softplus", "fixed"] = "exp",
        normalize: bool = True,
        multi_positive: bool = True,
    ) -> None:
        super().__init__()
        self.head, self.text, self.text_weight = image, text if text_weight else None, text_weight
        self.normalize, self.multi_positive = normalize, multi_positive
        self.needs = (image,) if self.text is None else (image, self.text)
        self.scale = LogitScale(scale)

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the term `loss`.

        Parameters
        ----------
        found : Heads
            Head to prediction, shape (B, ...).
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        groups = batch["stimulus"] if self.multi_positive else None
        brain = F.normalize(found[self.head], dim=-1) if self.normalize else found[self.head]
        image = F.normalize(batch[self.head], dim=-1)
        if self.text is None:
            return {"loss": info_nce(brain, image, self.scale(), groups)}
        text = F.normalize(batch[self.text], dim=-1)
        return {"loss": retrieval_loss(brain, image, text, self.scale(), 1 - self.text_weight, groups)}

    def guess(self, batch: Batch) -> Heads:
        """Return embeddings that are as near to all targets as to any."""
        return {self.head: torch.zeros_like(batch[self.head])}


class ReconstructionObjective(Objective):
    """ATM's reconstruction objective: squared error to the picture's embedding, with a little InfoNCE.

    Parameters
    ----------
    image : str
        Name of the target, and of the head.
    weight : float
        Share of the squared error.
    factor : float
        Overall factor.
    scale, multi_positive
        As in `RetrievalObjective`.

    References
    ----------
    Li et al. (2024), section 3.3.
    """

    def __init__(
        self,
        image: str = "image",
        weight: float = 0.9,
        factor: float = 10.0,
        scale: Literal["exp", "raw", "softplus", "fixed"] = "exp",
        multi_positive: bool = True,
    ) -> None:
        super().__init__()
        self.head, self.needs = image, (image,)
        self.weight, self.factor, self.multi_positive = weight, factor, multi_positive
        self.scale = LogitScale(scale)

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the term `loss`.

        Parameters
        ----------
        found : Heads
            Head to prediction, shape (B, ...).
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        groups = batch["stimulus"] if self.multi_positive else None
        brain, image = found[self.head], batch[self.head]
        return {"loss": reconstruction_loss(brain, image, self.scale(), self.weight, self.factor, groups)}

    def guess(self, batch: Batch) -> Heads:
        """Return the mean target."""
        return {self.head: batch[self.head].mean(dim=0).expand_as(batch[self.head])}


class ClassObjective(Objective):
    """Cross-entropy over scaled cosines with one fixed orthogonal target per class, every class weighing alike.

    Against such targets the contrastive loss is this cross-entropy, with every trial of a class a positive.

    Parameters
    ----------
    class_weights : Tensor, shape (n_classes,)
    scale : float
        Factor on the cosines.
    """

    head, needs = "image", ("label",)

    def __init__(self, class_weights: Tensor, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("class_weights", class_weights)

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the term `loss`; the target `label` is the class of every row."""
        cosines = F.normalize(found[self.head], dim=-1)[:, : len(self.class_weights)]
        return {"loss": F.cross_entropy(self.scale * cosines, batch["label"].long(), self.class_weights)}
