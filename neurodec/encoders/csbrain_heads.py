"""What is put on CSBrain's tokens: reconstruction of hidden patches, classes, numbers, stages of sleep."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class FlattenHead(nn.Module):
    """The published head: all tokens at once, through two hidden layers.

    Parameters
    ----------
    n_chans, n_patches, width : int
        Of the tokens.
    n_outputs : int
    dropout : float

    Notes
    -----
    With 64 channels of ten seconds it is ten times as large as the backbone; `PooledHead` and `AttentionHead` are not.
    """

    def __init__(
        self, n_chans: int, n_patches: int, width: int, n_outputs: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        sizes = (n_chans * n_patches * width, n_patches * 200, 200)
        hidden = [
            part
            for n_in, n_out in pairwise(sizes)
            for part in (nn.Linear(n_in, n_out), nn.ELU(), nn.Dropout(dropout))
        ]
        self.feed_forward = nn.Sequential(*hidden, nn.Linear(sizes[-1], n_outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, n_outputs) from tokens (B, C, P, D)."""
        return self.feed_forward(tokens.flatten(1))


class PooledHead(nn.Module):
    """A linear layer on the mean of all tokens: it fits any number of channels and seconds."""

    def __init__(self, width: int, n_outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm, self.drop, self.out = nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, n_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, n_outputs) from tokens (B, C, P, D)."""
        return self.out(self.drop(self.norm(tokens).flatten(1, 2).mean(dim=1)))


class AttentionHead(nn.Module):
    """A linear layer on a mean of tokens that a learnt query weighs."""

    def __init__(self, width: int, n_outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm, self.score = nn.LayerNorm(width), nn.Linear(width, 1)
        self.drop, self.out = nn.Dropout(dropout), nn.Linear(width, n_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, n_outputs) from tokens (B, C, P, D)."""
        rows = self.norm(tokens).flatten(1, 2)
        return self.out(self.drop((self.score(rows).softmax(dim=1) * rows).sum(dim=1)))


class SequenceHead(nn.Module):
    """The published head of sleep: every 30 s to a vector, then one transformer layer over a night's sequence.

    Parameters
    ----------
    n_chans, n_patches, width, n_outputs : int
    dropout : float
    """

    def __init__(
        self, n_chans: int, n_patches: int, width: int, n_outputs: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(n_chans * n_patches * width, 512), nn.GELU())
        layer = nn.TransformerEncoderLayer(512, 4, 2048, dropout, "gelu", batch_first=True, norm_first=True)
        self.sequence_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.classifier = nn.Linear(512, n_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, L, n_outputs) from tokens (B, L, C, P, D)."""
        return self.classifier(self.sequence_encoder(self.head(tokens.flatten(2))))


def hidden_errors(
    found: Tensor, x: Tensor, hidden: Tensor, order: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the squared error over the samples of hidden patches, and how many these are, both of shape (B,).

    Parameters
    ----------
    found : Tensor, shape (B, C, P, S)
        Reconstructed patches, channels in the order of `x`.
    x : Tensor, shape (B, C, P, S)
    hidden : Tensor of bool, shape (B, C, P)
    order : Tensor of int, shape (C,), optional
        The release compares what it finds in order of regions with patches in the user's order, so that most
        channels are asked for another one's samples; with the order of regions that error is repeated.
    """
    if order is not None:
        found, hidden = found[:, order], hidden[:, order]
    squared = torch.square(found.float() - x.float()).sum(dim=-1) * hidden
    return squared.sum(dim=(1, 2)), hidden.sum(dim=(1, 2)).float() * x.shape[-1]
