"""One command from raw fMRI to parcels, retrieval, networks and pictures, on a small simulation."""

import json
from pathlib import Path

import pytest

from neurodec.cli import main
from neurodec.simulate import simulate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = {
    "n_subjects": 2,
    "n_train_concepts": 30,
    "images_per_concept": 1,
    "n_test_concepts": 5,
    "gallery_per_concept": 0,
    "test_repetitions": 2,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("whole") / "data", "whole_brain", **SMALL)


def test_one_command_pre_trains_decodes_draws_and_takes_networks_away(root, tmp_path):
    out = tmp_path / "out"
    quick = {
        "trainer.max_epochs": "2",
        "data.batch_size": "20",
        "prior.init_args.max_epochs": "1",
        "reconstruction.n_steps": "2",
        "reconstruction.prior_n_steps": "2",
        "evaluation.networks.init_args.clusters": "2",
    }
    settings = [text for key, value in quick.items() for text in (f"--{key}", value)]
    recipe = tmp_path / "pretrain.yaml"
    command = ["--data-root", str(root), "--out", str(out)]
    recipe.write_text(_recipe("wave/pretrain-simulated").replace("epochs: 20", "epochs: 1"))
    whole = tmp_path / "whole.yaml"
    whole.write_text(
        _recipe("wave/simulated").replace("recipe: wave/pretrain-simulated", f"recipe: {recipe}")
    )
    assert main(["run", str(whole), *command, *settings]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["retrieval"]["n_candidates"] == 5
    masked = found["further"]["networks"]["networks"]["ways"]["masked"]["networks"]
    assert {own["network"] for own in masked} == {
        "Vis",
        "SomMot",
        "DorsAttn",
        "SalVentAttn",
        "Limbic",
        "Cont",
        "Default",
    }
    assert found["reconstruction"]
    page = (out / "report.html").read_text()
    assert "Networks" in page
    assert "seen through the brain" in page
    assert "do not say to be in" in page  # so there is no map on the surface
    assert "fsaverage5" not in page


def _recipe(name):
    return (CONFIGS / f"{name}.yaml").read_text()
