import json

import numpy as np
import pytest
import torch

from neurodec.errors import NeurodecError
from neurodec.priors import LinearPrior, load_prior
from neurodec.priors.linear import held_out_residuals


def seeded(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def prior(pairs):
    return LinearPrior().fit(pairs.z, pairs.targets, pairs.groups, embedding_space="test")


def test_the_mean_approaches_the_gaussian_optimum(pairs, prior, correlate):
    mean = prior.mean(pairs.z_test).numpy()
    assert correlate(mean, pairs.optimum) > 0.97
    assert correlate(mean, pairs.targets_test) > 0.97 * correlate(pairs.optimum, pairs.targets_test)
    assert abs(correlate(mean[::-1], pairs.targets_test)) < 0.1


def test_samples_scatter_like_held_out_residuals(pairs, prior):
    z = np.repeat(pairs.z_test[:1], 4000, axis=0)
    drawn = prior.sample(z, torch.Generator().manual_seed(0)).numpy()
    found = np.cov(drawn, rowvar=False)
    wanted = np.cov(pairs.targets_test - prior.mean(pairs.z_test).numpy(), rowvar=False)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.97
    assert np.trace(found) == pytest.approx(np.trace(wanted), rel=0.15)
    np.testing.assert_allclose(drawn.mean(axis=0), prior.mean(z[:1]).numpy()[0], atol=0.2)


def test_residuals_are_held_out_by_group(rng):
    # Features that only name the group predict nothing about a group never seen.
    groups = np.repeat(np.arange(40), 5)
    features, targets = np.eye(40)[groups], rng.normal(size=(40, 3))[groups]
    residuals = held_out_residuals(features, targets, groups, 1e-3)
    assert (residuals**2).mean() > 0.9 * targets.var(axis=0).mean()


def test_a_row_has_the_same_bits_in_whatever_batch(pairs, prior):
    z = pairs.z_test[:70]
    whole = prior.sample(z, seeded(range(70)))
    for rows in ([0], [69], [40, 3, 17]):
        assert torch.equal(prior.sample(z[rows], seeded(rows)), whole[rows])


def test_steps_and_guidance_do_nothing(pairs, prior):
    plain = prior.sample(pairs.z_test, seeded(range(300)))
    assert torch.equal(plain, prior.sample(pairs.z_test, seeded(range(300)), n_steps=3, guidance=0.0))
    assert not torch.equal(plain, prior.sample(pairs.z_test, seeded(range(1, 301))))


def test_the_length_of_z_does_not_matter(pairs, prior):
    torch.testing.assert_close(prior.mean(pairs.z_test * 7), prior.mean(pairs.z_test), atol=1e-4, rtol=1e-4)


def test_it_comes_back_from_its_folder(pairs, prior, tmp_path):
    prior.save_pretrained(tmp_path)
    loaded = load_prior(tmp_path)
    assert isinstance(loaded, LinearPrior)
    assert loaded.embedding_space == "test"
    assert torch.equal(
        loaded.sample(pairs.z_test, seeded(range(300))), prior.sample(pairs.z_test, seeded(range(300)))
    )


def test_few_rows_and_constant_targets_fit(rng):
    z, targets = rng.normal(size=(12, 5)), np.full((12, 30), 2.0)
    prior = LinearPrior().fit(z, targets, embedding_space="test")
    torch.testing.assert_close(prior.sample(z, seeded(range(12))), torch.full((12, 30), 2.0))
    scattered = LinearPrior().fit(z, rng.normal(size=(12, 30)), embedding_space="test")
    assert scattered.sample(z, seeded(range(12))).isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": np.full((2, 32), np.inf)}, "hold NaN or infinity"),
        ({"z": np.ones((2, 31))}, r"shape \(2, 31\).*\(n, 32\)"),
        ({"generator": seeded([1, 2, 3])}, "3 generators for 2 rows"),
    ],
)
def test_a_bad_request_is_one_sentence(prior, change, words):
    with pytest.raises(NeurodecError, match=words):
        prior.sample(**{"z": np.ones((2, 32)), "generator": seeded([1, 2]), **change})


def test_a_prior_must_be_fitted(tmp_path):
    with pytest.raises(NeurodecError, match="never fitted"):
        LinearPrior().mean(np.ones((1, 4)))
    with pytest.raises(NeurodecError, match="never fitted"):
        LinearPrior().save_pretrained(tmp_path)


@pytest.mark.parametrize(
    "change", [{"init_args": {"x": 1}}, {"init_args": 3}, {"embed_dim": "a"}, {"cond_dim": -1}]
)
def test_a_folder_that_describes_no_prior_is_told(tmp_path, change):
    content = {"class_path": "neurodec.priors.LinearPrior", "init_args": {}, "embedding_space": "x"}
    content |= {"embed_dim": 3, "cond_dim": 3} | change
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(NeurodecError, match=r"config\.json cannot be read as a prior"):
        load_prior(tmp_path)
