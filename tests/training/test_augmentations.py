"""Batch augmentations: what they add, smooth and drop."""

import pytest
import torch

from neurodec.training import DropChannels, Mixture, Noise, Smooth
from neurodec.training.augmentations import moving_average


@pytest.fixture
def response():
    torch.manual_seed(0)
    return torch.randn(200, 6, 50)


def test_noise_has_the_given_spread(response):
    added = Noise(0.5)(response) - response
    assert added.std().item() == pytest.approx(0.5, rel=0.02)
    assert added.mean().item() == pytest.approx(0, abs=0.01)


def test_smoothing_is_the_moving_average_of_some_channels(response):
    smooth = Smooth(probability=0.3, n_samples=5)(response)
    changed = (smooth != response).any(dim=-1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.05)
    average = response.unfold(-1, 5, 1).mean(-1)
    torch.testing.assert_close(smooth[changed][:, 2:-2], average[changed])
    torch.testing.assert_close(smooth[changed][:, 0], response[changed][:, :3].mean(-1))
    torch.testing.assert_close(moving_average(torch.ones(2, 3, 9), 5), torch.ones(2, 3, 9))


def test_dropped_channels_are_zero_and_the_others_as_they_were(response):
    dropped = DropChannels(0.25)(response)
    gone = (dropped == 0).all(dim=-1)
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.05)
    torch.testing.assert_close(dropped[~gone], response[~gone])
    voxels = DropChannels(0.25)(response[..., 0])
    assert voxels.shape == (200, 6)


def test_each_can_be_off(response):
    for one in (Noise(0.0), Smooth(0.0), DropChannels(0.0)):
        torch.testing.assert_close(one(response), response)


def test_mixtures_keep_variance_and_linear_dynamics():
    torch.manual_seed(0)
    series = torch.zeros(256, 3, 9)
    series[..., 0] = torch.randn(256, 3)
    for time in range(1, 9):
        series[..., time] = 0.7 * series[..., time - 1]
    mixed = Mixture()(series)
    assert torch.allclose(mixed[..., 1:], 0.7 * mixed[..., :-1], atol=1e-5)
    assert float(mixed[..., 0].var()) == pytest.approx(float(series[..., 0].var()), rel=0.15)
    assert not torch.allclose(mixed, series)
