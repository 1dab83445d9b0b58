"""The in-context voxel encoder: (picture embedding, response) pairs of one voxel in, that voxel's linear encoder out.

Stage 1 of BraInCoRL (Yu et al. 2025, NeurIPS, arXiv 2505.15813): a transformer over the pairs as a set, which stands
for a fit. Nothing in it knows the subject, the region or the order of the pairs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError

Preset = Literal["clip", "dino", "siglip"]
PRESETS: dict[str, dict[str, int]] = {
    "clip": {"n_embed": 512, "width": 560, "hidden": 1120},
    "dino": {"n_embed": 768, "width": 800, "hidden": 1600},
    "siglip": {"n_embed": 1152, "width": 1200, "hidden": 2400},
}
"""Published sizes; all have 20 layers of 10 heads, a feed-forward width of 2048 and 4 registers."""
HEADS = {560: 10, 800: 10, 1200: 10}
"""Heads of the published widths, which tensors cannot tell."""


class ResidualBlock(nn.Module):
    """Two layers around a linear bypass, which carries raw values past the first normalisation.

    Parameters
    ----------
    n_in, n_out, hidden : int
    dropout : float
    """

    def __init__(self, n_in: int, n_out: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LayerNorm(n_in),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(n_in, hidden),
            nn.LayerNorm(hidden),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_out),
        )
        self.bypass = nn.Linear(n_in, n_out) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis."""
        return self.block(x) + self.bypass(x)


