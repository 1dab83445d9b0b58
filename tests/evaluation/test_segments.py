"""Segments of speech: hits with ties, nulls of whole texts, context that leaks nothing, and a decoding above chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from listeners import write_listeners
from null_segments import null_segments

from neurodec import LightningSystem, Study, evaluate, prepare
from neurodec.data import BidsSpeech
from neurodec.evaluation import Segments
from neurodec.evaluation.retrieval.similarity import Centre, similarity
from neurodec.evaluation.segments.segment_context import in_context
from neurodec.evaluation.segments.segment_measures import exchanged, hits, nulls_of
from neurodec.evaluation.segments.segment_scores import SegmentScores, sequence_products
from neurodec.evaluation.segments.segment_summary import summary_of
from neurodec.features import SpeechNetwork
from neurodec.training import TrainingData

SETTINGS = SimpleNamespace(context=3, n_frequent=10, n_permutations=200, seed=0)


def test_ties_share_their_hit():
    scores = np.array([[3.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(hits(scores, 2), [[1, 1 / 3, 1 / 3, 1 / 3], [0.5] * 4])
    np.testing.assert_allclose(hits(scores, 9), 1.0)


def test_one_product_gives_both_rules():
    rng = np.random.default_rng(0)
    found, candidates = rng.normal(size=(5, 3, 7)), rng.normal(size=(400, 3, 7))
    centre = Centre(rng.normal(size=(3, 7)), rng.normal(size=(3, 7)))
    cosine, product = sequence_products(found, candidates, centre)
    np.testing.assert_allclose(cosine, similarity(found, candidates, centre=centre), atol=1e-6)
    flat = candidates.reshape(400, -1)
    wanted = found.reshape(5, -1) @ (flat / np.linalg.norm(flat, axis=1, keepdims=True)).T
    np.testing.assert_allclose(product, wanted, rtol=1e-5, atol=1e-5)


def test_the_trace_is_the_accuracy_and_the_mean_null_is_chance():
    scores, about = null_segments(0)
    every = hits(scores.cosine, 10)
    matrix = exchanged(every, scores.true)
    assert np.trace(matrix) == pytest.approx(every[np.arange(len(every)), scores.true].mean(), abs=1e-6)
    null = nulls_of([matrix], about.blocks, 2000, 0)[0]
    assert null.mean() == pytest.approx(10 / scores.n_candidates, abs=0.003)
    rng, rows = np.random.default_rng(0), np.arange(len(matrix))
    single = np.array([matrix[rows, rng.permutation(rows)].sum() for _ in range(1000)])
    assert null.std() > 1.3 * single.std()  # exchanges of single candidates break the runs of hits


def test_words_add_up_the_probabilities_of_their_segments():
    scores, about = null_segments(1, signal=0.5)
    found = summary_of(scores, about, SETTINGS)
    weights = np.exp(scores.product - scores.product.max(axis=1, keepdims=True)).astype(float)
    vocabulary = np.unique(about.words)
    summed = np.stack([weights[:, about.words == word].sum(axis=1) for word in vocabulary], axis=1)
    right = vocabulary[summed.argmax(axis=1)] == about.words[scores.true]
    assert found["words"]["top1"] == pytest.approx(right.mean(), abs=1e-9)
    assert found["words"]["p_value_top1"] < 0.05


def test_neighbours_help_where_there_is_something_to_find():
    scores, about = null_segments(2, signal=0.5)
    found = summary_of(scores, about, SETTINGS)
    assert found["context"]["top1"] > found["top1"] + 0.02
    assert found["p_value"] < 0.01
    assert found["ci95_top10"][0] > found["chance_top10"]


def test_context_adds_along_words_of_one_text_only():
    cosine = np.zeros((2, 4), dtype=np.float32)
    cosine[0, 0] = cosine[1, 1] = 1.0
    cosine[1, 2] = 1.0
    table = null_segments(0)[0].table.iloc[:2].assign(block="a", onset=[0.0, 1.0])
    joined = in_context(
        SegmentScores(cosine, cosine, np.array([0, 1]), table), np.array(["a", "a", "b", "b"]), 1
    ).cosine
    assert joined[0].argmax() == 0
    assert joined[0, 0] > joined[0, 1]


@pytest.mark.quality
def test_p_values_are_uniform_and_intervals_cover_on_null_data():
    p, covered = [], []
    for seed in range(200):
        scores, about = null_segments(1000 + seed)
        found = summary_of(scores, about, SETTINGS)
        context = found["context"]
        p.append(
            [
                found["p_value_top5"],
                found["p_value"],
                found["words"]["p_value_top10"],
                context["p_value_top10"],
            ]
        )
        chance = found["chance_top10"]
        bounds = (found["ci95_top10"], context["ci95_top10"], found["per_subject"]["0"]["ci95_top10"])
        covered.append([low <= chance <= high for low, high in bounds])
    for level in (0.05, 0.2, 0.5):
        np.testing.assert_allclose((np.array(p) < level).mean(axis=0), level, atol=3.3 * np.sqrt(level / 200))
    assert (np.mean(covered, axis=0) > 0.88).all()


@pytest.fixture(scope="module")
def listened(tmp_path_factory):
    root = tmp_path_factory.mktemp("listeners")
    write_listeners(root, n_sentences=110)
    study = Study.load(prepare(BidsSpeech(), root, root / "prepared", "block"))
    target = SpeechNetwork("neurodec/tiny-speech", layers=[1, 2, 3, 4])
    return study, {"audio": target.extract(study.stimuli, root)}


@pytest.fixture(scope="module")
def found(listened):
    study, targets = listened
    sizes = {"attention_channels": 12, "position_dim": 128, "initial_channels": 12, "hidden": 16, "depth": 4}
    system = LightningSystem(
        {"class_path": "neurodec.encoders.SimpleConv", "init_args": sizes},
        {"class_path": "neurodec.training.SequenceContrast", "init_args": {"negatives": 48}},
        {"class_path": "torch.optim.Adam", "init_args": {"lr": 3e-3}},
        data=TrainingData(batch_size=24, distinct_by="stimulus"),
        max_epochs=5,
    )
    system.fit(study.part(("train", "validation")), targets)
    return evaluate(system, study, targets, Segments(n_permutations=499))


def test_listeners_are_decoded_above_chance_and_noise_is_not(found):
    own, noise = found.sections["segments"], found.sections["controls"]["noise"]
    assert own["ci95_top10"][0] > 3 * own["chance_top10"]
    assert own["p_value"] == own["p_floor"]
    assert noise["ci95_top10"][0] <= own["chance_top10"] <= noise["ci95_top10"][1]
    assert noise["context"]["top10"] < 3 * own["chance_top10"]
    assert own["n_windows"] == 2 * own["n_candidates"]
    assert set(own["per_subject"]) == {"01", "02"}


def test_the_linear_baseline_is_ranked_by_the_same_rule(found):
    ridge = found.sections["baselines"]["ridge"]
    assert ridge["n_candidates"] == found.sections["segments"]["n_candidates"]
    assert ridge["top10"] > ridge["chance_top10"]
    assert set(ridge["encoder_minus_ridge_top10"]) >= {"difference", "ci95", "p_value"}


def test_a_notebook_shows_them(found):
    assert "noise in place of the brain" in found._repr_html_()


def test_stimuli_without_texts_are_refused():
    from neurodec.errors import NeurodecError

    study = Study.from_arrays(np.zeros((2, 3, 5)), ["a", "b"], sfreq=10.0, split="test")
    with pytest.raises(NeurodecError, match="need the column block"):
        Segments().check(study)
