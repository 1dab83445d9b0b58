"""One training: Lightning underneath, resumed from the last checkpoint."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pandas as pd
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO

from neurodec.errors import NeurodecError, interruptible, reading
from neurodec.files import atomic_path, remove_partials, write_table
from neurodec.training.batches import TrialBatches
from neurodec.training.module import EncoderModule
from neurodec.training.synchronised import BatchNormOverProcesses
from neurodec.training.trainer import built

_QUIET = {"logger": False, "enable_model_summary": False}  # metrics.csv and the report say what matters
Selection = Literal["validation", "last", "published_protocol"]
_EXPECTED = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*does not have many workers.*",  # a gather needs no workers
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches.*",
    ".*has `__len__` defined.*",
    ".*sync_dist=True.*",  # losses are over the rows of all processes already
    ".*all_gather is deprecated.*",
    ".*Total length of .* across ranks is zero.*",  # no held-out trials
)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their final place and renames them.

    Lightning writes to the system's temporary folder and moves, which across file systems is a plain copy.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write one checkpoint."""
        with atomic_path(path) as partial:
            torch.save(checkpoint, partial)


def train(
    module: EncoderModule, data: TrialBatches, settings: dict[str, Any], folder: Path, selection: Selection
) -> tuple[L.Trainer, Path]:
    """Train a module, or go on training it.

    Parameters
    ----------
    module : EncoderModule
    data : TrialBatches
    settings : dict
        The section `trainer` of a recipe: arguments of `lightning.Trainer`.
    folder : Path
        Gets `last.ckpt` after every epoch, `best.ckpt` by validation, and `metrics.csv`.
    selection : {"validation", "last", "published_protocol"}
        Which epoch is chosen: that of the lowest validation loss (or the highest score, where the objective has one),
        the last, or that of the highest accuracy on the test data.

    Returns
    -------
    trainer : Trainer
    chosen : Path
        The checkpoint to take.

    Notes
    -----
    A killed run goes on from `last.ckpt` and ends with the same weights as an unbroken one.
    """
    chosen_by = "val_score" if module.scores else "val_loss"
    monitor = ("val_top1" if selection == "published_protocol" else chosen_by) if data.validates else None
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        with reading("The recipe", "", "correct its sections data and trainer"):
            trainer = _trainer(settings, folder, monitor)
        if trainer.is_global_zero:
            remove_partials(folder)
        last = folder / "last.ckpt"
        earlier = read_own_checkpoint(last) if last.exists() else {"callbacks": {}}
        # Lightning would give a run that had already stopped early one more epoch.
        if not any(state.get("stopped_epoch") for state in earlier["callbacks"].values()):
            resumed = last if last.exists() else None
            with _telling(type(module.encoder).__name__), interruptible():
                trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    best = folder / "best.ckpt"
    return trainer, best if selection != "last" and best.exists() else last


def _trainer(settings: dict[str, Any], folder: Path, monitor: str | None) -> L.Trainer:
    """Build the trainer with checkpoints that a killed run cannot leave half written, and a history of its own."""
    settings = {**_QUIET, **{key: value for key, value in settings.items() if value is not None}}
    named = any(name.endswith("ProgressBar") for name in built(settings.get("callbacks")))
    settings.setdefault("enable_progress_bar", sys.stderr.isatty() or named)
    settings["default_root_dir"] = str(folder)
    if settings.get("strategy") == "ddp":
        # A part of a network may rest, as CSBrain's fill does in a fine-tuning.
        settings["strategy"] = "ddp_find_unused_parameters_true"
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # their tips are not about the user's data
    on_gpu = torch.cuda.is_available() and settings.get("accelerator", "auto") != "cpu"
    if on_gpu:
        settings.setdefault("sync_batchnorm", True)  # of the whole batch, however many devices share it
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(L.Trainer, "trainer", instantiate=False)
    chosen = vars(parser.instantiate_classes(parser.parse_object({"trainer": settings})).trainer)
    callbacks, plugins = _as_list(chosen.get("callbacks")), _as_list(chosen.get("plugins"))
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpoints())
    if not on_gpu and not any(isinstance(plugin, LayerSync) for plugin in plugins):
        plugins.append(BatchNormOverProcesses())
    callbacks += [History(folder / "metrics.csv"), *_checkpoints(folder, monitor)]
    # Batches are shared among processes by ourselves.
    options = {"callbacks": callbacks, "plugins": plugins, "use_distributed_sampler": False}
    return L.Trainer(**{**chosen, **options})


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


