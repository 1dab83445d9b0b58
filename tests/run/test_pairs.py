"""Pairs of what a recipe may name: every one runs, or is refused before any training."""

import itertools
import os
import subprocess
import sys

import pytest
from command_line import arguments
from linear_studies import write_recipe, write_study

from neurodec.cli import main

TRAINER = {"max_epochs": 1, "enable_progress_bar": False, "accelerator": "cpu"}
SYSTEMS = {
    "ATM": {"encoder": {"class_path": "neurodec.encoders.ATM"}},
    "NICE": {"encoder": {"class_path": "neurodec.encoders.NICE"}},
    "EEGNet": {"encoder": {"class_path": "braindecode.models.EEGNet"}},
    "MindBridge": {
        "encoder": {
            "class_path": "neurodec.encoders.MindBridge",
            "init_args": {"in_dim": 64, "h": 16, "n_blocks": 1},
        },
        "objective": {"class_path": "neurodec.training.BridgeObjective"},
    },
    "ridge": {"system": {"class_path": "neurodec.systems.RidgeSystem"}},
    "in context": {
        "system": {
            "class_path": "neurodec.systems.InContextSystem",
            "init_args": {"way": "prior", "inverse": "bayes"},
        }
    },
}
PROTOCOLS = ("within_subject", "leave_one_subject_out", "joint", "new_subject")
MONTAGES = {"one montage": {"ben": 9, "cleo": 9}, "sensors of their own": {"anna": 6, "ben": 9}}
OTHERS = [{}, {"selection": "last"}, {"seeds": [1, 2]}, {"trainer": {**TRAINER, "precision": "bf16-mixed"}}]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    home = tmp_path_factory.mktemp("pairs")
    for patterns, (name, people) in itertools.product((False, True), MONTAGES.items()):
        write_study(home / f"{name}{patterns}/data", people, patterns=patterns)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("patterns", [False, True], ids=["sensors", "voxels"])
@pytest.mark.parametrize(("place", "protocol"), enumerate(PROTOCOLS))
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_pair_runs_or_is_refused_before_any_training(roots, capsys, system, place, protocol, patterns):
    number = place + list(SYSTEMS).index(system)
    montage = list(MONTAGES)[(number + patterns) % 2]  # all pairs, not all triples
    home = roots / f"{montage}{patterns}"
    more = OTHERS[number % len(OTHERS)]
    sections = {"protocol": protocol, **SYSTEMS[system], **more}
    if "encoder" in sections:
        sections = {"trainer": TRAINER, **sections}
    else:
        sections.pop("trainer", None)
    out = f"{system} {protocol}"
    write_recipe(home / "recipe.yaml", patterns=patterns, **sections)
    code = main(arguments("run", home / "data", out))
    told = capsys.readouterr()
    assert code in (0, 2), told.err
    if code == 2:
        assert told.err.count("\n") == 1
        assert not list((home / out).glob("models/*")), told.err
        assert not list((home / out).glob("checkpoints/*")), told.err


@pytest.mark.quality
@pytest.mark.parametrize("system", ["NICE", "MindBridge"])
def test_on_two_processes_networks_run_or_are_refused(roots, system):
    home = roots / "one montageFalse"
    write_recipe(home / "two.yaml", protocol="joint", trainer=TRAINER, **SYSTEMS[system])
    words = ["run", home / "two.yaml", "--data-root", home / "data", "--out", home / f"two {system}"]
    words += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    (home / "start.py").write_text("import sys\nfrom neurodec.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, home / "start.py", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2400)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or done.stderr.count("\n") == 1
