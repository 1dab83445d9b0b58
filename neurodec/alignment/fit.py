"""One fit: LightningCLI underneath, resumed from the last checkpoint, exported as config.json and safetensors."""

from __future__ import annotations

import inspect
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from neurodec.alignment.datamodule import TrialsDataModule
from neurodec.alignment.module import AlignmentModule
from neurodec.alignment.pretrained import save_pretrained
from neurodec.files import atomic_path, remove_partials

_QUIET = {"logger": False, "enable_model_summary": False}  # metrics.csv and the report say what matters
LINKED = ("n_chans", "n_times", "n_outputs", "n_subjects")


class FitCLI(LightningCLI):
    """LightningCLI that tells the encoder the size of the data, so that recipes never repeat it."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the data's sizes and seed to the model."""
        link_sizes(parser)


def link_sizes(parser: LightningArgumentParser) -> None:
    """Link `data.n_chans` and the like to the encoder's arguments of the same name, where it has them."""
    for name in LINKED:
        parser.link_arguments(f"data.{name}", f"model.encoder.init_args.{name}", apply_on="instantiate")


def fit(config: dict[str, Any], out: Path, name: str, selection: Literal["validation", "last"]) -> Path:
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
    selection : {"validation", "last"}
        Which epoch is exported.

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
    last = checkpoints / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings(
            "ignore", message=".*does not have many workers.*"
        )  # a gather needs no workers
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*")
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter.*")
        cli = _build(config, checkpoints)
        cli.trainer.fit(
            cli.model, cli.datamodule, ckpt_path=last if last.exists() else None, weights_only=False
        )
    best = checkpoints / "best.ckpt"
    chosen = best if selection == "validation" and best.exists() else last
    # Our own checkpoint of this very run; Lightning's callbacks keep more than tensors in it.
    checkpoint = torch.load(chosen, "cpu", weights_only=False)
    cli.model.load_state_dict(checkpoint["state_dict"])
    data = cli.datamodule
    facts = {
        "embedding_space": data.features.info["embedding_space"],
        "subjects": data.subjects,
        **{name: data.trials.info.get(name) for name in ("modality", "sfreq", "tmin", "ch_names")},
        "n_times": data.n_times,
        "epoch": checkpoint["epoch"],
        "selection": selection if chosen == best else "last",
    }
    encoder = cli.config["model"]["encoder"].as_dict()
    sizes = {name: getattr(data, name) for name in LINKED if hasattr_argument(cli.model.encoder, name)}
    encoder["init_args"] = {**(encoder.get("init_args") or {}), **sizes}
    save_pretrained(model_folder, cli.model.encoder, encoder, facts)
    return model_folder


def hasattr_argument(encoder: torch.nn.Module, name: str) -> bool:
    """Tell whether an encoder's constructor takes an argument of this name."""
    return name in inspect.signature(type(encoder).__init__).parameters


def _build(config: dict[str, Any], folder: Path) -> FitCLI:
    trainer = {
        **_QUIET,
        **{key: value for key, value in config.get("trainer", {}).items() if value is not None},
    }
    trainer.setdefault("enable_progress_bar", sys.stderr.isatty())
    trainer["default_root_dir"] = str(folder)
    validated = config["data"].get("validation_fraction", 0.1) > 0
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not about the user's data
    return FitCLI(
        AlignmentModule,
        TrialsDataModule,
        run=False,
        save_config_callback=None,
        seed_everything_default=config.get("seed_everything", 42),
        trainer_defaults={"callbacks": [History(folder / "metrics.csv"), *_checkpoints(folder, validated)]},
        args={"model": config["model"], "data": config["data"], "trainer": trainer},
    )


def _checkpoints(folder: Path, validated: bool) -> list[ModelCheckpoint]:
    last = ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_top_k=1, monitor=None)
    if not validated:
        return [last]
    return [ModelCheckpoint(folder, filename="best", monitor="val_loss", enable_version_counter=False), last]


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
        with atomic_path(self.path) as partial:
            pd.DataFrame(self.rows).to_csv(partial, index=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the rows of the checkpoint."""
        self.rows = list(state["rows"])
