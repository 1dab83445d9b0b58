"""Recipes through the command line: from a simulated raw recording to the report, killed and resumed, and refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from neurodec.cli import main
from neurodec.simulate import simulate

RECIPE = {
    "name": "test/eeg",
    "dataset": {"class_path": "neurodec.data.ThingsEEG2", "init_args": {"sfreq": 100.0}},
    "targets": {
        "image": {"class_path": "neurodec.features.OpenClip", "init_args": {"normalize": False}},
        "text": {"class_path": "neurodec.features.OpenClip", "init_args": {"of": "caption"}},
    },
    "data": {"batch_size": 64},
    "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 64}},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
    "objective": {"class_path": "neurodec.training.RetrievalObjective", "init_args": {"text": "text"}},
    "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
    "prior": {"class_path": "neurodec.priors.DiffusionPrior", "init_args": {"max_epochs": 3}},
    "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"},
    "reconstruction": {"n_images": 8, "n_steps": 3, "prior_n_steps": 5},
    "evaluation": {
        "class_path": "neurodec.evaluation.Retrieval",
        "init_args": {"windows": None, "channels": False, "n_permutations": 200},
    },
}
SIZE = {"n_train_concepts": 60, "images_per_concept": 2, "n_test_concepts": 30, "gallery_per_concept": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A simulated subject, the recipe, and an unbroken run."""
    root = tmp_path_factory.mktemp("recipe")
    simulate(root / "data", "eeg", train_repetitions=2, test_repetitions=4, **SIZE)
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(arguments(root, "whole")) == 0
    return root


def arguments(root, out, *overrides):
    return [
        "run",
        str(root / "recipe.yaml"),
        "--data-root",
        str(root / "data"),
        "--out",
        str(root / out),
        *overrides,
    ]


def scores(root, out):
    """Everything in `results.json` but the time taken."""
    results = json.loads((root / out / "results.json").read_text())
    return {name: part for name, part in results.items() if name != "speed"}


@pytest.mark.slow
def test_a_run_ends_with_honest_results(folder):
    results = scores(folder, "whole")
    assert results["simulated"] is True
    assert results["retrieval"]["n_candidates"] == SIZE["n_test_concepts"]
    assert results["retrieval"]["chance_top1"] == pytest.approx(1 / 30)
    low, high = results["controls"]["shuffled"]["ci95_top1"]
    assert low <= 1 / 30 <= high
    assert 0 <= results["baselines"]["ridge"]["top1"] <= 1
    assert "SIMULATED" in (folder / "whole" / "report.html").read_text()
    assert len(pd.read_csv(folder / "whole" / "retrieved.csv")) == SIZE["n_test_concepts"]
    pictures = results["reconstruction"]
    assert pictures["n_images"] == 8
    assert set(pictures["controls"]) == {"shuffled", "mean_embedding", "nearest_training"}
    assert set(pictures["ceilings"]) == {"true_through_prior", "true_through_decoder", "autoencoder"}
    assert pictures["ceilings"]["autoencoder"]["pixcorr"] > pictures["pixcorr"]
    assert results["controls"]["shuffled"]["pixcorr"] == pictures["controls"]["shuffled"]["pixcorr"]
    assert "shuffled brain" in (folder / "whole" / "report.html").read_text()
    assert len(pd.read_csv(folder / "whole" / "metrics.csv")) == RECIPE["trainer"]["max_epochs"]


@pytest.mark.slow
def test_running_again_trains_nothing_and_changes_nothing(folder):
    before, trained = (
        scores(folder, "whole"),
        (folder / "whole" / "models" / "sub-01" / "config.json").stat().st_mtime_ns,
    )
    assert main(arguments(folder, "whole")) == 0
    assert scores(folder, "whole") == before
    assert (folder / "whole" / "models" / "sub-01" / "config.json").stat().st_mtime_ns == trained


@pytest.mark.slow
@pytest.mark.parametrize(
    "landmark",
    [
        "checkpoints/sub-01/last.ckpt",
        *(
            pytest.param(file, marks=pytest.mark.quality)
            for file in (
                "prepared/.parts/provenance.json",
                "cache/features/*/[0-9a-f]*.json",  # written after its block
                "images/reconstructed/sub-01/brain/*.png",
            )
        ),
    ],
)
def test_a_killed_run_ends_with_the_same_scores(folder, landmark, monkeypatch):
    out = f"killed-{landmark.split('/')[0]}"
    monkeypatch.setenv("NEURODEC_CACHE", str(folder / out / "cache"))  # no features that another run has left
    command = [
        sys.executable,
        "-c",
        "import sys; from neurodec.cli import main; sys.exit(main(sys.argv[1:]))",
    ]
    process = subprocess.Popen([*command, *arguments(folder, out)], stdout=subprocess.DEVNULL)
    while not any((folder / out).glob(landmark)):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / out / "results.json").exists()
    indices = (folder / out).glob("cache/features/*/[0-9a-f]*.json")
    computed = {block: block.stat().st_mtime_ns for block in (index.with_suffix(".npy") for index in indices)}
    assert main(arguments(folder, out)) == 0
    assert scores(folder, out) == scores(folder, "whole")
    assert all(file.stat().st_mtime_ns == written for file, written in computed.items())  # and found again


@pytest.mark.quality
def test_a_run_that_drew_pictures_goes_on(folder):
    assert main(arguments(folder, "grown", "--trainer.max_epochs", "2")) == 0
    assert main(arguments(folder, "grown")) == 0
    assert len(pd.read_csv(folder / "grown" / "metrics.csv")) == RECIPE["trainer"]["max_epochs"]
    assert scores(folder, "grown") == scores(folder, "whole")


@pytest.mark.slow
def test_another_training_configuration_is_refused(folder, capsys):
    assert main(arguments(folder, "whole", "--optimizer.init_args.lr", "0.01")) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"modle": {}}, "modle"),
        ({"evaluation": {"class_path": "os.Strange"}}, "--allow os"),
        ({"protocol": "nobody_out"}, "protocol"),
        ({"dataset": None}, "dataset"),
        ({"data_root": {}}, "data_root"),
    ],
)
def test_a_bad_recipe_is_one_sentence_and_exit_2(tmp_path, capsys, change, expected):
    content = {name: part for name, part in {**RECIPE, **change}.items() if part is not None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert main(arguments(tmp_path, "out")) == 2
    error = capsys.readouterr().err
    assert error.startswith("neurodec: error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert not (tmp_path / "out" / "prepared").exists()


@pytest.mark.parametrize("text", [None, "a: [", "- 1"])
def test_a_file_that_is_no_recipe(tmp_path, capsys, text):
    if text:
        (tmp_path / "recipe.yaml").write_text(text)
    assert main(arguments(tmp_path, "out")) == 2
    assert "recipe.yaml" in capsys.readouterr().err