@contextmanager
def _telling(encoder: str) -> Iterator[None]:
    """Tell in one sentence what stopped a training; a full disk, which is no fault of the recipe, passes."""
    try:
        yield
    except (NeurodecError, OSError):
        raise
    except Exception as error:  # Lightning, any callback and any encoder fail in their own ways
        reason = " ".join(str(error).split())[:200] or "no reason was given"
        raise NeurodecError(
            f"The training of {encoder} stopped ({type(error).__name__}: {reason}); see whether the encoder takes "
            "responses of this shape and whether the callbacks fit the trainer, and correct the recipe."
        ) from error


def read_own_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that a fit wrote: tensors and plain values, since anything else could run code.

    Raises
    ------
    NeurodecError
        If the file is damaged, or holds other objects.
    """
    with reading(
        path, "a checkpoint", f"{path.name} is damaged or foreign, so delete it to train from the start"
    ):
        content = torch.load(path, "cpu", weights_only=True)
        if not isinstance(content, dict) or not isinstance(content.get("callbacks", {}), dict):
            raise NeurodecError(f"The checkpoint {path} is damaged; delete it to train from the start.")
        # Lightning deletes the files that such a state calls outdated.
        foreign = [
            text for text in _texts(content.get("callbacks")) if "://" in text or ".." in Path(text).parts
        ]
        if foreign:
            raise NeurodecError(
                f"The checkpoint {path} names {foreign[0]}, outside its folder; delete it to train from the start."
            )
        return content


def chosen_weights(path: Path) -> tuple[dict[str, torch.Tensor], int]:
    """Return the weights of a checkpoint that a fit wrote, and its epoch.

    Raises
    ------
    NeurodecError
        If training diverged.
    """
    checkpoint = read_own_checkpoint(path)
    broken = [name for name, value in checkpoint["state_dict"].items() if not value.isfinite().all()]
    if broken:
        raise NeurodecError(
            f"Training diverged: {broken[0]} is not finite in {path}; lower the learning rate, or take another "
            f"trainer.precision, and delete {path.parent}."
        )
    return checkpoint["state_dict"], checkpoint["epoch"]


def _texts(state: Any) -> Iterator[str]:
    if isinstance(state, str):
        yield state
    elif isinstance(state, dict):
        yield from _texts([*state, *state.values()])
    elif isinstance(state, (list, tuple)):
        for item in state:
            yield from _texts(item)


class MovableCheckpoint(ModelCheckpoint):
    """Keeps the best epoch in mind also where the folder was moved; Lightning forgets its score then."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint, with all paths in the folder of today."""
        before, now = str(state_dict.get("dirpath", self.dirpath)), str(self.dirpath)

        def moved(value: Any) -> Any:
            if isinstance(value, str):
                return now + value.removeprefix(before) if value.startswith(before) else value
            return (
                {moved(key): moved(own) for key, own in value.items()} if isinstance(value, dict) else value
            )

        super().load_state_dict({name: moved(value) for name, value in state_dict.items()})


def _checkpoints(folder: Path, monitor: str | None) -> list[ModelCheckpoint]:
    last = MovableCheckpoint(
        folder, filename="last", enable_version_counter=False, save_top_k=1, monitor=None
    )
    if monitor is None:
        return [last]
    mode = "min" if monitor == "val_loss" else "max"
    return [
        MovableCheckpoint(folder, filename="best", monitor=monitor, mode=mode, enable_version_counter=False),
        last,
    ]


class History(Callback):
    """Writes `metrics.csv` after every epoch, and keeps it in the checkpoint so that a resumed run completes it.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.started = path, [], 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Add the epoch's row and rewrite the file."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        data = trainer.datamodule
        n_samples = trainer.num_training_batches * data.share * len(data.spaces)  # over all processes
        rate = n_samples / (time.perf_counter() - self.started)
        self.rows.append({"epoch": trainer.current_epoch, **metrics, "samples_per_s": round(rate, 1)})
        if trainer.is_global_zero:
            write_table(self.path, pd.DataFrame(self.rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows of the checkpoint."""
        self.rows = list(state["rows"])
