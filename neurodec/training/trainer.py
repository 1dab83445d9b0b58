"""What a recipe asks of Lightning's Trainer: hardware and packages that are there, and folders below OUT."""

from __future__ import annotations

import inspect
import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry

from neurodec.class_paths import resolve_class
from neurodec.errors import NeurodecError, reading

_PACKAGES = {  # what must be importable for a logger or callback, any of it
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
    "WandbLogger": ("wandb",),
    "MLFlowLogger": ("mlflow", "mlflow_skinny"),
    "CometLogger": ("comet_ml",),
    "NeptuneLogger": ("neptune",),
    "DeviceStatsMonitor": ("psutil",),
}
_INSTALLED_AS = {"comet_ml": "comet-ml"}
_FOLDERS = (
    *("save_dir", "dirpath", "default_root_dir", "log_dir", "root_dir", "dir", "nvme_path"),
    *("tracking_uri", "artifact_location", "exclude_batches_path"),
)
_WATCHING = (
    *(
        "logger",
        "profiler",
        "callbacks",
        "default_root_dir",
        "log_every_n_steps",
        "model_registry",
        "barebones",
    ),
    *(
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "use_distributed_sampler",
        "plugins",
        "sync_batchnorm",
    ),
    *("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
)
_WATCHERS = ("ProgressBar", "LearningRateMonitor", "DeviceStatsMonitor", "ModelSummary", "Timer")
_SCHEME = re.compile(r"[a-z][a-z0-9+]+:|databricks")
_REMOTE = ("http://", "https://", "databricks")
_NOT_TRIED = ("logger", "callbacks", "default_root_dir", "deterministic", "benchmark", "detect_anomaly")


def telling(trainer: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a trainer's section that changes what is learned.

    Loggers, progress bars, profilers, hardware and the number of processes do not: batches are the same however many
    share them.
    """
    callbacks = trainer.get("callbacks")
    callbacks = [] if callbacks is None else callbacks if isinstance(callbacks, list) else [callbacks]
    kept = {name: value for name, value in trainer.items() if name not in _WATCHING and value is not None}
    changing = [one for one in callbacks if not any(name.endswith(_WATCHERS) for name in built(one))]
    return {**kept, "callbacks": changing}


def check_packages(trainer: Any) -> None:
    """Refuse loggers and callbacks whose package is not installed.

    Parameters
    ----------
    trainer : dict or None
        The section `trainer` of a recipe, as written or as parsed.

    Raises
    ------
    NeurodecError
        With the command that installs it.
    """
    for name in built(trainer):
        packages = _PACKAGES.get(name, ())
        if packages and not any(find_spec(package) for package in packages):
            wanted = _INSTALLED_AS.get(packages[0], packages[0])
            raise NeurodecError(
                f"{name} needs the package {wanted}, which is not installed; install it with  pip install {wanted}."
            )


def check_hardware(trainer: dict[str, Any]) -> None:
    """Refuse, before any work, a trainer that cannot run on this machine.

    Parameters
    ----------
    trainer : dict
        The section `trainer` of a recipe.

    Raises
    ------
    NeurodecError
        Naming the key, or with Lightning's own words.
    """
    accelerator = trainer.get("accelerator")
    if isinstance(accelerator, str) and accelerator != "auto":
        _check_accelerator(accelerator)
    plain = {
        key: value
        for key, value in trainer.items()
        if isinstance(value, (str, int, float)) and key not in _NOT_TRIED
    }
    with reading("The section trainer of the recipe", "a trainer for this machine", "correct it"), quiet():
        L.Trainer(**plain, logger=False, enable_checkpointing=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's tips, which are not about the user's data, from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_folders(trainer: dict[str, Any], out: Path, *, allow_outside: bool) -> None:
    """Refuse a trainer that writes outside OUT.

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
        torch.zeros(1, device=device).item()  # the device "meta" can do all but this
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
            if isinstance(text, (str, Path)) and not _SCHEME.match(str(text).removeprefix("file:")):
                found[key] = str(out / str(text).removeprefix("file:"))
        if "class_path" in found and str(found["class_path"]).endswith("Logger") and not allow_outside:
            kind = resolve_class(
                found["class_path"], object, frozenset({str(found["class_path"]).split(".")[0]})
            )
            taken = inspect.signature(kind.__init__).parameters
            arguments = dict(found.get("init_args") or {})
            for key in ("save_dir", "root_dir"):
                if key in taken and arguments.get(key) in (None, ".", "./mlruns"):
                    arguments[key] = str(out)
            found["init_args"] = arguments
        return found

    return moved(trainer)


def hardware() -> str:
    """Name the processors that a training here runs on."""
    processors = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return ", ".join([processors, *names])


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


def built(value: Any) -> Iterator[str]:
    """Yield the last words of all texts in a section: the names of its classes are among them."""
    if isinstance(value, str):
        yield value.rpartition(".")[2]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from built(item)


def _written(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys and values of all texts in a section that could lead out of a folder."""
    if isinstance(value, (str, Path)):
        text = str(value)
        leads_out = (
            PurePath(text).is_absolute() or ".." in PurePath(text).parts or text.startswith(("~", "file:"))
        )
        if (leads_out or key in _FOLDERS) and not text.startswith(_REMOTE):
            yield key, text
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _written(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _written(item, key)


def _below(text: str, out: Path) -> bool:
    text = text.removeprefix("file:")
    return not _SCHEME.match(text) and (out / Path(text).expanduser()).resolve().is_relative_to(out.resolve())
