"""Attention over sensors by their places alone, so that one network reads any montage (Défossez et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neurodec.errors import NeurodecError

_MARGIN = 0.2  # of the Fourier embedding around the unit square
_OUTSIDE = -0.1  # the place of a sensor without one


class SensorAttention(nn.Module):
    """Virtual channels, each a mean of sensors weighted by a softmax over their places.

    Parameters
    ----------
    n_out : int
        Virtual channels.
    position_dim : int
        Of the Fourier embedding, twice a square.
    dropout : float
        Radius of the disc of sensors that is left out in a training step.
    n_subjects : int
        Heads for every subject; 0 for heads in common.

    Raises
    ------
    NeurodecError
        If `position_dim` is not twice a square.
    """

    def __init__(self, n_out: int, position_dim: int, dropout: float = 0.0, n_subjects: int = 0) -> None:
        super().__init__()
        if 2 * math.isqrt(position_dim // 2) ** 2 != position_dim:
            near = [2 * n**2 for n in range(2, 40) if 2 * n**2 >= position_dim][:2]
            raise NeurodecError(
                f"`position_dim` is {position_dim}, which is not twice a square; choose "
                f"{' or '.join(map(str, near))}."
            )
        shape = (n_out, position_dim) if not n_subjects else (n_subjects, n_out, position_dim)
        self.heads = nn.Parameter(torch.randn(shape) / math.sqrt(position_dim))
        self.position_dim, self.dropout = position_dim, dropout

    def forward(self, x: Tensor, layout: Tensor, subject: Tensor) -> Tensor:
        """Return virtual channels (B, n_out, n_times)."""
        return self.weights(layout, subject) @ x

    def weights(self, layout: Tensor, subject: Tensor) -> Tensor:
        """Return the weight of every sensor, shape (n_out, n_chans), or (B, n_out, n_chans) where rows differ.

        Computed once for rows that share a layout and heads.
        """
        left_out = invalid_of(layout)
        if bool(left_out.all(dim=-1).any()):
            raise NeurodecError("No sensor of a recording has a known position; set a montage.")
        if self.training and self.dropout:
            centre = torch.rand(2, device=layout.device)
            near = (layout - centre).norm(dim=-1) <= self.dropout
            left_out = torch.where((left_out | near).all(dim=-1, keepdim=True), left_out, left_out | near)
        embedded = fourier_embedding(layout, self.position_dim)  # (..., n_chans, position_dim)
        heads = self.heads
        if heads.ndim == 3:
            known = heads[subject.clamp(min=0)]
            heads = torch.where((subject < 0).view(-1, 1, 1), heads.mean(dim=0), known)
        scores = heads @ embedded.transpose(-1, -2)  # (..., n_out, n_chans)
        return scores.masked_fill(left_out[..., None, :], -torch.inf).softmax(dim=-1)


def fourier_embedding(layout: Tensor, dim: int) -> Tensor:
    """Return cosines and sines of places, shape (..., dim).

    Parameters
    ----------
    layout : Tensor, shape (..., 2)
        In the unit square.
    dim : int
        Twice a square.
    """
    side = math.isqrt(dim // 2)
    waves = 2 * torch.pi / (1 + 2 * _MARGIN) * torch.arange(side, device=layout.device, dtype=layout.dtype)
    x, y = (layout + _MARGIN).unbind(dim=-1)
    phase = (x[..., None] * waves)[..., :, None] + (y[..., None] * waves)[..., None, :]
    phase = phase.flatten(-2)
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def invalid_of(layout: Tensor) -> Tensor:
    """Return which sensors have no place, shape (..., n_chans)."""
    return (layout == _OUTSIDE).all(dim=-1)


def flattened(positions: Tensor) -> Tensor:
    """Return places in the unit square, (-0.1, -0.1) where unknown.

    Parameters
    ----------
    positions : Tensor, shape (..., n_chans, 2) or (..., n_chans, 3)
        A layout in the unit square is kept; places in metres are unrolled from the top of the head, as
        `mne.channels.find_layout` does for EEG, then scaled to [0, 1] along both axes. (The authors take MNE's drawn
        layouts for MEG systems.) NaN where unknown.
    """
    unknown = positions.isnan().any(dim=-1, keepdim=True)
    if positions.shape[-1] == 2:
        return positions.masked_fill(unknown, _OUTSIDE)
    x, y, z = positions.unbind(dim=-1)
    flat = torch.hypot(x, y)
    radius = torch.atan2(flat, z) * positions.norm(dim=-1)
    unit = torch.stack([x, y], dim=-1) * (radius / flat.clamp(min=1e-12))[..., None]
    low = unit.masked_fill(unknown, torch.inf).amin(dim=-2, keepdim=True)
    high = unit.masked_fill(unknown, -torch.inf).amax(dim=-2, keepdim=True)
    return ((unit - low) / (high - low).clamp(min=1e-12)).masked_fill(unknown, _OUTSIDE)
