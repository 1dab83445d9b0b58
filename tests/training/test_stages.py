"""Stages of training: where they start, what they train, whose trials they see, and folders of several brains."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from linear_studies import study_of
from safetensors.torch import load_file

from neurodec import encoders
from neurodec.errors import NeurodecError
from neurodec.systems import LightningSystem, load_system
from neurodec.training import RetrievalObjective, Stage, TrainingData
from neurodec.training.module import EncoderModule, heads_of
from neurodec.training.staging import freeze, require_alike

BRIDGE = {
    "class_path": "neurodec.encoders.MindBridge",
    "init_args": {"in_dim": 24, "h": 16, "n_blocks": 1, "bottleneck": 4},
}
NEW = ["encoder.embedder.{new}.*", "encoder.builder.{new}.*"]


@pytest.fixture
def study():
    """Patterns of three brains of unequal sizes, the first of them new."""
    study, targets = study_of({"anna": 3, "ben": 4, "cleo": 5}, noise=0.2, n_train=60)
    flat = {
        name: replace(
            trials,
            responses=np.asarray(trials.responses)[..., :10].reshape(len(trials), -1),
            info={"modality": "fmri", "units": "a.u."},
        )
        for name, trials in study.spaces.items()
    }
    return replace(study, spaces=flat), targets


def system(stages, lr=3e-4, **trainer):
    return LightningSystem(
        BRIDGE,
        {
            "class_path": "neurodec.training.BridgeObjective",
            "init_args": {"mse_weight": 10.0, "temperature": 0.1},
        },
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr}},
        data=TrainingData(batch_size=30, validation_fraction=0.0),
        trainer={"max_epochs": 2, "accelerator": "cpu", **trainer},
        stages=[Stage(**stage) for stage in stages],
        selection="last",
    )


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_reset_tuning_trains_the_new_brain_and_nothing_else(study, tmp_path):
    stages = [
        {"name": "bridge", "subjects": "others"},
        {"name": "reset", "subjects": "all", "start": "bridge", "fresh": NEW, "trained": NEW},
    ]
    system(stages).fit(*study, out=tmp_path, name="x", new=["anna"])
    before, after = weights(tmp_path / "models/x.bridge"), weights(tmp_path / "models/x")
    assert not any(".of-3." in name for name in before)
    own = {name for name in after if ".of-3." in name}
    assert own
    for name, value in before.items():  # normalisation statistics among them
        torch.testing.assert_close(after[name], value, msg=name)
    model = load_system(tmp_path / "models/x")
    found = model.predict(study[0])
    assert len(found.of("image")) == 180
    history = pd.read_csv(tmp_path / "checkpoints/x/reset/metrics.csv")
    assert {"train_cycle", "train_reconstruction", "train_image_mse"} <= set(history)


def test_a_finished_stage_is_not_trained_again(study, tmp_path):
    stages = [
        {"name": "bridge", "subjects": "others"},
        {"name": "reset", "subjects": "new", "start": "bridge", "fresh": NEW, "trained": NEW},
    ]
    system(stages).fit(*study, out=tmp_path, name="x", new=["anna"])
    time = (tmp_path / "models/x.bridge/config.json").stat().st_mtime_ns
    expected = weights(tmp_path / "models/x")
    shutil.rmtree(tmp_path / "models/x")
    shutil.rmtree(tmp_path / "checkpoints/x/reset")
    system(stages).fit(*study, out=tmp_path, name="x", new=["anna"])
    assert (tmp_path / "models/x.bridge/config.json").stat().st_mtime_ns == time
    for name, value in weights(tmp_path / "models/x").items():
        torch.testing.assert_close(value, expected[name])


def test_fewer_trials_of_the_new_subject_alone(study, tmp_path):
    """The first 40 of anna's 60 trials make one batch of 30 an epoch; the loss of the whole is another."""
    for n in (None, 40):
        stages = [{"name": "alone", "subjects": "new", "n_trials": n}]
        system(stages).fit(*study, out=tmp_path / str(n), name="x", new=["anna"])
    losses = [
        pd.read_csv(tmp_path / f"{n}/checkpoints/x/alone/metrics.csv")["train_loss"] for n in (None, 40)
    ]
    assert not np.allclose(*losses)


