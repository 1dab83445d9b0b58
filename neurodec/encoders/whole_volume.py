"""A plain network on the whole volume, which needs no atlas: one 3-D convolution, and a residual perceptron."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POOLED = 8  # cells along every axis


class WholeVolume(nn.Module):
    """Voxels of a mask, put back into their volume, to the embeddings of what was seen.

    Parameters
    ----------
    n_chans : int
        Voxels.
    mask_shape : list of int
        Of the volume; filled in.
    voxel_indices : list of int
        Places of the voxels in it (flat, C order); filled in.
    heads : dict of list of int
        Target to its shape; filled in.
    n_filters : int
        Of the convolution.
    n_blocks : int
        Of the perceptron; its width is 512 times `n_filters`.
    dropout : float

    References
    ----------
    The whole-brain baseline of WAVE's public follow-up on NSD: a convolution of side and stride 4, the largest value in
    each of 8 x 8 x 8 cells, four residual blocks. Volumes of fewer than 29 voxels along an axis are enlarged in the
    cells, as in `torch.nn.AdaptiveMaxPool3d`.
    """

    def __init__(
        self,
        n_chans: int,
        mask_shape: list[int],
        voxel_indices: list[int],
        heads: dict[str, list[int]],
        *,
        n_filters: int = 8,
        n_blocks: int = 4,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.mask_shape, self.shapes = tuple(mask_shape), heads
        self.register_buffer("places", torch.as_tensor(voxel_indices, dtype=torch.long), persistent=False)
        width = n_filters * _POOLED**3
        self.convolution = nn.Conv3d(1, n_filters, kernel_size=4, stride=4, padding=1)
        self.pool, self.norm = nn.AdaptiveMaxPool3d(_POOLED), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Dropout(dropout))
            for _ in range(n_blocks)
        )
        self.outputs = nn.ModuleDict(
            {name: nn.Linear(width, math.prod(shape)) for name, shape in heads.items()}
        )

    def forward(self, response: Tensor) -> dict[str, Tensor]:
        """Predict every target.

        Parameters
        ----------
        response : Tensor, shape (B, n_voxels)

        Returns
        -------
        dict of Tensor, shape (B, ...)
        """
        volume = response.new_zeros(len(response), math.prod(self.mask_shape))
        volume[:, self.places] = response
        volume = volume.reshape(-1, 1, *self.mask_shape)
        x = self.norm(F.gelu(self.pool(self.convolution(volume))).flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return {name: head(x).unflatten(1, self.shapes[name]) for name, head in self.outputs.items()}
