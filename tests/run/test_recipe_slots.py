"""What a recipe's slots take, in every place and spelling: classes of their kind, no functions, no endless values."""

import pytest
import yaml
from command_line import arguments, refused
from test_strangers import CALLBACKS, POPEN, callback, changed, logger, study  # noqa: F401  a fixture

from neurodec.cli import main
from neurodec.run.recipe.recipe_file import load_recipe

PROFILERS = "lightning.pytorch.profilers"


def strategy(name, **arguments_):
    return {
        "trainer": {
            "strategy": {"class_path": f"lightning.pytorch.strategies.{name}", "init_args": arguments_}
        }
    }


def profiler(name, **arguments_):
    return {"trainer": {"profiler": {"class_path": f"{PROFILERS}.{name}", "init_args": arguments_}}}


def model(path, **arguments_):
    return {"encoder": {"class_path": path, "init_args": arguments_}}


TRICKS = {
    "function or text": callback("ModelPruning", pruning_fn="stranger.run"),
    "function of averages": callback("WeightAveraging", avg_fn="stranger.run"),
    "function where annotations cannot be read": strategy("FSDPStrategy", auto_wrap_policy="stranger.run"),
    "function among keywords": strategy("DDPStrategy", ddp_comm_hook="stranger.run"),
    "function of a profiler": profiler("PyTorchProfiler", on_trace_ready="stranger.run"),
    "function as activation": model(
        "torch.nn.TransformerEncoderLayer", d_model=8, nhead=2, activation="stranger.run"
    ),
    "activation of another package": model("braindecode.models.EEGNet", activation="stranger.Net"),
    "module in a list": model("torch.nn.ModuleList", modules=[POPEN]),
    "module in a dict": model("torch.nn.ModuleDict", modules={"a": POPEN}),
    "key with a dot": {"encoder": {"encoder.class_path": "stranger.Net"}},
    "key with a dot for help": {"encoder": {"help.class_path": "stranger.Net"}},
    "arguments in a file": {"encoder": {"class_path": "ATM", "init_args": "arguments.yaml"}},
    "class in a list in a dict": callback("RichProgressBar", console_kwargs={"a": [{"b": POPEN}]}),
    "folder in a logger's version": logger("CSVLogger", save_dir="x", version="../../../../marker"),
    "folder in a profiler's file": profiler("SimpleProfiler", dirpath="p", filename="/tmp/marker"),
    "data base elsewhere": logger("MLFlowLogger", tracking_uri="sqlite:////tmp/marker.db"),
    "number as a key": {"trainer": {1: 2}},
    "list as a class": {"encoder": {"class_path": ["x"]}},
}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_slot_runs_code(study, capsys, trick):  # noqa: F811
    (study.parent / "arguments.yaml").write_text(yaml.safe_dump({"d_ff": POPEN}))
    changed(study, TRICKS[trick])
    refused(capsys, arguments("run", study))
    assert not (study.parent / "MARKER").exists()
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize("word", ["--encoder.help", "--trainer.callbacks.help"])
def test_asking_for_help_imports_nothing(study, capsys, word):  # noqa: F811
    assert "stranger.Net" in refused(capsys, [*arguments("run", study), word, "stranger.Net"])
    assert not (study.parent / "MARKER").exists()


@pytest.mark.parametrize(
    "content", ["stranger.Net", "'{class_path: stranger.Net}'", "- stranger.Net", "{class_path: q}"]
)
def test_a_file_beside_the_recipe_is_no_way_in(study, capsys, content):  # noqa: F811
    (study.parent / "deeper").mkdir()
    (study.parent / "deeper/q").write_text("stranger.Net")
    for name in ("part", "deeper/part"):
        (study.parent / name).write_text(content)
        changed(study, {"encoder": name})
        refused(capsys, arguments("run", study))
        assert not (study.parent / "MARKER").exists()


