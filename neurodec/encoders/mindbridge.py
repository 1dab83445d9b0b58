"""MindBridge: fMRI of several people, with brains of their own sizes, to tokens of pictures and captions.

Wang, Ma, Yu, Yang, Chen and Lu (2024), MindBridge: a cross-subject brain decoding framework, CVPR. Its losses are
`neurodec.training.BridgeObjective`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError

Pooling = Literal["max", "avg", "resize"]


class MindBridge(nn.Module):
    """One embedder (and builder, which turns back) per subject, a translator that all share, and a head per target.

    Parameters
    ----------
    spaces : dict of int
        Name of every subject's space to its number of voxels.
    heads : dict of list of int
        Target to its shape.
    in_dim : int
        Bins that voxels are pooled to.
    h, n_blocks : int
        Width and depth of the translator.
    bottleneck : int
        Of the adapters.
    pooling : {"max", "avg", "resize"}
        How voxels become bins; maximum as published. Neighbours are neighbours in the flattened mask.
    builders : bool
        Whether there are builders: reconstruction and cycle need them; a single subject ("vanilla") has none.

    Notes
    -----
    Heads whose names begin with an underscore are for the objective: `_pooled` and `_reconstruction` (B, in_dim), and
    `_embedding` (B, h).
    """

    def __init__(
        self,
        spaces: dict[str, int],
        heads: dict[str, list[int]],
        in_dim: int = 8192,
        h: int = 2048,
        n_blocks: int = 4,
        bottleneck: int = 128,
        pooling: Pooling = "max",
        builders: bool = True,
    ) -> None:
        super().__init__()
        self.in_dim, self.pooling, self.space_names = in_dim, pooling, list(spaces)
        self.shapes = {name: list(shape) for name, shape in heads.items()}
        self.embedder = nn.ModuleDict({name: _embedder(in_dim, h, bottleneck) for name in spaces})
        self.builder = nn.ModuleDict(
            {name: _builder(in_dim, h, bottleneck) for name in spaces} if builders else {}
        )
        self.translator = Translator(h, n_blocks)
        sizes = {name: int(torch.Size(shape).numel()) for name, shape in self.shapes.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(h, size) for name, size in sizes.items()})

    def forward(self, response: Tensor, subject: Tensor, *, space: str) -> dict[str, Tensor]:
        """Predict the targets of responses of one space.

        Parameters
        ----------
        response : Tensor, shape (B, n_voxels)
        subject : Tensor, shape (B,)
            Not used: the space tells whose they are.
        space : str

        Returns
        -------
        dict of Tensor
            Every target (B, ...), and what the objective needs.

        Raises
        ------
        NeurodecError
            If there is no embedder for the space.
        """
        if space not in self.embedder:
            raise NeurodecError(
                f"MindBridge was trained on {', '.join(self.embedder)}, not on {space}; adapt it to that subject first "
                "(a stage on new subjects, see configs/mindbridge)."
            )
        pooled = pool_voxels(response, self.in_dim, self.pooling)
        embedding = self.embedder[space](pooled)
        hidden = self.translator(embedding)
        found = {name: head(hidden).unflatten(1, self.shapes[name]) for name, head in self.heads.items()}
        found |= {"_pooled": pooled, "_embedding": embedding}
        return found | ({"_reconstruction": self.builder[space](embedding)} if self.builder else {})

    def synthesise(self, response: Tensor, source: str, target: str) -> Tensor:
        """Return what voxels (B, n_voxels) of one person, pooled, would have been in another: (B, in_dim).

        Parameters
        ----------
        response : Tensor
            Responses, shape (B, n_chans, n_times), or (B, n_voxels) of voxels.
        source : str
            Names the file in messages.
        target : str
            Subject whose responses are made.
        """
        return self.builder[target](self.embedder[source](pool_voxels(response, self.in_dim, self.pooling)))

    def cycle(self, embedding: Tensor, target: str) -> Tensor:
        """Return embeddings (B, h) after a way through another person's voxels.

        Parameters
        ----------
        embedding : Tensor
            Shape (B, n_dims).
        target : str
            Subject whose responses are made.
        """
        return self.embedder[target](self.builder[target](embedding))

    @classmethod
    def load_published(cls, path: str | Path, pooling: Pooling = "max") -> MindBridge:
        """Read the authors' checkpoint; sizes and subjects follow from the tensors.

        Parameters
        ----------
        path : str or Path
            File of the authors.
        pooling : Pooling
            How voxels were brought to one length.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        return cls.from_published(read_checkpoint(path), str(path), pooling)

    @classmethod
    def from_published(cls, state: dict[str, Tensor], source: str, pooling: Pooling = "max") -> MindBridge:
        """Build the model from the authors' state dict, with the heads ``image`` and ``text``, flat.

        Parameters
        ----------
        state : dict of Tensor
            Tensors by their published names.
        source : str
            Names the file in messages.
        pooling : Pooling
            How voxels were brought to one length.
        """
        names = list(dict.fromkeys(name.split(".")[1] for name in state if name.startswith("embedder.")))
        try:
            h, in_dim = state[f"embedder.{names[0]}.1.weight"].shape
            sizes: dict[str, Any] = {
                "heads": {name: [len(state[f"head_{name}.bias"])] for name in ("image", "text")},
                "bottleneck": len(state[f"embedder.{names[0]}.0.down_proj.bias"]),
                "n_blocks": len({name.split(".")[2] for name in state if name.startswith("translator.mlp.")}),
                "builders": any(name.startswith("builder.") for name in state),
            }
        except (KeyError, IndexError) as error:
            raise NeurodecError(
                f"{source} is not a checkpoint of MindBridge: it lacks {error}; give the authors' file."
            ) from error
        model = cls(dict.fromkeys(names, in_dim), in_dim=in_dim, h=h, pooling=pooling, **sizes)
        ours = {name.replace("head_", "heads.", 1): value for name, value in state.items()}
        return take_exactly(model, ours, source)


