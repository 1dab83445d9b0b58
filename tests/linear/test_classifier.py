import numpy as np
import pytest

from neurodec.encoders import RidgeClassifier
from neurodec.errors import NeurodecError
from neurodec.linear.solvers import partially_pooled_weights


def problem(rng, n=120, p=20, n_classes=3, n_subjects=2, own=1.0):
    subjects = rng.integers(n_subjects, size=n)
    labels = rng.integers(n_classes, size=n)
    means = rng.normal(size=(n_classes, p)) + own * rng.normal(size=(n_subjects, n_classes, p))
    rows = means[subjects, labels] + rng.normal(size=(n, p))
    return rows.astype(np.float32), labels, subjects


def accuracy(model, rows, labels, subjects):
    return (model.scores(rows, subjects)[0].argmax(axis=1) == labels).mean()


def test_partial_pooling_equals_ridge_on_features_repeated_per_subject(rng):
    rows, targets, subjects = rng.normal(size=(60, 5)), rng.normal(size=(60, 2)), rng.integers(3, size=60)
    members = [np.flatnonzero(subjects == code) for code in range(3)]
    shared, own = partially_pooled_weights(rows, targets, members, np.array([2.0]))
    wide = np.hstack([rows, *(rows * (subjects == code)[:, None] for code in range(3))])
    expected = np.linalg.solve(wide.T @ wide + 2 * np.eye(20), wide.T @ targets)
    assert np.allclose(np.vstack([shared[0], *(weights[0] for weights in own)]), expected)


@pytest.mark.parametrize("p", [20, 400])
def test_separates_classes_and_gives_the_same_in_either_space(rng, p):
    rows, labels, subjects = problem(rng, p=p, own=0.0)
    groups = np.arange(120) // 12
    model = RidgeClassifier().fit(rows[:90], labels[None, :90], groups[:90], subjects[:90])
    assert accuracy(model, rows[90:], labels[90:], subjects[90:]) > 0.9


def test_own_weights_help_when_subjects_differ(rng):
    rows, labels, subjects = problem(rng, n=400, p=4, own=3.0, n_subjects=4)
    groups = np.arange(400) // 40
    scores = {}
    for per_subject in (False, True):
        model = RidgeClassifier(per_subject=per_subject)
        model.fit(rows[:300], labels[None, :300], groups[:300], subjects[:300])
        scores[per_subject] = accuracy(model, rows[300:], labels[300:], subjects[300:])
    assert scores[True] > scores[False] + 0.1


def test_unknown_subject_gets_the_shared_weights(rng):
    rows, labels, subjects = problem(rng, own=0.2)
    model = RidgeClassifier(per_subject=True).fit(rows, labels[None], np.arange(120) // 12, subjects)
    assert accuracy(model, rows, labels, np.full(120, 7)) > 0.7


def test_labellings_do_not_influence_each_other(rng):
    rows, labels, subjects = problem(rng)
    groups = np.arange(120) // 12
    many = np.vstack([labels, rng.permutation(labels), rng.permutation(labels)])
    together = RidgeClassifier().fit(rows, many, groups, subjects).scores(rows, subjects)
    for row in range(3):
        alone = RidgeClassifier().fit(rows, many[row : row + 1], groups, subjects).scores(rows, subjects)
        assert np.allclose(together[row], alone[0])


def test_frequent_class_is_not_favoured(rng):
    labels = (np.arange(600) % 6 == 0).astype(int)  # one in six
    rows = rng.normal(size=(600, 5)).astype(np.float32)
    zeros = np.zeros(600, int)
    model = RidgeClassifier().fit(rows[:300], labels[None, :300], np.arange(300) // 30, zeros[:300])
    found = model.scores(rows[300:], zeros[300:])[0].argmax(axis=1)
    assert 0.2 < found.mean() < 0.8


def test_one_group_is_tuned_on_consecutive_trials(rng):
    rows, labels, subjects = problem(rng, own=0.0)
    model = RidgeClassifier().fit(rows, labels[None], np.zeros(120), subjects)
    assert accuracy(model, rows, labels, subjects) > 0.9


def test_one_class_is_refused(rng):
    with pytest.raises(NeurodecError, match="same label"):
        RidgeClassifier().fit(rng.normal(size=(9, 2)), np.zeros((1, 9), int), np.arange(9), np.zeros(9, int))