def only_evaluation(root, evaluation):
    path = root.parent / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    kept = {name: recipe[name] for name in ("name", "dataset")}
    path.write_text(yaml.safe_dump({**kept, "evaluation": evaluation}))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("subprocess.Popen", "outside the allowed packages"),
        ("stranger.Net", "outside the allowed packages"),
        ("torch.load", "is not a class"),
        ("torch.optim.Adam", "is not a subclass of Module"),
        ("torch.nn.Module", "correct `encoder_args`"),
    ],
)
def test_the_classifier_builds_encoders_only(study, capsys, named, sentence):  # noqa: F811
    arguments_ = {"encoder": named, "encoder_args": {"args": ["touch", "MARKER"]}}
    classifier = {"class_path": "neurodec.systems.ContrastiveClassifier", "init_args": arguments_}
    own = {"classifier": classifier, "n_permutations": 10}
    only_evaluation(study, {"class_path": "neurodec.evaluation.Classification", "init_args": own})
    assert sentence in refused(capsys, arguments("run", study))
    assert not (study.parent / "MARKER").exists()


def aliases():
    """Eight lines that stand for a billion values."""
    lines = ["data:", "a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for last, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]")
    return "\n  ".join(lines)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (aliases(), "holds more than 200000 values; write it without so many aliases"),
        ("data: &a {batch_size: [*a, *a, *a]}", "holds more than 200000 values"),
        ("data: {batch_size: " + "[" * 3000 + "]" * 3000 + "}", "cannot be read as a YAML file"),
    ],
    ids=["aliases", "itself", "depth"],
)
def test_values_without_end(study, capsys, text, sentence):  # noqa: F811
    path = study.parent / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    del recipe["data"]
    path.write_text(f"{yaml.safe_dump(recipe)}{text}\n")
    assert sentence in refused(capsys, arguments("run", study))


def test_an_evaluation_goes_with_a_model_or_without(study, capsys):  # noqa: F811
    changed(study, {"evaluation": {"class_path": "neurodec.evaluation.Classification"}})
    assert "which Classification does not score" in refused(capsys, arguments("run", study))
    only_evaluation(study, {"class_path": "neurodec.evaluation.Retrieval"})
    assert "needs a trained system" in refused(capsys, arguments("run", study))


def test_free_values_are_free(study):  # noqa: F811
    """A text in a free-form value may spell a module."""
    changed(study, callback("RichProgressBar", console_kwargs={"title": "os.path"}))
    _, recipe = load_recipe(study.parent / "recipe.yaml")
    assert recipe.trainer.callbacks[0].init_args.console_kwargs == {"title": "os.path"}


@pytest.mark.parametrize(("name", "own"), [("Timer", {"duration": "00:01:00:00"}), ("RichProgressBar", {})])
def test_callbacks_with_odd_defaults_run(study, monkeypatch, name, own):  # noqa: F811
    monkeypatch.setenv("NEURODEC_CACHE", str(study.parent / "cache"))
    path = study.parent / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    callbacks = [{"class_path": f"{CALLBACKS}.{name}", "init_args": own}]
    recipe["trainer"] = {"max_epochs": 1, "accelerator": "cpu", "callbacks": callbacks}
    path.write_text(yaml.safe_dump(recipe))
    for verb in ("prepare", "targets", "fit"):
        assert main(arguments(verb, study)) == 0
    assert name in (study.parent / "out/config.yaml").read_text()


def test_a_machine_without_the_hardware_still_does_the_other_stages(study):  # noqa: F811
    flags = ["--trainer.accelerator", "tpu", "--targets.image.init_args.device", "meta"]
    assert main([*arguments("prepare", study), *flags]) == 0


def test_debug_stands_before_the_verb_too(study, capsys):  # noqa: F811
    assert main(["--debug", *arguments("run", study), "--trainer.max_epochs", "x"]) == 2
    assert "Traceback" in capsys.readouterr().err
