import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from jsonargparse import ArgumentParser

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.centring import mean_of, projected, training_centre
from neurodec.evaluation.retrieval.scored import RetrievalRun, Scored
from neurodec.evaluation.retrieval.similarity import Centre, Gallery
from neurodec.evaluation.retrieval.summaries import answers_of
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.features import Features

FAST = {"n_permutations": 499}


@pytest.fixture(scope="module")
def run(recording):
    def weaker(trials):
        # a baseline that reads one of the two channels
        weights = recording.weights.reshape(7, 35, -1).copy()
        weights[5] = 0
        return trials.responses.reshape(len(trials), -1) @ weights.reshape(7 * 35, -1)

    return Retrieval(**FAST).of_trials(
        recording.test,
        recording.stimuli,
        recording.features,
        recording.predict,
        ridge=weaker,
        train=recording.train,
        train_targets=recording.train_targets,
        decoder="known",
    )


@pytest.fixture(scope="module")
def results(run):
    return Retrieval(**FAST).results([run])


def test_results_have_the_documented_names(results):
    assert set(results) == {"retrieval", "controls", "baselines"}
    named = {"n_candidates", "gallery", "top1", "top5", "chance_top1", "ci95_top1", "p_value", "median_rank"}
    for part in (results["retrieval"], results["baselines"]["ridge"], results["controls"]["prestimulus"]):
        assert named <= set(part)
        assert set(part["per_subject"]) == {"01", "02"}
    assert json.loads(json.dumps(results)) == results


def test_numbers_of_the_known_decoder(results, run):
    retrieval = results["retrieval"]
    assert retrieval["n_candidates"] == 30
    assert retrieval["n_repetitions"] == 6
    assert retrieval["chance_top1"] == pytest.approx(1 / 30)
    assert retrieval["top1"] == pytest.approx((run.system.ranks == 1).mean())
    assert retrieval["top5"] == pytest.approx((run.system.ranks <= 5).mean())
    assert retrieval["ci95_top1"][0] < retrieval["top1"] < retrieval["ci95_top1"][1]
    assert retrieval["p_value"] == pytest.approx(1 / 500)  # the least that 499 permutations can say
    mean = np.mean([subject["top1"] for subject in retrieval["per_subject"].values()])
    assert mean == pytest.approx(retrieval["top1"])
    assert [point["k"] for point in retrieval["k_way"]] == [2, 4, 10]  # 50 and more exceed the gallery


def test_controls_are_at_chance_and_the_baseline_below(results):
    shuffled = results["controls"]["shuffled"]
    assert shuffled["ci95_top1"][0] <= 1 / 30 <= shuffled["ci95_top1"][1]
    assert shuffled["top1"] == pytest.approx(1 / 30, abs=0.004)
    assert results["controls"]["prestimulus"]["p_value"] > 0.01
    against = results["baselines"]["ridge"]["encoder_minus_ridge_top1"]
    assert against["difference"] == pytest.approx(
        results["retrieval"]["top1"] - results["baselines"]["ridge"]["top1"]
    )
    assert against["ci95"][0] > 0


def test_shuffling_responses_before_the_decoder_gives_the_same_null(recording, results):
    """The control exchanges embeddings; here whole responses go through the decoder in another order."""
    averaged = recording.test.average().select(slice(0, 30))
    retrieval = Retrieval(**FAST)
    gallery = retrieval.candidates(averaged, recording.stimuli, recording.features)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(200):
        shuffled = averaged.select(rng.permutation(30))
        found = np.argmax(
            gallery.values @ recording.predict(shuffled).T / np.linalg.norm(gallery.values, axis=1)[:, None],
            axis=0,
        )
        means.append((found == np.arange(30)).mean())
    low, high = results["controls"]["shuffled"]["ci95_top1"]
    assert low <= np.mean(means) <= high
    assert np.mean(means) == pytest.approx(results["controls"]["shuffled"]["top1"], abs=0.01)


