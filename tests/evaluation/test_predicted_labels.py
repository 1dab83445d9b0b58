"""Evaluations of predicted classes and numbers: of known predictions, of chance, of people met before."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Study, Trials, with_defaults
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.evaluation import PredictedClasses, PredictedNumbers
from neurodec.evaluation.classification.predicted_labels import LabelRun
from neurodec.evaluation.section import Fitted
from neurodec.features import ClassLabels, Numbers
from neurodec.linear import RidgeClassifier

FAST = {"n_permutations": 200}


class Known:
    """A system that knows the answer of a share of the trials."""

    def __init__(self, head, share, companions=(), met=()):
        self.head, self.share, self.names = head, share, companions
        self.config = {"met_before": list(met)}

    def predict(self, study):
        table, rng = study.table, np.random.default_rng(1)
        if self.head == "label":
            right = np.eye(2)[(table["concept"] == "right").to_numpy(dtype=int)]
            drawn = np.eye(2)[rng.integers(2, size=len(table))]
            values = np.where(rng.random((len(table), 1)) < self.share, right, drawn)
        else:
            true = table["stimulus"].astype(float).to_numpy()
            values = (self.share * true + (1 - self.share) * rng.normal(size=len(true)))[:, None]
        return Predictions({self.head: values.astype(np.float32)}, table)

    def companions(self):
        return {name: Known(self.head, 0.0) for name in self.names}

    def region_attention(self, trials, space):
        return {"regions": ["frontal", "central"], "values": [[0.5, 0.5], [0.2, 0.8]]}


def study(numbers=False, n_people=8, n_each=24):
    """Return trials whose rhythm at the second channel tells the class (or the number); five people are trained on."""
    rng = np.random.default_rng(0)
    parts, tables = [], []
    for person in range(n_people):
        strength = rng.permutation(np.repeat([0.5, 2.0], n_each // 2))
        times = np.arange(200) / 100
        x = 0.5 * rng.normal(size=(n_each, 3, 200))
        phases = rng.uniform(0, 6, size=(n_each, 1))
        x[:, 1] += strength[:, None] * np.sin(2 * np.pi * 10 * times + phases)
        parts.append(x)
        names = strength.astype(str) if numbers else np.where(strength > 1, "right", "left")
        tables.append(
            pd.DataFrame(
                {"stimulus": names, "subject": f"p{person}", "split": "train" if person < 5 else "test"}
            )
        )
    table = with_defaults(pd.concat(tables))
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 100.0, "tmin": 0.0, "ch_names": ["a", "b", "c"]}
    return Study.of(Trials(np.concatenate(parts).astype(np.float32), table, info))


def results(evaluation, of, system, extractor):
    targets = {system.head: extractor.extract(of.stimuli, ".")}
    fitted = Fitted("x", system, of.part("train"), targets)
    test = of.part("test")
    assert set(evaluation.inputs(test)) == {"single"}
    run = evaluation.run({"single": system.predict(test)}, test, fitted)
    return run, evaluation.results([run])


def test_known_classes_a_control_and_the_linear_decoder(tmp_path):
    of = study()
    evaluation = PredictedClasses(**FAST)
    run, found = results(evaluation, of, Known("label", 0.8, ["random"], ["p5", "p6", "p0"]), ClassLabels())
    own = found["classification"]
    assert 0.8 < own["balanced_accuracy"] <= 1
    low, high = own["ci95_balanced_accuracy"]
    assert low < own["balanced_accuracy"] < high
    assert own["kappa"] == pytest.approx(2 * own["accuracy"] - 1, abs=0.05)
    assert own["auc_pr"] > 0.8
    assert own["p_value_balanced_accuracy"] < 0.02
    assert own["classes"] == ["left", "right"]
    assert np.sum(own["confusion"]) == own["n_trials"] == 72
    assert own["note"].startswith("2 of the 3 tested people")
    assert set(own["per_subject"]) == {"p5", "p6", "p7"}
    assert 0.3 < found["controls"]["random"]["balanced_accuracy"] < 0.7
    spectral = found["baselines"]["spectral"]
    assert spectral["balanced_accuracy"] > 0.95
    difference = spectral["difference_to_decoder"]
    assert difference["difference"] == pytest.approx(own["balanced_accuracy"] - spectral["balanced_accuracy"])
    assert found["attention"]["regions"] == ["frontal", "central"]
    evaluation.save(run, tmp_path / "kept")
    assert evaluation.results([evaluation.load(tmp_path / "kept")]) == found


def test_chance_is_chance():
    p_values = []
    for seed in range(20):
        evaluation = PredictedClasses(**FAST, seed=seed, baselines={})
        _, found = results(evaluation, study(n_people=8), Known("label", 0.0), ClassLabels())
        p_values.append(found["classification"]["p_value"])
    assert min(p_values) > 0.05  # the same predictions, other rotations


def test_other_linear_decoders_and_groups():
    of = study()
    evaluation = PredictedClasses(**FAST, groups="run", baselines={"ridge": RidgeClassifier()})
    _, found = results(evaluation, of, Known("label", 0.9), ClassLabels())
    assert found["baselines"]["ridge"]["balanced_accuracy"] < 0.75  # phases are new in every trial
    with pytest.raises(NeurodecError, match="`groups` is 'night'; use subject or run"):
        PredictedClasses(groups="night")
    elsewhere = Study({**of.part("test").spaces, "other": of.part("test").trials}, of.stimuli)
    system = Known("label", 0.9)
    fitted = Fitted("x", system, of.part("train"), {"label": ClassLabels().extract(of.stimuli, ".")})
    with pytest.raises(NeurodecError, match="No training trial is of the space other"):
        PredictedClasses(**FAST).run({"single": system.predict(elsewhere)}, elsewhere, fitted)


def test_sequences_are_scored_member_by_member():
    rows = ["W|N1", "N1|N1", "W|W"] * 4
    table = with_defaults(pd.DataFrame({"stimulus": rows, "subject": ["a"] * 6 + ["b"] * 6, "split": "test"}))
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 10.0, "tmin": 0.0, "ch_names": ["a"]}
    of = Study.of(Trials(np.zeros((12, 1, 20), np.float32), table, info))
    targets = {"label": ClassLabels().extract(of.stimuli, ".")}
    perfect = targets["label"].of(table["stimulus"])
    system = SimpleNamespace(
        head="label", companions=dict, config={}, region_attention=lambda trials, space: {}
    )
    evaluation = PredictedClasses(**FAST)
    run = evaluation.run(
        {"single": Predictions({"label": perfect}, table)}, of, Fitted("x", system, of, targets)
    )
    found = evaluation.results([run])
    assert found["classification"]["n_trials"] == 24
    assert found["classification"]["accuracy"] == 1.0
    assert found["baselines"] == {}


def test_known_numbers_and_band_power():
    of = study(numbers=True)
    _, found = results(PredictedNumbers(**FAST), of, Known("number", 0.7, ["random"]), Numbers())
    own = found["regression"]
    assert own["pearson_r"] > 0.8
    assert own["p_value"] < 0.02
    assert own["ci95_r2"][0] < own["r2"] < own["ci95_r2"][1]
    assert found["baselines"]["spectral"]["pearson_r"] > 0.9
    assert found["baselines"]["spectral"]["difference_to_decoder"]["difference"] < 0
    assert found["controls"]["random"]["pearson_r"] < 0.4
    assert set(own["per_subject"]) == {"p5", "p6", "p7"}


def labelled_people(sizes, labels, share, seed=0):
    """Return rows of people with one label each (or several, as text "ab"), named rightly in a share of trials."""
    rng, parts = np.random.default_rng(seed), []
    for person, (size, own) in enumerate(zip(sizes, labels, strict=True)):
        shown = np.array([own[place * len(own) // size] for place in range(size)])
        right = rng.random(size) < share
        named = np.where(right, shown == "b", rng.random(size) < 0.5).astype(float)
        parts.append(
            pd.DataFrame(
                {"score a": 1 - named, "score b": named, "label": shown, "subject": f"p{person:02d}"}
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(group=rows["subject"], way="decoder", kind="decoder")


def found_of(rows, seed=0, n_permutations=1999):
    evaluation = PredictedClasses(n_permutations=n_permutations, seed=seed)
    return evaluation.results([LabelRun(rows, 0, 0, {})])["classification"]


def test_the_null_of_balanced_accuracy_counts_the_labels_it_exchanged():
    """Four people with 300 trials of a, eight with 20 of b, 80 % right: p was 1.0, by accuracies above 1."""
    found = found_of(labelled_people([300] * 4 + [20] * 8, ["a"] * 4 + ["b"] * 8, 0.6))
    assert found["balanced_accuracy"] == pytest.approx(0.8, abs=0.03)
    n_ways = 495  # to choose the four among twelve
    assert found["p_value_balanced_accuracy"] == pytest.approx(1 / n_ways, abs=0.002)


def test_one_person_with_both_labels_among_many_with_one():
    found = found_of(labelled_people([10] * 20, ["a", "b"] * 9 + ["a", "ab"], 0.9))
    assert found["p_value_balanced_accuracy"] <= 0.001


@pytest.mark.quality
@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ([60] * 4, ["ab"] * 4),
        ([120, 60, 30, 30, 20], ["ab"] * 5),
        ([20] * 16, ["a", "b"] * 8),
        ([100] * 4 + [20] * 8, ["a"] * 4 + ["b"] * 8),
        ([20] * 12, ["a", "b"] * 5 + ["ab", "a"]),
        ([200], ["".join(np.random.default_rng(9).permutation(list("ab" * 100)))]),
    ],
    ids=["both labels", "unequal people", "one label each", "unequal, one label", "mixed", "one person"],
)
def test_p_of_noise_is_uniform_and_intervals_hold_chance(sizes, labels):
    """Over 250 null data sets per design."""
    p_values, covered = [], 0
    for seed in range(250):
        found = found_of(labelled_people(sizes, labels, 0.0, seed), seed, n_permutations=199)
        p_values.append(found["p_value_balanced_accuracy"])
        low, high = found["ci95_balanced_accuracy"]
        covered += low <= 0.5 <= high
    p_values = np.array(p_values)
    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 250)
        assert level - 3.3 * error <= (p_values <= level).mean() + 0.02  # p comes in steps
        assert (p_values <= level).mean() <= level + 3.3 * error
    assert 0.91 <= covered / 250 <= 0.99  # 93 to 97 %, give or take what 250 draws leave open
