"""ATM, the adaptive thinking mapper: EEG or MEG epochs to CLIP image embeddings.

Li, Wei, Li, Zou and Liu (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion,
NeurIPS. The published code exists in three revisions that compute different things; see `ATM`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.encoders.shallow_conv import N_FILTERS, Projector, ShallowConv, dense, n_positions_of
from neurodec.errors import NeurodecError

# Tensors of the authors' files that no published forward pass reads.
_UNUSED = (
    "logit_scale",
    "subject_wise_linear.",
    "encoder.enc_embedding.mask_token",
    "encoder.enc_embedding.temporal_embedding.",
    "encoder.enc_embedding.subject_embedding.mask_embedding",
    "encoder.enc_embedding.position_embedding.pe",
)


class ATM(nn.Module):
    """Channel-wise transformer, then a shallow temporal-spatial convolution, then a projector.

    Parameters
    ----------
    n_chans, n_times : int
        Size of a response; at least 75 samples.
    n_outputs : int
        Width of the embedding.
    n_subjects : int
        Rows of the subject table.
    revision : {"2024", "2025", "2026"}
        "2024" (published weights) adds no positions and keeps the subject token in place of the last channel;
        "2025" adds positions; "2026" adds positions and keeps every channel.
    per_subject : bool
        One value layer per subject (the authors' `joint_train`).
    n_heads, d_ff, n_layers, d_model : int
        Transformer sizes; `d_model` is `n_times` unless given.
    activation : {"gelu", "relu"}
        Of the transformer's feed-forward part.
    dropout, dropout_conv : float
        In the transformer, and after the convolution and in the projector.

    Raises
    ------
    NeurodecError
        If the window is too short for the convolution.

    Notes
    -----
    The temporal convolution and the average pooling after it are linear with nothing in between, so the box filter
    runs first, on one row per channel instead of 40, and the convolution at stride 5: same output, about six times
    less work in that stage. Cost: linear in trials and channels for the convolution, quadratic in channels for
    attention.

    Examples
    --------
    >>> import torch
    >>> from neurodec import ATM
    >>> ATM(n_chans=63, n_times=250, n_outputs=1024)(torch.randn(2, 63, 250), torch.tensor([0, -1])).shape
    torch.Size([2, 1024])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int = 1024,
        n_subjects: int = 1,
        revision: Literal["2024", "2025", "2026"] = "2026",
        per_subject: bool = False,
        n_heads: int = 4,
        d_ff: int = 256,
        n_layers: int = 1,
        d_model: int | None = None,
        activation: Literal["gelu", "relu"] = "gelu",
        dropout: float = 0.25,
        dropout_conv: float = 0.5,
    ) -> None:
        super().__init__()
        d_model = d_model or n_times
        n_positions = n_positions_of(d_model, "ATM")
        self.n_subjects, self.revision = n_subjects, revision
        self.value = ValueEmbedding(n_times, d_model, n_subjects if per_subject else 1)
        self.register_buffer("positions", sinusoid(n_chans, d_model), persistent=False)
        self.subject_token = nn.Embedding(n_subjects, d_model)
        self.shared_token = nn.Parameter(torch.randn(1, d_model))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(d_model, n_heads, d_ff, activation, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.conv = ShallowConv(n_chans, dropout_conv)
        self.projector = Projector(N_FILTERS * n_positions, n_outputs, dropout_conv)

    def forward(self, response: Tensor, subject: Tensor) -> Tensor:
        """Embed responses.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)
        subject : Tensor, shape (B,), int64
            Rows of the subject table; -1 takes the shared token. As published, any id beyond the table turns the
            *whole* batch to the shared token.

        Returns
        -------
        Tensor, shape (B, n_outputs), not normalised
        """
        return self.projector(self.conv(self.attend(self.embed(response, subject))))

    def embed(self, response: Tensor, subject: Tensor) -> Tensor:
        """Return the tokens (B, 1 + n_chans, d_model): the subject's, then one per channel.

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        subject : Tensor
            Zero-based ids, shape (B,); -1 is unknown.
        """
        tokens = self.value(response, subject.where(subject < self.n_subjects, -1))  # (B, C, d)
        if self.revision != "2024":
            tokens = tokens + self.positions
        known = (subject >= 0) & (subject < self.n_subjects).all()
        token = torch.where(known[:, None], self.subject_token(subject * known), self.shared_token)  # (B, d)
        return self.dropout(torch.cat([token[:, None], tokens], dim=1))

    def attend(self, tokens: Tensor) -> Tensor:
        """Run the transformer and keep n_chans tokens: (B, n_chans, d_model).

        Parameters
        ----------
        tokens : Tensor
            Shape (B, n_tokens, width).
        """
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        return tokens[:, 1:] if self.revision == "2026" else tokens[:, :-1]

    @classmethod
    def load_published(cls, path: str | Path, revision: Literal["2024", "2025", "2026"] = "2024") -> ATM:
        """Read a checkpoint of the authors' `ATMS` class; every size follows from the tensors except the heads.

        Parameters
        ----------
        path : str or Path
            ``.pth`` (read with ``weights_only=True``) or ``.safetensors``.
        revision : {"2024", "2025", "2026"}
            The revision that trained it, which the file does not tell.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        return cls.from_published(read_checkpoint(path), revision, str(path))

    @classmethod
    def from_published(
        cls,
        state: dict[str, Tensor],
        revision: str,
        source: str,
        n_heads: int = 4,
        activation: Literal["gelu", "relu"] = "gelu",
    ) -> ATM:
        """Build the model from the authors' state dict; see `load_published`.

        Parameters
        ----------
        state : dict of Tensor
            Tensors by their published names.
        revision : str
            Which of the published versions.
        source : str
            Names the file in messages.
        n_heads : int
            Of the attention layer.
        activation : Literal[gelu, relu]
            Of the attention layer.
        """
        ours = translate(state)
        try:
            n_values, d_model, n_times = ours["value.weight"].shape
            n_chans = ours["conv.spatial.weight"].shape[1] // N_FILTERS
            model = cls(
                n_chans=n_chans,
                n_times=n_times,
                n_outputs=len(ours["projector.norm.weight"]),
                n_subjects=len(ours["subject_token.weight"]),
                revision=revision,
                per_subject=n_values > 1,
                n_heads=n_heads,
                d_ff=len(ours["layers.0.up.bias"]),
                n_layers=sum(name.endswith(".up.bias") for name in ours),
                d_model=d_model,
                activation=activation,
            )
        except KeyError as error:
            raise NeurodecError(
                f"{source} is not an ATMS checkpoint: it lacks {error}; give the authors' file."
            ) from error
        return take_exactly(model, ours, source)


class ValueEmbedding(nn.Module):
    """One linear layer on the time axis, shared or one per subject.

    Parameters
    ----------
    n_times, d_model : int
    n_layers : int
        1, or the number of subjects; an unknown subject (-1) then gets the mean layer.
    """

    def __init__(self, n_times: int, d_model: int, n_layers: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_times)  # as nn.Linear draws
        self.weight = nn.Parameter(torch.empty(n_layers, d_model, n_times).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_layers, d_model).uniform_(-bound, bound))

    def forward(self, response: Tensor, subject: Tensor) -> Tensor:
        """Return (B, n_chans, d_model)."""
        if len(self.weight) == 1:
            return F.linear(response, self.weight[0], self.bias[0])
        weight = torch.cat([self.weight, self.weight.mean(dim=0, keepdim=True)])[subject]  # -1 is the mean
        bias = torch.cat([self.bias, self.bias.mean(dim=0, keepdim=True)])[subject]
        return torch.baddbmm(bias[:, None], response, weight.transpose(1, 2))


class Layer(nn.Module):
    """Post-norm transformer layer whose inner width is ``n_heads * (d_model // n_heads)``."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, activation: str, dropout: float) -> None:
        super().__init__()
        inner = n_heads * (d_model // n_heads)
        self.n_heads, self.activation, self.rate = (
            n_heads,
            {"gelu": F.gelu, "relu": F.relu}[activation],
            dropout,
        )
        self.query, self.key, self.value = (nn.Linear(d_model, inner) for _ in range(3))
        self.out = nn.Linear(inner, d_model)
        self.up, self.down = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, n_tokens, d_model)."""
        query, key, value = (
            layer(tokens).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, h, n_tokens, d_head)
            for layer in (self.query, self.key, self.value)
        )
        rate = self.rate if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        tokens = self.norm1(tokens + self.dropout(self.out(heads.transpose(1, 2).flatten(2))))
        hidden = self.dropout(self.activation(self.up(tokens)))
        return self.norm2(tokens + self.dropout(self.down(hidden)))


def sinusoid(length: int, width: int) -> Tensor:
    """Return the position code (length, width): sine on even, cosine on odd columns, base 10000."""
    phase = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    )
    code = torch.zeros(length, width)
    code[:, 0::2] = phase.sin()
    code[:, 1::2] = phase.cos()[:, : width // 2]
    return code


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors to ours; unknown names stay, so that the loader reports them."""
    state = {name: value for name, value in state.items() if not name.startswith(_UNUSED)}
    prefix = "encoder.enc_embedding.value_embedding."
    per_subject = sorted(
        {int(name[len(prefix) :].split(".")[0]) for name in state if name[len(prefix) :][:1].isdigit()}
    )
    ours = {}
    for part in ("weight", "bias"):
        names = [f"{prefix}{index}.{part}" for index in per_subject] or [prefix + part]
        if all(name in state for name in names):
            ours[f"value.{part}"] = torch.stack([state.pop(name) for name in names])
    ours |= {_our_name(name): value for name, value in state.items()}
    for name, value in ours.items():
        if name.endswith(("up.weight", "down.weight")):
            ours[name] = value.flatten(1)  # 1x1 convolutions
    return dense(ours)


_RENAMES = {
    "encoder.enc_embedding.subject_embedding.subject_embedding.": "subject_token.",
    "encoder.enc_embedding.subject_embedding.shared_embedding": "shared_token",
    "encoder.encoder.attn_layers.": "layers.",
    "encoder.encoder.norm.": "norm.",
    "enc_eeg.0.tsconv.0.": "conv.temporal.",
    "enc_eeg.0.tsconv.2.": "conv.norm1.",
    "enc_eeg.0.tsconv.4.": "conv.spatial.",
    "enc_eeg.0.tsconv.5.": "conv.norm2.",
    "enc_eeg.0.projection.0.": "conv.mix.",
    "proj_eeg.0.": "projector.first.",
    "proj_eeg.1.fn.1.": "projector.second.",
    "proj_eeg.2.": "projector.norm.",
    ".attention.query_projection.": ".query.",
    ".attention.key_projection.": ".key.",
    ".attention.value_projection.": ".value.",
    ".attention.out_projection.": ".out.",
    ".conv1.": ".up.",
    ".conv2.": ".down.",
}


def _our_name(name: str) -> str:
    for theirs, ours in _RENAMES.items():
        name = name.replace(theirs, ours)
    return name