def test_saved_runs_give_the_same_results(run, results, tmp_path):
    run.save(tmp_path / "evaluation" / "fold")
    names = {path.name for path in (tmp_path / "evaluation" / "fold").iterdir()}
    assert {"similarity.npy", "ranks.csv", "curves.json"} <= names
    again = RetrievalRun.load(tmp_path / "evaluation" / "fold")
    assert Retrieval(**FAST).results([again]) == results
    table = again.system.rank_table()
    assert list(table)[:4] == ["subject", "stimulus", "concept", "rank"]
    assert (table["top1"] == table["stimulus"]).mean() == pytest.approx(results["retrieval"]["top1"])
    (tmp_path / "evaluation" / "fold" / "similarity.npy").write_bytes(b"\x93NUMPY cut")
    with pytest.raises(NeurodecError, match="is damaged"):
        RetrievalRun.load(tmp_path / "evaluation" / "fold")


def test_folds_are_pooled_by_stimulus(recording, results):
    """One fold per subject, pooled, is the same as both subjects in one fold."""
    retrieval = Retrieval(**FAST, repetition_curve=False, windows=None, regions=False, channels=False)
    folds = [
        retrieval.of_trials(
            recording.test.select(recording.test.table["subject"] == subject),
            recording.stimuli,
            recording.features,
            recording.predict,
        )
        for subject in ("01", "02")
    ]
    assert retrieval.results(folds)["retrieval"] == results["retrieval"]
    assert folds[0].curves["regions"] == folds[0].curves["repetitions"] == []
    assert "baselines" not in retrieval.results(folds)


def test_concept_centres_make_a_harder_gallery_without_the_stimulus(recording):
    retrieval = Retrieval(gallery="concept_centre", **FAST)
    gallery = retrieval.candidates(recording.test, recording.stimuli, recording.features)
    rows = recording.features.rows(["t4-2", "t4-3"])
    place = gallery.concepts.index("t4")
    np.testing.assert_allclose(gallery.values[place], recording.features.values[rows].mean(axis=0), rtol=1e-6)
    assert gallery.stimuli[place] == "t4-1"
    run = retrieval.of_trials(recording.test, recording.stimuli, recording.features, recording.predict)
    assert retrieval.results([run])["retrieval"]["gallery"] == "concept_centre"
    assert retrieval.results([run])["retrieval"]["top1"] > 0.3


def test_all_test_stimuli_stay_candidates_when_some_trials_are_missing(recording):
    some = recording.test.select(recording.test.table["stimulus"].isin(["t1-1", "t2-1"]))
    assert len(Retrieval().candidates(some, recording.stimuli, recording.features).stimuli) == 30


def test_bad_input_is_told_in_one_sentence(recording):
    retrieval = Retrieval(**FAST)
    arguments = (recording.stimuli, recording.features, recording.predict)
    with pytest.raises(NeurodecError, match="no test trials"):
        retrieval.of_trials(recording.test.select([]), *arguments)
    with pytest.raises(NeurodecError, match="fewer than the 7 repetitions"):
        Retrieval(n_repetitions=7).of_trials(recording.test, *arguments)


def test_a_recipe_can_write_every_form(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Retrieval, "evaluation")
    text = """
evaluation:
  gallery: concept_centre
  k_way: [2, 50]
  repetition_curve: [1, 2]
  windows: null
  regions: {back: [O1, Oz]}
"""
    (tmp_path / "recipe.yaml").write_text(text)
    parsed = parser.instantiate_classes(parser.parse_path(tmp_path / "recipe.yaml")).evaluation
    assert parsed == Retrieval(
        "concept_centre", k_way=[2, 50], repetition_curve=[1, 2], windows=None, regions={"back": ["O1", "Oz"]}
    )
    assert (
        parser.instantiate_classes(parser.parse_string("evaluation: {regions: false}")).evaluation.regions
        is False
    )


