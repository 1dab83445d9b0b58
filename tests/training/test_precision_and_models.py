"""Every precision that Lightning offers on a CPU, and encoders of another package, through fit, export and loading."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from command_line import arguments, refused, write_recipe
from safetensors.torch import load_file
from small_studies import STUDIES
from training.test_fit import data, fit  # noqa: F401  a fixture

from neurodec.cli import main
from neurodec.training import load_pretrained

MODELS = (
    "EEGNet",
    "ShallowFBCSPNet",
    "Deep4Net",
    "EEGConformer",
    "TIDNet",
    "EEGInceptionERP",
    "ATCNet",
    "TSception",
)


@pytest.mark.parametrize(
    "precision", ["bf16-mixed", "16-mixed", "16-true", "bf16-true", "64-true", "32-true", "bf16", 64, 32, 16]
)
def test_every_precision_trains_as_single_does(data, tmp_path, precision, recwarn):  # noqa: F811
    single = fit(data, tmp_path / "single", 2)
    found = fit(data, tmp_path / "other", 2, precision=precision)
    weights = load_file(tmp_path / "other/models/x/model.safetensors")
    assert {value.dtype for value in weights.values()} <= {torch.float32, torch.int64}
    logs = [
        pd.read_csv(tmp_path / run / "checkpoints/x/metrics.csv")["val_loss"] for run in ("single", "other")
    ]
    np.testing.assert_allclose(logs[1], logs[0], rtol=0.02)
    few = data[0].select({"all": np.arange(20)})
    one, other = (system.predict(few).of("image") for system in (single, found))
    cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.98


@pytest.mark.parametrize("name", MODELS)
def test_models_of_braindecode(data, tmp_path, name):  # noqa: F811
    pytest.importorskip("braindecode", reason="braindecode brings the models")
    fitted = fit(data, tmp_path, 1, encoder={"class_path": f"braindecode.models.{name}"}, selection="last")
    z = fitted.predict(data[0].select({"all": np.arange(3)})).of("image")
    assert z.shape == (3, 16)
    assert np.isfinite(z).all()
    assert load_pretrained(tmp_path / "models/x")[1]["encoder"]["class_path"] == f"braindecode.models.{name}"


def test_a_class_as_an_argument_comes_back_as_that_class(data, tmp_path):  # noqa: F811
    pytest.importorskip("braindecode", reason="braindecode brings the models")
    encoder = {"class_path": "braindecode.models.EEGNet", "init_args": {"activation": "torch.nn.Tanh"}}
    fit(data, tmp_path, 1, encoder=encoder)
    model, facts = load_pretrained(tmp_path / "models/x")
    assert any(isinstance(part, torch.nn.Tanh) for part in model.modules())
    assert facts["encoder"]["init_args"]["activation"].endswith("Tanh")


def test_a_model_of_braindecode_in_a_recipe(tmp_path, capsys, monkeypatch):
    pytest.importorskip("braindecode", reason="braindecode brings the models")
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    STUDIES["arrays"][0](root)
    sections = {
        "protocol": "joint",
        "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
        "data": {"batch_size": 8},
        "encoder": {"class_path": "braindecode.models.EEGNet", "init_args": {"activation": "torch.nn.ELU"}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
        "evaluation": {"class_path": "neurodec.evaluation.Retrieval", "init_args": {"n_permutations": 50}},
    }
    write_recipe(tmp_path / "recipe.yaml", "arrays", **sections)
    assert main(arguments("run", root)) == 0
    assert main(arguments("run", root)) == 0  # the stamps of what is done hold
    sections["encoder"]["init_args"]["activation"] = "subprocess.Popen"
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **sections}))
    assert "subprocess.Popen is outside the allowed packages" in refused(capsys, arguments("run", root))
