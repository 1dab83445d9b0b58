import math

import torch
from torch.nn import functional as F

from neurodec.training import info_nce, reconstruction_loss, retrieval_loss


def test_equal_similarities_give_the_log_of_the_batch():
    rows, scale = torch.ones(6, 4), torch.tensor(3.0)
    torch.testing.assert_close(info_nce(rows, rows, scale), torch.tensor(math.log(6)))


def test_orthogonal_pairs_have_a_closed_form():
    rows, scale = torch.eye(5), torch.tensor(2.0)
    expected = -2 + math.log(math.exp(2) + 4)
    torch.testing.assert_close(info_nce(rows, rows, scale), torch.tensor(expected))


def test_distinct_groups_change_nothing():
    torch.manual_seed(0)
    brain, target, scale = torch.randn(6, 4), torch.randn(6, 4), torch.tensor(1.5)
    torch.testing.assert_close(
        info_nce(brain, target, scale), info_nce(brain, target, scale, torch.arange(6))
    )


def test_rows_of_one_stimulus_are_not_negatives():
    target = torch.eye(4)[[0, 0, 1, 2]]
    groups, scale = torch.tensor([7, 7, 1, 2]), torch.tensor(50.0)
    torch.testing.assert_close(
        info_nce(target, target, scale, groups), torch.tensor(math.log(2) / 2), atol=1e-4, rtol=0
    )
    assert info_nce(target, target, scale, groups) <= info_nce(target, target, scale) + 1e-6


def test_mixes_are_weighted_sums():
    torch.manual_seed(0)
    brain, image, text, scale = (*torch.randn(3, 5, 8), torch.tensor(2.0))
    mixed = retrieval_loss(brain, image, text, scale, weight=0.7)
    torch.testing.assert_close(
        mixed, 0.7 * info_nce(brain, image, scale) + 0.3 * info_nce(brain, text, scale)
    )
    mixed = reconstruction_loss(brain, image, scale)
    torch.testing.assert_close(mixed, 9 * F.mse_loss(brain, image) + info_nce(brain, image, scale))
