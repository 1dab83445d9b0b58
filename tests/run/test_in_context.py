"""The in-context system by recipe: the one that is included reads a new participant, beside its companions."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import arguments, refused
from in_context_voxels import cosine
from linear_studies import write_recipe, write_study

from neurodec import NeuralDecoder
from neurodec.cli import main
from neurodec.data import Study
from neurodec.simulate import simulate

RECIPE = "in_context/simulated-fmri-shipped"


@pytest.mark.quality
def test_the_shipped_system_reads_a_new_person(tmp_path):
    sizes = {"n_subjects": 1, "n_train_concepts": 250, "n_test_concepts": 40, "gallery_per_concept": 1}
    simulate(tmp_path / "data", "fmri", 5, **sizes)
    command = ["run", RECIPE, "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    quick = ["--evaluation.adaptation.init_args.n_pictures", "[60, 500]"]
    quick += ["--evaluation.adaptation.init_args.n_voxels", "[300]"]
    quick += ["--evaluation.adaptation.init_args.n_repeats", "1", "--reconstruction.n_images", "12"]
    assert main([*command, *quick]) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    found = results["retrieval"]
    assert found["n_candidates"] == 40
    assert found["ci95_top1"][0] > 3 / 40
    assert found["p_value"] < 0.001
    companions = {"network, Bayes", "ridge, Bayes", "prior, Bayes", "direct ridge", "ridge"}
    assert set(results["baselines"]) == companions
    assert min(results["baselines"][name]["ci95_top1"][0] for name in companions) > 2 / 40
    points = results["further"]["adaptation"]["adaptation"]["points"]
    top1 = {(one["kind"], one["size"]): one["top1"] for one in points if one["decoder"] == "InContextSystem"}
    assert top1["pictures", 500] > top1["pictures", 60] + 0.1
    assert top1["pictures", 500] >= top1["voxels", 300]
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "InContextSystem finds what was seen" in page
    assert "network, Bayes" in page
    assert "Adaptation: pictures" in page
    assert "Adaptation: voxels" in page
    assert results["reconstruction"]["two_way"]["tiny_clip"] > 0.6
    decoder = NeuralDecoder.from_pretrained(tmp_path / "out/decoders/sub-01")
    study = Study.load(tmp_path / "out/prepared")
    train, test = (study.part(split).average().trials for split in ("train", "test"))
    images = study.stimuli.set_index("stimulus")["image"]
    shown = [tmp_path / "data" / images[name] for name in train.table["stimulus"][:300]]
    assert {"V1", "IT"} <= set(results["further"]["encoding"]["encoding"]["per_subject"][0]["regions"])
    check_encoding(results["further"]["encoding"]["encoding"])
    check_sets(results["further"]["sets"]["candidate_sets"])
    for title in (
        "How sure it is",
        "What the voxels foretell",
        "Regions of the brain",
        "“a small red key on bricks”",
    ):
        assert title in page
    adapted = decoder.adapt(shown, np.asarray(train.responses[:300]), "a person else")
    z = adapted.embed(np.asarray(test.responses), "a person else")
    assert cosine(z, decoder.embed(test)) > 0.5
    options = ["--data-root", str(tmp_path / "data"), "--dataset.init_args.stimuli_table", "stimuli.csv"]
    source = str(tmp_path / "out/decoders/sub-01")
    assert main(["adapt", source, *options, "--out", str(tmp_path / "adapted")]) == 0
    decoder = str(tmp_path / "adapted/decoder")
    more = ["--out", str(tmp_path / "decoded"), "--n-pictures", "2"]
    assert main(["decode", decoder, *options, *more]) == 0
    assert len(list((tmp_path / "decoded/pictures").glob("*.png"))) == 2
    table = pd.read_csv(tmp_path / "decoded/retrieved.csv")
    assert (table["top1"] == table["stimulus"]).mean() == pytest.approx(found["top1"], abs=0.1)
    gallery = tmp_path / "data/image_set/training_images"
    more = ["--out", str(tmp_path / "searched"), "--n-pictures", "0", "--candidates", str(gallery)]
    assert main(["decode", decoder, *options, *more]) == 0
    assert (gallery / pd.read_csv(tmp_path / "searched/retrieved.csv")["top1"][0]).is_file()


def check_encoding(found):
    person = found["per_subject"][0]
    assert 0 < person["noise_ceiling"] < 1
    for own in person["encoders"].values():
        assert 0 < own["ci95"][0] < own["explained_variance"] < person["noise_ceiling"] + 0.05
        assert own["identified_ci95"][0] > 2 / 40
    shares = [region["attention"] for region in person["regions"].values()]
    assert 0 < sum(shares) <= 1 + 1e-6
    best = person["regions"]["IT"], person["encoders"]["ridge"]["regions"]["IT"]
    assert best[1] > 0
    assert all(len(own["most_selective_voxels"]) == 10 for own in person["prompts"]["ridge"].values())


def check_sets(found):
    assert set(found) >= {"InContextSystem", "network, Bayes", "ridge, Bayes", "direct ridge"}
    own = found["ridge, Bayes"]
    assert own["n_candidates"] == 40
    assert own["sets"][0]["found"] > 0.75
    assert own["sets"][0]["mean_size"] < 36


def test_a_curriculum_by_recipe(tmp_path, capsys):
    home = write_study(tmp_path / "data", patterns=True)
    sizes = {"width": 16, "n_layers": 1, "ffn_dim": 16, "n_heads": 2, "hidden": 16, "n_registers": 4}
    stages = [
        {
            "name": "synthetic",
            "source": "isotropic",
            "n_steps": 3,
            "size": [5, 9],
            "n_queries": 4,
            "batch_size": 4,
        },
        {
            "name": "subjects",
            "source": "subjects",
            "n_steps": 3,
            "size": [5, 9],
            "n_queries": 4,
            "batch_size": 4,
        },
    ]
    learned = {"encoder": sizes, "inverter": sizes, "encoder_stages": stages, "inverter_stages": stages}
    system = {"class_path": "neurodec.systems.InContextSystem", "init_args": learned}
    write_recipe(tmp_path / "recipe.yaml", patterns=True, system=system, protocol="new_subject")
    assert main(arguments("run", home)) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert set(results["baselines"]) >= {"ridge, Bayes", "prior, Bayes", "direct ridge", "ridge"}
    assert results["baselines"]["prior, Bayes"]["ci95_top1"][0] > 2 / 20
    assert results["speed"]["n_parameters"] > 0
    assert (tmp_path / "out/checkpoints/new-anna/encoder/history.csv").exists()
    before = (tmp_path / "out/models/new-anna/encoder.safetensors").stat().st_mtime_ns
    assert main(arguments("run", home)) == 0
    assert (tmp_path / "out/models/new-anna/encoder.safetensors").stat().st_mtime_ns == before
    alone = {"class_path": "neurodec.systems.InContextSystem", "init_args": {"encoder": sizes}}
    write_recipe(tmp_path / "recipe.yaml", patterns=True, system=alone, protocol="new_subject")
    assert "neither networks nor a curriculum" in refused(capsys, arguments("run", home, "other"))
    shipped = {
        "class_path": "neurodec.systems.InContextSystem",
        "init_args": {"start": "neurodec/in-context"},
    }
    write_recipe(tmp_path / "recipe.yaml", patterns=True, system=shipped)
    error = refused(capsys, arguments("run", home, "other"))
    assert "embeddings are of" in error
    assert "the system was trained on neurodec/tiny-clip/unit" in error


@pytest.mark.quality
def test_categories_in_context_on_haxby(shared, tmp_path):
    command = ["run", "haxby/in-context", "--data-root", str(shared / "data/haxby2001-slice-fmri")]
    quick = ["--evaluation.network.init_args.decoder.init_args.n_steps", "300"]
    quick += ["--evaluation.network_bayes.init_args.decoder.init_args.n_steps", "300"]
    for name in ("network", "network_bayes", "ridge_bayes"):
        quick += [f"--evaluation.{name}.init_args.n_shuffles", "4"]
    assert main([*command, "--out", str(tmp_path / "out"), *quick]) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    found = {"network": results["classification"]}
    found |= {name: one["classification"] for name, one in results["further"].items()}
    # Chance is 0.125. The intervals allow for folds that share training runs, hence 0.65 beside an accuracy of 0.92.
    for name, least, accuracy in (
        ("network", 0.25, 0.5),
        ("network_bayes", 0.6, 0.8),
        ("ridge_bayes", 0.65, 0.85),
    ):
        assert found[name]["ci95"][0] > least, (name, found[name]["ci95"])
        assert found[name]["accuracy"] > accuracy
        assert found[name]["p_value"] < 0.01
