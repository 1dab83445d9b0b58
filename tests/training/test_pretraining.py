"""CSBrain without labels: hidden patches of new people are filled in better than without a model, and it resumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from command_line import arguments, refused
from csbrain_corpus import READER, write_corpus
from safetensors.torch import load_file

from neurodec.cli import main
from neurodec.encoders import CSBrain, CSBrainPretraining
from neurodec.encoders.csbrain.brain_regions import published_tables
from neurodec.errors import NeurodecError
from neurodec.evaluation.hidden_patches import filled
from neurodec.training import Batch, HiddenPatchesObjective

pytest.importorskip("edfio", reason="edfio writes the EDF files of these tests")

SMALL = {"n_layers": 2, "ffn_dim": 200, "n_heads": 4, "dropout": 0.0}


def recipe(path, epochs=2, **encoder):
    content = {
        "name": "pretrain",
        "protocol": "joint",
        "dataset": {"class_path": "neurodec.data.EEGWindows", "init_args": READER},
        "encoder": {"class_path": "neurodec.encoders.CSBrainPretraining", "init_args": {**SMALL, **encoder}},
        "objective": {"class_path": "neurodec.training.HiddenPatchesObjective"},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 2e-3}},
        "data": {"batch_size": 16, "validation_fraction": 0.2},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "gradient_clip_val": 1.0},
        "evaluation": {
            "class_path": "neurodec.evaluation.HiddenPatches",
            "init_args": {"n_windows": 6},
        },
    }
    path.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("corpus")
    write_corpus(home / "data", 7, 0)
    return home


@pytest.mark.quality
def test_new_people_are_filled_in_better_than_without_a_model(home):
    recipe(home / "recipe.yaml", epochs=40)
    assert main(arguments("run", home / "data")) == 0
    found = json.loads((home / "out/results.json").read_text())["hidden_patches"]
    errors = found["errors"]
    assert found["n_recordings"] == 1
    assert found["n_windows"] == 6  # of twelve
    assert errors["system"]["mse"] < 0.9 * min(errors[name]["mse"] for name in errors if name != "system"), (
        errors
    )
    config = json.loads((home / "out/models/joint/config.json").read_text())
    assert config["own_scale"] is True
    page = (home / "out/report.html").read_text(encoding="utf-8")
    assert "Hidden patches" in page
    started = CSBrain(3, 500, 4, 250.0, ["Cz", "O1", "O2"], start=str(home / "out/models/joint"), **SMALL)
    assert started(torch.randn(2, 3, 500)).shape == (2, 4)
    with pytest.raises(NeurodecError, match="temporal_layout: transposed"):
        CSBrain(
            3,
            500,
            4,
            250.0,
            ["Cz", "O1", "O2"],
            start=str(home / "out/models/joint"),
            temporal_layout="published",
            **SMALL,
        )


@pytest.mark.quality
def test_a_longer_training_is_the_unbroken_one(home):
    for out, epochs in (("whole", 3), ("broken", 1), ("broken", 3)):
        recipe(home / "recipe.yaml", epochs=epochs)
        assert (
            main(
                arguments("fit", home / "data", out)
                if (home / out).exists()
                else arguments("run", home / "data", out)
            )
            == 0
        )
    states = [load_file(home / out / "models/joint/model.safetensors") for out in ("whole", "broken")]
    assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())


def test_several_montages_share_the_weights(tmp_path):
    write_corpus(tmp_path / "data", 4, 4, seconds=24)
    recipe(tmp_path / "recipe.yaml", epochs=1)
    assert main(arguments("run", tmp_path / "data")) == 0
    config = json.loads((tmp_path / "out/models/joint/config.json").read_text())
    assert {len(names) for names in config["encoder"]["init_args"]["montages"].values()} == {7, 8}


def test_hidden_patches_are_not_looked_at():
    torch.manual_seed(0)
    model = CSBrainPretraining({"all": ["C3", "C4", "O1"]}, 1000, **SMALL).eval()
    x = torch.randn(2, 3, 1000) * 0.3
    hidden = torch.rand(2, 3, 5) < 0.5
    changed = torch.where(hidden.repeat_interleave(200, dim=2), torch.randn_like(x), x)
    found = [model(own, space="all", mask=hidden)["patches"] for own in (x, changed)]
    torch.testing.assert_close(*found)
    objective, number = HiddenPatchesObjective(), torch.arange(2)
    batch = Batch({"all": x}, {}, number, number, 0 * number, number)
    drawn = [objective.eval().prepare(batch, 0.0, model).mask["all"] for _ in range(2)]
    torch.testing.assert_close(*drawn)  # validation hides the same patches every time
    again = [objective.train().prepare(batch, 0.0, model).mask["all"] for _ in range(2)]
    assert not torch.equal(*again)
    names = published_tables()["pretraining"]["channels"]
    model = CSBrainPretraining({"all": names}, 1000, regions="pretraining", **SMALL).eval()
    pair = [HiddenPatchesObjective(target=target).eval() for target in ("corrected", "published")]
    window = torch.randn(2, 19, 1000)
    batch = pair[0].prepare(Batch({"all": window}, {}, number, number, 0 * number, number), 0.0, model)
    perfect = {"patches": window}
    losses = [own(perfect, batch, 0.0, model)["loss"] for own in pair]
    assert losses[0] == 0
    assert losses[1] > 1  # the release asks for other channels' samples
    both = replace(batch, responses={"all": window[:1], "more": window[1:, :5]}, space=number)
    both.mask = {"all": batch.mask["all"][:1], "more": batch.mask["all"][1:, :5]}
    apart = {"patches": {"all": window[:1] + 1, "more": window[1:, :5] + 1}}
    torch.testing.assert_close(pair[0](apart, both, 0.0, model)["loss"], torch.tensor(1.0))
    model = CSBrainPretraining({"all": ["C3", "C4", "O1"]}, 1000, **SMALL).eval()
    with pytest.raises(NeurodecError, match="not on other"):
        model(x, space="other")
    with pytest.raises(NeurodecError, match="whole seconds"):
        CSBrainPretraining({"all": ["C3"]}, 1010, **SMALL)
    with pytest.raises(NeurodecError, match="hidden_share"):
        HiddenPatchesObjective(hidden_share=1.0)


def test_simple_ways_to_fill_in():
    times = np.arange(4 * 10, dtype=float)
    x = np.stack([times, 5 + 0 * times]).reshape(1, 2, 4, 10)
    hidden = np.zeros((1, 2, 4), dtype=bool)
    hidden[0, 0, 1] = True
    found = filled(x, hidden)
    np.testing.assert_allclose(found["in_time"][0, 0, 1], x[0, 0, 1])  # a line is a line
    np.testing.assert_allclose(found["previous"][0, 0, 1], x[0, 0, 0])
    np.testing.assert_allclose(found["mean"][0, 0, 1], x[0, 0, [0, 2, 3]].mean())
    np.testing.assert_allclose(found["other_channels"][0, 0, 1], 5)
    everything = filled(x, np.ones((1, 2, 4), dtype=bool))
    assert all(np.isfinite(values).all() for values in everything.values())


def test_what_a_recipe_without_targets_may_not_do(home, capsys):
    recipe(home / "recipe.yaml")
    content = yaml.safe_load((home / "recipe.yaml").read_text())
    content["objective"] = {"class_path": "neurodec.training.RetrievalObjective"}
    (home / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert "learns the target image, and `targets` has none" in refused(
        capsys, arguments("run", home / "data", "x")
    )
