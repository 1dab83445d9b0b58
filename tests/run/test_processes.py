"""Several processes share one OUT: they fit together as one does, and all else is done once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from command_line import arguments, refused, write_recipe
from safetensors.torch import load_file
from small_studies import STUDIES

from neurodec.run.processes import alone_in

# With batch normalisation, of which all processes share the statistics; without dropout, which each draws for itself.
ENCODER = """
import torch


class Flat(torch.nn.Module):
    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(n_chans * n_times, 32, bias=False),
            torch.nn.BatchNorm1d(32),
            torch.nn.GELU(),
            torch.nn.Linear(32, n_outputs),
        )
        self.resting = torch.nn.Parameter(torch.zeros(3))  # takes no part, as parts of foundation models

    def forward(self, response):
        return self.layers(response)
"""
SECTIONS = {
    "protocol": "joint",
    "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
    "data": {"batch_size": 8, "hide_subject": 0.0},
    "encoder": {"class_path": "flat_encoder.Flat"},
    "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
    "evaluation": {
        "class_path": "neurodec.evaluation.Retrieval",
        "init_args": {
            "windows": None,
            "channels": False,
            "regions": False,
            "n_permutations": 50,
        },
    },
}
DDP = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
SCRIPT = "import sys\nfrom neurodec.cli import main\nsys.exit(main())\n"  # Lightning starts it again
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "data").mkdir()
    STUDIES["arrays"][0](folder / "data")
    (folder / "flat_encoder.py").write_text(ENCODER)
    (folder / "start.py").write_text(SCRIPT)
    write_recipe(folder / "recipe.yaml", "arrays", **SECTIONS)
    assert command(folder, "one").returncode == 0
    return folder


def environment(folder):
    paths = {"PYTHONPATH": str(folder), "NEURODEC_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **paths}


def words(folder, out, *more):
    return [*arguments("run", folder / "data", out), "--allow", "flat_encoder", *more]


def command(folder, out, *more, launcher=(sys.executable,)):
    return subprocess.run(
        [*launcher, str(folder / "start.py"), *words(folder, out, *more)],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=1200,
    )


def same(folder, out):
    """Compare a run with that of one process: weights, losses and scores."""
    one, other = (load_file(folder / run / "models/joint/model.safetensors") for run in ("one", out))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=2e-5, rtol=1e-4)
    logs = [pd.read_csv(folder / run / "metrics.csv") for run in ("one", out)]
    assert len(logs[0]) == len(logs[1]) == 4
    np.testing.assert_allclose(logs[1]["train_loss"], logs[0]["train_loss"], rtol=1e-4)
    np.testing.assert_allclose(logs[1]["val_loss"], logs[0]["val_loss"], rtol=1e-4)
    scores = [json.loads((folder / run / "results.json").read_text())["retrieval"] for run in ("one", out)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_two_processes_that_lightning_starts(study):
    done = command(study, "two", *DDP)
    assert done.returncode == 0, done.stderr
    same(study, "two")
    assert done.stdout.count("prepare ...") == 1
    assert done.stdout.count("report: ") == 1


@pytest.mark.quality
def test_two_processes_of_torchrun(study):
    done = command(study, "torchrun", *DDP, launcher=TORCHRUN)
    assert done.returncode == 0, done.stderr
    same(study, "torchrun")
    assert done.stdout.count("prepare ...") == 1
    alone = command(study, "torchrun-one", launcher=TORCHRUN)
    assert alone.returncode != 0
    assert "2 processes were started together, but the recipe trains in one" in alone.stderr


@pytest.mark.quality
def test_a_killed_run_of_two_processes_resumes(study):
    process = subprocess.Popen(
        [sys.executable, str(study / "start.py"), *words(study, "killed", *DDP)],
        env=environment(study),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    landmark = study / "killed/checkpoints/joint/last.ckpt"
    while not landmark.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (study / "killed/results.json").exists()
    done = command(study, "killed", *DDP)
    assert done.returncode == 0, done.stderr
    same(study, "killed")


@pytest.mark.slow
def test_a_refusal_ends_all_processes(study):
    done = command(study, "one", *DDP, "--optimizer.init_args.lr", "0.5", launcher=TORCHRUN)
    assert done.returncode != 0
    assert done.stderr.count("another configuration") == 1


@pytest.mark.quality
def test_a_batch_that_processes_cannot_share_is_told(study):
    done = command(study, "odd", *DDP, "--data.batch_size", "7")
    assert done.returncode == 2
    assert "A batch of 7 trials cannot be shared evenly by 2 processes" in done.stderr


def test_a_second_command_is_kept_out(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    STUDIES["fif"][0](tmp_path / "data")
    evaluation = {"class_path": "neurodec.evaluation.Classification", "init_args": {"n_shuffles": 1}}
    write_recipe(tmp_path / "recipe.yaml", "fif", evaluation=evaluation)
    with alone_in(tmp_path / "out"):
        error = refused(capsys, arguments("run", tmp_path / "data"))
    assert "Another command is at work in" in error
    assert sorted(path.name for path in Path(tmp_path / "out").iterdir()) == [".lock"]
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["name"] == "test"
