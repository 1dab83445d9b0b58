"""Rows of embeddings: checked, cut into equal blocks, and given noise of their own."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError

# A matrix product rounds differently for another number of rows. Always multiplying 32 rows, the last block padded,
# gives a row the same bits in whatever batch it is.
BLOCK = 32
Generators = torch.Generator | list[torch.Generator]


def checked_rows(values: Tensor | np.ndarray, name: str, width: int | None = None) -> Tensor:
    """Return embeddings as a float32 tensor (n, D), or refuse them.

    Parameters
    ----------
    values : Tensor or ndarray, shape (n, D)
    name : str
        What messages call them.
    width : int, optional
        The D that is needed; any by default.

    Raises
    ------
    NeurodecError
        If the shape is another one, there is no row, or a value is not finite.
    """
    rows = torch.as_tensor(values, dtype=torch.float32)
    if rows.ndim != 2 or not len(rows) or (width is not None and rows.shape[1] != width):
        wanted = f"(n, {'D' if width is None else width})"
        raise NeurodecError(
            f"{name} have shape {tuple(rows.shape)}, the prior needs {wanted} with at least one row; give one "
            "embedding per row, from the encoder that it was fitted on."
        )
    bad = torch.nonzero(~rows.isfinite().all(dim=1)).flatten()
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} of the {name}, first row {int(bad[0])}, hold NaN or infinity; check the responses they "
            "come from."
        )
    return rows


def checked_pairs(
    z: Tensor | np.ndarray, targets: Tensor | np.ndarray, groups: np.ndarray | None
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return what a prior is fitted on: brain embeddings, image embeddings and the group of every pair.

    Parameters
    ----------
    z, targets : Tensor or ndarray, shape (n, D) and (n, D')
    groups : sequence, shape (n,), optional
        Each row is its own group by default.

    Raises
    ------
    NeurodecError
        If rows do not pair up, are not finite, or belong to a single group.
    """
    z, targets = checked_rows(z, "brain embeddings"), checked_rows(targets, "image embeddings")
    groups = np.arange(len(z)) if groups is None else np.asarray(groups)
    if not len(z) == len(targets) == len(groups):
        raise NeurodecError(
            f"{len(z)} brain embeddings, {len(targets)} image embeddings and {len(groups)} groups do not pair up; "
            "give one of each per row."
        )
    if len(np.unique(groups)) < 2:
        raise NeurodecError(
            "A prior needs rows of at least two groups, one to fit and one to judge by; add rows of other concepts."
        )
    return z.cpu(), targets.cpu(), groups


def check_generators(generator: Generators, n_rows: int) -> None:
    """Refuse a list of generators that is not one per row.

    Raises
    ------
    NeurodecError
    """
    if isinstance(generator, list) and len(generator) != n_rows:
        raise NeurodecError(
            f"{len(generator)} generators for {n_rows} rows; give one for all rows or one per row."
        )


def blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """Cut rows (n, D) into blocks of `BLOCK`; the last is filled up with zeros, to be cut off again."""
    return F.pad(rows, (0, 0, 0, -len(rows) % BLOCK)).split(BLOCK)


def noise(shape: tuple[int, int], generator: Generators, device: torch.device) -> Tensor:
    """Return standard-normal noise, each row from its own generator where there is a list of them."""
    return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
