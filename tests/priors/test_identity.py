"""No prior: predictions pass as they are, and come back from a folder."""

import numpy as np
import pytest
import torch

from neurodec.errors import NeurodecError
from neurodec.priors import IdentityPrior, load_prior


def test_what_goes_in_comes_out(rng, tmp_path):
    z, targets = rng.normal(size=(2, 10, 4)).astype(np.float32)
    prior = IdentityPrior().fit(z, targets, embedding_space="x")
    generators = [torch.Generator().manual_seed(seed) for seed in range(10)]
    np.testing.assert_array_equal(prior.sample(z, generators), z)
    prior.save_pretrained(tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, IdentityPrior)
    assert again.embedding_space == "x"
    np.testing.assert_array_equal(again.sample(z[:1], generators[:1]), z[:1])
    with pytest.raises(NeurodecError):
        again.sample(z[:, :3], generators)
    tokens = rng.normal(size=(10, 3, 4)).astype(np.float32)
    prior = IdentityPrior().fit(tokens, tokens, embedding_space="x")
    np.testing.assert_array_equal(prior.sample(tokens, generators), tokens)


def test_it_has_to_be_told_the_space(rng):
    with pytest.raises(NeurodecError):
        IdentityPrior().sample(np.zeros((1, 4)), [torch.Generator()])
