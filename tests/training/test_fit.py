import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from neurodec.data import Study, Trials
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.systems import LightningSystem
from neurodec.training import (
    RetrievalObjective,
    TrainingData,
    TrialBatches,
    embed,
    load_pretrained,
    save_pretrained,
)

N_STIMULI, N_REPETITIONS = 40, 6


def trials_of(rng, values, n_chans=8, subject="01"):
    """Trials whose channels carry a noisy projection of the stimulus's embedding."""
    clean = np.repeat(values @ rng.normal(size=(16, n_chans)), N_REPETITIONS, axis=0)[..., None]
    responses = (clean * np.hanning(100) + rng.normal(size=(len(clean), n_chans, 100))).astype(np.float32)
    names = np.repeat([f"s{index}" for index in range(N_STIMULI)], N_REPETITIONS)
    table = pd.DataFrame({"stimulus": names, "concept": names, "split": "train", "subject": subject})
    table = table.assign(session="01", run="01", repetition=np.tile(range(N_REPETITIONS), N_STIMULI))
    names = [chr(ord("a") + place) for place in range(n_chans)]
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 100.0, "tmin": 0.0, "ch_names": names}
    return Trials(responses, table, info)


@pytest.fixture
def data(rng):
    """A study of one subject, and its targets."""
    values = rng.normal(size=(N_STIMULI, 16)).astype(np.float32)
    targets = {"image": Features(values, [f"s{i}" for i in range(N_STIMULI)], {"embedding_space": "test"})}
    return Study.of(trials_of(rng, values)), targets


ATM = {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 32}}


def system(max_epochs, encoder=ATM, selection="validation", settings=None, allow=frozenset(), **trainer):
    return LightningSystem(
        copy.deepcopy(encoder),
        data=TrainingData(**{"batch_size": 32, "validation_fraction": 0.2, **(settings or {})}),
        trainer={"max_epochs": max_epochs, "accelerator": "cpu", **copy.deepcopy(trainer)},
        selection=selection,
        allow=allow,
    )


def fit(data, out, max_epochs, **options):
    fitted = system(max_epochs, **options)
    fitted.fit(*data, out=out, name="x")
    return fitted


