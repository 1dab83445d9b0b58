"""Estimators on arrays, held against scikit-learn's own checks and used in its pipelines."""

import doctest
import importlib

import numpy as np
import pytest
from mne.decoding import Scaler, Vectorizer
from pyriemann.estimation import XdawnCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn import linear_model
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from neurodec.errors import NeurodecError
from neurodec.linear import (
    ArrayClassifier,
    Ridge,
    RidgeClassifier,
    SpectralClassifier,
    WindowMeansClassifier,
    XdawnClassifier,
)

TUNED = "the penalty is tuned on folds of rows, which differ where a row stands twice"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": TUNED}


@parametrize_with_checks(
    [Ridge(), ArrayClassifier()],
    expected_failed_checks=lambda one: EXPECTED if isinstance(one, Ridge) else {},
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_weights_are_those_of_scikit_learn(rng):
    features, targets = rng.normal(size=(60, 7)), rng.normal(size=(60, 3))
    weight, groups = rng.integers(0, 4, size=60).astype(float), np.arange(60) % 6
    own = Ridge().fit(features, targets, groups, weight)
    kept = weight > 0
    mean = np.average(features, axis=0, weights=weight)
    scale = np.sqrt(np.average(np.square(features - mean), axis=0, weights=weight))
    other = linear_model.Ridge(alpha=own.alpha_).fit((features - mean) / scale, targets, weight)
    np.testing.assert_allclose(own.predict(features), other.predict((features - mean) / scale), atol=1e-4)
    rows = np.repeat(np.arange(60), weight.astype(int))
    repeated = Ridge().fit(features[rows], targets[rows], groups[rows])
    assert repeated.alpha_ == pytest.approx(own.alpha_)
    np.testing.assert_allclose(own.coef_, repeated.coef_, atol=1e-4)
    dropped = Ridge().fit(features[kept], targets[kept], groups[kept], weight[kept])
    np.testing.assert_allclose(own.coef_, dropped.coef_, atol=1e-10)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        Ridge().fit(features, targets, groups, -weight)


@pytest.mark.parametrize("module", ["ridge", "estimators"])
def test_examples_run(module):
    found = doctest.testmod(importlib.import_module(f"neurodec.linear.{module}"))
    assert found.attempted
    assert not found.failed


@pytest.fixture
def epochs(rng):
    labels = np.tile(["face", "house", "tool"], 20)
    responses = rng.normal(size=(60, 5, 48))
    for place, name in enumerate(("face", "house", "tool")):
        responses[labels == name, place, 12:36] += 1.0
    return responses, labels


@pytest.mark.parametrize(
    "classifier",
    [None, RidgeClassifier(), WindowMeansClassifier(6), XdawnClassifier(2)],
    ids=lambda one: type(one).__name__,
)
def test_classifiers_decode_arrays_in_cross_validation(epochs, classifier):
    scores = cross_val_score(ArrayClassifier(classifier, sfreq=100.0), *epochs, cv=4)
    assert scores.mean() > 0.85


def test_rhythms_need_a_rate(epochs):
    with pytest.raises(NeurodecError, match="at a known rate"):
        ArrayClassifier(SpectralClassifier()).fit(*epochs)
    assert ArrayClassifier(SpectralClassifier(), sfreq=100.0).fit(*epochs).predict(epochs[0]).shape == (60,)


def test_after_transformers_of_mne_and_pyriemann(epochs):
    responses, labels = epochs
    first = make_pipeline(Scaler(scalings="mean"), Vectorizer(), ArrayClassifier())
    second = make_pipeline(XdawnCovariances(2, estimator="oas"), TangentSpace(), ArrayClassifier())
    assert cross_val_score(first, responses, labels, cv=4).mean() > 0.85
    assert cross_val_score(second, responses, labels, cv=4).mean() > 0.85


def test_grids_and_groups(epochs, rng):
    responses, labels = epochs
    grid = GridSearchCV(ArrayClassifier(RidgeClassifier()), {"classifier__alphas": [[1e6], [1.0]]}, cv=4)
    assert grid.fit(responses, labels).best_params_["classifier__alphas"] in ([1e6], [1.0])
    targets = responses.reshape(60, -1) @ rng.normal(size=(240, 3))
    grid = GridSearchCV(Ridge(), {"alphas": [[1e6], [1e-2]]}, cv=GroupKFold(5))
    assert grid.fit(responses, targets, groups=np.arange(60) // 6).best_params_["alphas"] == [1e-2]


def test_own_weights_of_people(rng):
    people = np.repeat(["a", "b"], 60)
    labels = np.tile([0, 1], 60)
    signs = np.where(people == "a", 1, -1)
    rows = ((2 * labels - 1) * signs)[:, None] + 0.3 * rng.normal(size=(120, 3))
    own = ArrayClassifier(RidgeClassifier(per_subject=True)).fit(rows, labels, subjects=people)
    assert (own.predict(rows, subjects=people) == labels).mean() > 0.95
    assert (ArrayClassifier().fit(rows, labels).predict(rows) == labels).mean() < 0.7
    assert clone(own).get_params()["classifier__per_subject"]
