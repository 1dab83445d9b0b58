"""Coming back to a run: longer, interrupted, told otherwise; and what is refused before anything was trained."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import arguments, refused
from linear_studies import write_recipe, write_study
from safetensors.numpy import load_file

from neurodec.cli import main

LEARNT = {
    "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 16}},
    "data": {"batch_size": 40},
    "trainer": {"max_epochs": 2},
}
OWN = """
from torch import nn


class Small(nn.Module):
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture
def home(tmp_path):
    return write_study(tmp_path / "data", chans={"anna": 6})


def weights(home, out):
    return load_file(home.parent / out / "models/sub-anna/model.safetensors")


def run(home, out, *overrides):
    assert main([*arguments("run", home, out), *overrides]) == 0


def test_a_training_is_extended_and_equals_an_unbroken_one(home, capsys):
    write_recipe(home.parent / "recipe.yaml", **LEARNT)
    run(home, "long", "--trainer.max_epochs", "4")
    run(home, "out")
    before, scores = weights(home, "out"), (home.parent / "out/results.json").read_text()
    run(
        home,
        "out",
        "--trainer.max_epochs",
        "4",
        "--trainer.accelerator",
        "cpu",
        "--trainer.log_every_n_steps",
        "9",
    )
    assert len(pd.read_csv(home.parent / "out/metrics.csv")) == 4
    assert (home.parent / "out/results.json").read_text() != scores
    after, whole = weights(home, "out"), weights(home, "long")
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    for name in whole:
        np.testing.assert_array_equal(after[name], whole[name], err_msg=name)
    error = refused(capsys, [*arguments("run", home), "--trainer.max_epochs", "3"])
    assert "a training of 4 epochs, more than the 3 that are asked for" in error


def test_what_does_not_change_the_result_does_not_count(home, capsys):
    write_recipe(home.parent / "recipe.yaml", **LEARNT)
    run(home, "out")
    before = (home.parent / "out/models/sub-anna/model.safetensors").stat().st_mtime_ns
    watching = {
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}},
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
        "accelerator": "cpu",
        "devices": 1,
    }
    write_recipe(home.parent / "recipe.yaml", **LEARNT | {"trainer": {"max_epochs": 2, **watching}})
    run(home, "out")
    assert (home.parent / "out/models/sub-anna/model.safetensors").stat().st_mtime_ns == before
    error = refused(capsys, [*arguments("run", home), "--optimizer.init_args.lr", "0.1"])
    named = [word.strip(",.") for word in error.split("or delete ")[1].split() if "/" in word]
    assert len(named) == 3
    assert all((home.parent / "out" / name.rpartition("/")[2]).exists() for name in named)


def test_a_schedule_that_follows_from_the_end_is_not_extended(home, capsys):
    schedule = {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 1e-3}}
    write_recipe(home.parent / "recipe.yaml", **LEARNT, lr_scheduler=schedule)
    run(home, "out")
    error = refused(capsys, [*arguments("run", home), "--trainer.max_epochs", "4"])
    assert "another configuration" in error


def test_control_c_says_how_to_go_on(home):
    write_recipe(home.parent / "recipe.yaml", **LEARNT | {"trainer": {"max_epochs": 5000}})
    command = [sys.executable, "-m", "neurodec", *arguments("run", home)]
    # A shell's background job ignores Ctrl-C, and what it starts inherits that: not so here.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, preexec_fn=heard, **pipes)
    last = home.parent / "out/checkpoints/sub-anna/last.ckpt"
    for _ in range(600):
        if last.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert told == "interrupted; what is done is kept, and the same command goes on from here\n"
    assert last.exists()


