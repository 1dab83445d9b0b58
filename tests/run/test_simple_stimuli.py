"""From a file of arrays to reconstructed pictures by one command, and what the real digits give."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import arguments, refused
from simple_pictures import DATASET, N_TEST, N_TRAIN, write_figures

from neurodec.cli import main
from neurodec.evaluation.statistics.intervals import interval
from neurodec.run.picture_section import undrawable_in_words

CONFIGS = Path(__file__).resolve().parents[2] / "configs/simple_stimuli"


@pytest.fixture
def home(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    write_figures(tmp_path / "data", rng)
    return tmp_path


def recipe_of(name, home, **changes):
    """Write a shipped recipe for the small study."""
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    own = {**content["dataset"]["init_args"], **DATASET["init_args"]}
    own.pop("concept_names", None)
    content["dataset"]["init_args"] = own
    (home / "recipe.yaml").write_text(yaml.safe_dump({**content, **changes}))


def test_one_command_reconstructs_the_test_pictures(home):
    recipe_of("digits69", home)
    quick = ["--system.init_args.n_steps", "150"]
    assert main([*arguments("run", home / "data"), *quick]) == 0
    found = json.loads((home / "out/results.json").read_text())["reconstruction"]
    assert (found["protocol"], found["n_images"]) == ("native", N_TEST)
    assert "7 x 7" in found["ssim_form"]
    baselines = found["baselines"]
    assert set(baselines) == {"mean_picture", "class_mean_picture", "pixel_ridge"}
    assert found["ssim"] > baselines["pixel_ridge"]["ssim"] > baselines["mean_picture"]["ssim"]
    assert found["pixcorr"] > baselines["pixel_ridge"]["pixcorr"] - 0.02
    for part in (found, *baselines.values(), *found["controls"].values(), *found["ceilings"].values()):
        assert {"pixcorr", "mse", "ssim", "ssim_gaussian"} <= set(part["ci95"])
        assert 0 <= part["two_way"]["pixels"] <= 1
    ceiling = found["ceilings"]["true_through_decoder"]
    assert (ceiling["ssim"], ceiling["mse"]) == (pytest.approx(1, abs=1e-3), pytest.approx(0, abs=1e-4))
    assert ceiling["ssim"] > found["ceilings"]["true_latents"]["ssim"] > found["ssim"]  # what latents lose
    page = (home / "out/report.html").read_text()
    assert "oracle: mean training picture of the true class" in page
    assert "cannot draw" not in page
    before = (home / "out/reconstructed.csv").read_bytes()
    assert main([*arguments("run", home / "data"), *quick]) == 0
    assert (home / "out/reconstructed.csv").read_bytes() == before


def test_pictures_are_left_out_once_each(home):
    recipe_of("figures", home, cross_validation={"groups": "stimulus", "n_folds": 3})
    override = ["--dataset.init_args.split", "none"]
    assert main([*arguments("run", home / "data"), *override]) == 0
    found = json.loads((home / "out/results.json").read_text())["reconstruction"]
    assert found["n_images"] == N_TRAIN + N_TEST
    table = pd.read_csv(home / "out/reconstructed.csv")
    assert table["stimulus"].is_unique
    assert found["ssim"] > found["baselines"]["pixel_ridge"]["ssim"]


def test_a_fold_of_one_picture_is_refused(home, capsys):
    n = N_TRAIN + N_TEST
    recipe_of("figures", home, cross_validation={"groups": "stimulus", "n_folds": n})
    command = [*arguments("run", home / "data"), "--dataset.init_args.split", "none"]
    assert "take fewer folds" in refused(capsys, command)


def test_a_missing_key_is_told_with_those_that_are_there(home, capsys):
    recipe_of("digits69", home)
    override = ["--dataset.init_args.responses", "{train: fmri, test: fmriTest}"]
    told = refused(capsys, [*arguments("run", home / "data"), *override])
    assert "no key fmri; it has fmriTest, fmriTrn, labelTest, labelTrn, stimTest, stimTrn" in told


@pytest.mark.quality
def test_the_report_says_which_decoder_cannot_draw(home):
    """A decoder of photographs draws digits no better than their mean, whatever the brain tells."""
    content = yaml.safe_load((CONFIGS / "digits69.yaml").read_text())
    content.pop("prior")
    content["targets"] = {
        "image": {
            "class_path": "neurodec.features.OpenClip",
            "init_args": {"model": "neurodec/tiny-clip", "normalize": False},
        }
    }
    content["system"] = {"class_path": "neurodec.systems.RidgeSystem", "init_args": {"head": "image"}}
    content["decoder"] = {"class_path": "neurodec.decoders.GuidedDiffusion"}
    content["reconstruction"] = {"protocol": "native", "n_steps": 2}
    content["dataset"]["init_args"] = DATASET["init_args"]
    (home / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert main(arguments("run", home / "data")) == 0
    found = json.loads((home / "out/results.json").read_text())["reconstruction"]
    assert found["ceilings"]["true_through_decoder"]["pixcorr"] < found["baselines"]["pixel_ridge"]["pixcorr"]
    assert "cannot draw such pictures" in undrawable_in_words(found)
    assert "cannot draw such pictures" in (home / "out/report.html").read_text()


@pytest.mark.quality
def test_real_digits_left_out_are_nearer_than_ridge(shared, tmp_path, monkeypatch):
    """Cross-validated over the 90 public training trials: SSIM clearly above pixel ridge, PCC not lower."""
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    root, out = shared / "data/digits69-fmri", tmp_path / "out"
    command = ["run", "simple_stimuli/figures", "--data-root", str(root), "--out", str(out)]
    assert main(command) == 0
    found = json.loads((out / "results.json").read_text())["reconstruction"]
    ridge = found["baselines"]["pixel_ridge"]
    assert found["n_images"] == 90
    assert found["ci95"]["ssim"][0] > ridge["ci95"]["ssim"][1] + 0.1
    assert found["ci95"]["pixcorr"][0] > ridge["pixcorr"]
    assert found["mse"] < ridge["mse"]
    assert found["pixcorr"] > 0.75
    assert found["ssim"] > 0.59
    per_picture = pd.read_csv(out / "reconstructed.csv")["ssim"].to_numpy()
    np.testing.assert_allclose(interval(per_picture, None, "mean"), found["ci95"]["ssim"], atol=1e-6)


@pytest.mark.quality
def test_real_digits_of_the_official_split_are_reconstructed(shared, tmp_path, monkeypatch):
    """The recipe unchanged, its autoencoder trained on 80 pictures: ten others are drawn better than by ridge."""
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    root, out = shared / "data/digits69-fmri", tmp_path / "out"
    assert main(["run", "simple_stimuli/digits69", "--data-root", str(root), "--out", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())["reconstruction"]
    ridge = found["baselines"]["pixel_ridge"]
    assert found["n_images"] == 10
    assert found["pixcorr"] > max(0.76, ridge["pixcorr"])
    assert found["mse"] < ridge["mse"]
    assert found["ssim"] > max(0.62, ridge["ssim"] + 0.1)
