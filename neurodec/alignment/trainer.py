"""What a recipe asks of Lightning's Trainer: hardware and packages that are there, and folders below OUT."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry

from neurodec.class_paths import resolve_class
from neurodec.errors import NeurodecError

_PACKAGES = {  # what must be importable for a logger or callback, any of it
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
    "WandbLogger": ("wandb",),
    "MLFlowLogger": ("mlflow", "mlflow_skinny"),
    "CometLogger": ("comet_ml",),
    "NeptuneLogger": ("neptune",),
    "DeviceStatsMonitor": ("psutil",),
}
_INSTALLED_AS = {"comet_ml": "comet-ml"}
_FOLDERS = ("save_dir", "dirpath", "default_root_dir", "log_dir", "root_dir", "tracking_uri")
_REMOTE = ("http://", "https://", "databricks")


def check_trainer(trainer: dict[str, Any], out: Path, *, allow_outside: bool) -> None:
    """Refuse, before any work, a trainer that cannot run on this machine or writes outside OUT.

    Parameters
    ----------
    trainer : dict
        The section `trainer` of a recipe.
    out : Path
        Folder for everything that is written.
    allow_outside : bool
        Let loggers, profilers and callbacks write elsewhere.

    Raises
    ------
    NeurodecError
        Naming the key and what to do.
    """
    accelerator = trainer.get("accelerator")
    if isinstance(accelerator, str) and accelerator != "auto":
        _check_accelerator(accelerator)
    for name in _built(trainer):
        packages = _PACKAGES.get(name, ())
        if packages and not any(find_spec(package) for package in packages):
            wanted = _INSTALLED_AS.get(packages[0], packages[0])
            raise NeurodecError(
                f"{name} needs the package {wanted}, which is not installed; install it with  pip install {wanted}."
            )
    if not allow_outside:
        for key, text in _written(trainer):
            if not _below(text, out):
                raise NeurodecError(
                    f"trainer: {key} is {text}, which lies outside {out}; name a folder relative to it, or add "
                    "--allow-outside if the recipe may write there."
                )


def check_device(device: Any, key: str) -> None:
    """Refuse a torch device that this machine does not have.

    Raises
    ------
    NeurodecError
        Naming the key and torch's own words.
    """
    if device in (None, "auto"):
        return
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each backend fails in its own way
        reason = " ".join(str(error).split())[:120]
        raise NeurodecError(
            f"{key} is {device}, and there is no such device here ({reason}); leave it out, or install a build of "
            "torch for it with  pip install torch."
        ) from error


def below_out(trainer: dict[str, Any], out: Path, *, allow_outside: bool) -> dict[str, Any]:
    """Return a trainer's section whose relative folders are below OUT, as those that loggers take by default are."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, dict):
            return value
        found = {key: moved(item) for key, item in value.items()}
        for key in _FOLDERS:
            text = found.get(key)
            if isinstance(text, (str, Path)) and not _is_remote(str(text)):
                found[key] = str(out / str(text).removeprefix("file:"))
        if "class_path" in found and str(found["class_path"]).endswith("Logger") and not allow_outside:
            kind = resolve_class(
                found["class_path"], object, frozenset({str(found["class_path"]).split(".")[0]})
            )
            arguments = dict(found.get("init_args") or {})
            if "save_dir" in inspect.signature(kind.__init__).parameters and arguments.get("save_dir") in (
                None,
                ".",
                "./mlruns",
            ):
                arguments["save_dir"] = str(out)
            found["init_args"] = arguments
        return found

    return moved(trainer)


def _check_accelerator(name: str) -> None:
    known = [*AcceleratorRegistry.available_accelerators(), "gpu"]
    if name not in known:
        raise NeurodecError(
            f"There is no accelerator {name}; Lightning knows {', '.join(sorted(set(known)))}."
        )
    names = ("cuda", "mps") if name == "gpu" else (name,)
    if not any(AcceleratorRegistry[one]["accelerator"].is_available() for one in names):
        raise NeurodecError(
            f"trainer.accelerator is {name}, and torch finds no such hardware here; leave it out to train on what "
            "there is, or install a build of torch for it with  pip install torch."
        )


def _built(value: Any) -> Iterator[str]:
    """Yield the names of all classes in a section."""
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"].rpartition(".")[2]
        for item in value.values():
            yield from _built(item)
    elif isinstance(value, list):
        for item in value:
            yield from _built(item)


def _written(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the keys and values of all folders and file names in a section."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in (*_FOLDERS, "filename") and isinstance(item, (str, Path)) and not _is_remote(str(item)):
                yield key, str(item)
            else:
                yield from _written(item)
    elif isinstance(value, list):
        for item in value:
            yield from _written(item)


def _is_remote(text: str) -> bool:
    return text.startswith(_REMOTE)


def _below(text: str, out: Path) -> bool:
    place = (out / text.removeprefix("file:")).resolve()
    return place.is_relative_to(out.resolve())
