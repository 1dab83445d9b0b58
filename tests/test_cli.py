"""The command line: help, recipes, full disks and checkpoints; `test_cli_bad_data.py` has the bad recordings."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from command_line import arguments, partials, refused, write_recipe
from safetensors.torch import load_file
from small_studies import STUDIES, session_file

from neurodec.cli import STAGES, main
from neurodec.encoders import ATM
from neurodec.training import RetrievalObjective
from neurodec.training.saved_encoder import load_pretrained, save_pretrained


@pytest.fixture
def root(tmp_path):
    """An empty data root."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@contextmanager
def shrunk(how, size, folder):
    """Let nothing larger than `size` be written below `folder`; yields what ends that."""
    folder.mkdir(exist_ok=True)
    if how == "disk":
        if not shutil.which("mount") or mount(f"size={size}", folder):
            pytest.skip("needs the right to mount a file system of its own")
        try:
            yield lambda: mount("remount,size=16m", folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mount(options, folder):
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True
    ).returncode


@pytest.mark.parametrize(
    ("how", "size", "file"),
    [
        ("disk", 30_000, ".parts/anna"),
        ("disk", 150_000, "all/responses.npy"),
        ("limit", 30_000, ".parts/anna"),
        ("limit", 70_000, "all/responses.npy"),
    ],
)
def test_a_full_disk_is_told_and_the_same_command_goes_on(root, capsys, how, size, file):
    STUDIES["arrays"][0](root)
    write_recipe(root.parent / "recipe.yaml", "arrays")
    assert main(arguments("prepare", root, "whole")) == 0
    with shrunk(how, size, root.parent / "out") as enlarge:
        error = refused(capsys, arguments("prepare", root))
        assert f"out/prepared/{file}" in error
        assert ("No space left on device" if how == "disk" else "File too large") in error
        assert "free some space" in error
        assert not (root.parent / "out/prepared/study.json").exists()
        assert not partials(root.parent)
        enlarge()
        assert main(arguments("prepare", root)) == 0
        for name in ("all/responses.npy", "all/trials.csv"):
            whole = (root.parent / "whole/prepared" / name).read_bytes()
            assert (root.parent / "out/prepared" / name).read_bytes() == whole


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_quota_that_is_full_only_when_flushed(root, capsys, monkeypatch, number):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    STUDIES["arrays"][0](root)
    write_recipe(root.parent / "recipe.yaml", "arrays")
    monkeypatch.setattr(os, "fsync", refuse)
    error = refused(capsys, arguments("prepare", root))
    assert os.strerror(number) in error
    assert "config.yaml" in error
    assert not partials(root.parent)


def test_a_file_in_the_way(root, capsys):
    STUDIES["arrays"][0](root)
    write_recipe(root.parent / "recipe.yaml", "arrays")
    (root.parent / "out").touch()
    assert "out: File exists; a file is in the way" in refused(capsys, arguments("prepare", root))
    assert "is not empty" in refused(capsys, ["simulate", "eeg", "--data-root", root])
    assert "in the way" in refused(capsys, ["simulate", "eeg", "--data-root", root.parent / "out"])