class Adapter(nn.Module):
    """A residual bottleneck that starts as the identity."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down_proj, self.up_proj = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.zeros_(self.down_proj.bias)
        nn.init.zeros_(self.up_proj.weight)
        nn.init.zeros_(self.up_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width)."""
        return x + self.up_proj(F.relu(self.down_proj(x)))


class Translator(nn.Module):
    """Residual blocks of linear layer, layer norm and GELU."""

    def __init__(self, h: int, n_blocks: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(h, h), nn.LayerNorm(h), nn.GELU(), nn.Dropout(0.15))
            for _ in range(n_blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, h)."""
        for block in self.mlp:
            x = x + block(x)
        return x


def _embedder(in_dim: int, h: int, bottleneck: int) -> nn.Sequential:
    layers = (nn.Linear(in_dim, h), nn.LayerNorm(h), nn.GELU(), nn.Dropout(0.5))
    return nn.Sequential(Adapter(in_dim, bottleneck), *layers)


def _builder(in_dim: int, h: int, bottleneck: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(h, in_dim), nn.LayerNorm(in_dim), nn.GELU(), Adapter(in_dim, bottleneck))


def pool_voxels(voxels: Tensor, n_bins: int, kind: Pooling) -> Tensor:
    """Bring any number of voxels to as many bins.

    Parameters
    ----------
    voxels : Tensor, shape (B, n_voxels)
    n_bins : int
        N: bin i covers voxels ``floor(i L / N)`` to ``ceil((i + 1) L / N) - 1`` of L.
    kind : {"max", "avg", "resize"}
        Maximum or mean of a bin, or linear interpolation with half-pixel centres.

    Returns
    -------
    Tensor, shape (B, n_bins)
    """
    if kind == "max":
        return F.adaptive_max_pool1d(voxels[:, None], n_bins)[:, 0]
    if kind == "avg":
        return F.adaptive_avg_pool1d(voxels[:, None], n_bins)[:, 0]
    return F.interpolate(voxels[:, None], n_bins, mode="linear", align_corners=False)[:, 0]
