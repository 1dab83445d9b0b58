"""Folds over concepts in a recipe: the same numbers as in Python, and refusals before any work."""

import json

import pandas as pd
import pytest
from command_line import arguments, refused
from linear_studies import write_recipe, write_study

from neurodec import Retrieval, RidgeSystem, Study, cross_validate
from neurodec.cli import main
from neurodec.evaluation.retrieval.kept_folds import KeptFolds
from neurodec.features import FeatureFiles

BY = {"groups": "concept", "n_folds": 4}
RIDGE = {"system": {"class_path": "neurodec.systems.RidgeSystem"}}
QUICK = {
    "windows": None,
    "channels": False,
    "regions": False,
    "repetition_curve": False,
    "n_permutations": 200,
}
RETRIEVAL = {"class_path": "neurodec.evaluation.Retrieval", "init_args": QUICK}


@pytest.fixture
def home(tmp_path):
    write_study(tmp_path / "data", {"ben": 9})
    table = pd.read_csv(tmp_path / "data/pictures.csv")
    table.drop(columns="split").to_csv(tmp_path / "data/pictures.csv", index=False)
    return tmp_path


def test_a_recipe_finds_what_python_finds(home):
    write_recipe(home / "recipe.yaml", evaluation=RETRIEVAL, cross_validation=BY, **RIDGE)
    assert main(arguments("run", home / "data")) == 0
    found = json.loads((home / "out/results.json").read_text())
    study = Study.load(home / "out/prepared")
    targets = FeatureFiles("targets/features.npz", ids="names", key="image").extract(
        study.stimuli, home / "data"
    )
    wanted = cross_validate(RidgeSystem(), study, targets, Retrieval(**QUICK), n_folds=4).sections
    assert found["retrieval"] == json.loads(json.dumps(wanted["retrieval"]))
    assert found["retrieval"]["p_value"] < 0.01
    assert list(found["folds"]) == [f"sub-ben.fold{number}" for number in range(1, 5)]
    page = (home / "out/report.html").read_text()
    assert "sub-ben.fold1" in page
    before = (home / "out/results.json").read_text()
    assert main(arguments("run", home / "data")) == 0
    again = json.loads((home / "out/results.json").read_text())
    assert again["retrieval"] == json.loads(before)["retrieval"]


def test_seeds_and_folds_together_keep_their_curves(home):
    write_recipe(
        home / "recipe.yaml",
        evaluation=RETRIEVAL,
        cross_validation={**BY, "n_folds": 2},
        seeds=[1, 2],
        **RIDGE,
    )
    assert main(arguments("run", home / "data")) == 0
    found = json.loads((home / "out/results.json").read_text())
    assert sorted(found["folds"]) == [f"sub-ben.fold{n}-seed{seed}" for n in (1, 2) for seed in (1, 2)]
    assert found["over_seeds"]["seeds"] == [1, 2]
    assert (home / "out/images/k-way.png").exists()
    folders = sorted((home / "out/evaluation").glob("*-seed1"))
    assert KeptFolds(folders).ranks()["stimulus"].nunique() == found["counts"]["cv"]["stimuli"]


def test_networks_are_fitted_in_every_fold(home):
    encoder = {"class_path": "neurodec.encoders.NICE"}
    trainer = {"max_epochs": 1, "enable_progress_bar": False, "accelerator": "cpu"}
    sections = {"encoder": encoder, "trainer": trainer, "evaluation": RETRIEVAL, "data": {"batch_size": 16}}
    write_recipe(home / "recipe.yaml", cross_validation={**BY, "n_folds": 2}, **sections)
    assert main(arguments("run", home / "data")) == 0
    assert sorted(path.name for path in (home / "out/models").iterdir() if "ridge" not in path.name) == [
        "sub-ben.fold1",
        "sub-ben.fold2",
    ]
    found = json.loads((home / "out/results.json").read_text())
    assert "ridge" in found["baselines"]
    assert set(found["training"]) == {"sub-ben.fold1", "sub-ben.fold2"}


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"cross_validation": {"groups": "colour"}, **RIDGE}, "no column colour"),
        ({"cross_validation": {"groups": "run"}, **RIDGE}, "1 groups cannot be drawn into 5 folds"),
        ({"cross_validation": {"n_folds": 1}, **RIDGE}, "cannot be drawn into 1 folds"),
        (
            {"cross_validation": BY, "protocol": "leave_one_subject_out", **RIDGE},
            "a protocol that leaves out",
        ),
        (
            {"cross_validation": BY, "evaluation": {"class_path": "neurodec.evaluation.Classification"}},
            "nothing to train",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_work(home, capsys, sections, sentence):
    content = {"evaluation": RETRIEVAL, **sections}
    write_recipe(home / "recipe.yaml", **content)
    if "Classification" in str(content["evaluation"]):
        text = (home / "recipe.yaml").read_text()
        start = text.index("targets:")
        (home / "recipe.yaml").write_text(text[:start])
    assert sentence in refused(capsys, arguments("run", home / "data"))
    assert not (home / "out/models").exists()


def test_an_official_split_is_not_broken_up(tmp_path, capsys):
    write_study(tmp_path / "data", {"ben": 9})
    write_recipe(tmp_path / "recipe.yaml", evaluation=RETRIEVAL, cross_validation=BY, **RIDGE)
    assert "have a split of their own (test, train)" in refused(capsys, arguments("run", tmp_path / "data"))


def test_trials_without_a_split_are_told_of_cross_validation(home, capsys):
    write_recipe(home / "recipe.yaml", evaluation=RETRIEVAL, **RIDGE)
    assert "cross_validation: {groups: concept}" in refused(capsys, arguments("run", home / "data"))
