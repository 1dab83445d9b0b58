"""The cue of imagery: permutations by hand, p uniform where runs drift, intervals, refusals, a ridge that imagines."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, kstest

from neurodec import Features, RidgeSystem, Study, cross_validate, evaluate
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.evaluation import CueMatch
from neurodec.evaluation.imagination import CueMatchRun
from neurodec.evaluation.section import Fitted

WIDTH = 12


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def run_of(cosines, cues, group="1", subject="01"):
    """One fold; `cosines` (n_trials, n_cues) has a column per cue, in order of first appearance."""
    table = pd.DataFrame({"subject": subject, "stimulus": cues, "group": group})
    return CueMatchRun(table, {"system": np.asarray(cosines, dtype=float)})


def found_of(*runs, **settings):
    return CueMatch(**settings).results(runs)["imagination"]


def drifting(seed, *, signal=0.0, n_runs=8, n_per_run=6, n_cues=24, alike=0.0, given=False):
    """Runs whose trials share a strong vector, and show partly different cues.

    With `alike`, cues are of four kinds that resemble each other, and most of a run's cues are of one; with `given`,
    all data sets are of the same runs.
    """
    rng = np.random.default_rng(seed)
    kinds = np.arange(n_cues) % 4
    targets = rng.normal(size=(n_cues, WIDTH)) + alike * rng.normal(size=(4, WIDTH))[kinds]
    rows = []
    for run in range(n_runs):
        chances = np.where(kinds == run % 4, 1 + 4 * alike, 1.0)
        shown = rng.choice(n_cues, n_per_run, replace=False, p=chances / chances.sum())
        rows += [(run, cue) for cue in shown.tolist()]
    runs, cues = np.array(rows).T
    shared = 2 * (np.random.default_rng(7) if given else rng).normal(size=(n_runs, WIDTH))
    z = shared[runs] + signal * targets[cues] + rng.normal(size=(len(rows), WIDTH))
    cosines = unit(z) @ unit(targets[pd.unique(cues)]).T
    return cosines, [f"cue {cue:02d}" for cue in cues], [f"01/{run}" for run in runs]


def p_values(n_sets, groups_shown, n_permutations):
    """Of null data sets, with labels exchanged within runs, or within the person alone."""
    found = []
    for seed in range(n_sets):
        cosines, cues, runs = drifting(seed, n_runs=4, n_per_run=10, n_cues=80, alike=3.0)
        run = run_of(cosines, cues, runs if groups_shown else "01")
        found.append(found_of(run, n_permutations=n_permutations, seed=seed)["p_value"])
    return np.array(found)


def coverage(n_sets, signal, design):
    """How often the interval holds the difference that a thousand other data sets have on average.

    Of few runs it is of these: nothing tells how others differ.
    """
    settings = {"n_permutations": 1}
    others = [drifting(10_000 + seed, signal=signal, **design) for seed in range(1000)]
    true = np.mean([found_of(run_of(*own), **settings)["difference"] for own in others])
    held = 0
    for seed in range(n_sets):
        low, high = found_of(run_of(*drifting(seed, signal=signal, **design)), **settings)["ci95"]
        held += low <= true <= high
    return held / n_sets


def test_three_trials_by_hand():
    cosines = np.array([[0.9, 0.1, 0.3], [0.2, 0.5, 0.4], [0.1, 0.6, 0.7]])
    sums = {
        order: sum(cosines[row, column] for row, column in enumerate(order))
        for order in permutations(range(3))
    }
    assert sums[0, 1, 2] == pytest.approx(2.1)
    assert sorted(round(own, 6) for own in sums.values()) == [0.6, 0.9, 1.0, 1.1, 1.9, 2.1]
    found = found_of(run_of(cosines, ["a", "b", "c"]), n_permutations=20_000)
    assert found["statistic"] == pytest.approx(0.7)
    assert found["expected"] == pytest.approx(np.mean(list(sums.values())) / 3)
    assert found["difference"] == pytest.approx(0.7 - 3.8 / 9)
    assert found["p_value"] == pytest.approx(1 / 6, abs=0.01)
    second = found_of(
        run_of(cosines[:, [0, 2, 1]], ["a", "b", "c"]), n_permutations=20_000
    )  # 1.9: one is better
    assert second["p_value"] == pytest.approx(2 / 6, abs=0.01)
    assert len(found["null"]["counts"]) + 1 == len(found["null"]["edges"])
    assert sum(found["null"]["counts"]) == 20_000


def test_equal_targets_tie_up_to_rounding(rng):
    same = np.repeat(rng.normal(size=(9, 1)) / 3, 9, axis=1)
    assert found_of(run_of(same, list("abcdefghi")), n_permutations=500)["p_value"] == 1


def test_trials_of_one_cue_are_exchanged_as_trials(rng):
    """Two trials each of two cues: of 24 orders of the trials 4 leave every trial its cue."""
    targets = np.eye(2)
    cosines = np.repeat(targets, 2, axis=0)
    found = found_of(run_of(cosines, ["a", "a", "b", "b"]), n_permutations=20_000)
    assert found["p_value"] == pytest.approx(4 / 24, abs=0.01)
    assert found["expected"] == pytest.approx(0.5)


def test_groups_of_one_cue_are_left_out_and_counted():
    cosines = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.0], [0.6, 0.0]])
    cues, runs = ["a", "b", "a", "a"], ["1", "1", "2", "2"]
    found = found_of(run_of(cosines, cues, runs))
    assert (found["n_trials"], found["n_groups"], found["n_silent_groups"]) == (2, 1, 1)
    assert found["statistic"] == pytest.approx(0.85)
    silent = found_of(run_of(cosines[2:], cues[2:], runs[2:]))
    assert silent["n_trials"] == 0
    assert silent["p_value"] == 1
    assert "statistic" not in silent
    shown = CueMatch().section({"imagination": silent})
    assert "two cues" in shown.blocks[0].strong


def test_folds_are_pooled_and_people_told(rng):
    """Cues move within a group and fold; whole and parts agree."""
    runs = []
    for subject in ("01", "02"):
        cosines = rng.normal(size=(10, 10)) / 10 + (0.2 * np.eye(10) if subject == "02" else 0)
        runs.append(run_of(cosines, [f"cue {number}" for number in range(10)], f"{subject}/1", subject))
    found = found_of(*runs, n_permutations=2000)
    people = found["per_subject"]
    assert found["n_groups"] == 2
    assert people["02"]["p_value"] < 0.005 < people["01"]["p_value"]
    for key in ("statistic", "expected", "difference"):
        assert found[key] == pytest.approx((people["01"][key] + people["02"][key]) / 2)
    alone = found_of(runs[1], n_permutations=2000)
    assert alone["ci95"] == pytest.approx(people["02"]["ci95"])
    lines = CueMatch().section({"imagination": found}, "net").blocks[1].lines
    assert [line[0] for line in lines] == ["net", "subject 01", "subject 02"]


def test_p_is_uniform_within_runs_and_not_across_them():
    within, across = (p_values(60, shown, 199) for shown in (True, False))
    assert kstest(within, "uniform").pvalue > 0.01
    assert (within <= 0.05).mean() <= 0.15
    assert (across <= 0.05).mean() > 0.15


@pytest.mark.quality
def test_p_of_nothing_is_uniform():
    """400 null data sets: of exchanges across runs, which drift, a multiple of one in twenty would be a finding."""
    n_sets = 400
    within, across = (p_values(n_sets, shown, 999) for shown in (True, False))
    print(
        "within runs", [(within <= own).mean() for own in (0.05, 0.2, 0.5)], kstest(within, "uniform").pvalue
    )
    print("across runs", [(across <= own).mean() for own in (0.05, 0.2, 0.5)])
    assert kstest(within, "uniform").pvalue > 0.01
    for level in (0.05, 0.2, 0.5):
        low, high = binom.interval(0.998, n_sets, level)
        assert low <= (within <= level).sum() <= high
    assert (across <= 0.05).sum() > binom.isf(1e-6, n_sets, 0.05)


@pytest.mark.quality
@pytest.mark.parametrize(
    ("signal", "design"),
    [
        (0.0, {}),
        (0.4, {}),
        (0.4, {"n_runs": 3, "n_per_run": 20, "given": True}),
        (0.4, {"n_runs": 20, "n_per_run": 2, "n_cues": 10}),
        (0.4, {"n_runs": 6, "n_per_run": 5, "n_cues": 5}),
        (0.4, {"n_runs": 1, "n_per_run": 24, "given": True}),
    ],
    ids=["null", "signal", "three runs", "pairs", "crossed", "one run"],
)
def test_intervals_hold_the_difference(signal, design):
    found = coverage(500, signal, design)
    print("coverage", found)
    assert 0.92 <= found <= 0.99


# -- from trials to results


def imagery(rng, *, n_cues=16, noise=1.0, n_runs=4, subjects=("01",)):
    """Pictures seen in training, cues imagined in test, twice a run."""
    names = [f"seen-{number}" for number in range(80)] + [f"cue-{number}" for number in range(n_cues)]
    values = rng.normal(size=(len(names), WIDTH))
    mixing = rng.normal(size=(WIDTH, 40))
    rows = [(subject, "train", "1", number) for subject in subjects for number in range(80)]
    rows += [
        (subject, "test", f"{run + 2}", 80 + number)
        for subject in subjects
        for run in range(n_runs)
        for number in rng.permutation(n_cues)[: n_cues // 2]
    ]
    who, split, run, place = (list(column) for column in zip(*rows, strict=True))
    responses = values[place] @ mixing + noise * rng.normal(size=(len(rows), 40))
    study = Study.from_arrays(responses, [names[own] for own in place], split=split, subject=who, run=run)
    return study, Features.given(values, names), values


def test_a_ridge_imagines(rng, tmp_path):
    study, features, _ = imagery(rng, subjects=("01", "02"))
    system = RidgeSystem().fit(study.part("train"), {"image": features})
    evaluation = CueMatch(n_permutations=500)
    evaluation.check(study)
    found = evaluate(system, study, {"image": features}, evaluation, name="ridge")
    told = found.sections["imagination"]
    assert told["p_value"] == told["p_floor"] == 1 / 501
    assert told["ci95"][0] > 0
    assert (told["n_groups"], told["n_trials"]) == (8, 64)
    assert set(told["per_subject"]) == {"01", "02"}
    assert "ridge" not in told  # it is the system
    assert "matches the cue" in found.shown.blocks[0].strong
    assert found.shown.charts[0].figure.axes
    fitted = Fitted("ridge", system, study.part("train"), {"image": features}, lambda head: system)
    run = evaluation.run({"single": system.predict(study.part("test"))}, study.part("test"), fitted)
    evaluation.save(run, tmp_path / "fold")
    again = evaluation.results([evaluation.load(tmp_path / "fold")])["imagination"]
    assert again["ridge"]["statistic"] == pytest.approx(again["statistic"])
    assert {key: own for key, own in again.items() if key != "ridge"} == told
    (tmp_path / "fold" / "system.npy").unlink()
    with pytest.raises(NeurodecError, match="damaged"):
        evaluation.load(tmp_path / "fold")


def test_noise_imagines_nothing_and_folds_are_crossed(rng):
    study, features, _ = imagery(rng, noise=1e6)
    table = study.trials.table.assign(split="cv")
    study = Study.of(type(study.trials)(study.trials.responses, table, study.trials.info), study.stimuli)
    evaluation = CueMatch(groups="subject", n_permutations=200)
    found = cross_validate(RidgeSystem(), study, features, evaluation, groups="stimulus", n_folds=4)
    told = found.sections["imagination"]
    assert told["n_groups"] == 4  # one a fold
    assert told["n_trials"] == len(study)
    assert told["p_value"] > 0.01
    assert "does not match" in found.shown.blocks[0].strong


def test_cues_may_be_of_another_target(rng):
    study, features, values = imagery(rng, noise=0.1)
    turned = Features.given(values[:, ::-1], features.stimuli)
    wide = Features.given(np.repeat(values, 2, axis=1), features.stimuli)
    targets = {"image": features, "text": turned, "wide": wide}
    system = RidgeSystem(targets=["image"]).fit(study.part("train"), {"image": features})
    own = evaluate(system, study, targets, CueMatch(n_permutations=200)).sections["imagination"]
    other = evaluate(system, study, targets, CueMatch(target="text", n_permutations=200)).sections[
        "imagination"
    ]
    assert own["difference"] > 5 * abs(other["difference"])
    with pytest.raises(NeurodecError, match="image \\(12 values\\) with the target wide \\(24\\)"):
        evaluate(system, study, targets, CueMatch(target="wide"))
    with pytest.raises(NeurodecError, match="target sound, and there are image, text, wide"):
        evaluate(system, study, targets, CueMatch(target="sound"))
    with pytest.raises(NeurodecError, match="not text"):
        evaluate(system, study, targets, CueMatch(head="text"))


def test_groups_are_columns_joined(rng):
    study, *_ = imagery(rng)
    table = study.table.assign(kind=["x", "y"] * (len(study) // 2))
    evaluation = CueMatch(groups="run + kind")
    assert evaluation.groups_of(table, study.stimuli).iloc[0] == "01 | 01/01/1 | x"
    assert set(CueMatch(groups="subject").groups_of(table, study.stimuli)) == {"01"}
    with pytest.raises(NeurodecError, match=r"`groups` is 'mood'\. There is no column mood"):
        CueMatch(groups="mood").check(study)


def test_what_cannot_be_exchanged_is_refused(rng):
    names = ["seen", "a", "b"]
    study = Study.from_arrays(
        rng.normal(size=(3, 5)), names, split=["train", "test", "test"], run=["1", "2", "3"]
    )
    with pytest.raises(
        NeurodecError, match=r"none of these 2 groups has two cues; name a wider column by `groups`"
    ):
        CueMatch().check(study)
    CueMatch(groups="subject").check(study)
    with pytest.raises(NeurodecError, match="`n_permutations` is 0"):
        CueMatch(n_permutations=0)
    with pytest.raises(NeurodecError, match="scores a system"):
        CueMatch().run({"single": Predictions({}, study.table)}, study, None)
