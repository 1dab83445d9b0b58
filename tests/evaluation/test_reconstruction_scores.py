"""Scoring a whole set: the form of the results, known answers, and what must not change them."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import models

from neurodec import NeurodecError
from neurodec.evaluation.reconstruction import picture_sets as picture_sets
from neurodec.evaluation.reconstruction.judging_networks import NETWORKS
from neurodec.evaluation.reconstruction.measures import (
    correlation_matrix,
    n_way_top_k,
    pixcorr,
    ssim,
    two_way,
)
from neurodec.evaluation.reconstruction.picture_protocols import PROTOCOLS, protocol_named
from neurodec.evaluation.reconstruction.picture_scores import _identified, _p_value, score_reconstructions
from neurodec.evaluation.reconstruction.picture_sets import Resize
from neurodec.evaluation.statistics.intervals import interval
from neurodec.evaluation.statistics.permutations import permuted_scores, stimulus_matrix

DRAWS = {"n_permutations": 300, "seed": 3}
N = 12


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    targets, noise = (
        np.kron(rng.integers(0, 256, (N, 3, 8, 8)), np.ones((6, 6))).astype(np.uint8) for _ in range(2)
    )
    return targets, (0.5 * targets + 0.5 * noise).astype(np.uint8)


@pytest.fixture(scope="module")
def scores(pair):
    return score_reconstructions(*pair, networks=["tiny_clip"], **DRAWS)


@pytest.fixture
def featureless(monkeypatch):
    """Replace the embedded network's features by numbers of our choice: first those of the targets."""

    def use(*features):
        given = iter(features)
        monkeypatch.setattr(
            "neurodec.evaluation.reconstruction.picture_scores.network_features",
            lambda *arguments: next(given),
        )

    return use


def test_summary_has_the_form_of_results(scores, pair):
    found = scores.summary()
    assert json.loads(json.dumps(found)) == found
    table = scores.table
    assert len(table) == N
    assert found["two_way"] == {"tiny_clip": table["two_way_tiny_clip"].mean()}
    for name in ("pixcorr", "ssim"):
        assert found[name] == table[name].mean()
        assert found["ci95"][name] == interval(table[name], kind="mean")
        low, high = found["ci95"][name]
        assert low < found[name] < high
    assert found["ci95"]["two_way"]["tiny_clip"] == interval(table["two_way_tiny_clip"])
    facts = {
        "n_images": N,
        "protocol": "mindeye",
        "ssim_form": "2d",
        "direction": "over_targets",
        "antialias": True,
    }
    assert facts.items() <= found.items()
    assert found["retrieval"]["tiny_clip"]["chance_top1"] == 1 / N
    assert 1 / 301 <= found["p_value"]["tiny_clip"] <= 1
    assert found["unavailable"] == {}
    first = [torch.from_numpy(side) for side in pair]
    sized = [Resize(256)(side).numpy().clip(0, 1) for side in first]
    np.testing.assert_allclose(table["pixcorr"], pixcorr(*sized), atol=1e-6)
    np.testing.assert_allclose(table["ssim"], ssim(*sized), atol=1e-6)


def test_perfect_reconstructions(pair):
    found = score_reconstructions(pair[0], pair[0], networks=["tiny_clip"], **DRAWS).summary()
    assert found["pixcorr"] == pytest.approx(1)
    assert found["ssim"] == pytest.approx(1)
    assert found["two_way"] == {"tiny_clip": 1}
    shares = found["retrieval"]["tiny_clip"]
    assert [shares[name] for name in ("top1", "top5", "target_to_recon_top1", "target_to_recon_top5")] == [
        1
    ] * 4
    assert found["p_value"]["tiny_clip"] == 1 / 301
    assert found["ci95"]["two_way"]["tiny_clip"][1] == 1


