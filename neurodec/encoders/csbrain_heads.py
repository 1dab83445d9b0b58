"""What is put on CSBrain's tokens: reconstruction of hidden patches, classes, numbers, stages of sleep."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"elu": nn.ELU, "gelu": nn.GELU}


class FlattenHead(nn.Module):
    """The published head: all tokens at once, through two hidden layers.

    Parameters
    ----------
    n_chans, n_patches, width : int
        Of the tokens.
    n_outputs : int
    dropout : float
    hidden : tuple of int, optional
        ``n_patches * 200`` and 200 as published (SEED-V: 800 and 200).
    activation : {"elu", "gelu"}

    Notes
    -----
    With 64 channels of ten seconds it is ten times as large as the backbone; `PooledHead` and `AttentionHead` are not.
    """

    def __init__(
        self,
        n_chans: int,
        n_patches: int,
        width: int,
        n_outputs: int,
        dropout: float = 0.1,
        hidden: tuple[int, int] | None = None,
        activation: str = "elu",
    ) -> None:
        super().__init__()
        first, second = hidden or (n_patches * 200, 200)
        act = ACTIVATIONS[activation]
        self.feed_forward = nn.Sequential(
            nn.Linear(n_chans * n_patches * width, first),
            act(),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            act(),
            nn.Dropout(dropout),
            nn.Linear(second, n_outputs),
        )

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
    hidden : int
    dropout : float
    """

    def __init__(
        self,
        n_chans: int,
        n_patches: int,
        width: int,
        n_outputs: int,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(n_chans * n_patches * width, hidden), nn.GELU())
        layer = nn.TransformerEncoderLayer(
            hidden, 4, 2048, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.sequence_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.classifier = nn.Linear(hidden, n_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, L, n_outputs) from tokens (B, L, C, P, D)."""
        return self.classifier(self.sequence_encoder(self.head(tokens.flatten(2))))


def reconstruction_loss(found: Tensor, x: Tensor, mask: Tensor, order: Tensor | None = None) -> Tensor:
    """Return the mean squared error over hidden patches.

    Parameters
    ----------
    found : Tensor, shape (B, C, P, S)
        Reconstructed patches, channels in the order of `x`.
    x : Tensor, shape (B, C, P, S)
    mask : Tensor of bool, shape (B, C, P)
        True where a patch was hidden.
    order : Tensor of int, shape (C,), optional
        The release compares what it finds in order of regions with patches in the user's order, so that most
        channels are asked for another one's samples; with the order of regions that error is repeated.
    """
    if order is not None:
        found, mask = found[:, order], mask[:, order]
    return torch.square(found[mask].float() - x[mask].float()).mean()
