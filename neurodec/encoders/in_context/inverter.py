"""The in-context inverter: encoders of many voxels and their responses to one picture in, its embedding out.

Stage 2, BrainCoDec (2026, CVPR, arXiv 2604.08537): the voxels are a set, so any number of any person's will do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurodec.encoders.checkpoints import take_exactly
from neurodec.encoders.in_context.voxel_encoder import ResidualBlock, SetTransformer, sizes_of

PRESETS: dict[str, dict[str, int]] = {
    "clip": {"n_embed": 512, "width": 768},
    "dino": {"n_embed": 768, "width": 1024},
    "siglip": {"n_embed": 1152, "width": 1440},
}
"""Published sizes; all have 8 layers of 8 heads, a feed-forward width of 1024, 32 registers, a hidden width of 2048."""
HEADS = {768: 8, 1024: 8, 1440: 8}


class InContextInverter(SetTransformer):
    """Read what a person saw off voxels whose encoders are known, without a fit.

    Parameters
    ----------
    n_embed : int
        Width of the encoders' weights.
    n_outputs : int, optional
        Width of the embedding that is returned; `n_embed` by default.
    width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers : int
        Sizes; see `PRESETS` for the published ones.
    n_read : int
        Registers whose outputs are merged.
    dropout : float

    Notes
    -----
    One trial of V voxels takes about ``2 V n_layers (4 width^2 + 3 width ffn_dim + 2 width V)`` operations: 0.7 TFLOP
    in the published size with 4,000 voxels, more than half of it attention.
    """

    def __init__(
        self,
        n_embed: int = 512,
        n_outputs: int | None = None,
        width: int = 768,
        n_layers: int = 8,
        ffn_dim: int = 1024,
        n_heads: int = 8,
        n_registers: int = 32,
        hidden: int = 2048,
        n_early_layers: int = 1,
        n_read: int = 4,
        dropout: float = 0.1,
    ) -> None:
        sizes = (width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers)
        super().__init__(n_embed + 2, *sizes, n_read=n_read, dropout=dropout)
        n_outputs = n_outputs or n_embed
        self.n_embed = n_embed
        self.sizes = {"n_embed": n_embed, "n_outputs": n_outputs, "n_read": n_read, **self.sizes}
        self.token_merger = nn.Sequential(
            nn.Linear(n_read * width, n_read * width),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(n_read * width, width),
        )
        inner = [ResidualBlock(width, width, hidden, dropout) for _ in range(n_early_layers - 1)]
        self.feature_regressor = nn.Sequential(*inner, ResidualBlock(width, n_outputs, hidden, dropout))

    @classmethod
    def preset(cls, name: str, dropout: float = 0.1) -> InContextInverter:
        """Return an untrained inverter of a published size: "clip", "dino" or "siglip"."""
        return cls(**PRESETS[name], dropout=dropout)

    def forward(self, weights: Tensor, bias: Tensor, responses: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return one embedding per trial, shape (B, n_outputs), of any length, float32.

        Parameters
        ----------
        weights : Tensor, shape (V, n_embed) or (B, V, n_embed)
            Encoders of the voxels, one set for all trials or one for each.
        bias : Tensor, shape (V,) or (B, V)
        responses : Tensor, shape (B, V)
            z-scored as those that the encoders are of.
        mask : Tensor of bool, shape (B, V), optional
            False where a row is padded.
        """
        read = self.read(self._tokens(weights, bias, responses), mask).flatten(1)
        with torch.autocast(read.device.type, enabled=False):
            return self.feature_regressor(self.token_merger(read.float()))

    def attention_maps(self, weights: Tensor, bias: Tensor, responses: Tensor) -> Tensor:
        """Return how much every voxel weighs in what is read of a trial, shape (B, V); see `attention_of`."""
        return self.attention_of(self._tokens(weights, bias, responses))

    def _tokens(self, weights: Tensor, bias: Tensor, responses: Tensor) -> Tensor:
        parts = weights.expand(len(responses), -1, -1), bias.expand(len(responses), -1), responses
        return torch.cat([parts[0], parts[1].unsqueeze(-1), parts[2].unsqueeze(-1)], dim=-1)

    @classmethod
    def from_published(
        cls, state: dict[str, Tensor], source: str, n_heads: int | None = None
    ) -> InContextInverter:
        """Build the inverter of the authors' state dict."""
        sizes = sizes_of(state, source, n_heads, HEADS)
        n_in, last = sizes.pop("n_in"), sizes["n_early_layers"] - 1
        ends = state.get(f"feature_regressor.{last}.block.7.bias"), state.get("token_merger.0.bias")
        n_outputs = None if ends[0] is None else len(ends[0])
        n_read = 4 if ends[1] is None else len(ends[1]) // sizes["width"]
        model = cls(n_in - 2, n_outputs, n_read=n_read, dropout=0.0, **sizes)
        return take_exactly(model, state, source).eval()
