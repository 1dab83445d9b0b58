"""The backbone of CSBrain (Zhou et al. 2025, arXiv 2506.23075), an EEG foundation model of patches of one second.

Every layer mixes neighbouring seconds at three scales, then neighbouring electrodes of a region at three scales, then
attends between windows of seconds and between regions. Written from a specification, since the release has no licence;
equal to it where asked (`temporal_layout="published"`), and by default without its faults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import take_exactly
from neurodec.encoders.csbrain.brain_regions import Montage
from neurodec.encoders.csbrain.mixing import mixed
from neurodec.errors import NeurodecError

TemporalLayout = Literal["transposed", "published"]
Initialisation = Literal["scaled", "published"]
KERNELS = (1, 3, 5)
WINDOW = 5  # patches
N_REGIONS = 5
_CHANNELS, _STRIDE = 25, 25  # of the stem


class PatchEmbedding(nn.Module):
    """Embed patches by convolutions over time, by their spectrum, and by their place among the others.

    Parameters
    ----------
    patch_size : int
        Samples of a patch, and width of its embedding; a multiple of 25.
    dropout : float
        Of the spectral branch.

    Notes
    -----
    Group normalisation takes its statistics over all patches of a sample, masked ones included, so an embedding
    depends on every other patch.
    """

    def __init__(self, patch_size: int, dropout: float) -> None:
        super().__init__()
        self.mask_encoding = nn.Parameter(torch.zeros(patch_size), requires_grad=False)
        self.positional_encoding = nn.Sequential(
            nn.Conv2d(patch_size, patch_size, (19, 7), padding=(9, 3), groups=patch_size)
        )
        blocks: list[nn.Module] = []
        for n_in, kernel, stride, padding in (
            (1, 49, _STRIDE, 24),
            (_CHANNELS, 3, 1, 1),
            (_CHANNELS, 3, 1, 1),
        ):
            blocks += [
                nn.Conv2d(n_in, _CHANNELS, (1, kernel), stride=(1, stride), padding=(0, padding)),
                nn.GroupNorm(5, _CHANNELS),
                nn.GELU(),
            ]
        self.proj_in = nn.Sequential(*blocks)
        self.spectral_proj = nn.Sequential(nn.Linear(patch_size // 2 + 1, patch_size), nn.Dropout(dropout))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return embeddings (B, C, P, D) of patches (B, C, P, S); `mask` (B, C, P) is True where a patch is hidden."""
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), self.mask_encoding, x)
        n_batch, n_chans, n_patches, n_samples = x.shape
        flat = x.reshape(n_batch, 1, n_chans * n_patches, n_samples)
        embedded = self.proj_in(flat).transpose(1, 2).reshape(x.shape)  # feature = filter * steps + step
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft(x.float(), norm="forward").abs()
        embedded = embedded + self.spectral_proj(spectrum)
        return embedded + self.positional_encoding(embedded.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def scales(width: int) -> list[int]:
    """Return the widths of the three scales: a half, a quarter, and the rest."""
    half, quarter = width // 2, width // 4
    return [half, quarter, width - half - quarter]


class TemporalTokenizer(nn.Module):
    """Mix neighbouring patches of a channel at three scales.

    Parameters
    ----------
    width : int
    layout : {"transposed", "published"}
        The release reinterprets memory of (P, D) as (D, P) in place of transposing it, so that its kernels slide over
        neighbouring features and every patch reaches every other. Its weights need that.
    """

    def __init__(self, width: int, layout: TemporalLayout) -> None:
        super().__init__()
        self.layout = layout
        self.convs = nn.ModuleList(
            nn.Conv1d(width, n_out, kernel, padding=kernel // 2)
            for n_out, kernel in zip(scales(width), KERNELS, strict=True)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return (B, C, P, D) from (B, C, P, D)."""
        if self.layout == "transposed":
            return mixed(h, self.convs, dim=2, circular=False)
        rows = h.reshape(-1, h.shape[-1], h.shape[-2])
        return torch.cat([conv(rows) for conv in self.convs], dim=1).reshape(h.shape)


class RegionalTokenizer(nn.Module):
    """Mix neighbouring electrodes of a region at three scales, around its circle; channels are in order of regions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.regions = nn.ModuleList(
            nn.ModuleList(
                nn.Conv1d(width, n_out, kernel) for n_out, kernel in zip(scales(width), KERNELS, strict=True)
            )
            for _ in range(N_REGIONS)
        )

    def forward(self, h: Tensor, counts: Sequence[int]) -> Tensor:
        """Return (B, C, P, D) from (B, C, P, D); `counts` are the electrodes of every region."""
        parts = zip(self.regions, h.split(list(counts), dim=1), strict=True)
        return torch.cat(
            [mixed(own, convs, dim=1, circular=own.shape[1] > 1) for convs, own in parts if own.shape[1]],
            dim=1,
        )


class Layer(nn.Module):
    """Attention between windows of seconds, attention between regions, and a network for each token.

    Parameters
    ----------
    width, n_heads, ffn_dim : int
    dropout : float
    """

    def __init__(self, width: int, n_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.inter_window_attn = nn.MultiheadAttention(width, n_heads, dropout, batch_first=True)
        self.inter_region_attn = nn.MultiheadAttention(width, n_heads, dropout, batch_first=True)
        self.global_fc = nn.Linear(width, width)
        self.linear1, self.linear2 = nn.Linear(width, ffn_dim), nn.Linear(ffn_dim, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, h: Tensor, averaging: Tensor, region: Tensor, mask: Tensor) -> Tensor:
        """Return (B, C, P, D) from (B, C, P, D).

        Parameters
        ----------
        h : Tensor, shape (B, C, P, D)
        averaging : Tensor, shape (R, C)
            Takes means over the electrodes of every region.
        region : Tensor of int, shape (C,)
        mask : Tensor of bool, shape (C, C)
            Which electrodes attend each other.
        """
        h = h + self._drop(self.between_windows(self.norm1(h)))
        h = h + self._drop(self._between_regions(self.norm2(h), averaging, region, mask))
        return h + self._drop(self.linear2(self._drop(F.gelu(self.linear1(self.norm3(h))))))

    def between_windows(self, z: Tensor) -> Tensor:
        """Attend over the windows at every place within a window; padded windows count, as published."""
        n_batch, n_chans, n_patches, width = z.shape
        if n_patches <= WINDOW:  # a single window: attention is the identity on values
            return self._values_alone(z)
        n_windows = -(-n_patches // WINDOW)
        z = F.pad(z, (0, 0, 0, n_windows * WINDOW - n_patches))
        z = z.reshape(n_batch, n_chans, n_windows, WINDOW, width).transpose(2, 3)
        found = self._attend(self.inter_window_attn, z)
        found = found.transpose(2, 3).reshape(n_batch, n_chans, n_windows * WINDOW, width)
        return found[:, :, :n_patches]

    def _values_alone(self, z: Tensor) -> Tensor:
        attention, width = self.inter_window_attn, z.shape[-1]
        values = F.linear(z, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
        if self.training and self.dropout:  # the one weight of each token and head is dropped or not
            kept = F.dropout(z.new_ones(*z.shape[:-1], self.n_heads, 1), self.dropout)
            values = (values.unflatten(-1, (self.n_heads, -1)) * kept).flatten(-2)
        return attention.out_proj(values)

    def _between_regions(self, z: Tensor, averaging: Tensor, region: Tensor, mask: Tensor) -> Tensor:
        z = self.with_means(z, averaging, region)
        return self._attend(self.inter_region_attn, z, mask).transpose(1, 2)

    def with_means(self, z: Tensor, averaging: Tensor, region: Tensor) -> Tensor:
        """Return tokens (B, P, C, D) with what their region's mean adds to them, from (B, C, P, D)."""
        z = z.transpose(1, 2)
        return z + self.global_fc(averaging.to(z.dtype) @ z).index_select(2, region)

    def _attend(self, attention: nn.MultiheadAttention, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend along the last but one axis."""
        q, k, v = (
            part.flatten(0, -4) for part in self.projected(attention, z)
        )  # (rows, heads, length, D / heads)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return attention.out_proj(found.transpose(1, 2).reshape(z.shape))

    def projected(self, attention: nn.MultiheadAttention, z: Tensor) -> Tensor:
        """Return queries, keys and values (3, ..., heads, length, D / heads) of (..., length, D)."""
        found = F.linear(z, attention.in_proj_weight, attention.in_proj_bias)
        return found.unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-2, -3)

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)


class Layout(nn.Module):
    """What a montage makes of the layers, none of whose weights depends on it.

    Parameters
    ----------
    montage : Montage
    """

    def __init__(self, montage: Montage) -> None:
        super().__init__()
        self.montage = montage
        order = torch.tensor(montage.order)
        region = torch.tensor(montage.regions)[order]
        present = sorted(set(montage.regions))
        averaging = torch.stack([(region == one).float() for one in present])
        buffers = {
            "order": order,
            "back": order.argsort(),
            "region": torch.tensor([present.index(one) for one in region.tolist()]),
            "averaging": averaging / averaging.sum(dim=1, keepdim=True),
            "mask": montage.mask(),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)


class CSBrainBackbone(nn.Module):
    """The backbone: patches in, a token for each channel and second out, channels in the user's order.

    Parameters
    ----------
    montage : Montage
        Region and order of every channel.
    patch_size : int
        Samples of a patch, and width of the tokens; 200 as published, at 200 Hz.
    n_layers, n_heads, ffn_dim : int
        12, 8 and 800 as published.
    dropout : float
    temporal_layout : {"transposed", "published"}
        See `TemporalTokenizer`; published weights need "published".
    initialisation : {"scaled", "published"}
        As published the tokens grow about 1.9-fold with every layer, so that twelve of them begin with an error of
        millions; "scaled" shrinks what each branch adds.

    Notes
    -----
    Nothing of its size depends on channels or patches. Per token and layer 22 D^2 multiply-adds, and 2 D (C + P / 5)
    for attention: cost grows linearly with channels times patches up to hundreds of channels.
    """

    def __init__(
        self,
        montage: Montage,
        patch_size: int = 200,
        n_layers: int = 12,
        n_heads: int = 8,
        ffn_dim: int = 800,
        dropout: float = 0.1,
        temporal_layout: TemporalLayout = "transposed",
        initialisation: Initialisation = "scaled",
    ) -> None:
        super().__init__()
        if patch_size % _STRIDE or patch_size % n_heads:
            raise NeurodecError(
                f"`patch_size` is {patch_size}; give a multiple of {_STRIDE} and of the {n_heads} heads."
            )
        self.patch_size, self.layout = patch_size, Layout(montage)
        self.patch_embedding = PatchEmbedding(patch_size, dropout)
        self.temporal = TemporalTokenizer(patch_size, temporal_layout)
        self.regional = RegionalTokenizer(patch_size)
        self.layers = nn.ModuleList(Layer(patch_size, n_heads, ffn_dim, dropout) for _ in range(n_layers))
        self._initialise(initialisation)

    def forward(self, x: Tensor, mask: Tensor | None = None, layout: Layout | None = None) -> Tensor:
        """Return tokens (B, C, P, D) of patches (B, C, P, S).

        Parameters
        ----------
        x : Tensor, shape (B, C, P, S)
            Microvolts / 100.
        mask : Tensor of bool, shape (B, C, P), optional
            True where a patch is hidden.
        layout : Layout, optional
            Of another montage than the model's own.
        """
        return self.in_order(x, mask, layout)[:, (layout or self.layout).back]

    def in_order(self, x: Tensor, mask: Tensor | None = None, layout: Layout | None = None) -> Tensor:
        """Return the same with channels in order of regions, as published heads read them; see `forward`."""
        layout = layout or self.layout
        if x.shape[1] != len(layout.montage.regions) or x.shape[3] != self.patch_size:
            raise NeurodecError(
                f"The patches have {x.shape[1]} channels of {x.shape[3]} samples, the model reads "
                f"{len(layout.montage.regions)} of {self.patch_size}; set the montage, or cut them otherwise."
            )
        h = self.patch_embedding(x[:, layout.order], None if mask is None else mask[:, layout.order])
        for layer in self.layers:
            h = self.temporal(h) + h
            h = self.regional(h, layout.montage.counts) + h
            h = layer(h, layout.averaging, layout.region, layout.mask)
        return h

    @torch.no_grad()
    def _initialise(self, how: Initialisation) -> None:
        first = self.layers[0]
        for layer in self.layers:
            for attention, of_first in (
                (layer.inter_window_attn, first.inter_window_attn),
                (layer.inter_region_attn, first.inter_region_attn),
            ):
                if how == "published":  # layers are copies of one, and only linear weights are drawn again
                    attention.in_proj_weight.copy_(of_first.in_proj_weight)
                nn.init.kaiming_normal_(attention.out_proj.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, nn.Linear) and type(module) is nn.Linear:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if how == "scaled":
            depth = len(self.layers)
            shrink = (2 * depth) ** -0.5
            for layer in self.layers:
                for weight in (
                    layer.inter_window_attn.out_proj.weight,
                    layer.inter_region_attn.out_proj.weight,
                    layer.linear2.weight,
                ):
                    weight.mul_(shrink)
            for conv in [*self.temporal.convs, *(conv for own in self.regional.regions for conv in own)]:
                conv.weight.mul_(1 / depth)
                conv.bias.mul_(1 / depth)


def from_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a published backbone's tensors by our names."""
    found = {}
    for name, values in state.items():
        ours = name.replace("TemEmbedEEGLayer.", "temporal.").replace("encoder.layers.", "layers.")
        ours = re.sub(r"BrainEmbedEEGLayer\.region_blocks\.region_(\d)", r"regional.regions.\1", ours)
        is_conv = ours.startswith(("temporal.", "regional.")) and values.ndim == 4
        found[ours] = values.squeeze(-1) if is_conv else values
    return found


def load_backbone(
    state: dict[str, Tensor],
    montage: Montage,
    source: str,
    n_heads: int = 8,
    dropout: float = 0.1,
) -> tuple[CSBrainBackbone, dict[str, Tensor]]:
    """Build the backbone of a published checkpoint; every tensor of it must be there, and fit.

    Parameters
    ----------
    state : dict of Tensor
        The prefixes ``module.`` and ``backbone.`` are taken off.
    montage : Montage
        Any: no weight depends on it.
    source : str
        For messages.
    n_heads : int
        What tensors do not tell.
    dropout : float

    Returns
    -------
    model : CSBrain
    heads : dict of Tensor
        The other tensors, such as ``proj_out.0.weight``.

    Raises
    ------
    NeurodecError
        Naming what is missing, unknown or of another shape.
    """
    state = {name.removeprefix("module."): values for name, values in state.items()}
    prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
    own, heads = {}, {}
    for name, values in state.items():
        inner = name.removeprefix(prefix)
        known = inner.startswith(("patch_embedding.", "TemEmbedEEGLayer.", "BrainEmbedEEGLayer.", "encoder."))
        (own if name.startswith(prefix) and known else heads)[inner if known else name] = values
    if "patch_embedding.mask_encoding" not in own:
        raise NeurodecError(
            f"{source} holds no backbone of CSBrain (patch_embedding.mask_encoding); give its weights."
        )
    layers = {int(name.split(".")[2]) for name in own if name.startswith("encoder.layers.")}
    ffn = own.get("encoder.layers.0.linear1.weight")
    sizes: dict[str, Any] = {
        "patch_size": len(own["patch_embedding.mask_encoding"]),
        "n_layers": max(layers, default=-1) + 1,
        "ffn_dim": 800 if ffn is None else len(ffn),
    }
    model = CSBrainBackbone(montage, n_heads=n_heads, dropout=dropout, temporal_layout="published", **sizes)
    return take_exactly(model, from_names(own), source).eval(), heads
