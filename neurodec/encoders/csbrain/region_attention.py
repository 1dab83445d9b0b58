"""Which regions attend which in CSBrain: its weights between electrodes, added up by region."""

from __future__ import annotations

import torch
from torch import Tensor

from neurodec.encoders.csbrain.backbone import CSBrainBackbone, Layer, Layout
from neurodec.preprocessing.electrodes import REGIONS


@torch.no_grad()
def region_attention(
    backbone: CSBrainBackbone, x: Tensor, layout: Layout | None = None
) -> tuple[Tensor, list[str]]:
    """Return the mean attention that electrodes of a region pay to those of every region.

    Parameters
    ----------
    backbone : CSBrainBackbone
        In evaluation mode.
    x : Tensor, shape (B, C, P, S)
        Patches.
    layout : Layout, optional
        Of another montage than the model's own.

    Returns
    -------
    attention : Tensor, shape (R, R)
        Rows attend columns and add up to 1; the mean over windows, seconds, layers and heads.
    names : list of str
        Of the regions.
    """
    layout = layout or backbone.layout
    h = backbone.patch_embedding(x[:, layout.order])
    total = torch.zeros(len(layout.averaging), len(layout.averaging), device=x.device)
    for layer in backbone.layers:
        h = backbone.temporal(h) + h
        h = backbone.regional(h, layout.montage.counts) + h
        between = _weights(layer, h, layout).mean(dim=(0, 1, 2))  # (C, C)
        members = (layout.averaging > 0).float()
        total += layout.averaging @ between @ members.T
        h = layer(h, layout.averaging, layout.region, layout.mask)
    present = sorted(set(layout.montage.regions))
    return total / len(backbone.layers), [REGIONS[one] for one in present]


def _weights(layer: Layer, h: Tensor, layout: Layout) -> Tensor:
    """Return attention between electrodes, shape (B, P, heads, C, C)."""
    z = layer.norm2(h + layer.between_windows(layer.norm1(h)))
    q, k, _ = layer.projected(layer.inter_region_attn, layer.with_means(z, layout.averaging, layout.region))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~layout.mask, -torch.inf).softmax(dim=-1)