def test_pools_are_scored_both_ways(run):
    """With pools as large as the test set, image retrieval is top-1 and nothing varies."""
    whole = Retrieval(**FAST, pool_size=30).results([run])["retrieval"]
    pooled = whole["pooled"]
    assert pooled["image_retrieval"]["mean"] == pytest.approx(whole["top1"])
    assert pooled["image_retrieval_top5"]["mean"] == pytest.approx(whole["top5"])
    assert pooled["image_retrieval"]["sd"] == pytest.approx(0, abs=1e-12)
    assert 1 / 30 < pooled["brain_retrieval"]["mean"] <= 1
    small = Retrieval(**FAST, pool_size=10).results([run])["retrieval"]
    expected = next(point["top1"] for point in small["k_way"] if point["k"] == 10)
    assert small["pooled"]["image_retrieval"]["mean"] == pytest.approx(expected, abs=0.03)
    assert small["pooled"]["chance"] == 0.1
    assert small["pooled"]["n_pools"] == 30


def test_pools_larger_than_the_test_set_are_refused(run):
    with pytest.raises(NeurodecError, match="`pool_size` is 31, and subject 01 saw 30 test stimuli"):
        Retrieval(**FAST, pool_size=31).results([run])


def test_one_rule_for_all_decoders(recording):
    """Predictions that lie elsewhere, or shrink to the mean target, are ranked as if they did not."""
    features = replace(recording.features, values=recording.features.values + 5)
    targets = recording.train_targets + 5
    mean = targets.mean(axis=0)

    def found(predict, centre):
        quick = Retrieval(**FAST, repetition_curve=False, windows=None, regions=False, channels=False)
        run = quick.of_trials(recording.test, recording.stimuli, features, predict, centre=centre)
        return quick.results([run])["retrieval"]

    known = found(recording.predict, Centre(np.zeros(8), mean))
    moved = found(lambda trials: recording.predict(trials) + 100, Centre(np.full(8, 100.0), mean))
    shrunk = found(lambda trials: mean + 0.01 * recording.predict(trials), Centre(mean, mean))
    assert known["top1"] == moved["top1"] == shrunk["top1"] > 0.5
    assert shrunk["uncentred_top1"] < 0.2
    assert found(recording.predict, None)["top1"] == known["uncentred_top1"]


