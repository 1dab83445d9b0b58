"""Recipes, folders and checkpoints of strangers: none runs code, each is refused in one sentence."""

import json
import pickle
import shutil

import h5py
import numpy as np
import pytest
import torch
import yaml
from command_line import arguments, refused, write_recipe
from small_studies import STUDIES
from test_cli import SECTIONS

from neurodec.class_paths import check_value, resolve_class
from neurodec.cli import main
from neurodec.data.readers.hdf5 import check_own
from neurodec.errors import NeurodecError
from neurodec.features import load_clip, load_tokenizer
from neurodec.features.weights import ASSETS
from neurodec.foreign_code import refuse_code
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.training.fit import read_own_checkpoint

POPEN = {
    "class_path": "torch.utils.cpp_extension.subprocess.Popen",
    "init_args": {"args": ["touch", "MARKER"]},
}
SYSTEM = {"class_path": "torch.utils.cpp_extension.os.system", "init_args": {"command": "touch MARKER"}}
LOAD = {"class_path": "torch.load", "init_args": {"f": "evil.pt", "weights_only": False}}
CALLBACKS = "lightning.pytorch.callbacks"
LOGGERS = "lightning.pytorch.loggers"


def callback(name, **arguments_):
    return {"trainer": {"callbacks": [{"class_path": f"{CALLBACKS}.{name}", "init_args": arguments_}]}}


def logger(name, **arguments_):
    return {"trainer": {"logger": {"class_path": f"{LOGGERS}.{name}", "init_args": arguments_}}}


def encoder(**arguments_):
    return {"encoder": {"class_path": "neurodec.encoders.ATM", "init_args": arguments_}}