class Swiglu(nn.Module):
    """The feed-forward part of a block: one half of a projection gates the other."""

    def __init__(self, width: int, ffn_dim: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, 2 * ffn_dim), nn.Linear(ffn_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens (..., width)."""
        gate, value = self.linear1(x).chunk(2, dim=-1)
        return self.linear2(F.silu(gate) * value)


class SetBlock(nn.Module):
    """Attention among the tokens of a set, then a gated feed-forward layer; both after normalisation.

    The queries' input is multiplied by the logarithm of the number of tokens, so that attention stays as sharp among a
    thousand tokens as among ten. As published the factor stands before the projection and leaves its bias alone.

    Parameters
    ----------
    width, ffn_dim, n_heads : int
    dropout : float
    """

    def __init__(self, width: int, ffn_dim: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer_norm_1, self.layer_norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(
            width, n_heads, dropout, batch_first=True
        )  # for its names and inits
        self.dropout = nn.Dropout(dropout)
        self.ffn = Swiglu(width, ffn_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, n_read: int | None = None) -> Tensor:
        """Return the tokens after the block.

        Parameters
        ----------
        x : Tensor, shape (B, T, width)
        mask : Tensor of bool, shape (B, T), optional
            Tokens that count; padding does not.
        n_read : int, optional
            Compute the first so many tokens only, which is exact: others are keys and values, never queries.
        """
        query, key, value = self._projected(x, mask, n_read)
        found = F.scaled_dot_product_attention(
            query,
            key,
            value,
            None if mask is None else mask[:, None, None, :],
            self.attn.dropout if self.training else 0.0,
        )
        x = x[:, :n_read] + self.dropout(self.attn.out_proj(found.transpose(1, 2).flatten(2)))
        return x + self.ffn(self.layer_norm_2(x))

    def attention(self, x: Tensor, mask: Tensor | None = None, n_read: int | None = None) -> Tensor:
        """Return how much the first `n_read` tokens attend to each, mean over heads, shape (B, n_read, T)."""
        query, key, _ = self._projected(x, mask, n_read)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
        return scores.softmax(dim=-1).mean(dim=1)

    def _projected(self, x: Tensor, mask: Tensor | None, n_read: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries of the tokens that are read, keys and values of all, split into heads."""
        h, width = self.layer_norm_1(x), x.shape[-1]
        log = math.log(x.shape[1]) if mask is None else mask.sum(dim=1).to(h.dtype).log()[:, None, None]
        weight, bias = self.attn.in_proj_weight, self.attn.in_proj_bias
        query = F.linear(log * h[:, :n_read], weight[:width], bias[:width])
        key, value = F.linear(h, weight[width:], bias[width:]).chunk(2, dim=-1)
        parts = (query, key, value)
        return tuple(part.unflatten(2, (self.attn.num_heads, -1)).transpose(1, 2) for part in parts)


class SetTransformer(nn.Module):
    """Registers in front of a set of tokens, and blocks over both, of which only registers are read.

    Parameters
    ----------
    n_tokens_in : int
        Numbers in a token.
    width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers : int
    n_read : int
        Registers that are read.
    dropout : float
    """

    def __init__(
        self,
        n_tokens_in: int,
        width: int,
        n_layers: int,
        ffn_dim: int,
        n_heads: int,
        n_registers: int,
        hidden: int,
        n_early_layers: int,
        n_read: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.n_read, self.n_registers = n_read, n_registers
        names = ("width", "n_layers", "ffn_dim", "n_heads", "n_registers", "hidden", "n_early_layers")
        values = (width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers)
        self.sizes: dict[str, int] = dict(zip(names, values, strict=True))
        self.cls_token = nn.Parameter(torch.randn(1, n_registers, width) / math.sqrt(width + 1))
        sizes = [n_tokens_in] + [width] * n_early_layers
        self.early_layers = nn.Sequential(
            *(ResidualBlock(sizes[i], width, hidden, dropout) for i in range(n_early_layers))
        )
        self.input_dropout = nn.Dropout(dropout)
        self.transformer = nn.ModuleList(SetBlock(width, ffn_dim, n_heads, dropout) for _ in range(n_layers))

    def read(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the registers that are read, shape (B, n_read, width).

        Parameters
        ----------
        tokens : Tensor, shape (B, n, n_tokens_in)
        mask : Tensor of bool, shape (B, n), optional
            False where a row is padded.
        """
        x, mask = self._begun(tokens, mask)
        for block in self.transformer[:-1]:
            x = block(x, mask)
        return self.transformer[-1](x, mask, self.n_read)

    def attention_of(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return how much the registers that are read attend to every token in the last block, shape (B, n).

        The mean over heads and over these registers; registers themselves take part of the attention, so that rows sum
        to less than 1. Memory grows with the square of `n` nowhere: the maps of other tokens are not made.
        """
        x, mask = self._begun(tokens, mask)
        for block in self.transformer[:-1]:
            x = block(x, mask)
        return self.transformer[-1].attention(x, mask, self.n_read).mean(dim=1)[:, self.n_registers :]

    @classmethod
    def load_published(cls, path: str | Path, n_heads: int | None = None) -> Self:
        """Read the authors' checkpoint, bare or nested by Lightning; sizes follow from the tensors.

        Parameters
        ----------
        path : str or Path
        n_heads : int, optional
            Needed for widths that were not published.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        return cls.from_published(read_checkpoint(path), str(path), n_heads)

    def _begun(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        registers = self.cls_token.expand(len(tokens), -1, -1)
        x = torch.cat([registers, self.early_layers(tokens).to(registers.dtype)], dim=1)
        if mask is not None:
            mask = F.pad(mask, (self.n_registers, 0), value=True)
        return self.input_dropout(x), mask


class InContextEncoder(SetTransformer):
    """Read a voxel's linear encoder off its responses to a few pictures, without a fit.

    Parameters
    ----------
    n_embed : int
        Width of the picture embeddings, which have unit length.
    width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers : int
        Sizes; see `PRESETS` for the published ones.
    dropout : float

    Notes
    -----
    Of one voxel with n pictures a pass takes about ``2 n n_layers (4 width^2 + 3 width ffn_dim + 2 width n)``
    operations: 20 GFLOP in the published size with 100 pictures, so 20,000 voxels take seconds on a GPU and hours on a
    few CPU cores.
    """

    def __init__(
        self,
        n_embed: int = 512,
        width: int = 560,
        n_layers: int = 20,
        ffn_dim: int = 2048,
        n_heads: int = 10,
        n_registers: int = 4,
        hidden: int = 1120,
        n_early_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        sizes = (width, n_layers, ffn_dim, n_heads, n_registers, hidden, n_early_layers)
        super().__init__(n_embed + 1, *sizes, n_read=1, dropout=dropout)
        self.n_embed, self.sizes = n_embed, {"n_embed": n_embed, **self.sizes}
        inner = [ResidualBlock(width, width, hidden, dropout) for _ in range(n_early_layers - 1)]
        self.weight_pred = nn.Sequential(*inner, ResidualBlock(width, n_embed + 1, hidden, dropout))

    @classmethod
    def preset(cls, name: Preset, dropout: float = 0.0) -> InContextEncoder:
        """Return an untrained encoder of a published size."""
        return cls(**PRESETS[name], dropout=dropout)

    def forward(self, images: Tensor, responses: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return weights and bias of every voxel, shape (B, n_embed + 1), the bias last, float32.

        Parameters
        ----------
        images : Tensor, shape (n, n_embed) or (B, n, n_embed)
            Embeddings of the pictures that were shown, of unit length; one set for all voxels or one for each.
        responses : Tensor, shape (B, n)
            What every voxel answered, z-scored.
        mask : Tensor of bool, shape (B, n), optional
            False where a row is padded.
        """
        (register,) = self.read(self._tokens(images, responses), mask).unbind(dim=1)
        with torch.autocast(register.device.type, enabled=False):  # bfloat16 would leave three digits
            return self.weight_pred(register.float())

    def attention_maps(self, images: Tensor, responses: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return how much every picture weighs in a voxel's encoder, shape (B, n); see `attention_of`."""
        return self.attention_of(self._tokens(images, responses), mask)

    def _tokens(self, images: Tensor, responses: Tensor) -> Tensor:
        return torch.cat([images.expand(len(responses), -1, -1), responses.unsqueeze(-1)], dim=-1)

    @classmethod
    def from_published(
        cls, state: dict[str, Tensor], source: str, n_heads: int | None = None
    ) -> InContextEncoder:
        """Build the encoder of the authors' state dict."""
        sizes = sizes_of(state, source, n_heads, HEADS)
        n_in = sizes.pop("n_in")
        return take_exactly(cls(n_in - 1, **sizes), state, source).eval()


def sizes_of(
    state: dict[str, Tensor], source: str, n_heads: int | None, known_heads: dict[int, int]
) -> dict[str, Any]:
    """Return the sizes that a state dict of a `SetTransformer` tells, `n_in` (numbers in a token) among them.

    Raises
    ------
    NeurodecError
        If it is of another network, or its number of heads is not known.
    """
    try:
        _, n_registers, width = state["cls_token"].shape
        hidden, n_in = state["early_layers.0.block.3.weight"].shape
        ffn_dim = state["transformer.0.ffn.linear2.weight"].shape[1]
    except KeyError as error:
        raise NeurodecError(
            f"{source} is not a checkpoint of an in-context network: it lacks {error}; give the authors' file."
        ) from error
    heads = n_heads or known_heads.get(width)
    if heads is None:
        raise NeurodecError(f"{source} has the width {width}, which was not published; say `n_heads`.")
    counts = {
        part: len({name.split(".")[1] for name in state if name.startswith(f"{part}.")})
        for part in ("transformer", "early_layers")
    }
    return {
        "n_in": n_in,
        "width": width,
        "n_layers": counts["transformer"],
        "ffn_dim": ffn_dim,
        "n_heads": heads,
        "n_registers": n_registers,
        "hidden": hidden,
        "n_early_layers": counts["early_layers"],
    }