def test_one_picture_for_all_is_at_chance(pair):
    same = np.broadcast_to(pair[1][:1], pair[1].shape)
    found = score_reconstructions(pair[0], same, networks=["tiny_clip"], **DRAWS).summary()
    assert found["two_way"]["tiny_clip"] == pytest.approx(0.5)
    assert found["retrieval"]["tiny_clip"]["top1"] == 1 / N
    assert found["p_value"]["tiny_clip"] == 1  # every pairing gives the same score


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batches_and_blocks_do_not_change_anything(pair, scores, monkeypatch, batch_size):
    monkeypatch.setattr(picture_sets, "_VALUES_AT_ONCE", batch_size * 3 * 425**2)
    again = score_reconstructions(*pair, networks=["tiny_clip"], batch_size=batch_size, **DRAWS)
    pd.testing.assert_frame_equal(again.table, scores.table, rtol=0, atol=1e-12)
    assert (again.table["two_way_tiny_clip"] == scores.table["two_way_tiny_clip"]).all()
    assert again.p_value == scores.p_value


def test_retrieval_and_p_value_of_known_features(pair, featureless, rng):
    targets = rng.standard_normal((N, 40))
    recons = 0.4 * targets + rng.standard_normal((N, 40))
    featureless(targets, recons)
    scored = score_reconstructions(*pair, networks=["tiny_clip"], **DRAWS)
    r = np.corrcoef(targets, recons)[:N, N:]
    found = scored.summary()["retrieval"]["tiny_clip"]
    assert found["top1"] == (r.argmax(axis=0) == np.arange(N)).mean()
    assert found["target_to_recon_top1"] == (r.argmax(axis=1) == np.arange(N)).mean()
    ranked = np.argsort(-r, axis=0)[:5]
    assert found["top5"] == (ranked == np.arange(N)).any(axis=0).mean()
    # The exchange matrix must give what scoring the exchanged pictures again gives.
    null = []
    for seed in range(300):
        order = np.random.default_rng(seed).permutation(N)
        null.append(two_way(targets, recons[order]).mean())
    own = scored.table["two_way_tiny_clip"].mean()
    assert scored.p_value["tiny_clip"] == pytest.approx((1 + (np.array(null) >= own).sum()) / 301, abs=0.03)


@pytest.mark.parametrize("direction", ["over_targets", "over_recons"])
def test_exchanged_scores_are_those_of_exchanged_reconstructions(rng, direction):
    targets, recons = rng.standard_normal((2, 9, 15))
    everyone = np.arange(9)
    _, exchanged = _identified(correlation_matrix(targets, recons), direction, everyone)
    matrix = stimulus_matrix(exchanged, everyone)
    order = np.random.default_rng(5).permuted(everyone[None], axis=1)[0]  # as permuted_scores draws
    back = np.argsort(order)  # target t gets the reconstruction that was told to stand for it
    assert permuted_scores(matrix, 1, 5)[0] == pytest.approx(two_way(targets, recons[back], direction).mean())


@pytest.mark.parametrize("protocol", ["mindeye", "takagi"])
def test_two_subjects_with_the_same_pictures_score_as_one(pair, protocol):
    """Pairs of one stimulus are no distractors to each other, and are resampled and permuted together."""
    once = score_reconstructions(*pair, protocol=protocol, networks=["tiny_clip"], **DRAWS)
    rows = pd.DataFrame({"subject": ["1"] * N + ["2"] * N, "stimulus": [f"s{i}" for i in range(N)] * 2})
    twice = score_reconstructions(
        *(np.concatenate([side, side]) for side in pair),
        protocol=protocol,
        networks=["tiny_clip"],
        rows=rows.set_index(pd.Index(range(100, 100 + 2 * N))),
        **DRAWS,
    )
    assert list(twice.table)[:2] == ["subject", "stimulus"]
    scored = list(once.table)
    pd.testing.assert_frame_equal(
        twice.table.loc[: N - 1, scored], twice.table.loc[N:, scored].reset_index(drop=True)
    )
    names = ["two_way_tiny_clip", "target_rank_tiny_clip"]
    pd.testing.assert_frame_equal(twice.table.loc[: N - 1, names], once.table[names])
    one, two = once.summary(), twice.summary()
    np.testing.assert_allclose(two["ci95"]["pixcorr"], one["ci95"]["pixcorr"], rtol=1e-9)
    np.testing.assert_allclose(two["ci95"]["two_way"]["tiny_clip"], one["ci95"]["two_way"]["tiny_clip"])
    assert two["p_value"] == one["p_value"]
    assert two["retrieval"]["tiny_clip"]["n_candidates"] == N
    assert two["n_images"] == 2 * N


