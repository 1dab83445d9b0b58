"""What is put on CSBrain's tokens: reconstruction of hidden patches, classes, numbers, stages of sleep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from neurodec.encoders.checkpoints import take_exactly
from neurodec.errors import NeurodecError

Activation = Literal["elu", "gelu"]
_ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU}
_LAYER = re.compile(r"(?:feed_forward|classifier)\.(\d+)\.weight")


class FlattenHead(nn.Module):
    """The published head: all tokens at once, through two hidden layers.

    Parameters
    ----------
    n_chans, n_patches, width : int
        Of the tokens.
    n_outputs : int
    dropout : float
    hidden : sequence of int, optional
        Widths of the hidden layers; ``n_patches * 200`` and 200 by default, as published for most sets. Of SEED-V the
        first is 800.
    activation : {"elu", "gelu"}
        Of mental arithmetic "gelu" is published, of all others "elu".

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
        hidden: Sequence[int] | None = None,
        activation: Activation = "elu",
    ) -> None:
        super().__init__()
        sizes = (n_chans * n_patches * width, *(hidden or (n_patches * 200, 200)))
        between = [
            part
            for n_in, n_out in pairwise(sizes)
            for part in (nn.Linear(n_in, n_out), _ACTIVATIONS[activation](), nn.Dropout(dropout))
        ]
        self.feed_forward = nn.Sequential(*between, nn.Linear(sizes[-1], n_outputs))

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
    """A linear layer on a mean of tokens that a learned query weighs."""

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


def published_head(
    state: dict[str, Tensor], n_chans: int, width: int, source: str, activation: Activation = "elu"
) -> tuple[FlattenHead | SequenceHead, int]:
    """Build the head of an authors' checkpoint; its sizes follow from the tensors.

    Parameters
    ----------
    state : dict of Tensor
        All that is not of the backbone, as `load_backbone` returns it: linear layers numbered below ``feed_forward`` or
        ``classifier``, with or without dropout between them, or the head of sleep.
    n_chans, width : int
        Of the tokens.
    source : str
        For messages.
    activation : {"elu", "gelu"}
        What tensors do not tell.

    Returns
    -------
    head : nn.Module
    n_patches : int
        Seconds of a window, or of one epoch of a sequence.

    Raises
    ------
    NeurodecError
        If the tensors are of no head that is known here.
    """
    if "head.0.weight" in state and "classifier.weight" in state:
        n_patches, over = divmod(state["head.0.weight"].shape[1], n_chans * width)
        head: FlattenHead | SequenceHead = SequenceHead(
            n_chans, n_patches, width, len(state["classifier.weight"])
        )
        ours = state
    else:
        found = {
            int(match[1]): match[0].removesuffix("weight")
            for match in (_LAYER.fullmatch(name) for name in state)
            if match
        }
        if not found or len(state) != 2 * len(found):
            raise NeurodecError(
                f"{source} has a head of {', '.join(sorted(state)) or 'nothing'}, which is none of CSBrain's; start "
                "from its backbone alone (`start`)."
            )
        prefixes = [found[number] for number in sorted(found)]
        weights = [state[f"{prefix}weight"] for prefix in prefixes]
        n_patches, over = divmod(weights[0].shape[1], n_chans * width)
        hidden = [len(one) for one in weights[:-1]]
        head = FlattenHead(n_chans, n_patches, width, len(weights[-1]), 0.1, hidden, activation)
        ours = {
            f"feed_forward.{3 * place}.{kind}": state[f"{prefix}{kind}"]
            for place, prefix in enumerate(prefixes)
            for kind in ("weight", "bias")
        }
    if over or not n_patches:
        raise NeurodecError(
            f"The head of {source} does not read whole seconds of {n_chans} channels; name the channels that it was "
            "trained on."
        )
    return take_exactly(head, ours, source), n_patches


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
