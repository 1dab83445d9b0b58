"""Intervals keep what they promise: closed forms, and coverage over many simulated data sets of the sizes of labs."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm, t

from neurodec.errors import NeurodecError
from neurodec.evaluation.statistics.intervals import balanced_size, interval, intervals_of, paired_difference


def mid_p_by_sums(hits, n):
    def tail(p):
        return binom.sf(hits, n, p) + 0.5 * binom.pmf(hits, n, p)

    return [brentq(lambda p, edge=edge: tail(p) - edge, 1e-9, 1 - 1e-9) for edge in (0.025, 0.975)]


def test_one_trial_of_eighty_apart_is_no_difference():
    """The smallest p of McNemar's test is 1 here; an interval of no width and p 0.001 were told once."""
    found = paired_difference(np.append(np.ones(79), 0), np.ones(80), np.zeros(80))
    assert found["difference"] == pytest.approx(-1 / 80)
    assert found["ci95"][0] < -0.03
    assert found["ci95"][1] > 0.01
    assert found["p_value"] > 0.3


def test_decoders_that_never_differ_get_an_interval_too():
    found = paired_difference(np.ones(80), np.ones(80))
    error = np.sqrt(1 / 82**2)  # Agresti and Min (2005): half a pair each way
    assert found["ci95"] == pytest.approx([-t.isf(0.025, 79) * error, t.isf(0.025, 79) * error])
    assert found["p_value"] == 1


@pytest.mark.parametrize("clusters", [None, np.zeros(10)], ids=["trials", "one-cluster"])
def test_ten_of_ten_is_clopper_pearson(clusters):
    assert interval(np.ones(10), clusters) == pytest.approx([0.025 ** (1 / 10), 1])
    assert interval(np.zeros(10), clusters) == pytest.approx([0, 1 - 0.025 ** (1 / 10)])