SECTIONS = {
    "protocol": "joint",
    "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
    "data": {"batch_size": 8},
    "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 16}},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    "evaluation": {"class_path": "neurodec.evaluation.Retrieval", "init_args": {"n_permutations": 50}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data root beside a trained `out`."""
    root = tmp_path_factory.mktemp("trained") / "data"
    root.mkdir()
    STUDIES["arrays"][0](root)
    write_recipe(root.parent / "recipe.yaml", "arrays", **SECTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURODEC_CACHE", str(root.parent / "cache"))
        for verb in ("prepare", "targets", "fit"):
            assert main(arguments(verb, root)) == 0
    return root


@pytest.fixture
def again(trained, tmp_path):
    """A copy of the trained `out` that may be spoilt."""
    shutil.copytree(trained.parent, tmp_path, dirs_exist_ok=True)
    return trained, tmp_path / "out"


def on_copy(verb, root, out, *overrides):
    return [*arguments(verb, root)[:-1], out, *overrides]


def test_a_checkpoint_of_other_sizes_names_every_key_and_is_not_loaded(again, capsys, tmp_path):
    root, out = again
    encoder, config = load_pretrained(out / "models/joint")
    other = ATM(**{**config["encoder"]["init_args"], "d_ff": 24, "n_chans": 5})
    save_pretrained(tmp_path / "other", other, RetrievalObjective(), {})
    shutil.copy(tmp_path / "other/model.safetensors", out / "models/joint/model.safetensors")
    error = refused(capsys, on_copy("retrieve", root, out))
    own, foreign = encoder.state_dict(), load_file(tmp_path / "other/model.safetensors")
    differing = [name for name in own if own[name].shape != foreign[name].shape]
    assert len(differing) > 3
    for name in differing:
        assert f"{name} has shape {tuple(foreign[name].shape)}, the model {tuple(own[name].shape)}" in error
    assert error.count(" has shape ") == len(differing)
    assert "models/joint does not fit the model" in error
    assert "nothing was loaded" in error
    assert not (out / "retrieved.csv").exists()


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_cut_checkpoint_and_an_absent_one(again, capsys):
    root, out = again
    halve(out / "models/joint/model.safetensors")
    assert "model.safetensors is not a readable checkpoint" in refused(capsys, on_copy("retrieve", root, out))
    shutil.rmtree(out / "models")
    assert "run the stage that writes it first" in refused(capsys, on_copy("retrieve", root, out))
    halve(out / "checkpoints/joint/last.ckpt")
    assert "last.ckpt is damaged" in refused(capsys, on_copy("fit", root, out))


def test_fewer_repetitions_than_asked_for(again, capsys):
    root, out = again
    error = refused(capsys, on_copy("predict", root, out, "--evaluation.init_args.n_repetitions", "3"))
    assert "Subject anna saw test00 2 times, fewer than the 3 repetitions asked for" in error
    assert "`n_repetitions`" in error
    assert "the finished stage predict of this recipe" in refused(capsys, on_copy("retrieve", root, out))
    assert not (out / "retrieved.csv").exists()


def test_a_disk_that_fills_while_training(again, capsys):
    root, out = again
    shutil.rmtree(out / "models")
    shutil.rmtree(out / "checkpoints")
    with shrunk("limit", 40_000, out) as enlarge:
        error = refused(capsys, on_copy("fit", root, out))
        assert "File too large; free some space" in error
        assert "checkpoints/joint/" in error
        assert not partials(out)
        enlarge()
        assert main([str(word) for word in on_copy("fit", root, out)]) == 0
    assert (out / "models/joint/config.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": {}}, ["has the key modle, which does not exist"]),
        ({"modle": None}, ["has the key modle, which does not exist"]),
        ({"data": {"batchsize": 8}}, ["batchsize"]),
        ({"dataset": {}}, ["dataset"]),
        ({"encoder": {}}, ["encoder"]),
        ({"encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_f": 1}}}, ["d_f"]),
        (
            {"dataset": {**STUDIES["fif"][1], "init_args": {"files": "x", "preprocessing": {"h_frq": 40}}}},
            ["h_frq"],
        ),
        ({"encoder": {"class_path": "strange.Net"}}, ["strange.Net", "--allow strange"]),
        ({"dataset": {"class_path": "neurodec.encoders.ATM"}}, ["neurodec.encoders.ATM", "Dataset"]),
        ({"dataset": {"class_path": "neurodec.data.Nothing"}}, ["neurodec.data.Nothing"]),
        ({"trainer": {"max_epochs": "many"}}, ["trainer.max_epochs", "many"]),
    ],
)
def test_a_bad_recipe_is_refused_before_anything_is_written(root, capsys, changes, words):
    STUDIES["arrays"][0](root)
    recipe = write_recipe(root.parent / "recipe.yaml", "arrays", **SECTIONS)
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **changes}))
    error = refused(capsys, arguments("run", root))
    for word in words:
        assert word in error
    assert not (root.parent / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": {"class_path": "stranger.lower_case"}},
        {"encoder": "stranger.Net"},
        {"encoder": '{"class_path": "stranger.Net"}'},
        {"encoder": "part.yaml"},
        {"dataset": "part.yaml"},
        {
            "evaluation": {
                "class_path": "neurodec.evaluation.Classification",
                "init_args": {"decoder": "part.yaml"},
            }
        },
        {"trainer": {"callbacks": [{"class_path": "stranger.lower_case"}]}},
        {"trainer": {"logger": "stranger.lower_case"}},
    ],
)
def test_no_code_of_another_package_runs(root, capsys, monkeypatch, changes):
    (root / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(root)
    (root.parent / "part.yaml").write_text(
        "{class_path: stranger.lower_case, encoder: {class_path: stranger.lower_case}}"
    )
    recipe = write_recipe(root.parent / "recipe.yaml", "arrays", **SECTIONS)
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **changes}))
    refused(capsys, arguments("run", root))
    assert not (root.parent / "out").exists()


