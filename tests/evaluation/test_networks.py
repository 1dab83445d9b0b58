"""Networks that hold information, hold the same twice, or hold nothing; p values on null data."""

import numpy as np
import pytest
from scipy.stats import kstest

from neurodec import RidgeSystem, Study, evaluate
from neurodec.errors import NeurodecError
from neurodec.evaluation import Kept, NetworkAblation
from neurodec.evaluation.brain_maps import parcel_image, surface_map
from neurodec.evaluation.networks import Masked, sign_p
from neurodec.evaluation.networks_section import _maps
from neurodec.features import Features

NETWORKS = {"Vis": range(8), "Default": range(8, 16), "Limbic": range(16, 24)}
N_TRAIN, N_TEST = 150, 40


def planted(seed, strength=1.0, n_test=N_TEST, repetitions=2):
    """Vis and Default hold one half of a target each, Limbic nothing."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(N_TRAIN + n_test, 8)).astype(np.float32)
    names = [f"s{number:03d}" for number in range(len(targets))]
    rows = np.concatenate([np.arange(N_TRAIN), np.repeat(np.arange(N_TRAIN, len(targets)), repetitions)])
    values = rng.normal(size=(len(rows), 24, 3))
    for network, half in (("Vis", slice(0, 4)), ("Default", slice(4, 8))):
        own = targets[rows, half] @ rng.normal(size=(4, 8))
        values[:, list(NETWORKS[network])] += strength * own[..., None]
    study = Study.from_arrays(
        values,
        [names[row] for row in rows],
        split=np.where(rows < N_TRAIN, "train", "test").tolist(),
        sfreq=0.5,
        modality="fmri",
        dims=["trial", "parcel", "time"],
        ch_names=[f"parcel-{number}" for number in range(24)],
    )
    study.trials.info["roi"] = {name: list(own) for name, own in NETWORKS.items()}
    return study, {"image": Features.given(targets, names)}


def ablated(study, targets, **settings):
    system = RidgeSystem("image").fit(study.part("train"), targets)
    found = evaluate(system, study, targets, NetworkAblation(**{"n_permutations": 2000, **settings}))
    return found.sections["networks"], found


def test_networks_with_information_are_found_and_the_empty_one_is_not():
    found, shown = ablated(*planted(0), clusters=2)
    assert set(found["ways"]) == {"masked", "refitted"}
    for part in found["ways"].values():
        lost = {own["network"]: own for own in part["networks"]}
        assert part["whole"]["two_way"]["value"] > 0.9
        for network in ("Vis", "Default"):
            assert lost[network]["p_fdr"] < 0.01
            assert lost[network]["loss"]["two_way"]["ci95"][0] > 0
        assert lost["Limbic"]["p_fdr"] > 0.05
        assert lost["Limbic"]["n_parcels"] == 8
    assert sum(own["n_stimuli"] for own in found["clusters"]) == N_TEST
    assert "Vis and Default" in str(shown.shown.blocks[0])


def test_masks_in_one_batch_are_those_one_by_one():
    study, targets = planted(1)
    system = RidgeSystem("image").fit(study.part("train"), targets)
    found = evaluate(system, study, targets, NetworkAblation(refitted=False, n_permutations=10)).sections[
        "networks"
    ]
    test = study.part("test").average()
    values = np.array(test.trials.responses)
    values[:, 8:16] = 0
    alone = Study.from_arrays(
        values,
        test.table["stimulus"].tolist(),
        split="test",
        sfreq=0.5,
        modality="fmri",
        dims=["trial", "parcel", "time"],
        ch_names=study.trials.ch_names,
    )
    z = system.predict(alone).of("image")
    train = system.predict(study.part("train")).of("image").mean(axis=0)
    centre = (
        targets["image"].of(study.part("train").table["stimulus"].drop_duplicates().tolist()).mean(axis=0)
    )
    wanted = targets["image"].of(alone.table["stimulus"].tolist())
    z, wanted = (own / np.linalg.norm(own, axis=1, keepdims=True) for own in (z - train, wanted - centre))
    top1 = ((z @ wanted.T).argmax(axis=1) == np.arange(len(z))).mean()
    assert found["ways"]["masked"]["networks"][1]["top1"] == pytest.approx(top1)


def test_masked_copies_follow_each_other():
    source = np.arange(24, dtype=np.float32).reshape(2, 4, 3) + 1
    copies = np.asarray(Masked(source, [[0, 1], [3]]))
    assert copies.shape == (6, 4, 3)
    np.testing.assert_array_equal(copies[:2], source)
    np.testing.assert_array_equal(copies[2:4, 2:], source[:, 2:])
    assert not copies[2:4, :2].any()
    assert not copies[4:, 3].any()


def test_signs_against_all_of_them():
    losses = np.array([3.0, 1.0, 0.5, -1.0])
    exact = np.array([(1 - 2 * np.array(signs)) @ losses for signs in np.ndindex(2, 2, 2, 2)])
    share = (exact >= losses.sum()).mean()
    assert sign_p(losses, np.arange(4), 200_000) == pytest.approx(share, abs=0.005)
    doubled = sign_p(np.repeat(losses, 2), np.repeat(np.arange(4), 2), 200_000)
    assert doubled == pytest.approx(share, abs=0.005)  # repeated rows of a stimulus are no new evidence


def null_p(seeds, strength, network):
    found = []
    for seed in seeds:
        study, targets = planted(seed, strength, n_test=20, repetitions=1)
        ways = ablated(study, targets, n_permutations=500, seed=seed)[0]["ways"]
        lost = [{own["network"]: own["p_value"] for own in part["networks"]} for part in ways.values()]
        found.append([own[network] for own in lost])
    return np.array(found)


@pytest.mark.quality
def test_p_values_of_nothing_are_uniform_and_those_of_an_empty_network_never_too_small():
    p = null_p(range(1000, 1300), 0.0, "Vis")  # no network holds anything
    for own in p.T:
        assert kstest(own, "uniform").pvalue > 0.01
        assert 0.02 < (own <= 0.05).mean() < 0.085
    p = null_p(range(2000, 2200), 1.0, "Limbic")  # the others do
    assert ((p <= 0.05).mean(axis=0) < 0.085).all()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"networks": {"Vis": ["parcel-0", "other"]}}, "names channel.* other, which the recording lacks"),
        ({"clusters": "meaning"}, "`clusters` is meaning, and the stimulus table has"),
        ({"clusters": 99}, "`clusters` is 99, and 40 stimuli were tested"),
    ],
)
def test_what_does_not_fit_is_refused(settings, match):
    study, targets = planted(2)
    with pytest.raises(NeurodecError, match=match):
        ablated(study, targets, **settings)


def test_recordings_without_networks_are_refused():
    study, targets = planted(2)
    del study.trials.info["roi"]
    with pytest.raises(NeurodecError, match="needs networks, and the recordings of all have none"):
        ablated(study, targets)


def test_every_voxel_shows_its_parcel():
    brain = {
        "mask_shape": [2, 2, 1],
        "voxel_indices": [0, 2, 3],
        "affine": np.eye(4).tolist(),
        "labels": [1, -1, 0],
    }
    image = parcel_image(np.array([5.0, 7.0]), brain)
    np.testing.assert_array_equal(image.get_fdata().ravel(), [7, 0, 0, 5])


def test_the_surface_is_drawn_where_the_brain_is():
    """The back of a brain in MNI space; a head somewhere else has no surface to paint."""
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-90, -126, -72]
    shape = (30, 36, 30)
    y = (np.argwhere(np.ones(shape)) @ affine[:3, :3].T + affine[:3, 3])[:, 1]
    brain = {
        "mask_shape": shape,
        "voxel_indices": np.arange(y.size),
        "affine": affine,
        "labels": (y < -60).astype(int),
    }
    assert len(surface_map(np.array([0.0, 1.0]), brain).axes) == 4
    kept = {
        "ch_names": ["front", "back"],
        "roi": {"Vis": [1]},
        "brain": {**brain, "space": "MNI152NLin2009cAsym"},
    }
    found = {"ways": {"masked": {"networks": [{"network": "Vis", "loss": {"two_way": {"difference": 0.1}}}]}}}
    assert [own.name for own in _maps(found, Kept(info=kept), None)] == [
        "networks-glass-brain",
        "networks-surface",
    ]
    kept["brain"]["space"] = "T1w"
    assert [own.name for own in _maps(found, Kept(info=kept), None)] == ["networks-glass-brain"]
    affine[0, 3] = 900
    assert surface_map(np.array([0.0, 1.0]), {**brain, "affine": affine}) is None
