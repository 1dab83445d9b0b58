import numpy as np
import pytest
from scipy.stats import kstest

from neurodec.evaluation.retrieval.similarity import expected_top, rank_bounds
from neurodec.evaluation.statistics.permutations import (
    exchanged_labels,
    permutation_p,
    permuted_scores,
    stimulus_matrix,
)


def test_permutation_p_of_noise_is_uniform():
    p_values = []
    for simulation in range(400):
        rng = np.random.default_rng(simulation)
        matrix = stimulus_matrix(rng.standard_normal((40, 20)), np.repeat(np.arange(20), 2))
        p_values.append(permutation_p(np.trace(matrix), permuted_scores(matrix, 199, seed=simulation)))
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_permutation_p_of_top1_noise_never_promises_too_much():
    """Top-1 counts are coarse, so p is at most, not exactly, as often below a level as the level says."""
    p_values = []
    for simulation in range(300):
        rng = np.random.default_rng(simulation)
        scores = rng.standard_normal((50, 50))
        hits = expected_top(*rank_bounds(scores, np.broadcast_to(np.arange(50), (50, 50))), 50, 50)
        matrix = stimulus_matrix(hits, np.arange(50))
        p_values.append(permutation_p(np.trace(matrix), permuted_scores(matrix, 199, seed=simulation)))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)


def test_permutations_move_all_subjects_of_a_stimulus_together():
    scores = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    matrix = stimulus_matrix(scores, np.array(["a", "b", "c", "a", "b", "c"]))
    np.testing.assert_allclose(matrix, np.eye(3) / 3)
    null = permuted_scores(matrix, 5000)
    # A random permutation of three fixes all, one or none with chances 1/6, 1/2, 1/3.
    assert np.unique(np.round(null, 6)).tolist() == pytest.approx([0, 1 / 3, 1])
    assert (null > 0.9).mean() == pytest.approx(1 / 6, abs=0.02)


def test_exchanging_responses_equals_exchanging_embeddings(rng):
    responses, weights, gallery = (
        rng.standard_normal((12, 30)),
        rng.standard_normal((30, 8)),
        rng.standard_normal((12, 8)),
    )
    order = rng.permutation(12)
    before = (responses[order] @ weights) @ gallery.T
    after = ((responses @ weights) @ gallery.T)[order]
    np.testing.assert_allclose(before, after)


def test_permutation_p_counts_the_observed_arrangement():
    assert permutation_p(1.0, np.zeros(99)) == pytest.approx(0.01)
    assert permutation_p(0.0, np.zeros(99)) == 1


def test_labels_within_groups_change_places(rng):
    labels, groups = rng.integers(3, size=60), np.repeat([f"run-{code}" for code in range(4)], 15)
    drawn = np.array(list(exchanged_labels(labels, groups, 20, 0)))
    for group in np.unique(groups):
        own = groups == group
        assert (np.sort(drawn[:, own], axis=1) == np.sort(labels[own])).all()
    assert len(np.unique(drawn, axis=0)) == 20


def test_rotated_labels_keep_their_order_and_people_with_a_diagnosis_exchange_it():
    labels, groups = np.array([0, 0, 1, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 0, 0, 1, 1, 1])
    doubled = np.concatenate([labels[:5], labels[:5]])
    for row in exchanged_labels(labels, groups, 50, 0, "rotated"):
        assert np.array_equal(np.sort(row[:5]), np.sort(labels[:5]))
        assert any(np.array_equal(row[:5], doubled[k : k + 5]) for k in range(5))
    people = exchanged_labels(np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 2]), 50, 0, "rotated")
    assert {tuple(row) for row in people} == {(0, 0, 1, 1, 1, 0), (1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)}


def test_one_person_with_both_labels_does_not_stop_the_others_from_exchanging_theirs():
    """19 people with a diagnosis and one with both labels: exchanging people gives the p of 20, rotation 0.05."""
    labels = np.concatenate([np.repeat(np.arange(19) % 2, 10), np.repeat([0, 1], 5)])
    groups = np.concatenate([np.repeat(np.arange(19), 10), np.full(10, 19)])
    named = labels.copy()
    null = [(named == row).mean() for row in exchanged_labels(labels, groups, 1999, 0, "rotated")]
    assert permutation_p(1.0, np.array(null)) <= 0.001
