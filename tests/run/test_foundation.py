"""From recordings without labels to classes in one command; killed in the middle of the pre-training; refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from command_line import arguments, refused
from safetensors.torch import load_file

from neurodec.cli import main
from neurodec.simulate import simulate
from neurodec.simulate.states import TEN_TWENTY

pytest.importorskip("edfio", reason="edfio writes the EDF files of these tests")

SMALL = {"n_layers": 1, "ffn_dim": 100}
BF16 = ["--trainer.precision", "bf16-mixed"]  # as the recipe of TUEG suggests
TRAINER = {"accelerator": "cpu", "gradient_clip_val": 1.0}
STATES = ("rest", "left hand", "right hand", "eyes closed")


def write_recipes(home, epochs=1, **tuning):
    pretraining = {
        "name": "pretraining",
        "protocol": "joint",
        "dataset": {
            "class_path": "neurodec.data.EEGWindows",
            "init_args": {
                "files": "unlabelled/sub-{subject}_*.edf",
                "seconds": 5.0,
                "trim": 0.0,
                "least": 10.0,
            },
        },
        "encoder": {"class_path": "neurodec.encoders.CSBrainPretraining", "init_args": SMALL},
        "objective": {"class_path": "neurodec.training.HiddenPatchesObjective"},
        "lr_scheduler": {"class_path": "neurodec.training.CosineSchedule"},
        "data": {"batch_size": 4, "validation_fraction": 0.0},
        "trainer": {"max_epochs": epochs, **TRAINER},
        "evaluation": {"class_path": "neurodec.evaluation.HiddenPatches"},
    }
    (home / "pretraining.yaml").write_text(yaml.safe_dump(pretraining))
    recipe = {
        "name": "tuning",
        "protocol": "joint",
        "dataset": {
            "class_path": "neurodec.data.AnnotatedWindows",
            "init_args": {
                "files": "labelled/sub-{subject}_*.edf",
                "labels": {state: state for state in STATES},
                "channels": TEN_TWENTY,
            },
        },
        "targets": {"label": {"class_path": "neurodec.features.ClassLabels"}},
        "encoder": {"class_path": "neurodec.encoders.CSBrain", "init_args": {**SMALL, "head": "attention"}},
        "objective": {"class_path": "neurodec.training.LabelObjective"},
        "data": {"batch_size": 4},
        "trainer": {"max_epochs": 1, **TRAINER},
        "seeds": [1, 2],
        "stages": [
            {"name": "before", "recipe": "pretraining.yaml"},
            {"name": "random", "companion": True},
            {"name": "tuned", "start": "before", "fresh": ["encoder.head.*"]},
        ],
        "evaluation": {
            "class_path": "neurodec.evaluation.PredictedClasses",
            "init_args": {"n_permutations": 50},
        },
        **tuning,
    }
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("foundation")
    simulate(home / "data", "states", n_unlabelled=4, minutes=1, n_labelled=3, n_stretches=2)
    write_recipes(home)
    return home


@pytest.mark.slow
def test_one_command_from_raw_files_to_a_table_of_pretrained_random_and_linear(home, capsys):
    assert main(arguments("run", home / "data")) == 0
    told = capsys.readouterr().out
    assert told.index("pretrain ...") < told.index("before: ") < told.index("targets ...\nfit ...")
    found = json.loads((home / "out/results.json").read_text())
    assert set(found["classification"]["classes"]) == set(STATES)
    assert set(found["controls"]) == {"random"}
    assert set(found["baselines"]) == {"spectral"}
    assert {"classification.kappa", "classification.auc"} <= set(found["over_seeds"])
    assert found["simulated"] is True
    assert "note" not in found["classification"]  # other people than those of the pre-training
    assert len(found["attention"]["regions"]) == 5
    page = (home / "out/report.html").read_text(encoding="utf-8")
    for text in (
        "Predicted classes",
        "Cohen&#39;s kappa",
        "Attention between regions",
        "on the validation trials of the data&#39;s split held out of",
    ):
        assert text in page, text
    before = json.loads((home / "out/stages/before/results.json").read_text())
    assert before["hidden_patches"]["n_recordings"] == 1
    assert "Hidden patches" in (home / "out/stages/before/report.html").read_text(encoding="utf-8")
    weights = home / "out/models/joint-seed1/model.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert main(arguments("run", home / "data")) == 0  # nothing is done again
    assert weights.stat().st_mtime_ns == stamp
    assert len(json.loads((home / "out/models/joint-seed1/config.json").read_text())["met_before"]) == 3


@pytest.mark.quality
def test_a_pretraining_killed_in_the_middle_ends_with_the_same_weights(home):
    write_recipes(home, epochs=3)

    def started(out):
        words = [
            "run",
            str(home / "pretraining.yaml"),
            "--data-root",
            str(home / "data"),
            "--out",
            str(home / out),
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "neurodec", *words, "--trainer.accumulate_grad_batches", "2", *BF16],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole, process = started("whole"), started("killed")
    landmark = home / "killed/checkpoints/joint/last.ckpt"
    while not landmark.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    time.sleep(0.05)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (home / "killed/results.json").exists()
    assert whole.wait() == 0
    assert started("killed").wait() == 0
    one, other = (load_file(home / out / "models/joint/model.safetensors") for out in ("whole", "killed"))
    assert all(torch.equal(values, other[name]) for name, values in one.items())
    write_recipes(home)


def test_several_processes_do_not_run_the_recipe_of_a_stage(home, monkeypatch, capsys):
    monkeypatch.setattr("neurodec.run.processes.Processes.n_started", 2)
    error = refused(capsys, arguments("run", home / "data", "several"))
    assert "The stage before is the recipe" in error
    assert "run that recipe by itself" in error


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stages": [{"name": "a", "recipe": "no-such.yaml"}, {"name": "b"}]}, "no-such.yaml does not exist"),
        ({"stages": [{"name": "b", "start": "nowhere"}]}, "nowhere"),
        ({"targets": {"label": {"class_path": "neurodec.features.Numbers"}}}, "is not a number"),
    ],
)
def test_what_a_recipe_of_labels_may_not_do(home, tmp_path, capsys, change, sentence):
    write_recipes(tmp_path, **change)
    (tmp_path / "data").symlink_to(home / "data")
    assert sentence in refused(capsys, arguments("run", tmp_path / "data"))


def test_a_simulation_of_states_has_its_own_sizes(tmp_path, capsys):
    command = ["simulate", "states", "--data-root", tmp_path / "x", "--n_train_concepts", "3"]
    assert "n_train_concepts is not a size of a simulation of states" in refused(capsys, command)
