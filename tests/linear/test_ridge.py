import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GroupKFold

from neurodec.encoders import Ridge
from neurodec.errors import NeurodecError
from neurodec.linear.ridge import held_out_errors, left_singular


@pytest.mark.parametrize("shape", [(60, 10), (40, 90), (30, 30)])
def test_held_out_errors_equal_refitting(rng, shape):
    features, targets = rng.normal(size=shape), rng.normal(size=(shape[0], 3))
    groups = rng.integers(0, 7, shape[0])
    folds = list(GroupKFold(4).split(features, groups=groups))
    penalties = np.array([0.1, 10.0, 1000.0])
    found = held_out_errors(*left_singular(features), targets, penalties, [test for _, test in folds])
    for error, alpha in zip(found, penalties, strict=True):
        refitted = 0.0
        for train, test in folds:
            model = SklearnRidge(alpha, fit_intercept=False).fit(features[train], targets[train])
            refitted += ((model.predict(features[test]) - targets[test]) ** 2).sum()
        np.testing.assert_allclose(error, refitted, rtol=1e-6)


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
