"""What a recipe asks of Lightning's Trainer, checked before any work."""

from pathlib import Path

import pytest

from neurodec.errors import NeurodecError
from neurodec.training.trainer import below_out, check_device, check_folders, check_hardware, check_packages

LOGGERS = "lightning.pytorch.loggers"


def logger(kind, **arguments):
    return {"logger": {"class_path": f"{LOGGERS}.{kind}", "init_args": arguments}}


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ({"accelerator": "abacus"}, "no accelerator abacus"),
        ({"accelerator": "tpu"}, "finds no such hardware"),
        ({"precision": "transformer-engine"}, r"transformer.engine.*pip install"),
        ({"strategy": "deepspeed"}, r"DeepSpeed.*pip install"),
        ({"strategy": "fsdp", "accelerator": "cpu"}, "requires a GPU"),
        ({"accelerator": "cpu", "devices": 0}, "cannot be read as a trainer"),
        ({"max_epochs": -3}, "max_epochs"),
        ({"limit_train_batches": -2.0}, "limit_train_batches"),
        ({"profiler": "nope"}, "profiler"),
    ],
)
def test_what_this_machine_cannot_do(trainer, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        check_hardware(trainer)


def test_what_it_can():
    check_hardware({"accelerator": "cpu", "devices": 1, "precision": "bf16-mixed", "max_epochs": 3})
    check_hardware({"accelerator": "auto", "strategy": "auto", **logger("WandbLogger")})


@pytest.mark.parametrize("device", ["meta", "banana", "cpu:x"])
def test_no_such_device(device):
    with pytest.raises(NeurodecError, match=f"features.device is {device}"):
        check_device(device, "features.device")
    check_device("cpu", "features.device")


def test_packages_of_classes_in_any_spelling(monkeypatch):
    monkeypatch.setattr("neurodec.training.trainer.find_spec", lambda name: None)
    for trainer in (logger("WandbLogger"), {"logger": "WandbLogger"}, {"logger": [f"{LOGGERS}.WandbLogger"]}):
        with pytest.raises(NeurodecError, match="pip install wandb"):
            check_packages(trainer)
    check_packages(logger("CSVLogger"))
    check_packages(None)


@pytest.mark.parametrize(
    "trainer",
    [
        logger("CSVLogger", save_dir="/elsewhere"),
        logger("CSVLogger", save_dir="a/../../b"),
        logger("CSVLogger", save_dir="~"),
        logger("CSVLogger", name="../../.."),
        logger("MLFlowLogger", tracking_uri="file:/elsewhere"),
        logger("MLFlowLogger", tracking_uri="sqlite:///x.db"),
        {"callbacks": [{"class_path": "x.ModelCheckpoint", "init_args": {"dirpath": "/elsewhere"}}]},
        {"default_root_dir": "/elsewhere"},
    ],
)
def test_folders_elsewhere(tmp_path, trainer):
    with pytest.raises(NeurodecError, match=r"lies outside .*--allow-outside"):
        check_folders(trainer, tmp_path / "out", allow_outside=False)
    check_folders(trainer, tmp_path / "out", allow_outside=True)


def test_a_link_that_leads_elsewhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/logs").symlink_to(tmp_path)
    with pytest.raises(NeurodecError, match="lies outside"):
        check_folders(logger("CSVLogger", save_dir="logs"), tmp_path / "out", allow_outside=False)


def test_relative_folders_are_below_out(tmp_path):
    out, server = tmp_path / "out", logger("MLFlowLogger", tracking_uri="https://server")
    for trainer in (logger("CSVLogger", save_dir="logs", name="a/b"), server):
        check_folders(trainer, out, allow_outside=False)
    moved = below_out(logger("CSVLogger", save_dir="logs"), out, allow_outside=False)["logger"]["init_args"]
    assert moved["save_dir"] == str(out / "logs")
    moved = below_out(logger("WandbLogger", dir="w"), out, allow_outside=False)["logger"]["init_args"]
    assert (moved["dir"], moved["save_dir"]) == (str(out / "w"), str(out))
    moved = below_out(server, out, allow_outside=False)["logger"]["init_args"]
    assert (moved["tracking_uri"], moved["save_dir"]) == ("https://server", str(out))
    own = {"callbacks": [{"init_args": {"dirpath": Path("c")}}]}
    moved = below_out(own, out, allow_outside=True)["callbacks"][0]["init_args"]
    assert moved["dirpath"] == str(out / "c")
