"""Candidate sets hold what was seen as often as promised, and answers are wrong as seldom."""

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.trial_tables import with_defaults
from neurodec.errors import NeurodecError
from neurodec.evaluation import CandidateSets
from neurodec.evaluation.retrieval.candidate_sets import cut_off, lowest_lead
from neurodec.evaluation.section import Fitted
from neurodec.features import Features
from neurodec.systems.system import System, drawn_split

WIDTH = 8


class Reader(System):
    """Reads responses that are noisy embeddings, and has learned from nobody."""

    head, calibration_note = "image", ""

    def predict(self, study):
        table = study.table
        return Predictions({"image": np.asarray(study.trials.responses)}, table)

    def calibration_split(self, study, targets, share, seed):
        return self, drawn_split(study, share, seed)[1]

    def unseen(self, study, targets, seed): ...

    def fit(self, *args, **kwargs): ...

    def save_pretrained(self, folder): ...

    @classmethod
    def from_pretrained(cls, folder, allow=frozenset()): ...


def recording(seed, n_train=400, n_test=300, noise=0.8, harder=1.0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n_train + n_test, WIDTH)).astype(np.float32)
    names = [f"s{place:04d}" for place in range(len(embeddings))]
    splits = ["train"] * n_train + ["test"] * n_test
    size = noise * np.where(np.array(splits) == "test", harder, 1.0)[:, None]
    responses = embeddings + size * rng.normal(size=embeddings.shape)
    table = with_defaults(
        pd.DataFrame({"stimulus": names, "concept": names, "split": splits, "subject": "01"})
    )
    info = {"modality": "fmri", "units": "a.u.", "mask_shape": [WIDTH, 1, 1], "affine": None}
    info["voxel_indices"] = list(range(WIDTH))
    study = Study.of(Trials(responses.astype(np.float32), table, info))
    features = Features(embeddings, names, {"embedding_space": "test"})
    return study, Fitted("reader", Reader(), study.part("train"), {"image": features})


def sets_of(evaluation, study, fitted):
    run = evaluation.run({}, study.part("test"), fitted)
    return evaluation.results([run])["candidate_sets"]["reader"]


def test_closed_forms():
    scores = np.arange(1.0, 20.0)  # 19 calibration rows: the second lowest covers 0.9
    assert cut_off(scores, 0.9, 19) == 2
    assert cut_off(scores, 0.5, 19) == 10
    assert cut_off(scores, 0.96, 19) == -np.inf
    assert cut_off(np.repeat(scores, 10), 0.9, 19) == 2  # ten pictures of a concept prove no more than one
    assert cut_off(scores, 0.9, 9) == 1
    concepts = np.arange(160)
    leads = np.full(160, 1.2)
    assert lowest_lead(leads, np.ones(160, dtype=bool), 0.2, concepts) == 0
    assert (
        lowest_lead(leads[:22], np.ones(22, dtype=bool), 0.2, concepts[:22]) == np.inf
    )  # 0.8 ** 22 > 0.05 / 8
    assert lowest_lead(leads[:23], np.ones(23, dtype=bool), 0.2, concepts[:23]) == 0
    assert lowest_lead(leads, np.ones(160, dtype=bool), 0.2, concepts // 8) == np.inf  # of 20 concepts
    unsure = np.where(np.arange(160) < 80, 1.2, 0.6)
    assert lowest_lead(unsure, unsure > 1, 0.2, concepts) == 0.8  # the lowest that leaves the wrong ones out
    assert lowest_lead(leads, np.zeros(160, dtype=bool), 0.2, concepts) == np.inf


def test_promises_are_held_over_many_recordings():
    held, wrong, answered = {0.9: [], 0.5: []}, [], []
    for seed in range(20):
        study, fitted = recording(seed, noise=0.5)
        found = sets_of(CandidateSets(seed=seed), study, fitted)
        for line in found["sets"]:
            held[line["coverage"]].append(line["found"])
        answers = found["answers"]
        answered.append(answers["answered"])
        wrong.append(0.0 if answers["right"] is None else 1 - answers["right"])
        assert found["n_calibration"] == 100
        assert found["n_candidates"] == 300
    for coverage, values in held.items():
        assert coverage - 0.02 < np.mean(values) < coverage + 0.04, (coverage, np.mean(values))
    assert np.mean(np.array(wrong) > 0.2) <= 0.15  # the bound fails in 5 % of calibrations
    assert np.mean(answered) > 0.1  # a hundred calibration rows prove little


def test_sets_shrink_with_the_signal_and_coverage_falls_on_harder_pictures():
    sizes = []
    for noise in (0.3, 0.8, 2.0):
        found = sets_of(CandidateSets(), *recording(1, noise=noise))
        sizes.append(found["sets"][0]["mean_size"])
    assert sizes[0] < 2 < sizes[1] < sizes[2] / 2
    found = sets_of(CandidateSets(), *recording(1, harder=2.0))
    assert found["sets"][0]["ci95"][1] < 0.9  # measured, and shown


def test_few_pictures_name_all_and_say_nothing():
    found = sets_of(CandidateSets(coverage=[0.95]), *recording(2, n_train=40))
    assert found["n_calibration"] == 10
    assert found["sets"][0]["mean_size"] == 300
    assert found["answers"] == {"risk": 0.2, "answered": 0.0, "n": 0, "right": None, "ci95": None}


def test_saved_and_loaded(tmp_path):
    study, fitted = recording(3)
    evaluation = CandidateSets()
    run = evaluation.run({}, study.part("test"), fitted)
    (tmp_path / "fold").mkdir()
    evaluation.save(run, tmp_path / "fold")
    assert evaluation.results([evaluation.load(tmp_path / "fold")]) == evaluation.results([run])


def test_bad_input():
    for arguments in ({"coverage": [0.9, 1.0]}, {"risk": 0}, {"share": 1.5}):
        with pytest.raises(NeurodecError, match="share between 0 and 1"):
            CandidateSets(**arguments)
    study, fitted = recording(4, n_train=1)
    with pytest.raises(NeurodecError, match="too few to keep some apart"):
        sets_of(CandidateSets(), study, fitted)
    study, fitted = recording(4)
    nobody = Fitted("reader", Reader(), study.part("train", ["02"]), fitted.targets)
    with pytest.raises(NeurodecError, match="Subject 01 has no training trials to calibrate"):
        sets_of(CandidateSets(), study, nobody)