def test_few_clusters_count_for_less_where_all_are_right():
    """As one miss more would: by Student's t for the number of clusters, squared."""
    for n_clusters in (2, 3, 12):
        n = 96 * (norm.isf(0.025) / t.isf(0.025, n_clusters - 1)) ** 2
        runs = np.repeat(np.arange(n_clusters), 96 // n_clusters)
        found = interval(np.ones(96), runs, n_trials=96)
        assert found == pytest.approx([0.025 ** (1 / n), 1])
    nearly = interval(np.append(np.ones(95), 0), np.repeat(np.arange(12), 8))
    assert nearly[0] < interval(np.ones(96), np.repeat(np.arange(12), 8), n_trials=96)[0]
    assert interval(np.ones(96), np.repeat(np.arange(12), 8)) == pytest.approx([0.025 ** (1 / 12), 1])


def test_independent_trials_get_the_mid_p_interval_of_their_binomial():
    """By sums over the binomial's own probabilities; only Student's t for n - 1 makes ours a little wider."""
    scores = np.repeat([1.0, 0.0], [300, 700])
    assert interval(scores) == pytest.approx(mid_p_by_sums(300, 1000), abs=2e-4)


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


def test_rows_that_are_not_independent_promise_too_much_on_their_own():
    """Four subjects see the same stimuli; easy stimuli are easy for all."""
    covered = {"stimuli": 0, "rows": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        ease = np.repeat(rng.beta(0.5, 0.5, size=100), 4)
        scores = (rng.random(400) < ease).astype(float)
        for name, clusters in (("stimuli", np.repeat(np.arange(100), 4)), ("rows", None)):
            low, high = interval(scores, clusters)
            covered[name] += low <= 0.5 <= high
    assert 0.91 <= covered["stimuli"] / 300 <= 0.98
    assert covered["rows"] / 300 < 0.85


def test_two_runs_that_happen_to_agree_prove_little():
    low, high = interval(np.tile([1.0, 1, 1, 0], 10), np.repeat([0, 1], 20))
    assert high - low > 0.1


def test_a_mean_without_bounds_is_student(rng):
    scores = rng.normal(3, 2, size=15)
    half = t.isf(0.025, 14) * scores.std(ddof=1) / np.sqrt(15)
    assert interval(scores, kind="mean") == pytest.approx([scores.mean() - half, scores.mean() + half])


def test_one_row_tells_nothing():
    assert interval([0.3]) == [0, 1]
    assert interval([1.0]) == pytest.approx([0.025, 1])
    with pytest.raises(NeurodecError, match="no test rows"):
        interval([])


def test_inflation_is_a_factor_on_the_variance(rng):
    scores = (rng.random(400) < 0.5).astype(float)
    plain, wide = (np.ptp(interval(scores, inflation=factor)) for factor in (1.0, 4.0))
    assert wide / plain == pytest.approx(2, rel=0.02)


def test_other_measures_agree_with_means_where_they_are_one(rng):
    scores, clusters = (rng.random(60) < 0.7).astype(float), np.repeat(np.arange(12), 5)
    found = intervals_of(lambda rows: np.array([scores[rows].mean()]), ["share"], clusters, 60)
    assert found[0] == pytest.approx(interval(scores, clusters))


def test_rare_classes_count_for_what_they_are():
    assert balanced_size(np.repeat([0, 1], [20, 980])) == pytest.approx(4 / (1 / 20 + 1 / 980))
    whole = intervals_of(lambda rows: np.ones(1), ["share"], None, 1000, n_trials=78.4)
    fewer = (norm.isf(0.025) / t.isf(0.025, 99)) ** 2  # trials are left out in a hundred blocks
    assert whole[0][0] == pytest.approx(0.025 ** (1 / (78.4 * fewer)))


def grouped(sizes, share, alike=0.0):
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng):
        skill = np.full(len(sizes), share)
        if alike:
            shape = (1 - alike) / alike
            skill = rng.beta(share * shape, (1 - share) * shape, size=len(sizes))
        return (rng.random(len(groups)) < skill[groups]).astype(float), groups

    return draw


def stimuli(n, n_people, share, alike):
    """Retrieval: people answer to the same stimuli, alike or each in their own way."""

    def draw(rng):
        common, own = rng.random((n, 1)) < share, rng.random((n, n_people)) < share
        hits = np.where(rng.random((n, n_people)) < alike, common, own)
        return hits.ravel().astype(float), np.repeat(np.arange(n), n_people)

    return draw


SITUATIONS = {
    "80 trials of a fixed split": (grouped([1] * 80, 0.5), 0.5),
    "200 stimuli": (grouped([1] * 200, 0.4), 0.4),
    "40 stimuli": (stimuli(40, 1, 0.3, 0), 0.3),
    "40 stimuli, five people alike": (stimuli(40, 5, 0.3, 1), 0.3),
    "50 stimuli, two people": (stimuli(50, 2, 0.2, 0.3), 0.2),
    "12 runs": (grouped([8] * 12, 0.125), 0.125),
    "3 people": (grouped([30] * 3, 0.5), 0.5),
    "3 people who differ": (grouped([30] * 3, 0.5, 0.3), 0.5),
    "5 unequal runs that differ": (grouped([10, 20, 40, 10, 30], 0.5, 0.05), 0.5),
    "12 unequal people": (grouped([300] * 4 + [20] * 8, 0.5), 0.5),
    "20 people who differ": (grouped([10] * 20, 0.25, 0.3), 0.25),
}


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_intervals_cover_the_truth_95_times_of_100(situation):
    draw, truth = SITUATIONS[situation]
    found = np.array([interval(*draw(np.random.default_rng(seed))) for seed in range(2000)])
    covered = ((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [1, 5], ids=["one person", "five people alike"])
def test_where_hits_are_a_handful_intervals_are_rather_too_wide(n_rows):
    """At chance of one in 40 there are 0, 1 or 2 hits: no interval can miss just 5 % of that."""
    draw = stimuli(40, n_rows, 1 / 40, 1)
    found = np.array([interval(*draw(np.random.default_rng(seed))) for seed in range(1000)])
    covered = ((found[:, 0] <= 1 / 40) & (found[:, 1] >= 1 / 40)).mean()
    possible = binom.cdf(2, 40, 1 / 40), binom.cdf(3, 40, 1 / 40)  # 0.92 and 0.98: the latter is kept
    assert possible[0] < 0.93
    assert covered == pytest.approx(possible[1], abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[8] * 12, [30] * 3])
def test_near_the_ceiling_too(sizes):
    draw = grouped(sizes, 0.96)
    drawn = (draw(np.random.default_rng(seed)) for seed in range(1000))
    found = np.array([interval(*one, n_trials=sum(sizes)) for one in drawn])
    assert 0.93 <= ((found[:, 0] <= 0.96) & (found[:, 1] >= 0.96)).mean() <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [80, 12, 5], ids=["trials", "12 runs", "5 people"])
def test_equal_decoders_differ_in_five_of_a_hundred(n_groups):
    p_values, covered = [], 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        n = 80 if n_groups != 12 else 96
        apart = (rng.random(n) < 0.3) * rng.choice([-1, 1], size=n)
        found = paired_difference(apart.clip(0), (-apart).clip(0), np.arange(n) % n_groups)
        p_values.append(found["p_value"])
        covered += found["ci95"][0] <= 0 <= found["ci95"][1]
    assert 0.93 <= covered / 1000 <= 0.97
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.045)
