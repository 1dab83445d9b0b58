import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GroupKFold

from neurodec.errors import NeurodecError
from neurodec.linear import Ridge, solvers
from neurodec.linear.solvers import Factor, held_out_errors, held_out_predictions


@pytest.mark.parametrize("way", ["rows", "products"])
@pytest.mark.parametrize("shape", [(60, 10), (40, 90), (30, 30)])
def test_held_out_errors_and_predictions_equal_refitting(rng, shape, way, monkeypatch):
    monkeypatch.setattr(solvers, "_EIGH", 0 if way == "products" else np.inf)
    monkeypatch.setattr(solvers, "_TARGETS", 2)  # targets go through in several stretches
    features, targets = rng.normal(size=shape), rng.normal(size=(shape[0], 3)) + 5
    features -= features.mean(axis=0)
    groups = rng.integers(0, 7, shape[0])
    folds = list(GroupKFold(4).split(features, groups=groups))
    penalties = np.array([0.1, 10.0, 1000.0])
    factor, held_out = Factor.of(features), [test for _, test in folds]
    found = held_out_errors(factor, targets, penalties, held_out)
    for error, alpha in zip(found, penalties, strict=True):
        refitted = np.zeros_like(targets)
        for train, test in folds:
            refitted[test] = SklearnRidge(alpha).fit(features[train], targets[train]).predict(features[test])
        np.testing.assert_allclose(error, ((refitted - targets) ** 2).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(
            held_out_predictions(factor, targets, alpha, held_out), refitted, atol=1e-8
        )


def test_every_target_may_have_its_own_penalty(rng):
    features = rng.normal(size=(200, 30))
    noise = rng.normal(size=(200, 2)) * [0.01, 30]
    ridge = Ridge(per_target=True).fit(features, features @ rng.normal(size=(30, 2)) + noise)
    assert ridge.alpha_[0] < ridge.alpha_[1]


@pytest.mark.parametrize("shape", [(60, 10), (20, 45)])
def test_one_factor_solves_targets_of_other_penalties(rng, shape):
    features, targets = rng.normal(size=shape), rng.normal(size=(shape[0], 3))
    features -= features.mean(axis=0)
    found = Factor.of(features).solve(targets - targets.mean(axis=0), np.array([1.0, 20.0, 300.0]))
    for column, alpha in enumerate((1.0, 20.0, 300.0)):
        expected = SklearnRidge(alpha).fit(features, targets[:, column]).coef_
        np.testing.assert_allclose(found[:, column], expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(60, 10), (40, 90)])
def test_the_operator_is_the_solution_of_every_target(rng, shape):
    features, targets = rng.normal(size=shape), rng.normal(size=(shape[0], 50))
    features, targets = features - features.mean(0), targets - targets.mean(0)
    factor = Factor.of(features)
    found = factor.operator(3.0).numpy() @ targets
    np.testing.assert_allclose(found, factor.solve(targets, np.array([3.0])), atol=1e-5)


@pytest.mark.parametrize("shape", [(60, 10), (40, 90)])
def test_fit_equals_sklearn_at_the_chosen_penalty(rng, shape):
    features = rng.normal(size=shape) * 3 + 2
    targets = features[:, :4] @ rng.normal(size=(4, 2)) + rng.normal(size=(shape[0], 2)) + 5
    ours = Ridge(n_folds=4).fit(features, targets)
    unit = (features - features.mean(0)) / features.std(0)
    theirs = SklearnRidge(ours.alpha_).fit(unit, targets)
    np.testing.assert_allclose(ours.predict(features), theirs.predict(unit), atol=1e-3)


def test_constant_and_repeated_features_change_nothing(rng):
    features, targets = rng.normal(size=(50, 6)), rng.normal(size=(50, 2))
    twice = np.concatenate([features, features, np.full((50, 1), 7.0)], axis=1)
    one, other = Ridge([0.1]).fit(features, targets), Ridge([0.2]).fit(twice, targets)
    np.testing.assert_allclose(one.predict(features), other.predict(twice), atol=1e-4)


def test_the_penalty_grows_with_the_noise(rng):
    features = rng.normal(size=(100, 20))
    signal = features @ rng.normal(size=(20, 1))
    penalties = [
        Ridge().fit(features, signal + scale * rng.normal(size=(100, 1))).alpha_ for scale in (0.01, 30)
    ]
    assert penalties[0] < penalties[1]


def test_fit_leaves_its_input_alone(rng):
    features = rng.normal(size=(20, 3)).astype(np.float32)
    before = features.copy()
    Ridge().fit(features, rng.normal(size=(20, 1)))
    np.testing.assert_array_equal(features, before)


def test_one_group_is_refused(rng):
    with pytest.raises(NeurodecError, match="two groups"):
        Ridge().fit(rng.normal(size=(5, 2)), rng.normal(size=(5, 1)), groups=np.zeros(5))
