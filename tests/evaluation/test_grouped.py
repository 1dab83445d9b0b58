import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from neurodec.evaluation.classification.grouped import Grouped, class_pairs, inflation_of, mean_auc
from neurodec.evaluation.statistics.permutations import exchanged_labels


def scored(rng, n=90, n_classes=3, n_groups=3, strength=1.0):
    labels = rng.integers(n_classes, size=n)
    groups = np.array([f"run-{code}" for code in np.arange(n) % n_groups])
    scores = rng.normal(size=(n, n_classes)) + strength * np.eye(n_classes)[labels]
    return Grouped(labels, groups, n_classes), scores


def test_binary_auc_is_that_of_scikit_learn(rng):
    grouped, scores = scored(rng, n_classes=2, n_groups=1)
    expected = roc_auc_score(grouped.labels, scores[:, 1] - scores[:, 0])
    assert grouped.measure(scores).auc == pytest.approx(expected)


def test_multiclass_auc_is_that_of_scikit_learn_by_probabilities(rng):
    grouped, scores = scored(rng, n_groups=1)
    expected = roc_auc_score(grouped.labels, softmax(scores, axis=1), multi_class="ovr")
    assert grouped.measure(scores).auc == pytest.approx(expected)


def test_scores_of_different_groups_are_never_compared(rng):
    grouped, scores = scored(rng, n_classes=2)
    shifted = scores.copy()
    shifted[grouped.codes == 1, 1] += 100  # another fit, another scale
    assert grouped.measure(shifted).auc == pytest.approx(grouped.measure(scores).auc)


def test_ties_count_half():
    pairs = class_pairs(np.zeros((4, 2)), np.array([0, 0, 1, 1]), 2)
    assert mean_auc(pairs) == 0.5


def test_a_group_of_one_class_gives_no_pair():
    grouped = Grouped(np.array([0, 0, 0, 1]), np.array(["a", "a", "b", "b"]), 2)
    scores = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=float)
    details = grouped.details(scores)
    assert [fold["auc"] for fold in details["per_fold"]] == [None, 1.0]
    assert [fold["accuracy"] for fold in details["per_fold"]] == [0.5, 1.0]
    assert details["confusion"] == [[2, 1], [0, 1]]
    assert grouped.measure(scores).balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)


def test_intervals_hold_the_score_and_cover_chance(rng):
    grouped, scores = scored(rng)
    for (low, high), value in zip(grouped.intervals(scores, None), grouped.measure(scores), strict=True):
        assert low < value < high
    covered = 0
    for _ in range(40):
        grouped, noise = scored(rng, strength=0.0)
        low, high = grouped.intervals(noise, None).accuracy
        covered += low <= 1 / 3 <= high
    assert covered >= 35


def test_groups_that_differ_widen_the_interval(rng):
    labels, groups = np.tile([0, 1], 100), np.repeat([f"run-{code}" for code in range(10)], 20)
    good = np.eye(2)[labels] * np.where(np.arange(200) < 100, 9, 0)[:, None] + rng.normal(size=(200, 2))
    low, high = Grouped(labels, groups, 2).intervals(good, groups).accuracy
    spread = np.std([1.0] * 5 + [0.5] * 5) / np.sqrt(10)
    assert high - low > 3 * spread  # trials alone would give about half of it


def test_scores_that_vary_together_inflate_the_variance(rng):
    """Ten trials that are right or wrong together have ten times the variance that trials alone tell."""
    nulls = []
    for _ in range(200):
        labels = np.tile([0, 1], 50)
        right = np.repeat(rng.random(10) < 0.5, 10)
        nulls.append((Grouped(labels, np.zeros(100), 2), np.eye(2)[np.where(right, labels, 1 - labels)]))
    assert inflation_of(nulls, None).accuracy == pytest.approx(10, rel=0.35)
    assert inflation_of(nulls, np.repeat(np.arange(10), 10)).accuracy == pytest.approx(1, abs=0.35)


def test_exchanged_labels_equal_measuring_again(rng):
    grouped, scores = scored(rng)
    rows = np.array(list(exchanged_labels(grouped.labels, grouped.groups, 5, 1)))
    for row, found in zip(rows, grouped.exchanged(scores, rows), strict=True):
        assert found == pytest.approx(Grouped(row, grouped.groups, 3).measure(scores))


def test_balanced_accuracy_is_that_of_scikit_learn(rng):
    grouped, scores = scored(rng)
    labels = np.where(rng.random(90) < 0.7, 0, grouped.labels)
    found = Grouped(labels, grouped.groups, 3).measure(scores).balanced_accuracy
    assert found == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))
