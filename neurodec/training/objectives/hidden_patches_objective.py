"""Learning without labels: what was hidden from the encoder is to be filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from neurodec.encoders.csbrain.output_heads import hidden_errors
from neurodec.errors import NeurodecError
from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.objective import Objective


class HiddenPatchesObjective(Objective):
    """Mean squared error over the samples of patches that are hidden from the encoder; it needs no target.

    Parameters
    ----------
    hidden_share : float
        Probability that a patch is hidden.
    target : {"corrected", "published"}
        CSBrain's release compares what it finds with other channels' samples; see
        `neurodec.encoders.csbrain.output_heads.hidden_errors`.

    Notes
    -----
    The encoder has a `patch_size`, takes `mask` (B, n_chans, n_patches; True is hidden), and gives the head `patches`
    of the shape of the responses. Patches are hidden anew in every step, and always alike when validated, on people who
    are held out.

    References
    ----------
    Zhou et al. (2025), CSBrain, NeurIPS, section 3.4.
    """

    head = "patches"
    needs = ()
    held_out_by = "subject"

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
        """Return the term `loss`.

        Parameters
        ----------
        found : Heads
            Head to prediction, shape (B, ...).
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        encoder : nn.Module
        """
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
