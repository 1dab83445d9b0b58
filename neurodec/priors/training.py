"""Training of the diffusion prior's network."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from neurodec.data import validation_concepts
from neurodec.errors import NeurodecError, interruptible
from neurodec.files import key_of
from neurodec.priors.network import DiffusionPriorUNet

_EXPECTED = (
    ".*does not have many workers.*",  # a gather needs no workers
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches.*",
    ".*have no `val_dataloader`.*",  # the published form has none
)


@dataclass(frozen=True)
class Training:
    """How the network is trained; see `DiffusionPrior` for the meaning."""

    published: bool
    lr: float
    batch_size: int
    max_epochs: int
    warmup_steps: int
    condition_dropout: float
    ema_decay: float
    validation_fraction: float
    seed: int


class PriorModule(L.LightningModule):
    """Denoising, with a running average of the weights and the best of these averages by validation loss.

    Average, best and its loss are part of the state dict, so that a checkpoint holds all of them.

    Parameters
    ----------
    network : DiffusionPriorUNet
    scheduler : DDPMScheduler
        Its noise schedule and what the network predicts.
    settings : Training
    n_steps : int
        Of the whole run: the learning rate falls along a cosine to 0.
    """

    def __init__(
        self, network: DiffusionPriorUNet, scheduler: DDPMScheduler, settings: Training, n_steps: int
    ) -> None:
        super().__init__()
        self.network, self.scheduler, self.settings, self.n_steps = network, scheduler, settings, n_steps
        self.average = AveragedModel(network, multi_avg_fn=_ramped(settings.ema_decay))
        self.best = copy.deepcopy(network)
        self.register_buffer("best_loss", torch.tensor(math.inf))

    def on_train_batch_start(self, batch: list[Tensor], index: int) -> None:
        """Seed noise and dropout from the step, so that a run resumed at an epoch's end equals an unbroken one."""
        torch.manual_seed(self.settings.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss of a batch, with conditions left out: by row, or as published all or none."""
        condition, target = batch
        if self.settings.published:
            kept = torch.rand(()) >= self.settings.condition_dropout
            return self.loss(self.network, condition if kept else None, target)
        dropped = torch.rand(len(target), device=target.device) < self.settings.condition_dropout
        return self.loss(self.network, condition, target, dropped)

    def on_train_batch_end(self, outputs: object, batch: list[Tensor], index: int) -> None:
        """Average the weights."""
        self.average.update_parameters(self.network)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Keep the average if it denoises all held-out rows (one batch) better than any before."""
        torch.manual_seed(self.settings.seed)  # the same noise every time
        loss = self.loss(self.average.module, *batch)
        if loss < self.best_loss:
            self.best_loss.copy_(loss)
            self.best.load_state_dict(self.average.module.state_dict())

    def loss(
        self,
        network: DiffusionPriorUNet,
        condition: Tensor | None,
        target: Tensor,
        dropped: Tensor | None = None,
    ) -> Tensor:
        """Return the squared error of what the network is to predict, at a random time step per row."""
        n_times = self.scheduler.config.num_train_timesteps
        noise = torch.randn_like(target)
        t = torch.randint(n_times, (len(target),), device=target.device)
        noisy = self.scheduler.add_noise(target, noise, t)
        velocity = self.scheduler.config.prediction_type == "v_prediction"
        wanted = self.scheduler.get_velocity(target, noise, t) if velocity else noise
        return F.mse_loss(network(noisy, t, condition, dropped), wanted)

    def configure_optimizers(self) -> dict:
        """Return Adam with a warm-up, at most a tenth of the run, and a cosine."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)
        warmup = min(self.settings.warmup_steps, self.n_steps // 10)
        schedule = get_cosine_schedule_with_warmup(optimizer, warmup, self.n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class EpochBatches(Sampler[Tensor]):
    """Shuffled rows in batches; the order depends on the seed and the epoch alone.

    Parameters
    ----------
    n_rows, batch_size, seed : int
    steps_done : callable
        Tells how many steps the run has made, of which the epoch follows. (The epoch that Lightning tells lags behind
        when a run is resumed.)
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int, steps_done: Callable[[], int]) -> None:
        self.n_rows, self.batch_size, self.seed, self.steps_done = n_rows, batch_size, seed, steps_done

    def __len__(self) -> int:
        return math.ceil(self.n_rows / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        epoch = self.steps_done() // len(self)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n_rows)
        return iter(torch.from_numpy(order).split(self.batch_size))


def train(
    network: DiffusionPriorUNet,
    scheduler: DDPMScheduler,
    condition: Tensor,
    target: Tensor,
    groups: np.ndarray,
    settings: Training,
    checkpoints: Path | None,
) -> None:
    """Train the network in place.

    Parameters
    ----------
    network : DiffusionPriorUNet
    scheduler : DDPMScheduler
    condition, target : Tensor, shape (n, D) and (n, D')
        As the network shall see them.
    groups : ndarray, shape (n,)
        Rows of one group are either all trained on or all held out.
    settings : Training
    checkpoints : Path, optional
        Folder of the run's state after every epoch; from it a killed run goes on.

    Raises
    ------
    NeurodecError
        If all groups are held out, or training diverges.
    """
    names = groups.astype(str)
    held_out = np.isin(names, list(validation_concepts(names, settings.validation_fraction, settings.seed)))
    if held_out.all():
        raise NeurodecError(
            f"validation_fraction {settings.validation_fraction} holds out all {len(set(names))} groups; lower it."
        )
    rows = TensorDataset(condition[~held_out], target[~held_out])
    name = key_of({**asdict(settings), "data": _digest(condition, target, names)})[:16]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        # Its tips are not about the user's data.
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = _trainer(settings, checkpoints, name)
        batches = EpochBatches(len(rows), settings.batch_size, settings.seed, lambda: trainer.global_step)
        module = PriorModule(network, scheduler, settings, settings.max_epochs * len(batches))
        loaders = [DataLoader(rows, sampler=batches, batch_size=None)]
        if held_out.any():
            loaders.append(DataLoader([(condition[held_out], target[held_out])], batch_size=None))
        with interruptible():
            trainer.fit(module, *loaders, ckpt_path=_resumable(checkpoints, name), weights_only=True)
    chosen = (module.best if held_out.any() else module.average.module).state_dict()
    if not all(value.isfinite().all() for value in chosen.values()):
        raise NeurodecError("Training of the prior diverged to values that are not finite; lower its lr.")
    network.cpu().load_state_dict(chosen)


def _ramped(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """Average over fewer steps at first, so that the untrained weights are soon forgotten."""

    def update(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor) -> None:
        n = int(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, n_averaged)

    return update


def _trainer(settings: Training, checkpoints: Path | None, name: str) -> L.Trainer:
    callbacks = []
    if checkpoints is not None:
        callbacks.append(
            ModelCheckpoint(
                checkpoints,
                filename=name,
                monitor=None,
                save_top_k=1,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            )
        )
    return L.Trainer(
        max_epochs=settings.max_epochs,
        devices=1,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=checkpoints is not None,
        enable_progress_bar=sys.stderr.isatty(),
        callbacks=callbacks,
    )


def _digest(condition: Tensor, target: Tensor, names: np.ndarray) -> str:
    """Return a hash of the data, so that a checkpoint of another fit is never taken for this one's."""
    digest = hashlib.sha256("\n".join(names).encode())
    for values in (condition, target):
        digest.update(np.ascontiguousarray(values.numpy()).data)
    return digest.hexdigest()


def _resumable(checkpoints: Path | None, name: str) -> Path | None:
    """Return the checkpoint to go on from; a damaged one counts as none, because a new start ends the same."""
    if checkpoints is None or not (path := checkpoints / f"{name}.ckpt").exists():
        return None
    try:
        torch.load(path, "cpu", weights_only=True)
    except Exception:  # pickles fail in every way
        return None
    return path