class Normalised(torch.nn.Module):
    """A body with batch normalisation and dropout, and a head."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.BatchNorm1d(40), torch.nn.Linear(40, 8), torch.nn.Dropout(0.5)
        )
        self.drop = torch.nn.Dropout(0.5)  # after the body, so it goes with it
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(8, n_outputs))

    def forward(self, x):
        return self.head(self.drop(self.body(x)))


def test_frozen_is_frozen_statistics_and_dropout_too():
    torch.manual_seed(0)
    module = EncoderModule(Normalised(4), RetrievalObjective())
    freeze(module, ["encoder.head.*", "objective.*"], "head")
    x, before = torch.randn(30, 40) + 3, copy.deepcopy(module.encoder.state_dict())
    module.train()
    module.encoder.head.eval()
    torch.testing.assert_close(module.encoder(x), module.encoder(x))  # nothing is dropped
    for name, value in module.encoder.state_dict().items():
        torch.testing.assert_close(value, before[name])
    module.train()
    assert module.encoder.head[0].training  # the head's own dropout is on
    assert not torch.equal(module.encoder(x), module.encoder(x))


@pytest.mark.parametrize("encoder", ["NICE", "ATM", "NeuroBridge"])
def test_a_head_on_frozen_weights_of_published_networks(encoder):
    sizes = {"n_chans": 6, "n_times": 100, "n_outputs": 12}
    module = EncoderModule(getattr(encoders, encoder)(**sizes), RetrievalObjective())
    freeze(module, ["encoder.projector.*", "objective.*"], "head")
    before = copy.deepcopy(module.encoder.state_dict())
    module.train()
    x = torch.randn(16, 6, 100) + 2
    with torch.no_grad():
        heads_of(module.encoder, x, torch.zeros(16, dtype=torch.long), "all", "image")
    for name, value in module.encoder.state_dict().items():
        if "projector" not in name:
            torch.testing.assert_close(value, before[name], msg=name)


@pytest.mark.parametrize(
    ("stages", "new", "sentence"),
    [
        ([{"name": "a", "subjects": "new"}], [], "is for new subjects, and there are none"),
        ([{"name": "a", "trained": ["encoder.nothing.*"]}], [], "trains no parameter"),
        (
            [{"name": "a", "subjects": "others"}, {"name": "b", "start": "a"}],
            ["anna"],
            "name what begins anew in `fresh`",
        ),
    ],
)
def test_stages_that_cannot_be(study, tmp_path, stages, new, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        system(stages).fit(*study, out=tmp_path, name="x", new=new)


@pytest.mark.quality
def test_what_one_person_saw_becomes_anothers_voxels(study, tmp_path):
    """After training, voxels that are synthesised are nearer to that person's own than to a shuffled order."""
    trained = system([{"name": "bridge"}], lr=0.01, max_epochs=100)
    trained.fit(*study, out=tmp_path, name="x")
    encoder = trained.encoder.cpu()
    voxels = {name: torch.as_tensor(np.asarray(part.responses)) for name, part in study[0].spaces.items()}
    with torch.inference_mode():
        made = encoder.synthesise(voxels["of-4"], "of-4", "of-5")
        other = encoder(voxels["of-5"], torch.zeros(60, dtype=torch.long), space="of-5")["_pooled"]
    assert made.shape == (60, 24)
    correlation = np.corrcoef(made.numpy(), other.numpy())[:60, 60:]
    assert np.diag(correlation).mean() > correlation.mean() + 0.1


def test_a_brain_without_an_embedder_is_told(study, tmp_path):
    trained = system([{"name": "bridge", "subjects": "others"}])
    trained.fit(*study, out=tmp_path, name="x", new=["anna"])
    with pytest.raises(NeurodecError, match=r"trained on of-4, of-5, not on of-3"):
        trained.predict(study[0])


def test_weights_of_another_sampling_rate_are_refused():
    slow, fast = (
        {"class_path": "neurodec.encoders.WAVEPretraining", "init_args": {"n_chans": 4, "sfreq": rate}}
        for rate in (0.5, 1.0)
    )
    require_alike(slow, slow, Path("before"), "tuned", set())
    with pytest.raises(
        NeurodecError, match=r"trained at 0\.5 samples per second, and these recordings have 1"
    ):
        require_alike(slow, fast, Path("before"), "tuned", set())
