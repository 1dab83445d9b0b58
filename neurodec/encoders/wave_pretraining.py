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
    n_past : int
        Volumes whose own parcel is added with a weight that is learned, as in an autoregression of every parcel: the
        layer norm of the embedding forgets amplitudes. 0 as published.

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
        n_past: int = 0,
    ) -> None:
        super().__init__()
        self.sfreq, self.n_past = sfreq, n_past
        self.past = nn.Parameter(torch.zeros(n_past, n_past, n_chans))  # by how many volumes there are
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
        first = _first_hidden(response, mask)
        found = self.backbone.unembed(self._at(response, first))
        return {"parcels": found + self._from_past(response, first) if self.n_past else found}

    def states(self, response: Tensor) -> Tensor:
        """Return what the network makes of windows before it gives their last volume, shape (B, width).

        Parameters
        ----------
        response : Tensor, shape (B, n_parcels, n_volumes)
        """
        return self._at(response, _first_hidden(response, None))

    def _at(self, response: Tensor, first: Tensor) -> Tensor:
        volumes = response.transpose(1, 2)
        places = torch.arange(volumes.shape[1], device=volumes.device)
        asked = places == first[:, None]
        shown = torch.where(asked[..., None], self.backbone.hidden.to(volumes), volumes)
        states = self.backbone(shown, places / self.sfreq, places <= first[:, None])
        return states[torch.arange(len(states), device=volumes.device), first]

    def _from_past(self, response: Tensor, first: Tensor) -> Tensor:
        """Return the weighted volumes before the hidden one, shape (B, n_parcels); weights of AR(1) to AR(n_past)."""
        lags = torch.arange(1, self.n_past + 1, device=response.device)
        places = first[:, None] - lags  # (B, n_past)
        rows = torch.arange(len(response), device=response.device)[:, None]
        before = response.transpose(1, 2)[rows, places.clamp(min=0)] * (places >= 0)[..., None]
        return (before * self.past[first.clamp(max=self.n_past) - 1]).sum(dim=1)


def _first_hidden(response: Tensor, mask: Tensor | None) -> Tensor:
    """Return the first hidden volume of every row (B,): the last one where there is no mask."""
    if mask is None:
        return torch.full((len(response),), response.shape[-1] - 1, device=response.device)
    return mask.int().argmax(dim=1)
