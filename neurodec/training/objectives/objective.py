"""The contract of what training minimises, and sums of such."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.training.batch import Batch, Heads


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
    """What validation trials must not share with those that are learned from."""

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

        Parameters
        ----------
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        return batch

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return targets (n, ...) of a name in the space in which they are compared with the head.

        Parameters
        ----------
        name : str
        targets : Tensor
            By name.
        """
        return targets

    def guess(self, batch: Batch) -> Heads | None:
        """Return what a system that reads nothing predicts, or None where that is no question.

        Parameters
        ----------
        batch : Batch
        """
        return None

    def score(self, found: Tensor, wanted: Tensor) -> Tensor | None:
        """Return how good predictions (n, ...) of the validation trials are; the highest chooses the epoch.

        None, as here, leaves that to the loss.

        Parameters
        ----------
        found : Tensor
            Head to prediction, shape (B, ...).
        wanted : Tensor
            Shape (n, ...).
        """
        return None


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
