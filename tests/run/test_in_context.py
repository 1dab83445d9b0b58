"""The in-context system by recipe: the one that comes along reads somebody new, and everything else is refused in time."""

import json

import pytest

from neurodec.cli import main
from neurodec.simulate import simulate

RECIPE = "in_context/simulated-fmri-shipped"


@pytest.mark.slow
def test_the_shipped_system_reads_a_new_person(tmp_path):
    sizes = {"n_subjects": 1, "n_train_concepts": 250, "n_test_concepts": 40, "gallery_per_concept": 1}
    simulate(tmp_path / "data", "fmri", 5, **sizes)
    command = ["run", RECIPE, "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    quick = ["--evaluation.adaptation.init_args.n_pictures", "[60, 500]"]
    quick += ["--evaluation.adaptation.init_args.n_voxels", "[300]"]
    quick += ["--evaluation.adaptation.init_args.n_repeats", "1"]
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
