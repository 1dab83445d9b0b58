"""MindBridge's losses: towards pictures and captions, back to the voxels, and around through another person's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.objective import Objective


class BridgeObjective(Objective):
    """Soft contrast and squared error to every target, reconstruction, and the cycle through another subject.

    Parameters
    ----------
    targets : list of str
        Names of targets, and of heads; the first is compared with a gallery.
    temperature : float
        Of the soft contrast.
    mse_weight : float
        Of the squared error between unit vectors, whose size is about one over their length.
    reconstruction_weight, cycle_weight : float
        Of the terms that need builders; the cycle needs two subjects in a batch.

    Notes
    -----
    With several subjects the source of the cycle is drawn in every step, and so is its target among those whose
    embedder is trained: all of them at first, the new one in reset-tuning. Gradients flow through both sides, as
    published.

    References
    ----------
    Wang et al. (2024), MindBridge, CVPR, section 3.3.
    """

    def __init__(
        self,
        targets: list[str] | None = None,
        temperature: float = 0.005,
        mse_weight: float = 1e4,
        reconstruction_weight: float = 1.0,
        cycle_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.needs = tuple(targets or ("image", "text"))
        self.head = self.needs[0]
        self.temperature, self.mse_weight = temperature, mse_weight
        self.reconstruction_weight, self.cycle_weight = reconstruction_weight, cycle_weight

    def forward(self, found: Heads, batch: Batch, progress: float, encoder: nn.Module) -> Heads:
        """Return `<target>_contrast` and `<target>_mse` of every target, `reconstruction` and `cycle`.

        Parameters
        ----------
        found : Heads
            Head to prediction, shape (B, ...).
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        encoder : nn.Module
        """
        terms = {}
        for name in self.needs:
            predicted, target = unit(found[name]), unit(batch[name])
            terms[f"{name}_contrast"] = soft_clip(predicted, target, self.temperature)
            terms[f"{name}_mse"] = self.mse_weight * F.mse_loss(predicted, target)
        if "_reconstruction" not in found:
            return terms
        back = F.mse_loss(found["_reconstruction"], found["_pooled"])
        terms["reconstruction"] = self.reconstruction_weight * back
        pair = self._pair(batch["space"], encoder)
        if pair is not None:
            source, target = pair
            embedding = found["_embedding"][batch["space"] == source]
            around = encoder.cycle(embedding, encoder.space_names[target])
            terms["cycle"] = self.cycle_weight * F.mse_loss(embedding, around.float())
        return terms

    @staticmethod
    def _pair(space: Tensor, encoder: nn.Module) -> tuple[int, int] | None:
        """Draw two spaces of the batch; the second is one whose embedder is trained."""
        present = space.unique().tolist()
        names = encoder.space_names
        trained = [
            place
            for place in present
            if place >= 0 and next(encoder.embedder[names[place]].parameters()).requires_grad
        ]
        if len(present) < 2 or not trained:
            return None
        target = trained[int(torch.randint(len(trained), ()))]
        others = [place for place in present if place != target]
        return others[int(torch.randint(len(others), ()))], target


def unit(values: Tensor) -> Tensor:
    """Return rows (B, n), tokens flattened, under one norm of 1."""
    return F.normalize(values.flatten(1), dim=-1)


def soft_clip(predicted: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of both directions against the similarities of the targets among themselves.

    Parameters
    ----------
    predicted, target : Tensor, shape (B, n)
        Unit rows.
    temperature : float

    References
    ----------
    Scotti et al. (2023), Reconstructing the mind's eye, NeurIPS, eq. 3.
    """
    wanted = (target @ target.T / temperature).softmax(dim=-1)
    logits = predicted @ target.T / temperature
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2
