"""The verbs adapt and decode: a new participant by two commands, and what they refuse."""

import json
import shlex

import pandas as pd
import pytest
import yaml
from command_line import arguments, refused
from linear_studies import write_recipe, write_study

from neurodec.cli import main
from neurodec.data.predictions import Predictions

CLOSED = {
    "class_path": "neurodec.systems.InContextSystem",
    "init_args": {"way": "prior", "inverse": "bayes"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A closed-form system that knows ben and cleo, and a folder of recordings of anna."""
    home = tmp_path_factory.mktemp("adapting")
    write_study(home / "data", {"ben": 9, "cleo": 9}, patterns=True)
    write_recipe(home / "recipe.yaml", patterns=True, system=CLOSED, protocol="joint")
    assert main(arguments("run", home / "data")) == 0
    system = home / "out/models/joint"
    write_study(home / "new", {"anna": 12}, patterns=True)
    return home, system


def verb(name, home, system, out, *more, root="new"):
    recipe = ["--recipe", str(home / "recipe.yaml")]
    return [name, str(system), "--data-root", str(home / root), "--out", str(home / out), *recipe, *more]


def test_two_commands(made, capsys):
    home, system = made
    assert main(verb("adapt", home, system, "adapted")) == 0
    told = capsys.readouterr().out
    assert "anna: 160 trials of 160 pictures" in told
    assert "neurodec decode" in told
    decoder = home / "adapted/decoder"
    assert set(json.loads((decoder / "config.json").read_text())["subjects"]) >= {"anna", "ben", "cleo"}
    assert main(verb("decode", home, decoder, "decoded")) == 0
    told = capsys.readouterr().out
    assert "20 responses of anna" in told
    assert "chance 5.00 %" in told
    found = Predictions.load(home / "decoded/embeddings")
    table = pd.read_csv(home / "decoded/retrieved.csv")
    assert (table["top1"] == table["stimulus"]).mean() > 0.5
    assert list(found.table["stimulus"]) == list(table["stimulus"])
    assert not (home / "decoded/pictures").exists()  # a system alone draws nothing
    assert main(verb("decode", home, decoder, "single", "--single", "--split", "test")) == 0
    assert len(pd.read_csv(home / "single/retrieved.csv")) == 60


def test_refusals(made, capsys):
    home, system = made
    assert main(verb("adapt", home, system, "adapted")) == 0
    decoder = home / "adapted/decoder"
    error = refused(capsys, verb("decode", home, decoder, "other", "--split", "train"))
    assert (
        "160 of the pictures to decode, first t000, are among those that subject anna was adapted with"
        in error
    )
    error = refused(capsys, verb("decode", home, decoder, "all", "--split", "all"))
    assert "would be found by heart" in error
    assert not (home / "other/embeddings").exists()
    error = refused(capsys, verb("decode", home, system, "unknown"))
    assert "subject anna" in error
    error = refused(capsys, verb("adapt", home, home / "nothing", "none"))
    assert "holds neither a decoder" in error
    assert main(verb("adapt", home, "neurodec/in-context", "space")) == 0
    assert "embedded by the system's own network, neurodec/tiny-clip" in capsys.readouterr().out
    (home / "empty").mkdir(exist_ok=True)
    error = refused(capsys, verb("decode", home, decoder, "x", "--candidates", str(home / "empty")))
    assert "holds no picture" in error
    error = refused(capsys, verb("decode", home, decoder, "y", "--candidates", str(home / "new/pictures")))
    assert "no CLIP's" in error


def test_a_system_that_does_not_adapt(made, tmp_path, capsys):
    home, _ = made
    write_study(tmp_path / "data", {"ben": 9}, patterns=True)
    ridge = {"class_path": "neurodec.systems.RidgeSystem"}
    write_recipe(tmp_path / "recipe.yaml", patterns=True, system=ridge)
    assert main(arguments("run", tmp_path / "data")) == 0
    (system,) = (tmp_path / "out/models").glob("*")
    error = refused(capsys, verb("adapt", home, system, "ridge"))
    assert "RidgeSystem does not adapt to people" in error
    # but it decodes the person whom it knows, by the recipe it was made with
    command = [
        "decode",
        str(system),
        "--data-root",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "decoded"),
    ]
    assert main([*command, "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    table = pd.read_csv(tmp_path / "decoded/retrieved.csv")
    assert (table["top1"] == table["stimulus"]).mean() > 0.5


def test_printed_commands_run_as_printed(made, capsys):
    home, system = made
    assert main(verb("adapt", home, system, "hinted")) == 0
    hint = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert hint[:2] == ["neurodec", "decode"]
    assert main(hint[1:]) == 0
    table = pd.read_csv(home / "hinted-decoded/retrieved.csv")
    assert (table["top1"] == table["stimulus"]).mean() > 0.5


def test_folders_remember_how_to_read(made, capsys):
    home, system = made
    command = ["decode", str(system), "--data-root", str(home / "data"), "--out", str(home / "bare")]
    error = refused(capsys, command)  # without --recipe: read, but these embeddings are no network's
    assert "cannot be embedded in precomputed, which is no CLIP's" in error
    remembered = yaml.safe_load((home / "bare/reader.yaml").read_text())["dataset"]
    assert remembered["class_path"].endswith("ArrayFile")
    assert remembered["init_args"]["stimuli_table"] == "pictures.csv"
    assert not (home / "bare/embeddings").exists()


def test_another_attempt_in_the_same_folder(made, capsys):
    home, system = made
    wrong = ["--dataset.init_args.file", "nothing.npz"]
    refused(capsys, [*verb("adapt", home, system, "again"), *wrong])
    assert main([*verb("adapt", home, system, "again"), "--dataset.init_args.scale", "subject"]) == 0
    assert main(verb("adapt", home, system, "again")) == 0  # read otherwise than before


def test_what_cannot_draw_says_so(made, capsys):
    home, system = made
    error = refused(capsys, verb("decode", home, system, "drawn", "--n-pictures", "3"))
    assert "is a system without a decoder, so it draws no pictures" in error
    assert not (home / "drawn").exists()


def test_the_output_is_no_data(made, capsys):
    home, system = made
    error = refused(capsys, verb("adapt", home, system, "new/adapted"))
    assert "lies in the data folder" in error


def test_the_folder_of_a_run_is_left_alone(made, capsys):
    home, system = made
    prepared = (home / "out/prepared/study.json").stat().st_mtime_ns
    error = refused(capsys, verb("decode", home, system, "out", root="data"))
    assert "is the folder of a run; name another --out" in error
    assert (home / "out/prepared/study.json").stat().st_mtime_ns == prepared