@pytest.mark.parametrize("value", [None, [1], "abc"])
@pytest.mark.parametrize("section", ["dataset", "targets", "data", "encoder", "trainer", "evaluation"])
def test_a_section_without_keys(root, capsys, section, value):
    recipe = write_recipe(root.parent / "recipe.yaml", "arrays", **SECTIONS)
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), section: value}))
    assert f"section {section} " in refused(capsys, arguments("run", root))


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.max_epoch", "3"],
        ["--encoder", "part.yaml"],
        ["--nothing", "3"],
        ["--data.batchsize", "3"],
        ["stray"],
    ],
)
def test_a_flag_that_no_recipe_has(root, capsys, flags):
    write_recipe(root.parent / "recipe.yaml", "arrays", **SECTIONS)
    assert flags[0] in refused(capsys, [*arguments("run", root), *flags])


def test_a_stage_that_the_recipe_does_not_have(root, capsys):
    write_recipe(root.parent / "recipe.yaml", "arrays")
    assert "has no stage fit; it has prepare" in refused(capsys, arguments("fit", root))


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ([], "VERB"),
        (["dream"], "dream"),
        (["simulate", "eeg", "--data-root", "x", "--colour", "3"], "--colour"),
        (["simulate", "pet", "--data-root", "x"], "pet"),
        (["run", "recipe.yaml"], "--data-root"),
    ],
)
def test_a_verb_or_flag_that_does_not_exist(capsys, command, word):
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("verb", ["", "run", *STAGES, "demo", "simulate"])
def test_help_shows_an_example_with_a_recipe_that_exists(capsys, verb):
    with pytest.raises(SystemExit) as stopped:
        main([*([verb] if verb else []), "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert f"\n  neurodec {verb}" in text.split("example", 1)[1]
    configs = Path(__file__).resolve().parents[1] / "configs"
    for name in re.findall(r"configs/(\S+\.yaml)", text):
        assert (configs / name).is_file()


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom neurodec.cli import main\ntry:\n main(['run', '--help'])\nfinally:\n"
        " print({'torch', 'mne', 'pandas', 'lightning'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_simulate_writes_the_layout_once_and_nowhere_else(tmp_path, capsys):
    sizes = {"n_train_concepts": 16, "images_per_concept": 2, "n_test_concepts": 2, "gallery_per_concept": 1}
    flags = [f"--{name}={count}" for name, count in {**sizes, "test_repetitions": 2}.items()]
    command = ["simulate", "eeg", "--data-root", str(tmp_path / "sim"), *flags]
    assert main(command) == 0
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "sim").rglob("*")}
    assert session_file(tmp_path / "sim", "test", 2) in files
    assert len(list((tmp_path / "sim/image_set/training_images").rglob("*.png"))) == 32
    assert json.loads((tmp_path / "sim/simulation.json").read_text())["simulated"] is True
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sim").rglob("*")} == files
    assert "holds another simulation" in refused(capsys, [*command, "--seed", "1"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").touch()
    assert "mine is not empty" in refused(capsys, [*command[:3], tmp_path / "mine", *flags])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
