"""Comparisons of runs on the rows that they share, calibrated on runs that do not differ."""

import numpy as np
import pandas as pd
import pytest

from neurodec.run.compare import holm, paired_tests, sign_flip_p


def write_run(folder, ranks, stimuli=None):
    """What an evaluation of retrieval leaves behind."""
    own = folder / "evaluation/sub-01"
    own.mkdir(parents=True)
    names = [f"s{place:03d}" for place in range(len(ranks))] if stimuli is None else stimuli
    table = pd.DataFrame({"subject": "01", "stimulus": names, "concept": names, "rank": ranks})
    table.to_csv(own / "ranks.csv", index=False)
    pd.DataFrame({"stimulus": sorted(set(names))}).to_csv(own / "candidates.csv", index=False)
    return folder


def test_a_better_run_is_told_with_its_interval(tmp_path, rng):
    easy, hard = np.where(rng.random(200) < 0.5, 1.0, 5.0), np.where(rng.random(200) < 0.2, 1.0, 5.0)
    runs = [write_run(tmp_path / "a", easy), write_run(tmp_path / "b", hard), write_run(tmp_path / "c", hard)]
    table = paired_tests(runs).set_index(["first", "second"])
    assert table.loc[("a", "b"), "difference"] == pytest.approx((easy == 1).mean() - (hard == 1).mean())
    assert table.loc[("a", "b"), "low"] > 0
    assert table.loc[("a", "b"), "p_corrected"] < 0.001
    assert table.loc[("b", "c"), "difference"] == 0
    assert table.loc[("b", "c"), "p_value"] == 1
    assert table.loc[("b", "c"), "low"] < 0 < table.loc[("b", "c"), "high"]


def test_runs_on_other_rows_are_not_compared(tmp_path, rng):
    ranks = np.where(rng.random(30) < 0.5, 1.0, 5.0)
    others = [f"t{place}" for place in range(30)]
    runs = [write_run(tmp_path / "a", ranks), write_run(tmp_path / "b", ranks, others), tmp_path / "c"]
    assert paired_tests(runs).empty


@pytest.mark.quality
@pytest.mark.parametrize("kind", ["hits", "continuous"])
def test_equal_runs_differ_in_five_of_a_hundred(kind):
    rng = np.random.default_rng(0)
    draw = {"hits": lambda: rng.integers(-1, 2, 60).astype(float), "continuous": lambda: rng.normal(size=60)}[
        kind
    ]
    p = np.array([sign_flip_p(draw()) for _ in range(400)])
    assert 0.02 <= (p <= 0.05).mean() <= 0.075
    if kind == "continuous":  # sums of hits tie, which makes p larger on average
        assert p.mean() == pytest.approx(0.5, abs=0.05)


def test_few_signs_are_all_tried():
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])
    assert len(holm(np.empty(0))) == 0
