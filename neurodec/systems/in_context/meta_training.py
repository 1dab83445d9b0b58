"""Meta-training of the in-context networks: a curriculum of stages, each one Lightning training, resumed exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from neurodec.errors import NeurodecError, interruptible
from neurodec.files import write_table
from neurodec.systems.in_context.tasks import Batch, MetaStage
from neurodec.training.fit import AtomicCheckpoints, read_own_checkpoint
from neurodec.training.trainer import quiet

Draw = Callable[[int, torch.Generator], Batch]
"""From a size (pictures or voxels) and a generator to a batch."""
Loss = Callable[..., tuple[Tensor, Tensor]]
"""From network, batch and a function that gathers rows across processes to loss and score."""
_EVERY = 100  # steps between validations and checkpoints
_N_JUDGED = 4  # fixed batches that a validation reads
_EXPECTED = (
    ".*does not have many workers.*",
    ".*Checkpoint directory.*",
    ".*isinstance.treespec.*",
    ".*_dataloader.*",
)


class MetaModule(L.LightningModule):
    """Trains a network on tasks.

    Parameters
    ----------
    network : nn.Module
    loss : callable
        From network and batch to loss and score.
    stage : MetaStage
    judged : list of dict
        Fixed batches; validation is the same every time.
    seed : int
    """

    def __init__(
        self, network: nn.Module, loss: Loss, stage: MetaStage, judged: list[Batch], seed: int
    ) -> None:
        super().__init__()
        self.network, self._loss, self.stage, self.judged, self.seed = network, loss, stage, judged, seed
        self.rows: list[dict[str, Any]] = []

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Seed dropout from the step."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss; every so often, the score on the fixed tasks is put down."""
        loss, _ = self._loss(self.network, batch, self._everyone)
        if self.global_step % _EVERY == 0:
            self._judge(float(loss.detach()))
        return loss

    def _everyone(self, rows: Tensor) -> Tensor:
        """Gather rows across processes, with gradients."""
        if self.trainer.world_size == 1:
            return rows
        return self.all_gather(rows, sync_grads=True).flatten(0, 1)

    @torch.no_grad()
    def _judge(self, loss: float) -> None:
        self.network.eval()
        found = [self._loss(self.network, _on(batch, self.device)) for batch in self.judged]
        self.network.train()
        row = {"stage": self.stage.name, "step": self.global_step, "train_loss": loss}
        row |= {"val_loss": float(torch.stack([one for one, _ in found]).mean())}
        self.rows.append(row | {"val_score": float(torch.stack([score for _, score in found]).mean())})

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW with a short rise and a cosine fall of its rate."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.stage.lr, weight_decay=0.01)
        rise, total = max(1, self.stage.n_steps // 10), self.stage.n_steps

        def rate(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history."""
        checkpoint["rows"] = self.rows

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the history."""
        self.rows = list(checkpoint["rows"])


class _Tasks(IterableDataset):
    """Batches of a stage from a step on; which ones follows from seed and step, and every process takes its part."""

    def __init__(self, draw: Draw, stage: MetaStage, seed: int, trainer: L.Trainer) -> None:
        self.draw, self.stage, self.seed, self.trainer = draw, stage, seed, trainer

    def __iter__(self) -> Iterator[Batch]:
        rank, n_processes = self.trainer.global_rank, self.trainer.world_size
        for step in range(self.trainer.global_step, self.stage.n_steps):
            batch = batch_of(self.draw, self.stage, self.seed, step)
            yield {name: values[rank::n_processes] for name, values in batch.items()}


class _Bar(Callback):
    """Tells how far a stage is, on a terminal."""

    def __init__(self, title: str, n_steps: int) -> None:
        self.title, self.n_steps = title, n_steps

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the bar."""
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self.bar.start()
        self.task = self.bar.add_task(self.title, total=self.n_steps, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Move it."""
        self.bar.update(self.task, completed=trainer.global_step)

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Close it."""
        if hasattr(self, "bar"):
            self.bar.stop()


def batch_of(draw: Draw, stage: MetaStage, seed: int, step: int) -> Batch:
    """Return the batch of a step."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + step)
    low, high = stage.size
    return draw(int(torch.randint(low, high + 1, (1,), generator=random)), random)


def meta_train(
    network: nn.Module,
    stages: Sequence[tuple[MetaStage, Draw]],
    loss: Loss,
    folder: Path | None,
    seed: int = 0,
    trainer: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Train a network through a curriculum, or go on with it; it holds the last weights afterwards, on the CPU.

    Parameters
    ----------
    network : nn.Module
    stages : sequence of (MetaStage, draw)
        What is trained, and what draws its tasks.
    loss : callable
        `encoder_loss` or `inverter_loss`.
    folder : Path, optional
        Gets ``<stage>.ckpt`` and ``history.csv``: a killed run goes on from there and ends with the same weights.
        Nothing is kept without.
    seed : int
    trainer : dict, optional
        Further arguments of Lightning's Trainer, such as `precision` or `devices`.

    Returns
    -------
    DataFrame
        `stage, step, train_loss, val_loss, val_score`: the fixed tasks of a stage are judged every 100 steps.

    Raises
    ------
    NeurodecError
        If training diverges.
    """
    rows: list[dict[str, Any]] = []
    for number, (stage, draw) in enumerate(stages):
        file, own = (folder or Path()) / f"{stage.name}.ckpt", seed + 1000 * number
        judged = [batch_of(draw, stage, own + 77, step) for step in range(_N_JUDGED)]
        module = MetaModule(network, loss, stage, judged, own)
        state = read_own_checkpoint(file) if folder is not None and file.exists() else None
        if state is not None and state["global_step"] >= stage.n_steps:
            module.load_state_dict(state["state_dict"])
            rows += state["rows"]
            continue
        with (
            warnings.catch_warnings(),
            quiet(),
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        ):
            for message in _EXPECTED:
                warnings.filterwarnings("ignore", message=message)
            runner = _trainer(stage, folder, trainer or {})
            if stage.batch_size % runner.world_size:
                raise NeurodecError(
                    f"A batch of {stage.batch_size} tasks cannot be shared evenly by {runner.world_size} processes; "
                    f"change `batch_size` of the stage {stage.name}, or trainer.devices."
                )
            tasks = _Tasks(draw, stage, own, runner)
            with interruptible():
                loader = DataLoader(tasks, batch_size=None)
                runner.fit(module, loader, ckpt_path=None if state is None else file, weights_only=True)
        module._judge(math.nan)
        rows += module.rows
        if folder is not None and runner.is_global_zero:
            write_table(folder / "history.csv", pd.DataFrame(rows))
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise NeurodecError(
                f"The stage {stage.name} diverged to values that are not finite; lower its `lr`."
            )
    network.cpu().eval()
    return pd.DataFrame(rows)


def _trainer(stage: MetaStage, folder: Path | None, options: dict[str, Any]) -> L.Trainer:
    callbacks: list[Callback] = [_Bar(stage.name, stage.n_steps)]
    if folder is not None:
        name = {"dirpath": folder, "filename": stage.name, "enable_version_counter": False}
        callbacks += [
            ModelCheckpoint(**name, save_top_k=1, every_n_train_steps=_EVERY),
            ModelCheckpoint(**name, save_on_train_epoch_end=True),
        ]
    plain = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    plain |= {"enable_checkpointing": folder is not None}
    return L.Trainer(
        **{**plain, "gradient_clip_val": 1.0, "max_epochs": 1, "max_steps": stage.n_steps, **options},
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
    )


def _on(batch: Batch, device: torch.device) -> Batch:
    return {name: values.to(device) for name, values in batch.items()}
