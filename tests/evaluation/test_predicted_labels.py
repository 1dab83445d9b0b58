"""Evaluations of predicted classes and numbers: of known predictions, of chance, of people met before."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Study, Trials, with_defaults
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.evaluation import PredictedClasses, PredictedNumbers
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
