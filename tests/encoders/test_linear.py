import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from neurodec.encoders import Ridge
from neurodec.encoders.linear import ridge_path
from neurodec.errors import NeurodecError


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
def test_path_equals_sklearn_in_primal_and_dual(rng, shape):
    features, targets, queries = (
        rng.normal(size=shape),
        rng.normal(size=(shape[0], 3)),
        rng.normal(size=(5, shape[1])),
    )
    for alpha, predicted in zip(
        [0.1, 10.0], ridge_path(features, targets, [0.1, 10.0], queries), strict=True
    ):
        model = SklearnRidge(alpha, fit_intercept=False).fit(features, targets)
        np.testing.assert_allclose(predicted, model.predict(queries), atol=1e-8)


@pytest.mark.parametrize("shape", [(60, 10), (40, 90)])
def test_fit_equals_sklearn_at_the_chosen_penalty(rng, shape):
    features = rng.normal(size=shape) * 3 + 2
    targets = features[:, :4] @ rng.normal(size=(4, 2)) + rng.normal(size=(shape[0], 2)) + 5
    ours = Ridge(n_folds=4).fit(features, targets)
    unit = (features - features.mean(0)) / features.std(0)
    theirs = SklearnRidge(ours.alpha_).fit(unit, targets)
    np.testing.assert_allclose(ours.predict(features), theirs.predict(unit), atol=1e-3)


def test_the_penalty_grows_with_the_noise(rng):
    features = rng.normal(size=(100, 20))
    signal = features @ rng.normal(size=(20, 1))
    penalties = [
        Ridge().fit(features, signal + scale * rng.normal(size=(100, 1))).alpha_ for scale in (0.01, 30)
    ]
    assert penalties[0] < penalties[1]


def test_one_group_is_refused(rng):
    with pytest.raises(NeurodecError, match="two groups"):
        Ridge().fit(rng.normal(size=(5, 2)), rng.normal(size=(5, 1)), groups=np.zeros(5))
