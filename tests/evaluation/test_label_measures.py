"""Measures of predicted classes and numbers against scikit-learn, where a weight is a repetition of the trial."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from neurodec.evaluation.classification.label_measures import class_measures, label_intervals, number_measures


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
        wanted = metrics.roc_auc_score(
            true, np.round(softmax(own, axis=1), 10), multi_class="ovr", average="macro"
        )
        assert found["auc"] == pytest.approx(wanted)


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


def test_intervals_cover_and_respect_groups():
    """Of 60 draws of people whose accuracy differs, the true mean lies in about 95 % of the intervals."""
    hits, n_people, n_each = 0, 12, 20
    for seed in range(60):
        own = np.random.default_rng(seed)
        skill = own.beta(6, 4, size=n_people)
        right = own.random((n_people, n_each)) < skill[:, None]
        scores = np.stack([right.ravel(), ~right.ravel()], axis=1).astype(float)
        groups = np.repeat(np.arange(n_people), n_each)
        measures = {"accuracy": class_measures(scores, np.zeros(len(scores), int))["accuracy"]}
        low, high = label_intervals(measures, groups)["accuracy"]
        hits += low <= 0.6 <= high
    assert hits >= 50


@pytest.mark.slow
@pytest.mark.parametrize("n_people", [1, 3, 12])
def test_intervals_of_every_measure_cover_what_is_true_of_noise(n_people):
    """Of one person over trials, of more over people; labels are unbalanced, predictions know nothing."""
    n_each = 240 // n_people
    truth = {"accuracy": 0.5, "balanced_accuracy": 0.5, "kappa": 0.0, "auc": 0.5}
    covered = dict.fromkeys(truth, 0)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = (np.arange(240) % 4 == 0).astype(int)
        measures = class_measures(rng.normal(size=(240, 2)), labels)
        chosen = {name: measures[name] for name in truth}
        found = label_intervals(chosen, np.repeat(np.arange(n_people), n_each))
        for name, value in truth.items():
            covered[name] += found[name][0] <= value <= found[name][1]
    for name, n in covered.items():
        assert 0.92 <= n / 400 <= 0.98, name  # 95 % give or take 2.7 standard errors of 400 data sets


@pytest.mark.slow
def test_intervals_of_correlations_cover_the_truth():
    covered = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=150)
        measures = number_measures(0.6 * true + 0.8 * rng.normal(size=150), true)
        low, high = label_intervals({"pearson_r": measures["pearson_r"]}, np.zeros(150))["pearson_r"]
        covered += low <= 0.6 <= high
    assert 0.93 <= covered / 400 <= 0.97


def test_all_right_has_an_interval_in_every_measure():
    labels = np.tile([0, 1], 10)
    measures = class_measures(np.eye(2)[labels], labels)
    found = label_intervals(measures, np.zeros(20), n_trials=20)
    assert all(own[0] < 0.9 for own in found.values())
    assert all(own[1] == pytest.approx(1) for own in found.values())
    assert found["kappa"][0] == pytest.approx(2 * found["accuracy"][0] - 1)
