"""What may be done to the responses of a training batch. Chance follows from the step's seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Augmentation(nn.Module):
    """Changes responses (B, n_chans, n_times) or (B, n_voxels) in training."""


class Noise(Augmentation):
    """Add Gaussian noise.

    Parameters
    ----------
    std : float
        In units of the responses.
    """

    def __init__(self, std: float = 0.1) -> None:
        super().__init__()
        self.std = std

    def forward(self, response: Tensor) -> Tensor:
        """Return noisy responses."""
        return response + self.std * torch.randn_like(response)


class Smooth(Augmentation):
    """Smooth some channels with a moving average, as NeuroBridge does (AAAI 2026), drawn anew in every step.

    Parameters
    ----------
    probability : float
        Of every channel of every trial.
    n_samples : int
        Width of the average, odd; at the ends it covers the samples that there are.
    """

    def __init__(self, probability: float = 0.3, n_samples: int = 5) -> None:
        super().__init__()
        self.probability, self.n_samples = probability, n_samples

    def forward(self, response: Tensor) -> Tensor:
        """Return responses (B, n_chans, n_times), some channels smoothed."""
        chosen = torch.rand(response.shape[:2], device=response.device) < self.probability
        return torch.where(chosen[..., None], moving_average(response, self.n_samples), response)


class DropChannels(Augmentation):
    """Set channels or voxels to zero.

    Parameters
    ----------
    probability : float
        Of every channel of every trial.
    """

    def __init__(self, probability: float = 0.1) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, response: Tensor) -> Tensor:
        """Return responses with some channels at zero."""
        kept = torch.rand(response.shape[:2], device=response.device) >= self.probability
        return response * kept.reshape(*kept.shape, *[1] * (response.ndim - 2))


class SparseInput(Augmentation):
    """Set single values to zero, as WAVE does to parcels.

    Parameters
    ----------
    share : float
        Of the values of every trial.

    References
    ----------
    Wang et al. (2024), arXiv 2411.07121.
    """

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        self.share = share

    def forward(self, response: Tensor) -> Tensor:
        """Return responses with some values at zero."""
        return response * (torch.rand_like(response) >= self.share)


class ShuffledTime(Augmentation):
    """Put the samples of every trial into another order, as WAVE does to its five volumes.

    References
    ----------
    Wang et al. (2024), arXiv 2411.07121.
    """

    def forward(self, response: Tensor) -> Tensor:
        """Return responses (B, n_parcels, n_volumes), an order of their own for every trial."""
        order = torch.rand(len(response), response.shape[-1], device=response.device).argsort(dim=1)
        return response.gather(-1, order[:, None].expand(-1, response.shape[1], -1))


class Mixture(Augmentation):
    """Add to every response another one of the batch, and turn the sign of some.

    What follows linearly from its past, as activity at rest nearly does, follows so in a sum of two as well. For
    objectives without targets: those of the stimuli are not mixed.

    Parameters
    ----------
    most : float
        Share of the other response, drawn from 0 to this; the sum keeps its variance.
    """

    def __init__(self, most: float = 1.0) -> None:
        super().__init__()
        self.most = most

    def forward(self, response: Tensor) -> Tensor:
        """Return mixed responses."""
        shape = (len(response), *[1] * (response.ndim - 1))
        share = self.most * torch.rand(shape, device=response.device)
        other = response[torch.randperm(len(response), device=response.device)]
        sign = 1 - 2 * torch.randint(0, 2, shape, device=response.device)
        return sign * (response + share * other) / torch.sqrt(1 + share**2)


def moving_average(response: Tensor, n_samples: int) -> Tensor:
    """Return the centred moving average over time (last axis); at the ends over the samples that there are."""
    flat = response.reshape(-1, 1, response.shape[-1])
    half = n_samples // 2
    return F.avg_pool1d(flat, n_samples, 1, half, count_include_pad=False).reshape(response.shape)
