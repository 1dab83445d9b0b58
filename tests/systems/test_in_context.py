"""The in-context system: tasks that do not leak, trainings that resume, people who are read without a fit."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from in_context_voxels import E, Population, cosine

from neurodec.data import Study, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.encoders import InContextEncoder
from neurodec.errors import NeurodecError
from neurodec.evaluation import Adaptation, Retrieval
from neurodec.evaluation.section import Fitted
from neurodec.features import Features
from neurodec.linear.voxel_prior import PopulationPrior
from neurodec.systems import InContextClassifier, InContextSystem, MetaStage, load_system
from neurodec.systems.in_context.in_context_classifier import simplex
from neurodec.systems.in_context.meta_training import _Tasks, meta_train
from neurodec.systems.in_context.people import Scale, context_of, voxels_of
from neurodec.systems.in_context.tasks import (
    EncodedSubject,
    SubjectVoxels,
    Voxels,
    encoder_batch,
    encoder_loss,
    inverter_batch,
)
from neurodec.training import TrainingData

SIZES = {"width": 24, "n_layers": 2, "ffn_dim": 32, "n_heads": 4, "hidden": 32, "n_registers": 4}
N_TRAIN, N_TEST = 120, 30


def people(n=3, n_voxels=(40, 50, 60), repeats=2, seed=0, drift=0.0):
    """Several people with voxels of their own: shared noise, a unit of its own, test pictures shown four times."""
    population, rng = Population(seed, noise=0.4), np.random.default_rng(seed)
    names = [f"t{i:03d}" for i in range(N_TRAIN)] + [f"z{i:02d}" for i in range(N_TEST)]
    pictures = population.pictures(rng, len(names))
    spaces = {}
    for place in range(n):
        weights, bias = population.voxels(rng, n_voxels[place])
        rows = np.concatenate(
            [np.repeat(np.arange(N_TRAIN), repeats), np.tile(np.arange(N_TRAIN, len(names)), 4)]
        )
        responses = population.responses(rng, weights, bias, pictures[rows])
        responses += rng.normal(size=(len(rows), 2)) @ rng.normal(size=(2, n_voxels[place])) + drift
        table = pd.DataFrame({"stimulus": np.array(names)[rows], "subject": f"p{place}"})
        table["split"] = np.where(rows < N_TRAIN, "train", "test")
        size = n_voxels[place]
        info = {"modality": "fmri", "units": "a.u.", "mask_shape": [size, 2, 1], "affine": np.eye(4).tolist()}
        info["voxel_indices"] = list(range(0, 2 * size, 2))
        responses = (100 * responses).astype(np.float32)
        spaces[f"sub-p{place}"] = Trials(responses, with_defaults(table), info)
    stimuli = pd.DataFrame({"stimulus": names, "concept": names, "image": "", "caption": ""})
    stimuli["split"] = np.where(stimuli["stimulus"].str[0] == "t", "train", "test")
    features = Features(pictures.astype(np.float32), names, {"embedding_space": "sphere/unit", "key": "k"})
    return Study(spaces, stimuli), {"image": features}


def stages(n=30):
    encoder = [
        MetaStage("synthetic", n, (20, 20), "estimated", 16, 10),
        MetaStage("subjects", n, (5, 60), "subjects", 16, 10),
    ]
    inverter = [
        MetaStage("synthetic", n, (20, 20), "isotropic", 16),
        MetaStage("subjects", n, (10, 40), "subjects", 16),
    ]
    return {"encoder_stages": encoder, "inverter_stages": inverter}


def fitted(tmp_path, study, targets, new=("p2",), **options):
    system = InContextSystem(encoder=SIZES, inverter=SIZES, **{**stages(), **options})
    system.fit(study.part("train"), targets, out=tmp_path, name="fold", new=new)
    return system


@pytest.fixture(scope="module")
def world():
    return people()


@pytest.fixture(scope="module")
def system(world, tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("ic"), *world)


def found_by(system, study, targets):
    tested = study.part("test", ["p2"]).average()
    z = system.predict(tested).of("image")
    return z, targets["image"].of(tested.table["stimulus"])


def test_made_up_voxels_are_z_scored_and_as_the_prior_says(rng):
    population = Population()
    pool = population.pictures(rng, 3000)
    random = torch.Generator().manual_seed(0)
    prior = PopulationPrior(population.mean, population.covariance)
    voxels = Voxels(pool, prior)
    weights, bias, noise = voxels.draw((400,), random)
    clean = pool @ weights.numpy().T + bias.numpy()
    total = clean.var(axis=0) + noise.numpy() ** 2
    assert np.median(total) == pytest.approx(1, abs=0.05)
    assert np.abs(clean.mean(axis=0)).max() < 0.5
    ratio = noise.numpy() / clean.std(axis=0)
    assert 0.25 < ratio.min() < 0.5
    assert 4 < ratio.max() < 5.5
    plain, level, _ = Voxels(pool, prior, 0.5, standardised=False).draw((20_000,), random)
    np.testing.assert_allclose(np.cov(plain.numpy().T), population.covariance[:E, :E], atol=0.15)
    assert float(level.std()) == pytest.approx(0.3, rel=0.05)


def test_a_task_never_asks_for_what_it_tells(rng):
    images = torch.eye(40)
    subject = SubjectVoxels(images, torch.randn(7, 40))
    random = torch.Generator().manual_seed(0)
    batch = encoder_batch([subject], 12, 9, 50, random)
    shown, asked = batch["images"].argmax(-1), batch["query"].argmax(-1)
    for row in range(50):
        assert len(set(shown[row].tolist()) | set(asked[row].tolist())) == 21
    contexts = [np.arange(30), np.arange(5, 25)]
    encoded = EncodedSubject(subject, contexts, [torch.full((7, 41), 0.0), torch.full((7, 41), 1.0)])
    for _ in range(20):
        batch = inverter_batch([encoded], 5, 30, random)
        run = int(batch["weights"].max())
        assert not set(batch["image"].argmax(-1).tolist()) & set(contexts[run].tolist())
        assert batch["responses"].shape == (30, 5)
    with pytest.raises(NeurodecError, match="saw 40 pictures, fewer than the 60 of a task"):
        encoder_batch([subject], 50, 10, 3, random)


def test_a_killed_training_resumes_with_the_same_weights(tmp_path):
    pool = Population().pictures(np.random.default_rng(0), 200)
    source, stage = Voxels(pool), MetaStage("one", 150, (5, 30), batch_size=8, n_queries=5)

    def draw(size, random, stop=None):
        draw.calls += 1
        if draw.calls == stop:
            raise RuntimeError("killed")
        return encoder_batch(source, size, 5, 8, random)

    torch.manual_seed(0)
    network = InContextEncoder(E, **SIZES, dropout=0.1)
    trained = {}
    for name, stop in (("whole", None), ("broken", 130)):
        draw.calls, own = 0, copy.deepcopy(network)
        run = [(stage, lambda size, random, stop=stop: draw(size, random, stop))]
        if stop:
            with pytest.raises(RuntimeError, match="killed"):
                meta_train(own, run, encoder_loss, tmp_path / name)
            own = copy.deepcopy(network)
            run = [(stage, draw)]
        history = meta_train(own, run, encoder_loss, tmp_path / name)
        trained[name] = own.state_dict(), history
    for key, value in trained["whole"][0].items():
        torch.testing.assert_close(trained["broken"][0][key], value, rtol=0, atol=0)
    pd.testing.assert_frame_equal(trained["whole"][1], trained["broken"][1])
    again = copy.deepcopy(network)
    meta_train(again, [(stage, draw)], encoder_loss, tmp_path / "whole")  # finished: read, not trained
    torch.testing.assert_close(again.state_dict()["cls_token"], trained["whole"][0]["cls_token"])


def test_a_new_person_is_read_in_every_way(world, system):
    study, targets = world
    ways = {"network": system, **system.companions()}
    assert set(ways) == {"network", "network, Bayes", "ridge, Bayes", "prior, Bayes", "direct ridge"}
    scores = {}
    for name, way in ways.items():
        z, wanted = found_by(way, study, targets)
        assert z.shape == (N_TEST, E)
        scores[name] = cosine(z, wanted)
    assert min(scores[name] for name in ("ridge, Bayes", "prior, Bayes", "direct ridge")) > 0.6
    assert scores["prior, Bayes"] > scores["direct ridge"]


def test_whitening_takes_off_what_voxels_share(world):
    study, targets = world
    trials = study.part("train", ["p2"]).trials
    plain = Scale.of(trials)
    responses, stimuli = context_of(trials, plain)
    images = targets["image"].of(stimuli)
    white, _ = context_of(trials, Scale.of(trials, images))

    def shared(values):
        left = values - images @ np.linalg.lstsq(images, values, rcond=None)[0]
        found = np.corrcoef(left.T)
        return np.abs(found[~np.eye(len(found), dtype=bool)]).mean()

    assert shared(white) < 0.6 * shared(responses)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(white.std(axis=0), 1, atol=1e-4)
    assert Scale.of(trials.select(slice(0, 6)), images[:3]).shared.shape[1] == 0  # too few pictures to tell


def test_it_is_kept_and_goes_on(world, system, tmp_path):
    study, targets = world
    system.save_pretrained(tmp_path / "saved")
    again = load_system(tmp_path / "saved")
    np.testing.assert_allclose(
        found_by(again, study, targets)[0], found_by(system, study, targets)[0], atol=1e-5
    )
    assert again.n_parameters == system.n_parameters > 0
    started = InContextSystem(start=str(tmp_path / "saved"), way="ridge", inverse="bayes", n_voxels=30)
    started.fit(study.part("train", ["p2"]), targets, out=tmp_path, name="alone")
    assert len(started.people["p2"].columns) == 30
    z, wanted = found_by(started, study, targets)
    assert cosine(z, wanted) > 0.5
    random = InContextSystem(start=str(tmp_path / "saved"), n_voxels=30, choice="random", n_support=50)
    random.fit(study.part("train", ["p2"]), targets, out=tmp_path, name="random")
    assert list(random.people["p2"].columns) != list(started.people["p2"].columns)
    assert random.people["p2"].encoders["network"].about["n_context"] == 50


def test_a_precision_of_the_trainer_trains(world, tmp_path):
    study, targets = world
    half = fitted(
        tmp_path, study, targets, trainer={"precision": "bf16-mixed", "accelerator": "cpu"}, **stages(4)
    )
    assert np.isfinite(found_by(half, study, targets)[0]).all()


def test_a_second_fit_reads_the_first(world, tmp_path, monkeypatch):
    study, targets = world
    first = fitted(tmp_path, study, targets)
    monkeypatch.setattr(InContextSystem, "meta_fit", None)
    again = fitted(tmp_path, study, targets)
    np.testing.assert_array_equal(found_by(again, study, targets)[0], found_by(first, study, targets)[0])


def test_what_does_not_fit_is_told(world, system):
    study, targets = world
    stranger = study.part("test", ["p0"])
    unknown = stranger.trials.table.assign(subject="p9")
    trials = stranger.trials
    with pytest.raises(NeurodecError, match="was not adapted to subject p9, only to p0, p1, p2"):
        system.predict(Study.of(Trials(trials.responses, unknown, trials.info), space="sub-p0"))
    other = {
        "image": Features(targets["image"].values, targets["image"].stimuli, {"embedding_space": "else"})
    }
    with pytest.raises(NeurodecError, match="embeddings are of else, the system was trained on sphere/unit"):
        system.adapt(study.part("train", ["p2"]), other)
    moved = study.part("test", ["p2"]).trials
    indices = np.array(moved.info["voxel_indices"]) + 1
    moved = Trials(moved.responses, moved.table, {**moved.info, "voxel_indices": indices.tolist()})
    with pytest.raises(NeurodecError, match="voxel 1 at place 0, the encoders 0"):
        system.predict(Study.of(moved, space="sub-p2"))
    broken = study.part("train", ["p2"]).trials
    responses = np.array(broken.responses)
    responses[:, 5] = np.nan
    with pytest.raises(NeurodecError, match="hold NaN or infinity"):
        system.adapt(Study.of(Trials(responses, broken.table, broken.info), space="sub-p2"), targets)
    with pytest.raises(NeurodecError, match="neither networks nor a curriculum"):
        InContextSystem()
    with pytest.raises(NeurodecError, match="set both `way` and `inverse` to direct"):
        InContextSystem(way="direct", inverse="bayes")
    alone = InContextSystem(encoder=SIZES, inverter=SIZES, **stages())
    with pytest.raises(NeurodecError, match="nobody to train"):
        alone.meta_fit(study.part("train", ["p2"]).part(subjects=[]), targets, None)


def test_one_picture_is_a_context(world, system):
    study, targets = world
    one = study.part("train", ["p2"]).trials
    one = one.select(np.flatnonzero(one.table["stimulus"] == "t003"))
    adapted = system.adapt(Study.of(one, study.stimuli, "sub-p2"), targets)
    z, _ = found_by(adapted, study, targets)
    assert np.isfinite(z).all()


def test_accuracy_rises_with_the_context_and_the_voxels(world, system):
    study, targets = world
    system = copy.copy(system)
    system.way, system.inverse = "prior", "bayes"
    judged = Adaptation(n_pictures=[10, 40, 400], n_voxels=[8, 60], n_repeats=3)
    given = Fitted("in-context", system, study.part("train"), targets)
    run = judged.run({}, study.part("test", ["p2"]), given)
    points = pd.DataFrame(judged.results([run])["adaptation"]["points"])
    own = points[points["decoder"] == "in-context"].set_index(["kind", "size"])
    assert list(own.loc["pictures"].index) == [10, 40, N_TRAIN]
    assert own.loc[("pictures", N_TRAIN), "top1"] > own.loc[("pictures", 10), "top1"] + 0.1
    assert own.loc[("voxels", 60), "top1"] > own.loc[("voxels", 8), "top1"] + 0.1
    assert own.loc[("pictures", N_TRAIN), "ci95"][0] > 3 / N_TEST
    assert set(points["decoder"]) == {"in-context", *system.companions()}


def test_companions_stand_beside_it_in_retrieval(world, system, tmp_path):
    study, targets = world
    retrieval = Retrieval(n_permutations=100, regions=False, repetition_curve=False)
    test = study.part("test", ["p2"])
    predictions = {rows: system.predict(trials) for rows, trials in retrieval.inputs(test).items()}
    given = Fitted("in-context", system, study.part("train"), targets, lambda head: None)
    retrieval.save(retrieval.run(predictions, test, given), tmp_path / "run")
    found = retrieval.results([retrieval.load(tmp_path / "run")])
    assert set(found["baselines"]) == set(system.companions())
    assert found["baselines"]["prior, Bayes"]["ci95_top1"][0] > 3 / N_TEST


def test_sensors_at_times_are_voxels(rng, tmp_path):
    population = Population()
    pictures = population.pictures(rng, 60)
    weights, bias = population.voxels(rng, 5 * 20)
    responses = population.responses(rng, weights, bias, pictures).reshape(60, 5, 20)
    names = [f"t{i}" for i in range(60)]
    table = with_defaults(pd.DataFrame({"stimulus": names, "subject": "a", "split": "train"}))
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 50.0, "tmin": 0.0, "ch_names": list("ABCDE")}
    trials = Trials(responses.astype(np.float32), table, info)
    assert voxels_of(trials)[:2] == ["A@0", "A@0.02"]
    assert len(voxels_of(trials)) == 100
    targets = {"image": Features(pictures.astype(np.float32), names, {"embedding_space": "sphere"})}
    study = Study.of(trials.select(slice(0, 45)))
    closed = InContextSystem(way="ridge", inverse="bayes")
    closed.meta_fit(study, targets, None)
    adapted = closed.adapt(study, targets)
    z = adapted.predict(Study.of(trials.select(slice(45, 60)))).of("image")
    assert cosine(z, pictures[45:]) > 0.5
    # a window of the recipe's `data:` section is cut here, and again from whole trials that are decoded
    late = InContextSystem(way="ridge", inverse="bayes", data=TrainingData(ch_names=["B", "D"], tmin=0.1))
    late.fit(study, targets, out=tmp_path, name="late")
    assert late.people["a"].encoders["ridge"].voxels[0] == "B@0.1"
    assert len(late.people["a"].encoders["ridge"]) == 2 * 15
    part = Study.of(trials.pick(["B", "D"]).crop(0.1))
    whole = Study.of(trials)
    np.testing.assert_array_equal(late.predict(whole).of("image"), late.predict(part).of("image"))


def test_categories_are_corners_at_equal_angles():
    corners = simplex(5)
    np.testing.assert_allclose(corners @ corners.T, np.eye(5) * 1.25 - 0.25, atol=1e-6)


@pytest.mark.parametrize(("way", "inverse"), [("ridge", "bayes"), ("network", "network")])
def test_categories_are_decoded_in_context(rng, way, inverse):
    patterns = rng.normal(size=(3, 60))
    labels = np.tile(np.arange(3), 12)
    responses = 5 + patterns[labels] + rng.normal(size=(36, 60))
    decoder = InContextClassifier(way, inverse, n_steps=150, n_voxels=40)
    nobody = np.zeros(24, dtype=int)
    shuffled = rng.permutation(labels[:24])
    decoder.fit(responses[:24], np.stack([labels[:24], shuffled]), nobody, nobody)
    scores = decoder.scores(responses[24:], nobody[:12])
    assert scores.shape == (2, 12, 3)
    assert (scores[0].argmax(axis=1) == labels[24:]).mean() > 0.7
    assert (scores[1].argmax(axis=1) == labels[24:]).mean() < 0.7


def test_processes_share_the_rows_of_a_batch():
    """Two of them drew the same batches once, and the second device was for nothing."""
    stage = MetaStage("a", 3, (4, 9), batch_size=6)

    def draw(n, random):
        return {"x": torch.randn(stage.batch_size, n, generator=random)}

    def batches(rank, n_processes):
        trainer = SimpleNamespace(global_rank=rank, world_size=n_processes, global_step=0)
        return [batch["x"] for batch in _Tasks(draw, stage, 0, trainer)]

    for whole, *shares in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        assert [len(share) for share in shares] == [3, 3]
        torch.testing.assert_close(torch.stack(shares, dim=1).flatten(0, 1), whole)


def test_nobody_is_hidden_unless_asked():
    assert TrainingData().hide_subject == 0