TRICKS = {
    "process in encoder arguments": encoder(d_ff=POPEN),
    "process as encoder": {"encoder": POPEN},
    "shell as encoder": {"encoder": SYSTEM},
    "unpickling as encoder": {"encoder": LOAD},
    "process as text": {"encoder": json.dumps(POPEN)},
    "process in console arguments": callback("RichProgressBar", console_kwargs={"file": POPEN}),
    "process in theme": callback("RichProgressBar", theme=POPEN),
    "process in tags": logger("MLFlowLogger", tags={"a": POPEN}),
    "process in tags as text": logger("MLFlowLogger", tags={"a": json.dumps(POPEN)}),
    "function as callback's argument": callback("LambdaCallback", on_fit_start="os.system"),
    "class as callback's argument": callback("LambdaCallback", on_fit_start=POPEN),
    "allowed function as argument": callback("LambdaCallback", on_fit_start="torch.hub.load"),
    "callback that is none": {"trainer": {"callbacks": [POPEN]}},
    "callback that is a module": {"trainer": {"callbacks": [{"class_path": "torch.nn.Linear"}]}},
    "logger that is a callback": logger("") | {"trainer": {"logger": {"class_path": f"{CALLBACKS}.Timer"}}},
    "strategy with nested values": {
        "trainer": {
            "strategy": {
                "class_path": "lightning.pytorch.strategies.DDPStrategy",
                "init_args": {"cluster_environment": POPEN, "process_group_backend": "gloo"},
            }
        }
    },
    "strategy that is a process": {"trainer": {"strategy": POPEN}},
    "plugins that are processes": {"trainer": {"plugins": [POPEN]}},
    "profiler that is a process": {"trainer": {"profiler": POPEN}},
    "accelerator that is a process": {"trainer": {"accelerator": POPEN}},
    "number that is a process": {"trainer": {"max_epochs": POPEN}},
    "reader's argument": {
        "dataset": {
            "class_path": "neurodec.data.Recordings",
            "init_args": {"files": "x.edf", "preprocessing": POPEN},
        }
    },
    "list of recordings": {
        "dataset": {"class_path": "neurodec.data.Recordings", "init_args": {"files": [POPEN]}}
    },
    "labels": {
        "dataset": {
            "class_path": "neurodec.data.ArrayFile",
            "init_args": {"file": "x", "axes": ["trial", "voxel"], "labels": {"a": POPEN}},
        }
    },
    "reader that is an evaluation": {"dataset": {"class_path": "neurodec.evaluation.Retrieval"}},
    "evaluation that is a reader": {"evaluation": {"class_path": "neurodec.data.MuseCSV"}},
    "evaluation's argument": {
        "evaluation": {"class_path": "neurodec.evaluation.Retrieval", "init_args": {"n_permutations": POPEN}}
    },
    "a stranger's module": {"encoder": {"class_path": "stranger.Net"}},
    "a stranger's function": callback("LambdaCallback", on_fit_start="stranger.run"),
    "a stranger in a file": {"encoder": "part.yaml"},
    "keyword arguments": {"encoder": {"class_path": "neurodec.encoders.ATM", "dict_kwargs": {"x": POPEN}}},
    "features": {"targets": {"image": POPEN}},
    "features of another kind": {"targets": {"image": {"class_path": "neurodec.data.MuseCSV"}}},
    "absurd depth": {"data": {"batch_size": json.loads("[" * 200 + "1" + "]" * 200)}},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A data root beside a valid recipe, in a folder where tricks would leave their mark."""
    root = tmp_path / "data"
    root.mkdir()
    STUDIES["arrays"][0](root)
    (tmp_path / "stranger.py").write_text("open('MARKER', 'w').close()\nraise SystemExit('imported')\n")
    (tmp_path / "part.yaml").write_text("{class_path: stranger.Net}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_recipe(tmp_path / "recipe.yaml", "arrays", **SECTIONS)
    return root


def changed(root, changes):
    path = root.parent / "recipe.yaml"
    content = yaml.safe_load(path.read_text())
    for name, section in changes.items():
        merged = {**content.get(name, {}), **section} if name in ("trainer", "data") else section
        content[name] = merged
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("trick", TRICKS)
def test_no_recipe_runs_code(study, capsys, trick):
    changed(study, TRICKS[trick])
    refused(capsys, arguments("run", study))
    assert not (study.parent / "MARKER").exists()
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--encoder", "stranger.Net"],
        ["--encoder.class_path", "torch.utils.cpp_extension.subprocess.Popen"],
        ["--encoder.init_args.d_ff", json.dumps(POPEN)],
        [f"--trainer.callbacks={json.dumps([POPEN])}"],
        ["--trainer.callbacks+", json.dumps(POPEN)],
        [
            f"--trainer.callbacks+={CALLBACKS}.LambdaCallback",
            "--trainer.callbacks.on_fit_start",
            "stranger.run",
        ],
        ["--trainer.logger", "stranger.Net"],
        ["--trainer.logger", f"{LOGGERS}.MLFlowLogger", "--trainer.logger.tags", json.dumps({"a": POPEN})],
        ["--evaluation", "stranger.Net"],
        ["--trainer.strategy", "stranger.Net"],
    ],
)
def test_no_flag_runs_code(study, capsys, flags):
    refused(capsys, [*arguments("run", study), *flags])
    assert not (study.parent / "MARKER").exists()
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {
            "trainer": {
                "callbacks": [
                    {"class_path": f"{CALLBACKS}.EarlyStopping", "init_args": {"monitor": "val_loss"}}
                ]
            }
        },
        {"trainer": {"callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss"}}]}},
        {"trainer": {"callbacks": {"class_path": f"{CALLBACKS}.Timer"}}},
        {"trainer": {"strategy": "auto", "profiler": "simple"}},
        {"trainer": {"logger": {"class_path": f"{LOGGERS}.CSVLogger", "init_args": {"save_dir": "logs"}}}},
        {"encoder": {"class_path": "neurodec.encoders.ATM"}},
        {"name": "torch.load", "seed": 3},
    ],
)
def test_what_a_slot_takes_is_taken(study, changes):
    changed(study, changes)
    parser, recipe = load_recipe(study.parent / "recipe.yaml", [])
    kept = parser.dump(recipe)
    for text in texts_of(changes):
        assert text.rpartition(".")[2] in kept


def texts_of(value):
    """Every text in nested dicts and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for own in inner for text in texts_of(own)]


def test_file_names_are_no_classes(study, capsys):
    for name in ("recording.EDF", "test.bdf", "code.csv", "os.path"):
        dataset = {
            "class_path": "neurodec.data.Recordings",
            "init_args": {"files": name, "events": "code.csv"},
        }
        (study.parent / "recipe.yaml").write_text(yaml.safe_dump({"name": "x", "dataset": dataset}))
        error = refused(capsys, arguments("prepare", study, f"out-{name}"))
        assert f"No file below {study} fits {name}" in error


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("neurodec.files.Path", "is defined in pathlib"),
        ("torch.utils.cpp_extension.subprocess.Popen", "cannot be imported"),
        ("torch.load", "is not a class"),
        ("torch.nn.Linear", "is not a subclass of Callback"),
        ("torch.nn.NoSuchThing", "does not exist; correct the name"),
        ("json.JSONDecoder", "outside the allowed packages"),
        ("Linear", "is not an import path"),
        (7, "is not an import path"),
        ("torch..nn", "is not an import path"),
    ],
)
def test_what_resolves_to_nothing(path, sentence):
    from lightning.pytorch import Callback

    with pytest.raises(NeurodecError, match=sentence):
        resolve_class(path, Callback)


