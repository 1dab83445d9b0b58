"""Measures of predicted classes and numbers against scikit-learn, where a weight is a repetition of the trial."""

import numpy as np
import pytest
from sklearn import metrics

from neurodec.evaluation.label_measures import class_measures, intervals, number_measures, shifted


def repeated(weights, *arrays):
    return [np.repeat(array, weights.astype(int), axis=0) for array in arrays]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "tied"])
def test_class_measures_are_those_of_scikit_learn(rng, n_classes, coarse):
    labels = rng.integers(n_classes, size=200)
    scores = rng.normal(size=(200, n_classes)) + 0.8 * np.eye(n_classes)[labels]
    scores = np.round(scores) + 0.01 * np.arange(n_classes) if coarse else scores
    weights = rng.integers(0, 3, size=200).astype(float)
    found = {name: measure(weights) for name, measure in class_measures(scores, labels).items()}
    own, true = repeated(weights, scores, labels)
    named = own.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, named))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, named))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(true, named))
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(true, named, average="weighted"))
    if n_classes == 2:
        margin = own[:, 1] - own[:, 0]
        assert found["auc"] == pytest.approx(metrics.roc_auc_score(true, margin))
        precision, recall, _ = metrics.precision_recall_curve(true, margin)
        assert found["auc_pr"] == pytest.approx(metrics.auc(recall, precision))
    else:
        rivals = [own[:, k] - np.delete(own, k, axis=1).max(axis=1) for k in range(n_classes)]
        each = [metrics.roc_auc_score(true == k, rivals[k]) for k in range(n_classes)]
        assert found["auc"] == pytest.approx(np.mean(each))


def test_number_measures_are_those_of_scikit_learn(rng):
    true = rng.normal(size=100)
    found = 0.5 * true + rng.normal(size=100)
    weights = rng.integers(0, 3, size=100).astype(float)
    values = {name: measure(weights) for name, measure in number_measures(found, true).items()}
    own, wanted = repeated(weights, found, true)
    assert values["r2"] == pytest.approx(metrics.r2_score(wanted, own))
    assert values["rmse"] == pytest.approx(metrics.mean_squared_error(wanted, own) ** 0.5)
    assert values["pearson_r"] == pytest.approx(np.corrcoef(own, wanted)[0, 1])
    assert number_measures(np.ones(100), true)["pearson_r"](np.ones(100)) == 0


def test_a_class_that_is_always_named_and_one_that_is_never_shown():
    scores = np.tile([1.0, 0.0, 0.0], (6, 1))
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = {name: measure(np.ones(6)) for name, measure in class_measures(scores, labels).items()}
    assert found["balanced_accuracy"] == 0.5
    assert found["kappa"] == 0
    assert found["weighted_f1"] == pytest.approx(1 / 3)


def test_intervals_cover_and_respect_groups(rng):
    """Of 200 draws of people whose accuracy differs, the true mean lies in about 95 % of the intervals."""
    hits, n_people, n_each = 0, 12, 20
    for seed in range(60):
        own = np.random.default_rng(seed)
        skill = own.beta(6, 4, size=n_people)
        right = own.random((n_people, n_each)) < skill[:, None]
        scores = np.stack([right.ravel(), ~right.ravel()], axis=1).astype(float)
        groups = np.repeat(np.arange(n_people), n_each)
        measures = {"accuracy": class_measures(scores, np.zeros(len(scores), int))["accuracy"]}
        low, high = intervals(measures, groups, 200, seed)["accuracy"]
        hits += low <= 0.6 <= high
    assert hits >= 50


def test_turned_labels_keep_their_order_and_people_with_a_diagnosis_exchange_it():
    labels = np.array([0, 0, 1, 1, 2, 0, 1, 2])
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    drawn = list(shifted(labels, groups, 50, 0))
    assert all(np.array_equal(np.sort(row[:5]), np.sort(labels[:5])) for row in drawn)
    doubled = np.concatenate([labels[:5], labels[:5]])
    assert all(any(np.array_equal(row[:5], doubled[k : k + 5]) for k in range(5)) for row in drawn)
    people = shifted(np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 2]), 50, 0)
    assert {tuple(row) for row in people} == {(0, 0, 1, 1, 1, 0), (1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)}