EMA = {
    "callbacks": [
        {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
    ]
}
STOPPING = {
    "callbacks": [
        {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": own}
        for name, own in (
            ("EarlyStopping", {"monitor": "val_loss", "patience": 9}),
            ("ModelCheckpoint", {"monitor": "train_loss", "save_top_k": 2, "filename": "own"}),
        )
    ]
}


@pytest.mark.parametrize("trainer", [{}, EMA, STOPPING], ids=["plain", "ema", "stopping"])
def test_a_resumed_run_equals_an_unbroken_one(data, tmp_path, trainer):
    fit(data, tmp_path / "whole", 4, selection="last", **trainer)
    fit(data, tmp_path / "broken", 2, selection="last", **trainer)
    (tmp_path / "broken/models/x/config.json").unlink()
    fit(data, tmp_path / "broken", 4, selection="last", **trainer)
    one, other = (load_file(tmp_path / run / "models/x/model.safetensors") for run in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [pd.read_csv(tmp_path / run / "checkpoints/x/metrics.csv") for run in ("whole", "broken")]
    pd.testing.assert_frame_equal(*(log.drop(columns="samples_per_s") for log in logs))


def test_training_learns_and_the_model_comes_back(data, tmp_path):
    fitted = fit(data, tmp_path, 12, gradient_clip_val=1.0)
    log = pd.read_csv(tmp_path / "checkpoints/x/metrics.csv")
    assert log["train_loss"].iloc[-1] < log["train_loss"].iloc[0]
    assert log["val_top1"].max() > 2 / 8  # eight held-out concepts
    encoder, facts = load_pretrained(tmp_path / "models/x")
    assert facts["ch_names"] == list("abcdefgh")
    assert facts["selection"] == "validation"
    responses = np.random.default_rng(0).normal(size=(5, 8, 100)).astype(np.float32)
    few, all_ = (embed(encoder, responses, np.zeros(5, int), batch_size=size)["image"] for size in (2, 256))
    np.testing.assert_allclose(few, all_, atol=1e-5)
    again = LightningSystem.from_pretrained(tmp_path / "models/x")
    found = again.predict(data[0])
    np.testing.assert_array_equal(found.of("image"), fitted.predict(data[0]).of("image"))
    with pytest.raises(NeurodecError, match="predicts image, not text"):
        found.of("text")


def test_validation_concepts_are_disjoint_and_shuffling_is_seeded(data):
    batches = TrialBatches(*data, TrainingData(validation_fraction=0.25), ["01"])
    batches.setup("fit")
    training, validation = (part["all"].rows["stimulus"] for part in (batches.training, batches.validation))
    assert not set(training.tolist()) & set(validation.tolist())
    assert len(training) + len(validation) == N_STIMULI * N_REPETITIONS
    drawn = [next(iter(batches.train_dataloader())).stimulus for _ in range(2)]
    assert torch.equal(*drawn)
    averaged = TrialBatches(*data, TrainingData(8, 0.1, average_repetitions=True), ["01"])
    averaged.setup("fit")
    assert len(averaged.training["all"]) == N_STIMULI * 0.9


def test_cut_trials_are_gathered_from_the_whole(data):
    settings = TrainingData(16, ch_names=["c", "a"], tmin=0.2, tmax=0.5)
    batches = TrialBatches(settings.cut(data[0]), data[1], settings, ["01"])
    batches.setup("fit")
    batch = next(iter(batches.val_dataloader()))
    gather = batches.validation["all"]
    whole = data[0].trials.responses[gather.places[:16].numpy()][:, [2, 0], 20:50]
    np.testing.assert_array_equal(batch.responses["all"], whole)
    assert np.shares_memory(gather.responses.numpy(), data[0].trials.responses)  # nothing was copied


class Mean(nn.Module):
    """A user's own encoder that knows no subject."""

    def __init__(self, n_chans: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.layer(x.mean(dim=-1))


OWN = {"class_path": f"{__name__}.Mean"}
PACKAGE = {__name__.split(".")[0]}


def test_an_encoder_without_subject_and_times_trains(data, tmp_path):
    fit(data, tmp_path, 1, encoder=OWN, allow=PACKAGE)
    with pytest.raises(NeurodecError, match="--allow"):
        load_pretrained(tmp_path / "models/x")
    encoder, _ = load_pretrained(tmp_path / "models/x", allow=PACKAGE)
    assert encoder.layer.weight.shape == (16, 8)


def test_a_model_folder_that_does_not_fit_names_every_tensor(tmp_path):
    config = {"encoder": {**OWN, "init_args": {"n_chans": 5, "n_outputs": 3}}}
    save_pretrained(tmp_path, Mean(4, 2), RetrievalObjective(), config)
    with pytest.raises(NeurodecError, match=r"layer\.bias.*layer\.weight"):
        load_pretrained(tmp_path, allow=PACKAGE)


def test_too_few_trials_for_a_batch_is_told(data):
    with pytest.raises(NeurodecError, match="batch_size"):
        TrialBatches(*data, TrainingData(500), ["01"]).setup("fit")


def test_another_configuration_is_refused_rather_than_answered_with_an_old_model(data, tmp_path):
    fit(data, tmp_path, 2)
    fit(data, tmp_path, 2)
    with pytest.raises(NeurodecError, match="another configuration"):
        fit(data, tmp_path, 2, gradient_clip_val=0.5)
    with pytest.raises(NeurodecError, match="2 epochs, more than the 1 that are asked for"):
        fit(data, tmp_path, 1)


def test_published_protocol_exports_the_epoch_that_is_best_on_the_test_data(data, tmp_path):
    study, targets = data
    tested = study.trials.table["concept"].isin([f"s{index}" for index in range(10)]).to_numpy()
    rows = {"all": np.flatnonzero(~tested)}, {"all": np.flatnonzero(tested)}
    train, judged = (study.select(part) for part in rows)
    system(6, selection="published_protocol").fit(
        train, targets, out=tmp_path, name="x", selection_trials=judged
    )
    log = pd.read_csv(tmp_path / "checkpoints/x/metrics.csv")
    facts = json.loads((tmp_path / "models/x/config.json").read_text())
    assert facts["selection"] == "published_protocol"
    assert facts["epoch"] == int(log["val_top1"].idxmax())
    batches = TrialBatches(train, targets, TrainingData(32), ["01"], selection_trials=judged)
    batches.setup("fit")
    assert len(batches.training["all"]) == 30 * N_REPETITIONS  # every training concept, none held out
    assert len(batches.validation["all"]) == 10  # test stimuli, repetitions averaged


@pytest.mark.parametrize(
    ("encoder", "sentence"),
    [
        (
            {"class_path": "torch.nn.Linear", "init_args": {"in_features": 7, "out_features": 16}},
            r"Linear cannot read the trials of all \(8 by 100; RuntimeError",
        ),
        (
            {"class_path": "torch.nn.Flatten"},
            r"Flatten gives the head image of shape \(800,\), and the target is \(16,\)",
        ),
    ],
)
def test_an_encoder_that_cannot_take_the_responses_is_told(data, tmp_path, encoder, sentence):
    with pytest.raises(NeurodecError, match=sentence) as told:
        fit(data, tmp_path, 1, encoder=encoder)
    assert (told.value.__cause__ is not None) == ("RuntimeError" in sentence)


@pytest.mark.parametrize(
    "schedule",
    [
        {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 0.01}},
        {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 10}},
    ],
)
def test_a_schedule_is_stepped_after_every_batch(data, tmp_path, schedule):
    fitted = LightningSystem(
        ATM,
        optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
        lr_scheduler=schedule,
        data=TrainingData(32, 0.2),
        trainer={"max_epochs": 2, "accelerator": "cpu"},
    )
    fitted.fit(*data, out=tmp_path, name="x")
    state = torch.load(tmp_path / "checkpoints/x/last.ckpt", weights_only=True)
    assert state["lr_schedulers"][0]["_step_count"] == 2 * (192 // 32) + 1


def test_a_users_checkpoint_plugin_is_kept(data, tmp_path):
    plugin = {"class_path": "lightning.pytorch.plugins.io.TorchCheckpointIO"}
    fit(data, tmp_path, 1, plugins=[plugin])
    assert (tmp_path / "checkpoints/x/last.ckpt").exists()


def test_a_training_that_was_moved_keeps_its_best_epoch(data, tmp_path):
    study, targets = data
    values = np.random.default_rng(9).permutation(
        targets["image"].values
    )  # nothing to learn, so early epochs are best
    noise = study, {"image": Features(values, targets["image"].stimuli, {"embedding_space": "test"})}
    fit(noise, tmp_path / "whole", 8)
    fit(noise, tmp_path / "begun", 5)
    (tmp_path / "begun").rename(tmp_path / "moved")
    fit(noise, tmp_path / "moved", 8)
    log = pd.read_csv(tmp_path / "whole/checkpoints/x/metrics.csv")
    assert log["val_loss"].idxmin() < 5  # else forgetting would not show
    one, other = (load_file(tmp_path / run / "models/x/model.safetensors") for run in ("whole", "moved"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_that_were_deleted_are_made_again(data, tmp_path):
    fit(data, tmp_path, 2)
    file = tmp_path / "models/x/model.safetensors"
    before = load_file(file)
    file.unlink()
    fit(data, tmp_path, 2)
    after = load_file(file)
    assert all(torch.equal(before[name], after[name]) for name in before)