def test_values_that_are_nested_for_ever():
    value = "x"
    for _ in range(300):
        value = [value]
    with pytest.raises(NeurodecError, match="nested too deeply"):
        check_value(list, value, "x", ASSETS, frozenset())


class Evil:
    def __reduce__(self):
        return eval, ("open('MARKER', 'w').close()",)


def test_a_checkpoint_is_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "callbacks": {"x": Evil()}}, "last.ckpt")
    with pytest.raises(NeurodecError, match=r"last.ckpt cannot be read as a checkpoint .*delete it"):
        read_own_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(NeurodecError, match=r"last.ckpt cannot be read as a checkpoint"):
        read_own_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.parametrize("text", ["checkpoints/x/../../../thesis.txt", "s3://bucket/thesis.txt"])
def test_a_checkpoint_has_nothing_deleted_elsewhere(tmp_path, text):
    for state in ({"kth_best_model_path": text}, {"best_k_models": {text: 1.0}}):
        torch.save({"state_dict": {}, "callbacks": {"ModelCheckpoint": state}}, tmp_path / "last.ckpt")
        with pytest.raises(NeurodecError, match="outside its folder"):
            read_own_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tokenizer_kwargs": {"trust_remote_code": True}}, "keyword trust_remote_code .*could run code"),
        ({"tokenizer_kwargs": {"use_fast": False}}, "keyword use_fast"),
        ({"tokenizer_kwargs": [1]}, "without a model_cfg"),
    ],
)
def test_a_clip_folder_passes_no_keyword_on(tmp_path, change, sentence):
    shutil.copytree(ASSETS / "tiny-clip", tmp_path / "clip")
    file = tmp_path / "clip/open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["text_cfg"] |= change
    file.write_text(json.dumps(content))
    for load in (load_clip, load_tokenizer):
        with pytest.raises(NeurodecError, match=sentence):
            load(f"local-dir:{tmp_path / 'clip'}")


def test_a_clip_folder_brings_no_code(tmp_path):
    shutil.copytree(ASSETS / "tiny-clip", tmp_path / "clip")
    file = tmp_path / "clip/tokenizer_config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "auto_map": {"AutoTokenizer": ["x.Y", None]}})
    )
    with pytest.raises(NeurodecError, match="tokenizer of its own code"):
        load_tokenizer(f"local-dir:{tmp_path / 'clip'}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--trainer.accelerator", "gpu"],
            ["trainer.accelerator is gpu", "leave it out", "pip install torch"],
        ),
        (["--trainer.accelerator", "cuda"], ["trainer.accelerator is cuda"]),
        (["--trainer.accelerator", "abacus"], ["no accelerator abacus", "cpu"]),
        (["--targets.image.init_args.device", "cuda"], ["targets.image.device is cuda", "leave it out"]),
        (["--targets.image.init_args.device", "banana"], ["targets.image.device is banana"]),
        (
            ["--trainer.logger", f"{LOGGERS}.WandbLogger"],
            ["WandbLogger needs the package wandb", "pip install wandb"],
        ),
        (["--trainer.logger", f"{LOGGERS}.CometLogger"], ["pip install comet-ml"]),
        (
            ["--trainer.logger", f"{LOGGERS}.CSVLogger", "--trainer.logger.save_dir", "/tmp/x"],
            ["--allow-outside"],
        ),
        (["--trainer.logger", f"{LOGGERS}.CSVLogger", "--trainer.logger.save_dir", "../x"], ["lies outside"]),
        (
            [
                "--trainer.profiler",
                "lightning.pytorch.profilers.SimpleProfiler",
                "--trainer.profiler.dirpath",
                "/tmp",
            ],
            ["dirpath is /tmp", "--allow-outside"],
        ),
    ],
)
def test_what_is_not_there_or_lies_outside_is_told_before_any_work(study, capsys, flags, words):
    if torch.cuda.is_available() and any("cuda" in flag or "gpu" in flag for flag in flags):
        pytest.skip("there is a GPU here")
    error = refused(capsys, [*arguments("run", study), *flags])
    for word in words:
        assert word in error
    assert not (study.parent / "out").exists()


