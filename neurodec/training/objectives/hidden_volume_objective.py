"""Learning from recordings at rest: a volume is hidden, and filled in from those before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.objective import Objective


class HiddenVolumeObjective(Objective):
    """Error at a volume that is hidden with all after it; it needs no target.

    Parameters
    ----------
    error : {"absolute", "squared"}
        Absolute as published.

    Notes
    -----
    The encoder takes `mask` (B, n_volumes; True is hidden) and gives the head `parcels`, the first hidden volume. In
    training any volume but the first is hidden, drawn anew for every row; in validation always the last.

    References
    ----------
    Thomas, Ré & Poldrack (2022), Self-supervised learning of brain dynamics from broad neuroimaging data, NeurIPS.
    """

    head = "parcels"
    needs = ()
    held_out_by = "subject"

    def __init__(self, error: Literal["absolute", "squared"] = "absolute") -> None:
        super().__init__()
        self.error = {"absolute": F.l1_loss, "squared": F.mse_loss}[error]

    def prepare(self, batch: Batch, progress: float) -> Batch:
        """Draw the volume from which on nothing is seen."""
        mask = {}
        for space, response in batch.responses.items():
            n_rows, n_volumes = len(response), response.shape[-1]
            places = torch.arange(n_volumes, device=response.device)
            first = torch.full((n_rows, 1), n_volumes - 1, device=response.device)
            if self.training:
                first = torch.randint(1, n_volumes, (n_rows, 1), device=response.device)
            mask[space] = places >= first
        return replace(batch, mask=mask)

    def forward(self, found: Heads, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the term `loss`.

        Parameters
        ----------
        found : Heads
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        given, several = found[self.head], isinstance(found[self.head], dict)
        total, n_values = torch.zeros((), device=batch.stimulus.device), 0
        for space, rows in batch.rows_of():
            response, mask = batch.responses[space], batch.mask[space]
            first = mask.int().argmax(dim=1)
            wanted = response[torch.arange(len(response), device=response.device), :, first]
            own = given[space] if several else given[rows]
            total = total + self.error(own, wanted, reduction="sum")
            n_values += wanted.numel()
        return {"loss": total / n_values}
