"""Contrastive objectives: symmetric InfoNCE and the mixes that ATM trains with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(brain: Tensor, target: Tensor, scale: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return the symmetric InfoNCE of paired rows, ``(CE(s b t') + CE(s t b')) / 2``.

    Parameters
    ----------
    brain, target : Tensor, shape (B, D)
        Paired rows, normalised by the caller where wanted.
    scale : Tensor, scalar
        The factor `s` itself.
    groups : Tensor, shape (B,), int64, optional
        Stimulus of every row. Rows of one stimulus then share the positive mass evenly; without it they are each
        other's negatives, as published.

    Returns
    -------
    Tensor, scalar

    References
    ----------
    Radford et al. (2021), CLIP, figure 3; Khosla et al. (2020), eq. 2, for several positives.
    """
    logits = scale * brain @ target.T
    if groups is None:
        labels = torch.arange(len(brain), device=brain.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    positives = (groups[:, None] == groups).to(logits.dtype)
    positives = positives / positives.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, positives) + F.cross_entropy(logits.T, positives)) / 2


def retrieval_loss(
    brain: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    weight: float = 0.99,
    groups: Tensor | None = None,
) -> Tensor:
    """Return ATM's retrieval objective, ``w InfoNCE(brain, image) + (1 - w) InfoNCE(brain, text)``.

    Parameters
    ----------
    brain, image, text : Tensor, shape (B, D)
    scale : Tensor, scalar
    weight : float
        Share of the image term.
    groups : Tensor, shape (B,), optional
        As in `info_nce`.

    References
    ----------
    Li et al. (2024), section 3.3.
    """
    return weight * info_nce(brain, image, scale, groups) + (1 - weight) * info_nce(
        brain, text, scale, groups
    )


def reconstruction_loss(
    brain: Tensor,
    image: Tensor,
    scale: Tensor,
    weight: float = 0.9,
    factor: float = 10.0,
    groups: Tensor | None = None,
) -> Tensor:
    """Return ATM's reconstruction objective, ``factor (w MSE + (1 - w) InfoNCE)``, on unnormalised embeddings.

    Parameters
    ----------
    brain, image : Tensor, shape (B, D)
    scale : Tensor, scalar
    weight : float
        Share of the squared error.
    factor : float
        Overall factor.
    groups : Tensor, shape (B,), optional
        As in `info_nce`.

    References
    ----------
    Li et al. (2024), section 3.3.
    """
    return factor * (weight * F.mse_loss(brain, image) + (1 - weight) * info_nce(brain, image, scale, groups))
