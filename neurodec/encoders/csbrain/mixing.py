"""Convolutions over a few neighbours, at several scales at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mixed(h: Tensor, convs: Sequence[nn.Conv1d], dim: int, *, circular: bool) -> Tensor:
    """Convolve along one axis of (..., D) at several scales, side by side.

    One product gives all taps of all kernels, which are then shifted and added: much faster than convolutions that are
    as short as a region.

    Parameters
    ----------
    h : Tensor, shape (..., D)
    convs : sequence of nn.Conv1d
        Their weights; the sum of their widths is that of the result.
    dim : int
        The axis.
    circular : bool
        Whether its ends meet; otherwise zeros lie beyond them.
    """
    found = F.linear(h, torch.cat([conv.weight.permute(2, 0, 1).flatten(0, 1) for conv in convs]))
    scales_, start = [], 0
    for conv in convs:
        n_taps, n_out = conv.kernel_size[0], conv.out_channels
        taps = found[..., start : start + n_taps * n_out].split(n_out, dim=-1)
        shifted = [_shifted(own, n_taps // 2 - tap, dim, circular) for tap, own in enumerate(taps)]
        scales_.append(sum(shifted[1:], shifted[0]))
        start += n_taps * n_out
    return torch.cat(scales_, dim=-1) + torch.cat([conv.bias for conv in convs])


def _shifted(values: Tensor, by: int, dim: int, circular: bool) -> Tensor:
    """Move values along an axis."""
    if by == 0:
        return values
    if circular:
        return values.roll(by, dim)
    n, size = values.shape[dim], abs(by)
    if size >= n:
        return torch.zeros_like(values)
    zeros = torch.zeros_like(values.narrow(dim, 0, size))
    parts = (
        (zeros, values.narrow(dim, 0, n - size)) if by > 0 else (values.narrow(dim, size, n - size), zeros)
    )
    return torch.cat(parts, dim=dim)
