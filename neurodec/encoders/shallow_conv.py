"""The temporal-spatial convolution and the projector that ATM, NICE and NeuroBridge share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.errors import NeurodecError

N_FILTERS, KERNEL, POOL, STRIDE = 40, 25, 51, 5


def n_positions_of(n_times: int, name: str) -> int:
    """Return how many positions the convolution makes of a window.

    Raises
    ------
    NeurodecError
        If the window is too short for one.
    """
    n_positions = (n_times - KERNEL + 1 - POOL) // STRIDE + 1
    if n_positions < 1:
        raise NeurodecError(
            f"{name} needs windows of at least {KERNEL + POOL - 1} samples, these have {n_times}; lengthen the epochs."
        )
    return n_positions


class ShallowConv(nn.Module):
    """Temporal convolution, pooling and spatial convolution as matrix products on sliding windows."""

    def __init__(self, n_chans: int, dropout: float) -> None:
        super().__init__()
        self.temporal = nn.Linear(KERNEL, N_FILTERS)
        self.norm1, self.norm2 = nn.BatchNorm1d(N_FILTERS), nn.BatchNorm1d(N_FILTERS)
        self.spatial = nn.Linear(n_chans * N_FILTERS, N_FILTERS)
        self.mix = nn.Linear(N_FILTERS, N_FILTERS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, n_positions * 40), position by position."""
        smooth = F.avg_pool1d(tokens, POOL, stride=1)
        windows = smooth.unfold(-1, KERNEL, STRIDE).transpose(1, 2)  # (B, P, C, 25)
        batch, n_positions, n_chans, _ = windows.shape
        maps = self.temporal(windows.reshape(-1, KERNEL))  # (B P C, 40)
        maps = F.elu(self.norm1(maps)).view(batch * n_positions, n_chans * N_FILTERS)
        maps = self.dropout(F.elu(self.norm2(self.spatial(maps))))
        return self.mix(maps).view(batch, n_positions * N_FILTERS)


class Projector(nn.Module):
    """Linear, one residual GELU block, LayerNorm."""

    def __init__(self, n_inputs: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_inputs, n_outputs), nn.Linear(n_outputs, n_outputs)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, n_outputs)."""
        hidden = self.first(features)
        return self.norm(hidden + self.dropout(self.second(F.gelu(hidden))))


def dense(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reshape an author's convolutions ``temporal``, ``spatial`` and ``mix`` to the matrices that they are here."""
    found = dict(state)
    for name, value in state.items():
        if name.endswith(("temporal.weight", "mix.weight")):
            found[name] = value.flatten(1)  # 1x25 and 1x1
        elif name.endswith("spatial.weight"):
            found[name] = (
                value.squeeze(-1).transpose(1, 2).flatten(1)
            )  # (40, filter, chan) -> (40, chan filter)
    return found
