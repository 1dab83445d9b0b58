"""Names from strangers become file names in one place, and nothing is written outside OUT under any of them."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import arguments, refused
from linear_studies import TARGETS, study_of, write_recipe, write_study

from neurodec import NeurodecError
from neurodec.cli import main
from neurodec.files import file_name, file_names, require_file_name
from neurodec.run.folds import folds_of
from neurodec.systems import RidgeSystem
from neurodec.training import Stage

RIDGE = {"class_path": "neurodec.systems.RidgeSystem"}
STRANGE = [
    "x/../../../escaped",
    "..",
    "a\\b",
    "/etc/passwd",
    "CON",
    "n" * 300,
    "tab\tand\nline",
    ".hidden",
    "",
    "a:b",
]


def listed(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", STRANGE)
def test_any_name_is_one_plain_part_of_a_path(tmp_path, name):
    own = file_name(name)
    assert own != name
    assert len(own) <= 100
    (tmp_path / own).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [own]
    with pytest.raises(NeurodecError, match="becomes the name of a file or folder"):
        require_file_name(name, "The stage")


@pytest.mark.parametrize("name", ["sub-01", "Zoé", "cat 01", "s1_run-2", "n" * 100, "a.b", "wordnet#3"])
def test_plain_names_stay(name):
    assert file_name(name) == name


def test_different_names_stay_different():
    names = [*STRANGE, "x_.._.._.._escaped", "Anna", "anna", "ANNA", "a_b", "a?b", "a*b"]
    found = file_names(names)
    assert len({own.casefold() for own in found.values()}) == len(names)
    assert found["Anna"] == "Anna"


def renamed(root, subject, stimulus):
    """Give one subject of a study, and one of its pictures, another name."""
    with np.load(root / "responses_ben.npz") as file:
        arrays = dict(file)
    arrays["subjects"] = np.array([subject] * len(arrays["subjects"]))
    arrays["shown"] = np.array([stimulus if name == "z000" else name for name in arrays["shown"]])
    np.savez(root / "responses_ben.npz", **arrays)
    table = pd.read_csv(root / "pictures.csv")
    table["stimulus"] = table["stimulus"].replace("z000", stimulus)
    table.to_csv(root / "pictures.csv", index=False)
    with np.load(root / "targets/features.npz") as file:
        targets = dict(file)
    targets["names"] = np.array([stimulus if name == "z000" else name for name in targets["names"]])
    np.savez(root / "targets/features.npz", **targets)


@pytest.mark.parametrize("name", ["x/../../../escaped", "n" * 300, "$\\frac{$", "<b>&", "CON"])
def test_names_in_the_data_run_through(tmp_path, name):
    home = tmp_path / "deep/er/home"
    write_study(home / "data", {"ben": 6})
    renamed(home / "data", name, name)
    write_recipe(home / "recipe.yaml", system=RIDGE)
    before = listed(tmp_path)
    assert main(arguments("run", home / "data")) == 0
    new = listed(tmp_path) - before
    assert all(path.startswith("deep/er/home/out") for path in new)
    results = json.loads((home / "out/results.json").read_text())
    assert results["subjects"] == [name]
    assert main(["compare", str(home / "out"), "--out", str(home / "compared")]) == 0


@pytest.mark.parametrize("name", ["x/../../escaped", "..", "n" * 300])
@pytest.mark.parametrize("where", ["targets", "evaluation", "stages"])
def test_names_in_a_recipe_are_refused_before_any_work(tmp_path, capsys, where, name):
    write_study(tmp_path / "data", {"ben": 6})
    retrieval = {"class_path": "neurodec.evaluation.Retrieval"}
    sections = {
        "targets": {"targets": {name: TARGETS["image"]}, "system": {**RIDGE, "init_args": {"head": name}}},
        "evaluation": {"evaluation": {name: retrieval}, "system": RIDGE},
        "stages": {"stages": [{"name": name}], "encoder": {"class_path": "neurodec.encoders.ATM"}},
    }[where]
    write_recipe(tmp_path / "recipe.yaml", **sections)
    refused(capsys, arguments("run", tmp_path / "data"))
    assert not (tmp_path / "out").exists()


def test_names_in_python(tmp_path):
    with pytest.raises(NeurodecError, match="becomes the name of a file"):
        Stage("../x")
    study, targets = study_of({"ben": 9})
    with pytest.raises(NeurodecError, match="becomes the name of a file"):
        RidgeSystem().fit(study, targets, out=tmp_path, name="../x")
    assert [fold.name for fold in folds_of("within_subject", ["a/b", "Anna", "anna"], [1])][1] == "sub-Anna"
    assert not (tmp_path.parent / "x").exists()


def test_a_recipe_that_leads_back_to_itself(tmp_path, capsys):
    write_study(tmp_path / "data", {"ben": 6})
    stages = [{"name": "first", "recipe": "recipe.yaml"}, {"name": "second", "start": "first"}]
    encoder = {"class_path": "neurodec.encoders.ATM"}
    write_recipe(tmp_path / "recipe.yaml", encoder=encoder, stages=stages)
    error = refused(capsys, arguments("run", tmp_path / "data"))
    assert "names, through the `recipe` of its stages" in error
    content = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    content["stages"][0]["recipe"] = "other.yaml"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**content, "stages": stages}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert "names, through the `recipe`" in refused(capsys, arguments("run", tmp_path / "data"))


def test_links_in_a_strangers_output(tmp_path, capsys):
    write_study(tmp_path / "data", {"ben": 6})
    write_recipe(tmp_path / "recipe.yaml", system=RIDGE)
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/prepared").symlink_to(tmp_path / "elsewhere")
    assert "outside of the output folder" in refused(capsys, arguments("run", tmp_path / "data"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_strange_mark_of_a_simulation_is_told_first(tmp_path, capsys):
    write_study(tmp_path / "data", {"ben": 6})
    write_recipe(tmp_path / "recipe.yaml", system=RIDGE)
    for content in ("[]", '{"modality": "eeg", "seed": "0; rm -rf ~"}'):
        (tmp_path / "data/simulation.json").write_text(content)
        assert "marks the folder as simulated" in refused(capsys, arguments("run", tmp_path / "data"))
        assert not (tmp_path / "out/prepared").exists()
