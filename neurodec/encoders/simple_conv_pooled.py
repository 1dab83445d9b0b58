"""SimpleConv with a sum over time: from a window of MEG to vectors, one head per target (Benchetrit et al. 2024)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from neurodec.encoders.simple_conv import SimpleConv


class SimpleConvPooled(nn.Module):
    """Responses of any montage to vectors or tokens: `SimpleConv`, a weighted sum over time, and a map per head.

    The authors released no code. Sizes follow the public encoder of the same group (`SimpleConvTimeAgg` of
    neuralbench): 4 convolutions of width 320, 512 features, an affine map over time; a linear layer per subject as in
    the paper.

    Parameters
    ----------
    n_chans, n_times, n_subjects : int
    heads : dict of list of int
        Target to its shape; filled in.
    pooling : {"affine", "mean", "attention"}
        Weights over time that are learned, equal, or follow from the features at each time.
    n_features : int
        Of the backbone.
    hidden, depth, attention_channels, position_dim, initial_channels, subject_layer
        Of `SimpleConv`.

    References
    ----------
    Benchetrit, Banville & King (2024), Brain decoding: toward real-time reconstruction of visual perception, ICLR.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_subjects: int,
        heads: dict[str, list[int]],
        *,
        pooling: Literal["affine", "mean", "attention"] = "affine",
        n_features: int = 512,
        hidden: int = 320,
        depth: int = 4,
        attention_channels: int = 270,
        position_dim: int = 2048,
        initial_channels: int = 270,
        subject_layer: Literal["none", "input", "hidden"] = "input",
    ) -> None:
        super().__init__()
        self.backbone = SimpleConv(
            n_chans,
            n_subjects,
            {"features": [n_features, n_times]},
            hidden=hidden,
            depth=depth,
            attention_channels=attention_channels,
            position_dim=position_dim,
            initial_channels=initial_channels,
            subject_layer=subject_layer,
        )
        self.pooling = pooling
        if pooling == "affine":
            self.over_time = nn.Linear(n_times, 1)
        elif pooling == "attention":
            self.over_time = nn.Conv1d(n_features, 1, 1)
        self.shapes = heads
        self.outputs = nn.ModuleDict(
            {name: nn.Linear(n_features, math.prod(shape)) for name, shape in heads.items()}
        )

    def forward(
        self, response: Tensor, subject: Tensor, *, positions: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Predict every target.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)
        subject : Tensor of int64, shape (B,)
        positions : Tensor, optional
            See `SimpleConv.forward`.

        Returns
        -------
        dict of Tensor, shape (B, ...)
        """
        x = self.backbone(response, subject, positions=positions)["features"]  # (B, n_features, n_times)
        if self.pooling == "affine":
            x = self.over_time(x)[..., 0]
        elif self.pooling == "attention":
            x = (x * self.over_time(x).softmax(dim=-1)).sum(dim=-1)
        else:
            x = x.mean(dim=-1)
        return {name: head(x).unflatten(1, self.shapes[name]) for name, head in self.outputs.items()}