def test_absent_networks_are_listed_and_not_replaced(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = score_reconstructions(pair[0][:3], pair[1][:3], **DRAWS).summary()
    wanted = {*PROTOCOLS["mindeye"].two_way, *PROTOCOLS["mindeye"].distances}
    assert set(found["unavailable"]) == wanted
    assert all("not on this machine" in why for why in found["unavailable"].values())
    assert set(found["two_way"]) == {"tiny_clip"}
    assert found["distances"] == {}


def test_distances_of_a_protocol(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = NETWORKS["efficientnet_b1_v1"].weights
    weights.path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(weights.build().state_dict(), weights.path)
    recons = pair[1][:3].copy()
    recons[0] = pair[0][0]
    scored = score_reconstructions(
        pair[0][:3], recons, protocol="braindiffuser", networks=["efficientnet_b1_v1"], **DRAWS
    )
    column = scored.table["distance_efficientnet_b1_v1"]
    assert column[0] == pytest.approx(0, abs=1e-12)
    assert (column[1:] > 1e-4).all()
    found = scored.summary()
    assert found["distances"] == {"efficientnet_b1_v1": pytest.approx(column.mean())}
    assert len(found["ci95"]["distances"]["efficientnet_b1_v1"]) == 2
    assert found["two_way"] == found["p_value"] == {}


def test_pixels_alone(pair):
    scored = score_reconstructions(pair[0][:1], pair[1][:1], protocol="takagi", networks=[], **DRAWS)
    assert list(scored.table) == ["pixcorr", "ssim"]
    np.testing.assert_allclose(scored.table["pixcorr"], pixcorr(pair[0][:1], pair[1][:1]), atol=1e-6)


def test_braindiffuser_scores_pillows_pictures(pair):
    small = [[Image.fromarray(one.transpose(1, 2, 0)) for one in side[:2]] for side in pair]
    files = [[one.resize((425, 425), Image.Resampling.BICUBIC) for one in side] for side in small]
    found = score_reconstructions(*small, protocol="braindiffuser", networks=[], **DRAWS).table
    np.testing.assert_allclose(found["pixcorr"], pixcorr(*files), atol=1e-4)
    np.testing.assert_allclose(found["ssim"], ssim(*files, form="columnwise"), atol=1e-4)


def test_protocols_name_known_networks_and_sizes():
    sizes = {
        name: [steps[-1].size for steps in (PROTOCOLS[name].two_way | PROTOCOLS[name].distances).values()]
        for name in PROTOCOLS
    }
    assert sizes == {
        "mindeye": [256, 256, 342, 224, 255, 224],
        "braindiffuser": [224] * 6,
        "takagi": [299, 299, 299, 299, 224],
        "mindvis": [],
        "native": [],
    }
    for protocol in PROTOCOLS.values():
        assert {*protocol.two_way, *protocol.distances, *protocol.classes} <= set(NETWORKS)
        assert [step.size for step in protocol.pixels][-1:] == ([] if protocol.native else [425])
    assert protocol_named("mindeye").resizes("tiny_clip", 64) == (Resize(256), Resize(64))
    assert protocol_named("takagi").resizes("tiny_clip", 64) == (Resize(64),)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"protocol": "mine"}, "no protocol 'mine'; take one of mindeye, braindiffuser, takagi"),
        ({"networks": ["vgg"]}, "no network 'vgg'"),
        ({"rows": pd.DataFrame({"stimulus": ["a"]})}, "12 pairs of pictures but 1 rows"),
        ({"rows": pd.DataFrame({"stimulus": ["a"] * N}), "networks": ["tiny_clip"]}, "at least two stimuli"),
    ],
)
def test_bad_settings_are_one_sentence(pair, settings, said):
    with pytest.raises(NeurodecError, match=said):
        score_reconstructions(*pair, **settings)


