"""Low-rank adapters: a frozen weight plus a product of two small matrices, which is all that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurodec.errors import NeurodecError


class LowRank(nn.Module):
    """Adds ``b @ a`` to a weight; `b` begins at zero, so nothing changes at first.

    Parameters
    ----------
    weight : Tensor, shape (n_out, n_in)
    rank : int

    References
    ----------
    Hu et al. (2022), LoRA: low-rank adaptation of large language models, with the scale alpha equal to the rank.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self.a = nn.Parameter(torch.randn(rank, n_in, dtype=weight.dtype) * n_in**-0.5)
        self.b = nn.Parameter(torch.zeros(n_out, rank, dtype=weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight."""
        return weight + self.b @ self.a


def adapt(module: nn.Module, adapters: Mapping[str, int], stage: str) -> None:
    """Freeze the weights that patterns name, and put a trainable adapter on each.

    Parameters
    ----------
    module : nn.Module
    adapters : dict of int
        Patterns of parameters (``encoder.backbone.layers.*.weight``) to ranks. Only matrices are adapted: packed
        weights of attention too, which no library of adapters for linear layers reaches.
    stage : str
        For messages.

    Raises
    ------
    NeurodecError
        If a pattern names no matrix, or a rank is no smaller than the matrix.
    """
    for pattern, rank in adapters.items():
        found = [name for name, own in module.named_parameters() if own.ndim == 2 and fnmatch(name, pattern)]
        if not found:
            raise NeurodecError(
                f"Stage {stage or 'one'} adapts {pattern}, which names no weight matrix of the model; correct the "
                "pattern."
            )
        for name in found:
            owner_name, _, own_name = name.rpartition(".")
            owner = module.get_submodule(owner_name)
            weight = getattr(owner, own_name)
            if not 0 < rank < min(weight.shape):
                raise NeurodecError(
                    f"An adapter of rank {rank} does not fit {name} of shape {tuple(weight.shape)}; give a rank "
                    f"between 1 and {min(weight.shape) - 1}."
                )
            weight.requires_grad_(False)
            parametrize.register_parametrization(owner, own_name, LowRank(weight, rank), unsafe=True)


def merge(module: nn.Module) -> None:
    """Add all adapters to their weights, which are plain ones again; other parametrisations of a model stay."""
    for owner in [own for own in module.modules() if parametrize.is_parametrized(own)]:
        for name, own in list(owner.parametrizations.items()):
            if all(isinstance(one, LowRank) for one in own):
                parametrize.remove_parametrizations(owner, name, leave_parametrized=True)
