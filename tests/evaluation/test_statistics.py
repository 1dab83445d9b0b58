import numpy as np
import pytest
from scipy.stats import kstest

from neurodec.errors import NeurodecError
from neurodec.evaluation.similarity import expected_top, rank_bounds
from neurodec.evaluation.statistics import (
    bootstrap,
    interval,
    paired_difference,
    permutation_p,
    permuted_scores,
    stimulus_matrix,
)


def covered(draw, truth, n_simulations=300, **options):
    inside = 0
    for simulation in range(n_simulations):
        scores, clusters = draw(np.random.default_rng(simulation))
        low, high = interval(scores, clusters, n_bootstrap=400, seed=simulation, **options)
        inside += low <= truth <= high
    return inside / n_simulations


def test_bootstrap_interval_covers_the_truth_95_times_of_100():
    def draw(rng):
        return (rng.random(200) < 0.3).astype(float), None

    assert 0.91 <= covered(draw, 0.3) <= 0.98


def test_clustered_bootstrap_covers_when_rows_are_not_independent():
    """Four subjects see the same stimuli; easy stimuli are easy for all. Rows on their own would promise too much."""

    def draw(rng):
        ease = np.repeat(rng.beta(0.5, 0.5, size=100), 4)
        return (rng.random(400) < ease).astype(float), np.repeat(np.arange(100), 4)

    def draw_rows(rng):
        return draw(rng)[0], None

    assert 0.91 <= covered(draw, 0.5) <= 0.98
    assert covered(draw_rows, 0.5) < 0.85


def test_bootstrap_has_the_standard_error_of_the_mean(rng):
    scores = rng.standard_normal(400)
    assert bootstrap(scores, n_bootstrap=20_000).std() == pytest.approx(scores.std() / 20, rel=0.03)
    assert bootstrap(scores, n_bootstrap=20_000).mean() == pytest.approx(scores.mean(), abs=1e-3)


def test_bootstrap_is_seeded_and_blind_to_cluster_names(rng):
    scores, clusters = rng.random(50), np.repeat([f"s{i}" for i in range(25)], 2)
    first = bootstrap(scores, clusters, 100, seed=3)
    np.testing.assert_array_equal(first, bootstrap(scores, np.repeat(np.arange(25), 2), 100, seed=3))
    assert (first != bootstrap(scores, clusters, 100, seed=4)).any()


def test_interval_of_a_perfect_score_still_has_width():
    low, high = interval(np.ones(200))
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 200))  # Clopper-Pearson in closed form
    assert interval(np.zeros(200)) == pytest.approx([0, 1 - low])
    with pytest.raises(NeurodecError, match="no test rows"):
        interval(np.array([]))


def test_paired_difference_is_sharper_than_two_intervals(rng):
    ease = rng.random(200)
    a = (rng.random(200) < 0.2 + 0.8 * ease).astype(float)
    b = a * (rng.random(200) < 0.8)  # wrong wherever a is wrong, and a little more often
    against = paired_difference(a, b)
    assert against["difference"] == pytest.approx(a.mean() - b.mean())
    assert against["ci95"][0] > 0
    assert against["p_value"] < 0.01
    assert interval(a)[0] < interval(b)[1]  # the intervals overlap all the same
    assert paired_difference(a, a)["p_value"] == 1


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
