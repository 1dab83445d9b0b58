"""One fit: LightningCLI underneath, resumed from the last checkpoint, exported as config.json and safetensors."""

from __future__ import annotations

import inspect
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
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import TorchCheckpointIO

from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, remove_partials, write_table
from neurodec.training.datamodule import TrialsDataModule
from neurodec.training.module import AlignmentModule
from neurodec.training.pretrained import save_pretrained
from neurodec.training.trainer import built

_FACTS = ("modality", "sfreq", "tmin", "ch_names", "ch_types", "mask_shape", "voxel_indices", "affine")
_QUIET = {"logger": False, "enable_model_summary": False}  # metrics.csv and the report say what matters
Selection = Literal["validation", "last", "published_protocol"]
LINKED = ("n_chans", "n_times", "n_outputs", "n_subjects", "sfreq")
_EXPECTED = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*does not have many workers.*",  # a gather needs no workers
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches.*",
    "LightningCLI's args parameter.*",
)


class FitCLI(LightningCLI):
    """LightningCLI that tells the encoder the size of the data, so that recipes never repeat it."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the data's sizes and seed to the model."""
        link_sizes(parser)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with checkpoints that a killed run cannot leave half written."""
        return super().instantiate_trainer(**kwargs, plugins=[AtomicCheckpoints()])


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


def link_sizes(parser: LightningArgumentParser) -> None:
    """Link `data.n_chans` and the like to the encoder's arguments of the same name, where it has them."""
    for name in LINKED:
        parser.link_arguments(f"data.{name}", f"model.encoder.init_args.{name}", apply_on="instantiate")


def fit(config: dict[str, Any], out: Path, name: str, selection: Selection) -> Path:
    """Train one encoder, or go on training it, and export the chosen weights.

    Parameters
    ----------
    config : dict
        The sections `model`, `data` (with `prepared` and `features`) and `trainer` of a recipe, and `seed_everything`.
    out : Path
        Gets `checkpoints/<name>/` (`last.ckpt` after every epoch, `best.ckpt` by validation loss, `metrics.csv`) and
        `models/<name>/`.
    name : str
        Of this fit.
    selection : {"validation", "last", "published_protocol"}
        Which epoch is exported: that of the lowest validation loss, the last, or that of the highest accuracy on the
        test data (see `TrialsDataModule.validate_on_test`).

    Returns
    -------
    Path
        ``out / "models" / name``.

    Notes
    -----
    A killed run goes on from `last.ckpt` and ends with the same weights as an unbroken one.
    """
    model_folder, checkpoints = out / "models" / name, out / "checkpoints" / name
    if (model_folder / "config.json").exists():
        return model_folder
    remove_partials(checkpoints)
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        monitor = "val_top1" if selection == "published_protocol" else "val_loss"
        with reading("The recipe", "", "correct its sections data, model and trainer"):
            cli = _build(config, checkpoints, monitor)
        last = checkpoints / "last.ckpt"
        earlier = read_own_checkpoint(last) if last.exists() else {"callbacks": {}}
        # Lightning would give a run that had already stopped early one more epoch.
        if not any(state.get("stopped_epoch") for state in earlier["callbacks"].values()):
            resumed = last if last.exists() else None
            with _telling(type(cli.model.encoder).__name__):
                cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=resumed, weights_only=True)
    best = checkpoints / "best.ckpt"
    validated = selection != "last" and best.exists()
    if cli.trainer.is_global_zero:
        _export(model_folder, cli, best if validated else last, selection if validated else "last")
    return model_folder


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


def _texts(state: Any) -> Iterator[str]:
    if isinstance(state, str):
        yield state
    elif isinstance(state, dict):
        yield from _texts([*state, *state.values()])
    elif isinstance(state, (list, tuple)):
        for item in state:
            yield from _texts(item)


def takes_argument(encoder: type[torch.nn.Module], name: str) -> bool:
    """Tell whether an encoder's constructor takes an argument of this name, itself or by passing it on."""
    for base in encoder.__mro__:
        arguments = inspect.signature(base.__init__).parameters
        if name in arguments:
            return True
        if all(argument.kind != inspect.Parameter.VAR_KEYWORD for argument in arguments.values()):
            return False
    return False


def _export(folder: Path, cli: FitCLI, chosen: Path, selection: str) -> None:
    checkpoint, data = read_own_checkpoint(chosen), cli.datamodule
    broken = [name for name, value in checkpoint["state_dict"].items() if not value.isfinite().all()]
    if broken:
        raise NeurodecError(
            f"Training diverged: {broken[0]} is not finite in {chosen}; lower model.lr, or take another "
            f"trainer.precision, and delete {chosen.parent}."
        )
    cli.model.load_state_dict(checkpoint["state_dict"])
    facts = {
        "embedding_space": data.features.info["embedding_space"],
        "subjects": data.subjects,
        **{name: data.trials.info.get(name) for name in _FACTS},
        "n_times": data.n_times,
        "epoch": checkpoint["epoch"],
        "selection": selection,
    }
    encoder, kind = cli.config["model"]["encoder"].as_dict(), type(cli.model.encoder)
    sizes = {name: getattr(data, name) for name in LINKED if takes_argument(kind, name)}
    encoder["init_args"] = {**(encoder.get("init_args") or {}), **sizes}
    save_pretrained(folder, cli.model.encoder, encoder, facts)


def _build(config: dict[str, Any], folder: Path, monitor: str) -> FitCLI:
    trainer = {
        **_QUIET,
        **{key: value for key, value in config.get("trainer", {}).items() if value is not None},
    }
    named = any(name.endswith("ProgressBar") for name in built(trainer.get("callbacks")))
    trainer.setdefault("enable_progress_bar", sys.stderr.isatty() or named)
    trainer["default_root_dir"] = str(folder)
    data = config["data"]
    validated = data.get("validate_on_test", False) or data.get("validation_fraction", 0.1) > 0
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # their tips are not about the user's data
    return FitCLI(
        AlignmentModule,
        TrialsDataModule,
        run=False,
        save_config_callback=None,
        seed_everything_default=config.get("seed_everything", 42),
        trainer_defaults={
            "callbacks": [
                History(folder / "metrics.csv"),
                *_checkpoints(folder, monitor if validated else None),
            ]
        },
        args={"model": config["model"], "data": data, "trainer": trainer},
    )


def _checkpoints(folder: Path, monitor: str | None) -> list[ModelCheckpoint]:
    last = ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_top_k=1, monitor=None)
    if monitor is None:
        return [last]
    mode = "max" if monitor == "val_top1" else "min"
    return [
        ModelCheckpoint(folder, filename="best", monitor=monitor, mode=mode, enable_version_counter=False),
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
        rate = (
            trainer.num_training_batches
            * trainer.datamodule.batch_size
            / (time.perf_counter() - self.started)
        )
        self.rows.append({"epoch": trainer.current_epoch, **metrics, "samples_per_s": round(rate, 1)})
        write_table(self.path, pd.DataFrame(self.rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows of the checkpoint."""
        self.rows = list(state["rows"])
