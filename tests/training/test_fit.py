import copy

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from neurodec.data import Trials
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.training import TrialsDataModule, embed, fit, load_pretrained, save_pretrained

N_STIMULI, N_REPETITIONS = 40, 4


@pytest.fixture
def folder(tmp_path, rng):
    """Trials whose eight channels carry a noisy projection of the stimulus's embedding."""
    stimuli = [f"s{index}" for index in range(N_STIMULI)]
    values = rng.normal(size=(N_STIMULI, 16)).astype(np.float32)
    clean = np.repeat(values @ rng.normal(size=(16, 8)), N_REPETITIONS, axis=0)[..., None]
    responses = (clean * np.hanning(100) + rng.normal(size=(len(clean), 8, 100))).astype(np.float32)
    names = np.repeat(stimuli, N_REPETITIONS)
    table = pd.DataFrame({"stimulus": names, "concept": names, "split": "train", "subject": "01"})
    table = table.assign(session="01", run="01", repetition=np.tile(range(N_REPETITIONS), N_STIMULI))
    info = {"modality": "eeg", "units": "a.u.", "sfreq": 100.0, "tmin": 0.0, "ch_names": list("abcdefgh")}
    Trials(responses, table, info).save(tmp_path / "prepared")
    Features(values, stimuli, {"embedding_space": "test"}).save(tmp_path / "features")
    return tmp_path


def config(folder, max_epochs, **trainer):
    return {
        "model": {"encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 32}}},
        "data": {
            "prepared": str(folder / "prepared"),
            "features": str(folder / "features"),
            "batch_size": 32,
            "validation_fraction": 0.2,
        },
        "trainer": {"max_epochs": max_epochs, "accelerator": "cpu", **trainer},
    }


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
def test_a_resumed_run_equals_an_unbroken_one(folder, trainer):
    whole = fit(config(folder, 4, **copy.deepcopy(trainer)), folder / "whole", "x", "last")
    first = fit(config(folder, 2, **copy.deepcopy(trainer)), folder / "broken", "x", "last")
    (first / "config.json").unlink()
    second = fit(config(folder, 4, **copy.deepcopy(trainer)), folder / "broken", "x", "last")
    one, other = (load_file(path / "model.safetensors") for path in (whole, second))
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [pd.read_csv(folder / run / "checkpoints" / "x" / "metrics.csv") for run in ("whole", "broken")]
    pd.testing.assert_frame_equal(*(log.drop(columns="samples_per_s") for log in logs))


def test_training_learns_and_the_model_comes_back(folder):
    model_folder = fit(config(folder, 12, gradient_clip_val=1.0), folder / "run", "x", "validation")
    log = pd.read_csv(folder / "run" / "checkpoints" / "x" / "metrics.csv")
    assert log["train_loss"].iloc[-1] < log["train_loss"].iloc[0]
    assert log["val_top1"].max() > 2 / 8  # eight held-out concepts
    encoder, facts = load_pretrained(model_folder)
    assert facts["ch_names"] == list("abcdefgh")
    assert facts["selection"] == "validation"
    responses, subject = (
        np.random.default_rng(0).normal(size=(5, 8, 100)).astype(np.float32),
        np.zeros(5, int),
    )
    np.testing.assert_allclose(
        embed(encoder, responses, subject, batch_size=2), embed(encoder, responses, subject), atol=1e-5
    )


def test_validation_concepts_are_disjoint_and_shuffling_is_seeded(folder):
    data = TrialsDataModule(folder / "prepared", folder / "features", validation_fraction=0.25)
    data.setup("fit")
    training, validation = data.training.tensors["stimulus"], data.validation.tensors["stimulus"]
    assert not set(training.tolist()) & set(validation.tolist())
    assert len(training) + len(validation) == N_STIMULI * N_REPETITIONS
    batches = [next(iter(data.train_dataloader()))["stimulus"] for _ in range(2)]
    assert torch.equal(*batches)
    averaged = TrialsDataModule(
        folder / "prepared", folder / "features", average_repetitions=True, batch_size=8
    )
    averaged.setup("fit")
    assert len(averaged.training) == N_STIMULI * 0.9


class Mean(nn.Module):
    """A user's own encoder that knows no subject."""

    def __init__(self, n_chans: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.layer(x.mean(dim=-1))


def test_an_encoder_without_subject_and_times_trains(folder):
    own = config(folder, 1)
    own["model"]["encoder"] = {"class_path": f"{__name__}.Mean"}
    model_folder = fit(own, folder / "run", "x", "last")
    with pytest.raises(NeurodecError, match="--allow"):
        load_pretrained(model_folder)
    encoder, _ = load_pretrained(model_folder, allow={__name__.split(".")[0]})
    assert encoder.layer.weight.shape == (16, 8)


def test_a_model_folder_that_does_not_fit_names_every_tensor(tmp_path):
    encoder = Mean(4, 2)
    path = f"{__name__}.Mean"
    save_pretrained(tmp_path, encoder, {"class_path": path, "init_args": {"n_chans": 5, "n_outputs": 3}}, {})
    with pytest.raises(NeurodecError, match=r"layer\.bias.*layer\.weight"):
        load_pretrained(tmp_path, allow={__name__.split(".")[0]})


def test_too_few_trials_for_a_batch_is_told(folder):
    data = TrialsDataModule(folder / "prepared", folder / "features", batch_size=500)
    with pytest.raises(NeurodecError, match="batch_size"):
        data.setup("fit")


def test_published_protocol_exports_the_epoch_that_is_best_on_the_test_data(folder, rng):
    trials = Trials.load(folder / "prepared")
    split = np.where(trials.table["concept"].isin([f"s{index}" for index in range(10)]), "test", "train")
    Trials(trials.responses, trials.table.assign(split=split), trials.info).save(folder / "prepared")
    settings = config(folder, 6)
    settings["data"]["validate_on_test"] = True
    model_folder = fit(settings, folder / "run", "x", "published_protocol")
    log = pd.read_csv(folder / "run" / "checkpoints" / "x" / "metrics.csv")
    facts = load_pretrained(model_folder)[1]
    assert facts["selection"] == "published_protocol"
    assert facts["epoch"] == int(log["val_top1"].idxmax())
    data = TrialsDataModule(folder / "prepared", folder / "features", batch_size=32, validate_on_test=True)
    data.setup("fit")
    assert len(data.training) == 30 * N_REPETITIONS  # every training concept, none held out
    assert len(data.validation) == 10  # test stimuli, repetitions averaged


@pytest.mark.parametrize(
    ("encoder", "sentence"),
    [
        (
            {"class_path": "torch.nn.Linear", "init_args": {"in_features": 7, "out_features": 16}},
            "RuntimeError",
        ),
        ({"class_path": "torch.nn.Flatten"}, "RuntimeError"),
    ],
)
def test_an_encoder_that_cannot_take_the_responses_is_told(folder, encoder, sentence):
    content = config(folder, 1)
    content["model"]["encoder"] = encoder
    name = encoder["class_path"].rpartition(".")[2]
    with pytest.raises(NeurodecError, match=f"The training of {name} stopped .{sentence}") as told:
        fit(content, folder / "run", "x", "last")
    assert told.value.__cause__ is not None
