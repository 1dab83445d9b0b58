import json
import sys

import numpy as np
import pytest
from sklearn.discriminant_analysis import _cov

from neurodec import NeurodecError
from neurodec.preprocessing.whitening import (
    apply_whitener,
    inverse_square_root,
    ledoit_wolf_sum,
    mvnn_covariance,
    standardise,
    standardise_groups,
)


@pytest.mark.parametrize("case", ["mvnn-epochs", "mvnn-time"])
def test_parity_with_the_published_code(shared, case):
    folder = shared / "parity" / case
    description, golden = json.loads((folder / "case.json").read_text()), np.load(folder / "golden.npz")
    sys.path.insert(0, str(folder.parent))
    from fill import input_array

    inputs = {
        name: input_array(entry["seed"], entry["shape"]).astype(float)
        for name, entry in description["inputs"].items()
    }
    mixing = np.eye(5) + 0.3 * inputs["mix"]
    for session in range(description["constructor"]["sessions"]):
        train, test = mixing @ inputs[f"train_{session}"], mixing @ inputs[f"test_{session}"]
        conditions = np.repeat(np.arange(len(train)), train.shape[1])
        covariance = mvnn_covariance(
            train.reshape(-1, *train.shape[2:]), conditions, description["constructor"]["mvnn_dim"]
        )
        whitener = inverse_square_root(covariance)
        for name, part in (("train", train), ("test", test)):
            np.testing.assert_allclose(whitener @ part, golden[f"whitened_{name}_{session}"], atol=2e-6)


@pytest.mark.parametrize(("n_samples", "n_features"), [(250, 63), (3, 40), (20, 20), (2, 7), (50, 1)])
def test_ledoit_wolf_equals_scikit_learn(rng, n_samples, n_features):
    mixing = rng.standard_normal((n_features, n_features))
    samples = 1e-6 * rng.standard_normal((6, n_samples, n_features)) @ mixing + 3e-5
    if n_samples > 3:
        samples[0, :, 0] = 1e-3  # a flat channel is left unscaled, as scikit-learn does
    weights = rng.random(6)
    expected = sum(w * _cov(x, shrinkage="auto") for w, x in zip(weights, samples, strict=True))
    found = ledoit_wolf_sum(samples, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("mode", ["epochs", "time"])
def test_conditions_weigh_the_same_however_often_shown(rng, mode):
    responses = rng.standard_normal((7, 4, 30))
    conditions = np.array(["b", "a", "b", "a", "b", "b", "b"])
    per_condition = []
    for name in "ab":
        trials = responses[conditions == name]
        axis = trials if mode == "epochs" else trials.transpose(2, 1, 0)
        per_condition.append(np.mean([_cov(x.T, shrinkage="auto") for x in axis], axis=0))
    found = mvnn_covariance(responses, conditions, mode)
    np.testing.assert_allclose(found, np.mean(per_condition, axis=0), rtol=1e-10, atol=1e-12)


def test_whitened_noise_is_white_and_whitening_is_in_place(rng):
    # shrinkage pulls short epochs towards independent channels, so white to the extent that epochs are long
    mixing = np.eye(6) + 0.2 * rng.standard_normal((6, 6))
    responses = (mixing @ rng.standard_normal((40, 6, 4000)) * 1e-6).astype(np.float32)
    whitener = inverse_square_root(mvnn_covariance(responses, np.arange(40) // 2))
    apply_whitener(responses, whitener)
    assert responses.dtype == np.float32
    covariance = np.cov(responses.transpose(1, 0, 2).reshape(6, -1))
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.05)


def test_refusals(rng):
    with pytest.raises(NeurodecError, match="at least twice, but 3 of 3"):
        mvnn_covariance(rng.standard_normal((3, 2, 9)), np.arange(3), "time")
    with pytest.raises(NeurodecError, match="singular"):
        inverse_square_root(np.ones((3, 3)))


def test_standardise_fits_on_the_given_trials(rng):
    responses = 5 + 2 * rng.standard_normal((40, 3, 20))
    responses[30:] += 100
    zscored = responses.copy()
    standardise(zscored, np.arange(30))
    np.testing.assert_allclose(zscored[:30].mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(zscored[:30].std(axis=(0, 2)), 1)
    assert zscored[30:].mean() == pytest.approx(50, rel=0.05)
    robust = responses.copy()
    standardise(robust, np.arange(30), "robust", clamp=3.0)
    low, middle, high = np.percentile(robust[:30], [25, 50, 75], axis=(0, 2))
    np.testing.assert_allclose(middle, 0, atol=1e-12)
    np.testing.assert_allclose(high - low, 1)
    assert np.abs(robust).max() == 3


def test_groups_of_other_amplitude_become_alike(rng):
    responses = rng.standard_normal((20, 2, 50)).astype(np.float32)
    groups = np.array(["01", "02"] * 10)
    louder = responses * np.where(groups == "02", 24, 1)[:, None, None].astype(np.float32)
    np.testing.assert_allclose(
        standardise_groups(louder, groups), standardise_groups(responses, groups), atol=1e-5
    )
    assert not np.shares_memory(standardise_groups(louder, groups), louder)


def test_a_nearly_dead_channel_is_not_blown_up(rng):
    """Scales are at least 1e-8 of the largest, as promised."""
    responses = rng.standard_normal((20, 3, 50))
    responses[:, 1] *= 1e-12
    responses[:, 2] = 4.0
    found = responses.copy()
    noise = standardise(found, np.arange(20))
    assert noise[1, 2] == pytest.approx((1e-8 * np.sqrt(noise[:, 1:].max())) ** 2)
    assert np.abs(found[:, 1]).max() < 1e-3
    np.testing.assert_allclose(found[:, 2], 0)