@pytest.mark.quality
@pytest.mark.parametrize("launcher", ["module", "script"])
def test_a_class_of_the_current_folder(home, launcher):
    (home.parent / "my_lab.py").write_text(OWN)
    write_recipe(home.parent / "recipe.yaml", **LEARNT | {"encoder": {"class_path": "my_lab.Small"}})
    # A console script has its own folder in sys.path, not the current one.
    as_script = "import sys; sys.path.pop(0); from neurodec.cli import main; sys.exit(main())"
    start = ["-m", "neurodec"] if launcher == "module" else ["-c", as_script]
    command = [sys.executable, *start, *arguments("run", home)]
    refusal = subprocess.run(command, cwd=home.parent, capture_output=True, text=True, check=False)
    assert refusal.returncode == 2
    assert "--allow my_lab" in refusal.stderr
    done = subprocess.run(
        [*command, "--allow", "my_lab"], cwd=home.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (home.parent / "out/report.html").exists()


def test_written_files_can_be_read_by_others(home):
    write_recipe(home.parent / "recipe.yaml", **LEARNT)
    run(home, "out")
    files = [path for path in (home.parent / "out").rglob("*") if path.is_file() and path.name != ".lock"]
    assert any(path.suffix == ".safetensors" for path in files)
    closed = [path.name for path in files if not path.stat().st_mode & stat.S_IROTH]
    assert not closed


def no_splits(home):
    table = pd.read_csv(home / "pictures.csv").drop(columns="split")
    table.to_csv(home / "pictures.csv", index=False)


def all_training(home):
    pd.read_csv(home / "pictures.csv").assign(split="train").to_csv(home / "pictures.csv", index=False)


@pytest.mark.parametrize(
    ("patterns", "spoil", "sections", "sentence"),
    [
        (
            False,
            no_splits,
            LEARNT,
            "anna have no trial with the split 'train'; mark trials by a column `split`",
        ),
        (False, all_training, LEARNT, "anna have no trial with the split 'test'"),
        (True, no_splits, {"system": {"class_path": "neurodec.systems.RidgeSystem"}}, "the split 'train'"),
        (True, None, LEARNT, "ATM reads sensors over time, and the trials (all) are patterns of 60 voxels"),
        (False, None, {**LEARNT, "targets": {}}, "trains without `targets`; add"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_computed(
    tmp_path, capsys, patterns, spoil, sections, sentence
):
    home = write_study(tmp_path / "data", chans={"anna": 6}, patterns=patterns)
    if spoil is not None:
        spoil(home)
    write_recipe(tmp_path / "recipe.yaml", patterns=patterns, **sections)
    assert sentence in refused(capsys, arguments("run", home))
    assert not (tmp_path / "out/targets").exists()
    assert not (tmp_path / "out/checkpoints").exists()


def test_the_section_data_may_be_left_out(home):
    sections = {name: section for name, section in LEARNT.items() if name != "data"}
    found = {}
    for out, more in (("out", {}), ("given", {"data": {"batch_size": 64, "validation_fraction": 0.1}})):
        write_recipe(home.parent / "recipe.yaml", **sections, **more)
        run(home, out)
        found[out] = json.loads((home.parent / out / "results.json").read_text())["retrieval"]
    assert found["out"] == found["given"]  # the defaults


def test_targets_that_were_deleted_are_made_again(home):
    write_recipe(home.parent / "recipe.yaml", **LEARNT)
    run(home, "out")
    scores = json.loads((home.parent / "out/results.json").read_text())["retrieval"]
    shutil.rmtree(home.parent / "out/targets/image")
    run(home, "out")
    assert (home.parent / "out/targets/image").is_dir()
    assert json.loads((home.parent / "out/results.json").read_text())["retrieval"] == scores


def test_a_recipe_of_a_former_version_runs_with_one_warning(home, capsys):
    write_recipe(home.parent / "recipe.yaml", system={"class_path": "neurodec.systems.RidgeSystem"})
    content = yaml.safe_load((home.parent / "recipe.yaml").read_text())
    content["evaluation"]["init_args"]["n_bootstrap"] = 200
    content["system"]["class_path"] = "neurodec.alignment.RidgeSystem"
    (home.parent / "recipe.yaml").write_text(yaml.safe_dump(content))
    run(home, "out")
    told = capsys.readouterr().err
    assert told.count("`n_bootstrap` of the recipe is ignored") == 1
    assert told.startswith("neurodec: warning: ")