def test_loggers_write_below_out(study, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(study.parent / "cache"))
    flags = ["--trainer.logger", f"{LOGGERS}.CSVLogger", "--trainer.logger.save_dir", "logs"]
    before = {path.name for path in study.parent.iterdir()}
    for verb in ("prepare", "targets", "fit"):
        assert main([*arguments(verb, study), *flags]) == 0
    assert list((study.parent / "out/logs").rglob("metrics.csv"))
    assert {path.name for path in study.parent.iterdir()} - before <= {"out", "cache"}
    outside = study.parent / "elsewhere"
    flags[-1] = str(outside)
    assert main([*arguments("prepare", study, "out2"), *flags, "--allow-outside"]) == 0


def test_debug_shows_what_lies_beneath(study, capsys):
    for number, file in enumerate(sorted(study.glob("*.np*"))):
        file.write_bytes(b"PK\x03\x04 no archive" + bytes([number]))
    assert main([*arguments("prepare", study), "--debug"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "BadZipFile" in error
    assert error.splitlines()[-1].startswith("neurodec: error: ")
    refused(capsys, arguments("prepare", study))


def test_bare_names_as_encoders_are_told_what_to_write(study, capsys):
    recipe = yaml.safe_load((study.parent / "recipe.yaml").read_text())
    for section, words in (
        ({"encoder": "ATM"}, "encoder: {class_path: neurodec.encoders.ATM}"),
        ({"encoder": "Ridge"}, "system: {class_path: neurodec.systems.RidgeSystem}"),
        (
            {"encoder": {"class_path": "neurodec.linear.Ridge"}},
            "system: {class_path: neurodec.systems.RidgeSystem}",
        ),
        (
            {"model": {"encoder": {"class_path": "neurodec.encoders.ATM"}}},
            "section `model` of former versions; write",
        ),
        (
            {"features": {"model": "neurodec/tiny-clip"}},
            "targets: {image: {class_path: neurodec.features.OpenClip}}",
        ),
    ):
        (study.parent / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **section}))
        assert words in refused(capsys, arguments("run", study))


def test_seeds_of_numbers_are_numbers(study):
    """A recipe's values keep their types through the check."""
    _, recipe = load_recipe(
        study.parent / "recipe.yaml", ["--optimizer.init_args.lr", "1e-4", "--trainer.max_epochs=7"]
    )
    assert recipe.optimizer.init_args.lr == pytest.approx(1e-4)
    assert recipe.trainer.max_epochs == 7
    assert np.isscalar(recipe.seed)


CODE = """open('MARKER', 'w').close()
from transformers import PretrainedConfig, PreTrainedModel

class Config(PretrainedConfig):
    model_type = 'stranger'

class Model(PreTrainedModel):
    config_class = Config

class Tokenizer:
    pass
"""


def test_no_folder_asks_whether_its_code_may_run(tmp_path, monkeypatch):
    """Transformers would ask on the terminal; nobody should have to know what to answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    own = tmp_path / "clip"
    shutil.copytree(ASSETS / "tiny-clip", own)
    named = {
        "AutoTokenizer": ["code.Tokenizer", None],
        "AutoConfig": "code.Config",
        "AutoModel": "code.Model",
    }
    (own / "config.json").write_text(json.dumps({"model_type": "stranger", "auto_map": named}))
    (own / "code.py").write_text(CODE)
    tokenizer = json.loads((own / "tokenizer_config.json").read_text())
    del tokenizer["tokenizer_class"]
    (own / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    load_tokenizer(f"local-dir:{own}")
    config = json.loads((own / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(own)
    (own / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(NeurodecError, match="cannot be loaded"):
        load_clip(f"local-dir:{own}")
    assert not (tmp_path / "MARKER").exists()


def test_code_beside_weights(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/diffusers.py").write_text("raise SystemExit")
    with pytest.raises(NeurodecError, match=r"brings code .unet/diffusers.py."):
        refuse_code(tmp_path, "The pipeline")


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_hdf5_that_takes_numbers_from_elsewhere(tmp_path, kind):
    secret, path = tmp_path / "secret.h5", tmp_path / "x.h5"
    with h5py.File(secret, "w") as file:
        file["betas"] = np.ones((4, 5))
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["betas"] = h5py.ExternalLink("secret.h5", "/betas")
        elif kind == "storage":
            file.create_dataset("betas", (4, 5), "f8", external=[(str(tmp_path / "raw"), 0, 160)])
        else:
            layout = h5py.VirtualLayout((4, 5), "f8")
            layout[:] = h5py.VirtualSource(str(secret), "betas", (4, 5))
            file.create_virtual_dataset("betas", layout)
        file["loop"] = h5py.SoftLink("/")
    with h5py.File(path) as file, pytest.raises(NeurodecError, match="another file"):
        check_own(file, path)
    with h5py.File(secret) as file:
        check_own(file, secret)