def test_classes_of_the_original_are_sought_among_fifty(pair, tmp_path, monkeypatch):
    """MinD-Vis' score with ViT-H/14's classes, by a small network of the same class under the real file's name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    real = NETWORKS["vit_h_14"]
    torch.manual_seed(0)
    small = partial(models.VisionTransformer, 32, 16, 1, 2, 8, 16, num_classes=80)
    weights = replace(real.weights, build=small)
    monkeypatch.setitem(NETWORKS, "vit_h_14", replace(real, weights=weights))
    resizes = {"vit_h_14": (Resize(32, "bicubic"),)}
    monkeypatch.setitem(PROTOCOLS, "mindvis", replace(PROTOCOLS["mindvis"], classes=resizes))
    weights.path.parent.mkdir(parents=True)
    network = small()
    torch.nn.init.normal_(network.heads.head.weight)  # zeros by default
    torch.save(network.state_dict(), weights.path)
    found = score_reconstructions(*pair, protocol="mindvis", **DRAWS)
    summary = found.summary()
    assert set(summary["n_way"]) == {"vit_h_14"}
    assert set(summary["two_way"]) == {"tiny_clip"}
    low, high = summary["ci95"]["n_way"]["vit_h_14"]
    assert low <= summary["n_way"]["vit_h_14"] <= high
    assert score_reconstructions(pair[0], pair[0], protocol="mindvis", **DRAWS).summary()["n_way"] == {
        "vit_h_14": 1.0
    }
    first = [torch.from_numpy(side).float() / 255 for side in pair]
    with torch.inference_mode():
        probabilities = [
            network.eval()(real.normalised(resizes["vit_h_14"][0](side).clip(0, 1))).softmax(1).numpy()
            for side in first
        ]
    np.testing.assert_allclose(found.table["n_way_vit_h_14"], n_way_top_k(*probabilities, 50), atol=2e-3)


def test_absent_classes_are_told(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = score_reconstructions(*pair, protocol="mindvis", **DRAWS).summary()
    assert found["n_way"] == {}
    assert "vit_h_14_swag" in found["unavailable"]["vit_h_14"]


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["over_targets", "over_recons"])
@pytest.mark.parametrize("n_people", [1, 3])
def test_pictures_of_noise_are_told_as_noise(direction, n_people):
    """Over 600 null data sets of 40 pictures: p is uniform, and 95 % intervals hold chance as often."""
    p_values, covered, correlated = [], 0, 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        stimuli = np.tile(np.arange(40), n_people)
        targets = rng.normal(size=(40, 20))[stimuli]
        correlations = correlation_matrix(targets, rng.normal(size=(len(stimuli), 20)))
        columns, exchanged = _identified(correlations, direction, stimuli)
        p_values.append(_p_value(exchanged, stimuli, 199, seed))
        low, high = interval(columns["two_way"], stimuli)
        covered += low <= 0.5 <= high
        low, high = interval(np.diag(correlations), stimuli, "mean")
        correlated += low <= 0 <= high
    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 600)
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=3.3 * error + 0.005)
    assert 0.92 <= covered / 600 <= 0.98  # 95 % give or take three standard errors of 600 data sets
    assert 0.92 <= correlated / 600 <= 0.98
