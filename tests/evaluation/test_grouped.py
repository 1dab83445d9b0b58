import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from neurodec.evaluation.grouped import Grouped, class_pairs, grouped_permutations, mean_auc


def scored(rng, n=90, n_classes=3, n_groups=3, strength=1.0):
    labels = rng.integers(n_classes, size=n)
    groups = np.array([f"run-{code}" for code in np.arange(n) % n_groups])
    scores = rng.normal(size=(n, n_classes)) + strength * np.eye(n_classes)[labels]
    return Grouped(labels, groups, n_classes), scores


def test_binary_auc_is_that_of_scikit_learn(rng):
    grouped, scores = scored(rng, n_classes=2, n_groups=1)
    expected = roc_auc_score(grouped.labels, scores[:, 1] - scores[:, 0])
    assert grouped.measure(scores).auc == pytest.approx(expected)


def test_multiclass_auc_is_the_mean_of_one_against_the_rest(rng):
    grouped, scores = scored(rng, n_groups=1)
    margins = [scores[:, k] - np.delete(scores, k, axis=1).max(axis=1) for k in range(3)]
    expected = np.mean([roc_auc_score(grouped.labels == k, margins[k]) for k in range(3)])
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
    for (low, high), value in zip(grouped.intervals(scores, 1000), grouped.measure(scores), strict=True):
        assert low < value < high
    covered = 0
    for _ in range(40):
        grouped, noise = scored(rng, strength=0.0)
        low, high = grouped.intervals(noise, 300).accuracy
        covered += low <= 1 / 3 <= high
    assert covered >= 35


def test_groups_that_differ_widen_the_interval(rng):
    labels, groups = np.tile([0, 1], 100), np.repeat([f"run-{code}" for code in range(10)], 20)
    good = np.eye(2)[labels] * np.where(np.arange(200) < 100, 9, 0)[:, None] + rng.normal(size=(200, 2))
    low, high = Grouped(labels, groups, 2).intervals(good, 1000).accuracy
    spread = np.std([1.0] * 5 + [0.5] * 5) / np.sqrt(10)
    assert high - low > 3 * spread  # trials alone would give about half of it


def test_exchanged_labels_equal_measuring_again(rng):
    grouped, scores = scored(rng)
    rows = grouped_permutations(grouped.labels, grouped.codes, 5, seed=1)
    for row, found in zip(rows, grouped.exchanged(scores, rows), strict=True):
        assert found == pytest.approx(Grouped(row, grouped.groups, 3).measure(scores))


def test_balanced_accuracy_is_that_of_scikit_learn(rng):
    grouped, scores = scored(rng)
    labels = np.where(rng.random(90) < 0.7, 0, grouped.labels)
    found = Grouped(labels, grouped.groups, 3).measure(scores).balanced_accuracy
    assert found == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))


def test_permutations_stay_within_groups(rng):
    grouped, _ = scored(rng)
    rows = grouped_permutations(grouped.labels, grouped.codes, 20, seed=0)
    for members in grouped.members:
        assert (np.sort(rows[:, members]) == np.sort(grouped.labels[members])).all()
    assert len(np.unique(rows, axis=0)) == 20
