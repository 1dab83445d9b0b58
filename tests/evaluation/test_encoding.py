"""Explained variance and its ceiling against what is known, identification by likelihood, regions and sentences."""

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Study, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.errors import NeurodecError
from neurodec.evaluation import Retrieval, VoxelEncoding
from neurodec.evaluation.encoding import explained_variance, noise_ceiling
from neurodec.evaluation.section import Fitted
from neurodec.features import Features, embed_captions, embed_pictures
from neurodec.simulate.scenes import all_scenes, render
from neurodec.systems import InContextSystem
from neurodec.systems.ridge_system import RidgeSystem

PROMPTS = ["a large orange fish at night", "a small red key on bricks", "a green car under the sky"]


def test_closed_forms(rng):
    signal, n = rng.normal(size=(4000, 3)) * [0.0, 1.0, 2.0], 3
    stimuli = np.repeat(np.arange(4000), n)
    trials = signal[stimuli] + rng.normal(size=(len(stimuli), 3))
    ceiling = noise_ceiling(trials, stimuli)
    np.testing.assert_allclose(ceiling, [0, 1 / (1 + 1 / 3), 4 / (4 + 1 / 3)], atol=0.03)
    means = trials.reshape(4000, n, 3).mean(axis=1)
    np.testing.assert_allclose(explained_variance(means, signal)[1:], ceiling[1:], atol=0.03)
    assert noise_ceiling(means, np.arange(4000)) is None
    constant = np.ones((10, 2))
    assert (explained_variance(constant, constant * 0) == 0).all()


@pytest.fixture(scope="module")
def world():
    """A person with two regions: voxels that answer to a sentence, and voxels that answer to nothing but noise."""
    rng = np.random.default_rng(0)
    scenes = list(all_scenes(False))
    pictures = [render(scenes[row]) for row in rng.permutation(len(scenes))[:200]]
    embeddings = embed_pictures(pictures, "neurodec/tiny-clip")
    sentences = embed_captions(PROMPTS, "neurodec/tiny-clip")
    fish = sentences[0] - sentences.mean(axis=0)
    weights = np.concatenate([np.tile(fish, (20, 1)), rng.normal(size=(40, 128)) * 0.3])
    clean = (embeddings - embeddings.mean(axis=0)) @ weights.T
    clean = clean / clean.std(axis=0)
    clean = np.concatenate([clean, np.zeros((200, 20))], axis=1)
    names = [f"t{row:03d}" if row < 150 else f"z{row:03d}" for row in range(200)]
    rows = np.concatenate([np.arange(150), np.repeat(np.arange(150, 200), 4)])
    responses = clean[rows] + 0.8 * rng.normal(size=(len(rows), 80))
    table = pd.DataFrame({"stimulus": np.array(names)[rows], "subject": "01"})
    table["split"] = np.where(rows < 150, "train", "test")
    info = {"modality": "fmri", "units": "a.u.", "mask_shape": [80, 1, 1], "affine": None}
    info |= {"voxel_indices": list(range(80)), "roi": {"fish": list(range(20)), "noise": list(range(60, 80))}}
    study = Study.of(Trials(responses.astype(np.float32), with_defaults(table), info))
    features = Features(embeddings, names, {"embedding_space": "neurodec/tiny-clip/unit"})
    system = InContextSystem(way="ridge", inverse="bayes", whiten=False)
    system.meta_fit(study.part("train"), {"image": features}, None)
    adapted = system.adapt(study.part("train"), {"image": features})
    return study, Fitted("ridge", adapted, study.part("train"), {"image": features})


def test_regions_prompts_and_likelihood(world, tmp_path):
    study, fitted = world
    evaluation = VoxelEncoding(prompts=PROMPTS)
    run = evaluation.run({}, study.part("test"), fitted)
    person = run[0]
    ridge = person["encoders"]["ridge"]
    assert ridge["ci95"][0] < ridge["explained_variance"] < ridge["ci95"][1]
    assert ridge["regions"]["fish"] > 0.5 > 0.1 > abs(ridge["regions"]["noise"])
    assert person["regions"]["fish"]["noise_ceiling"] > 0.75
    assert person["regions"]["noise"]["noise_ceiling"] < 0.2
    assert ridge["regions"]["fish"] < person["regions"]["fish"]["noise_ceiling"] + 0.05
    assert ridge["identified_ci95"][0] > 5 / 50
    preferred = person["prompts"]["ridge"]
    assert preferred[PROMPTS[0]]["regions"]["fish"] > 3 * abs(preferred[PROMPTS[0]]["regions"]["noise"])
    assert set(preferred[PROMPTS[0]]["most_selective_voxels"]) < set(range(20))
    answers = [preferred[prompt]["regions"]["fish"] for prompt in PROMPTS]
    assert answers[0] > 2 * max(answers[1:])
    assert "attention" not in person["regions"]["fish"]  # no network inverts here
    (tmp_path / "fold").mkdir()
    evaluation.save(run, tmp_path / "fold")
    results = evaluation.results([evaluation.load(tmp_path / "fold")])["encoding"]
    assert results["mean"]["ridge"]["explained_variance"] == pytest.approx(ridge["explained_variance"])
    assert 0.3 < results["mean"]["ridge"]["of_ceiling"] < 1.1


def test_hidden_voxels_are_left_out_of_the_inversion(world):
    """A region alone is decoded as by a system that was adapted to no other voxels."""
    study, fitted = world
    test = study.part("test").average()
    z = fitted.system.predict(test).of("image")
    trials = test.trials
    masked = np.where(np.arange(80) < 60, np.asarray(trials.responses), 0).astype(np.float32)
    some = Study.of(Trials(masked, trials.table, trials.info))
    hidden = fitted.system.predict(some).of("image")
    person = fitted.system.people["01"]
    encoders = person.encoders["ridge"].take(np.arange(60)).averaged(4.0)
    inverted = fitted.system._inversion(person).decode(encoders, person.responses(trials)[0][:, :60])
    np.testing.assert_allclose(hidden, inverted, atol=1e-5)
    assert np.corrcoef(hidden.ravel(), z.ravel())[0, 1] > 0.9  # the other twenty held nothing
    retrieval = Retrieval(repetition_curve=False, n_permutations=50)
    predicted = {"averaged-all-0": fitted.system.predict(test)}
    alone = Fitted("ridge", fitted.system, fitted.train, fitted.targets, lambda head: None)
    run = retrieval.run(predicted, study.part("test"), alone)
    points = {(one["region"], one["decoder"]): one["top1"] for one in run.curves["regions"]}
    assert points["fish", "ridge"] > points["noise", "ridge"]


def test_bad_input(world):
    study, fitted = world
    with pytest.raises(NeurodecError, match="give two or more"):
        VoxelEncoding(prompts=PROMPTS[:1]).run({}, study.part("test"), fitted)
    ridge = Fitted("ridge", RidgeSystem(), fitted.train, fitted.targets)
    with pytest.raises(NeurodecError, match="RidgeSystem has no encoders of voxels"):
        VoxelEncoding().run({}, study.part("test"), ridge)
    elsewhere = Features(
        fitted.targets["image"].values, fitted.targets["image"].stimuli, {"embedding_space": "x"}
    )
    other = Fitted("x", fitted.system, fitted.train, {"image": elsewhere})
    with pytest.raises(NeurodecError, match="Sentences cannot be embedded in x"):
        VoxelEncoding(prompts=PROMPTS).run({}, study.part("test"), other)
