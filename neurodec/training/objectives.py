"""What training minimises: the contract, and the losses of ATM."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.csbrain_heads import hidden_errors
from neurodec.errors import NeurodecError
from neurodec.training.batch import Batch, Heads
from neurodec.training.losses import info_nce, reconstruction_loss, retrieval_loss

_MAX_SCALE = 100.0


class Objective(nn.Module):
    """The loss of a training.

    Subclasses have ``forward(found, batch, progress) -> {term: loss}``: `found` holds the encoder's heads, `batch` the
    responses, targets and numbers of every row (`Batch`), and `progress` runs from 0 to 1 over the training. With
    several spaces their rows follow each other; with several processes the rows of all are there. `prepare` changes a
    batch before the encoder reads it: it mixes responses, or hides parts of them. A `forward` or `prepare` that takes
    `encoder` is given it.

    Scales and projectors of the *target* side are the objective's own; `project` then applies to galleries too.
    """

    head: str
    """The head that is compared with a gallery."""
    needs: tuple[str, ...]
    """Names of the targets without which it cannot be computed."""
    held_out_by = "concept"
    """What validation trials must not share with those that are learnt from."""

    def __getattr__(self, name: str) -> Any:
        """Refuse in a sentence what a subclass forgot to say."""
        if name in ("head", "needs"):
            raise NeurodecError(
                f"The objective {type(self).__name__} does not say its `{name}`; set self.head (such as 'image') and "
                "self.needs (such as ('image',)) in its constructor."
            )
        return super().__getattr__(name)

    def prepare(self, batch: Batch, progress: float) -> Batch:
        """Return what the encoder is to read of the rows of this process.

        What `forward` must know of it goes into `Batch.extra`; what the encoder may not see into `Batch.mask`;
        `self.training` tells training from validation.
        """
        return batch

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return targets (n, ...) of a name in the space in which they are compared with the head."""
        return targets

    def guess(self, batch: Batch) -> Heads | None:
        """Return what a system that reads nothing predicts, or None where that is no question."""
        return None

    def score(self, found: Tensor, wanted: Tensor) -> Tensor | None:
        """Return how good predictions (n, ...) of the validation trials are; the highest chooses the epoch.

        None, as here, leaves that to the loss.
        """
        return None


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
        """Return the term `loss`."""
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
        """Return the term `loss`."""
        groups = batch["stimulus"] if self.multi_positive else None
        brain, image = found[self.head], batch[self.head]
        return {"loss": reconstruction_loss(brain, image, self.scale(), self.weight, self.factor, groups)}

    def guess(self, batch: Batch) -> Heads:
        """Return the mean target."""
        return {self.head: batch[self.head].mean(dim=0).expand_as(batch[self.head])}


class SquaredError(Objective):
    """Mean squared (or absolute) error to any number of targets, such as latents.

    Parameters
    ----------
    weights : dict of float
        Name of the target, and of the head, to its weight; the first one is compared with a gallery.
    absolute : bool
        Absolute instead of squared, as ATM's low-level branch has it.
    """

    def __init__(self, weights: dict[str, float], absolute: bool = False) -> None:
        super().__init__()
        self.weights, self.absolute = weights, absolute
        self.head, self.needs = next(iter(weights)), tuple(weights)

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return one term per target."""
        measure = F.l1_loss if self.absolute else F.mse_loss
        return {
            name: weight * measure(found[name].flatten(1), batch[name].flatten(1))
            for name, weight in self.weights.items()
        }

    def guess(self, batch: Batch) -> Heads:
        """Return the mean targets."""
        return {name: batch[name].mean(dim=0).expand_as(batch[name]) for name in self.weights}


class SumObjective(Objective):
    """The sum of several objectives, each of its own heads; weigh them by their own weights.

    Parameters
    ----------
    parts : list of Objective
        The head of the first is compared with a gallery.
    """

    def __init__(self, parts: list[Objective]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.head = parts[0].head
        self.needs = tuple(dict.fromkeys(name for part in parts for name in part.needs))

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the terms of all, named by their head."""
        return {
            f"{part.head}_{name}": value
            for part in self.parts
            for name, value in part(found, batch, progress).items()
        }

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return targets as the part of that head compares them."""
        own = next((part for part in self.parts if part.head == name), None)
        return targets if own is None else own.project(name, targets)

    def guess(self, batch: Batch) -> Heads | None:
        """Return what all parts guess, or None if one does not."""
        found = [part.guess(batch) for part in self.parts]
        if any(part is None for part in found):
            return None
        return {name: value for part in found for name, value in part.items()}


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


class HiddenPatchesObjective(Objective):
    """Mean squared error over the samples of patches that are hidden from the encoder; it needs no target.

    Parameters
    ----------
    hidden_share : float
        Probability that a patch is hidden.
    target : {"corrected", "published"}
        CSBrain's release compares what it finds with other channels' samples; see
        `neurodec.encoders.csbrain_heads.hidden_errors`.

    Notes
    -----
    The encoder has a `patch_size`, takes `mask` (B, n_chans, n_patches; True is hidden), and gives the head `patches`
    of the shape of the responses. Patches are hidden anew in every step, and always alike when validated.

    References
    ----------
    Zhou et al. (2025), CSBrain, NeurIPS, section 3.4.
    """

    head = "patches"
    needs = ()

    def __init__(
        self, hidden_share: float = 0.5, target: Literal["corrected", "published"] = "corrected"
    ) -> None:
        super().__init__()
        if not 0 < hidden_share < 1:
            raise NeurodecError(f"`hidden_share` is {hidden_share:g}; give a share between 0 and 1.")
        self.hidden_share, self.target = hidden_share, target

    def prepare(self, batch: Batch, progress: float, encoder: nn.Module) -> Batch:
        """Draw the patches that are hidden."""
        mask = {}
        for space, response in batch.responses.items():
            shape = (*response.shape[:2], response.shape[2] // encoder.patch_size)
            same = None if self.training else torch.Generator().manual_seed(0)
            device = response.device if self.training else "cpu"
            drawn = torch.rand(shape, generator=same, device=device) < self.hidden_share
            mask[space] = drawn.to(response.device)
        return replace(batch, mask=mask)

    def forward(self, found: Heads, batch: Batch, progress: float, encoder: nn.Module) -> Heads:
        """Return the term `loss`."""
        squared, n_samples = [], []
        patches, several = found[self.head], isinstance(found[self.head], dict)
        for space, rows in batch.rows_of():
            own = (patches[space] if several else patches[rows]).unflatten(-1, (-1, encoder.patch_size))
            wanted = batch.responses[space].unflatten(-1, (-1, encoder.patch_size))
            order = encoder.layout(space).order if self.target == "published" else None
            errors = hidden_errors(own, wanted, batch.mask[space], order)
            squared.append(errors[0].sum())
            n_samples.append(errors[1].sum())
        return {"loss": torch.stack(squared).sum() / torch.stack(n_samples).sum().clamp(min=1.0)}
