"""WAVE's transformer without labels: it fills in a volume from those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurodec.encoders.wave import ParcelTransformer


class WAVEPretraining(nn.Module):
    """The transformer with a layer that gives the parcels of a hidden volume (causal sequence modelling).

    Parameters
    ----------
    n_chans : int
        Parcels.
    sfreq : float
        Volumes per second.
    width, depth, n_heads, dropout
        See `ParcelTransformer`.

    References
    ----------
    Thomas, Ré & Poldrack (2022), Self-supervised learning of brain dynamics from broad neuroimaging data, NeurIPS.
    """

    own_scale = True

    def __init__(
        self,
        n_chans: int,
        sfreq: float,
        *,
        width: int = 768,
        depth: int = 4,
        n_heads: int = 12,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.sfreq = sfreq
        self.backbone = ParcelTransformer(n_chans, width, depth, n_heads, dropout=dropout)

    def forward(self, response: Tensor, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return the first hidden volume of every row.

        Parameters
        ----------
        response : Tensor, shape (B, n_parcels, n_volumes)
            Z-scored.
        mask : Tensor of bool, shape (B, n_volumes), optional
            True where the network may not look: from some volume on. The last one by default.

        Returns
        -------
        dict of Tensor
            `parcels`, shape (B, n_parcels).
        """
        volumes = response.transpose(1, 2)
        n_rows, n_volumes, _ = volumes.shape
        places = torch.arange(n_volumes, device=volumes.device)
        if mask is None:
            mask = (places == n_volumes - 1).expand(n_rows, -1)
        first = mask.int().argmax(dim=1)
        asked = places == first[:, None]
        shown = torch.where(asked[..., None], self.backbone.hidden.to(volumes), volumes)
        states = self.backbone(shown, places / self.sfreq, places <= first[:, None])
        rows = torch.arange(n_rows, device=volumes.device)
        return {"parcels": self.backbone.unembed(states[rows, first])}
