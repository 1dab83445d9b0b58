"""Learning what trials are labelled with: classes, or numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.objective import Objective


class LabelObjective(Objective):
    """Cross-entropy with the class of every trial, or with every class of a sequence.

    Parameters
    ----------
    target : str
        Name of the target (`neurodec.features.ClassLabels`), and of the head: one number per class.
    label_smoothing : float
        0.1 in CSBrain's and CBraMod's trainings of several classes. Of two classes they learn one number by binary
        cross-entropy without smoothing, which is this loss of the difference of two.

    Notes
    -----
    Validation trials are of other people than those that are learned from, and the epoch is chosen by their balanced
    accuracy.
    """

    held_out_by = "subject"

    def __init__(self, target: str = "label", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.head, self.needs, self.label_smoothing = target, (target,), label_smoothing

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
        logits, wanted = found[self.head], batch[self.head]
        return {
            "loss": F.cross_entropy(
                logits.flatten(0, -2), wanted.flatten(0, -2), label_smoothing=self.label_smoothing
            )
        }

    def guess(self, batch: Batch) -> Heads:
        """Return the share of every class, as one that always gives the same answer would."""
        wanted = batch[self.head]
        shares = wanted.flatten(0, -2).mean(dim=0).clamp(min=1e-6)
        return {self.head: shares.log().expand_as(wanted)}

    def score(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return the balanced accuracy."""
        true = wanted.flatten(0, -2).argmax(dim=-1)
        right = (found.flatten(0, -2).argmax(dim=-1) == true).float()
        counts = torch.bincount(true, minlength=wanted.shape[-1])
        shares = torch.zeros_like(counts, dtype=right.dtype).index_add(0, true, right)
        return (shares / counts.clamp(min=1))[counts > 0].mean()


class NumberObjective(Objective):
    """Mean squared error to a number of every trial; the epoch is chosen by R² in other people.

    Parameters
    ----------
    target : str
        Name of the target (`neurodec.features.Numbers`), and of the head.
    """

    held_out_by = "subject"

    def __init__(self, target: str = "number") -> None:
        super().__init__()
        self.head, self.needs = target, (target,)

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the term `loss`."""
        return {"loss": F.mse_loss(found[self.head], batch[self.head])}

    def guess(self, batch: Batch) -> Heads:
        """Return the mean number."""
        return {self.head: batch[self.head].mean(dim=0).expand_as(batch[self.head])}

    def score(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return R²."""
        spread = torch.square(wanted - wanted.mean()).sum().clamp(min=torch.finfo(wanted.dtype).tiny)
        return 1 - torch.square(found - wanted).sum() / spread