def test_the_centre_is_of_training_trials_alone(recording):
    train = Study.of(recording.train, recording.stimuli)
    system = SimpleNamespace(
        predict=lambda study: Predictions({"image": recording.predict(study.trials)}, study.trials.table)
    )
    shown = recording.train.table["stimulus"]
    first = ~shown.duplicated().to_numpy()
    own = Features(np.array(recording.train_targets)[first], shown[first].tolist(), {})
    centre = training_centre(system, "image", train, own, ["01"])
    rows = recording.train.table["subject"] == "01"
    rows = rows if rows.any() else ~rows
    averaged = recording.train.select(np.flatnonzero(rows)).average()
    np.testing.assert_allclose(centre.prediction, recording.predict(averaged).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(centre.target, np.asarray(own.values).mean(axis=0), rtol=1e-5)


def ranked_answers(scored, values):
    """The words of the stimuli, best first, without repetition: the answer's rank written out."""
    ranks = []
    for row, name in enumerate(scored.table["stimulus"]):
        order = np.argsort(-scored.similarities[row], kind="stable")
        words = list(dict.fromkeys(values[place] for place in order))
        ranks.append(1 + words.index(values[list(scored.gallery.stimuli).index(name)]))
    return np.array(ranks)


def test_answers_are_as_good_as_their_best_stimulus(run, recording, tmp_path):
    words = [f"word{number % 7}" for number in range(len(recording.stimuli))]
    stimuli = recording.stimuli.assign(word=words)
    quick = Retrieval(
        **FAST, answers="word", repetition_curve=False, windows=None, regions=False, channels=False
    )
    own = quick.of_trials(recording.test, stimuli, recording.features, recording.predict)
    gallery = own.system.gallery
    values = stimuli.set_index("stimulus")["word"][list(gallery.stimuli)].tolist()
    expected = ranked_answers(own.system, values)
    np.testing.assert_array_equal(own.system.answered.ranks, expected)
    found = quick.results([own])["retrieval"]["answers"]
    assert found["column"] == "word"
    assert found["n_candidates"] == len(set(values))
    assert found["top1"] == pytest.approx((expected == 1).mean())
    assert found["top5"] == pytest.approx((expected <= 5).mean())
    assert found["ci95_top1"][0] <= found["top1"] <= found["ci95_top1"][1]
    own.save(tmp_path / "run")
    assert quick.results([RetrievalRun.load(tmp_path / "run")])["retrieval"]["answers"] == found
    folds = quick.results(
        [
            own,
            replace(
                own,
                system=replace(
                    own.system,
                    gallery=replace(gallery, stimuli=[f"{name}x" for name in gallery.stimuli]),
                    table=own.system.table.assign(stimulus=own.system.table["stimulus"] + "x"),
                ),
            ),
        ]
    )["retrieval"]
    assert folds["answers"]["top1"] == pytest.approx(found["top1"])
    with pytest.raises(NeurodecError, match="`answers` is verb, and the stimulus table has"):
        replace(quick, answers="verb").of_trials(
            recording.test, stimuli, recording.features, recording.predict
        )


def test_projected_targets_are_read_where_they_are_asked_for(rng):
    read = []

    def project(head, values):
        read.append(len(values))
        return 2 * values.astype(np.float64)

    values = rng.normal(size=(1000, 3)).astype(np.float32)
    found = projected(SimpleNamespace(project=project), "image", Features(values, list(range(1000)), {}))
    np.testing.assert_array_equal(found.of([7, 3]), 2 * values[[7, 3]])
    assert sum(read) == 3  # one for the shape
    np.testing.assert_allclose(mean_of(found.values), 2 * values.mean(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.slow
def test_answers_of_noise_are_told_as_noise():
    """Words of unequal frequency: chance is not one over their number, and p values are those of noise."""
    p_values, names = [], [f"s{number:02d}" for number in range(40)]
    words = ["the"] * 12 + ["a"] * 8 + [f"w{number}" for number in range(20)]
    differences = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"subject": np.repeat(list("ab"), 40), "stimulus": names * 2})
        gallery = Gallery(rng.normal(size=(40, 12)), names, names, answers=words)
        scored = Scored.of(rng.normal(size=(80, 12)), table.assign(concept=table["stimulus"]), gallery)
        settings = Retrieval(n_permutations=199, seed=seed, k_way=[], answers="word")
        found = answers_of(scored, settings)["answers"]
        p_values.append(found["p_value_top1"])
        differences.append(found["top1"] - found["chance_top1"])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) <= level + 3.3 * np.sqrt(level * (1 - level) / 300)
    assert abs(np.mean(differences)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("alike", [False, True], ids=["five people", "five people who answer alike"])
def test_retrieval_of_noise_is_told_as_noise(alike):
    """Over 300 null data sets of 40 stimuli; a handful of hits comes in steps, so p and intervals are rather safe."""
    p_values, covered = [], 0
    names = [f"s{number:02d}" for number in range(40)]
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(5, 40, 12))
        own = np.broadcast_to(own[:1], own.shape) if alike else own
        table = pd.DataFrame({"subject": np.repeat(list("abcde"), 40), "stimulus": names * 5})
        gallery = Gallery(rng.normal(size=(40, 12)), names, names)
        scored = Scored.of(own.reshape(200, 12), table.assign(concept=table["stimulus"]), gallery)
        found = Retrieval(n_permutations=199, seed=seed, k_way=[]).summary(scored)
        p_values.append(found["p_value"])
        covered += found["ci95_top1"][0] <= 1 / 40 <= found["ci95_top1"][1]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) <= level + 3.3 * np.sqrt(level * (1 - level) / 300)
    assert covered / 300 >= 0.93
