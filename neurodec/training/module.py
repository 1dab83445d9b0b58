"""The LightningModule that trains any encoder with any objective."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from neurodec.errors import NeurodecError
from neurodec.training.augmentations import Augmentation
from neurodec.training.batch import Batch, Heads, mapped
from neurodec.training.objectives import Objective

OptimizerCallable = Callable[[Iterable], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


class EncoderModule(L.LightningModule):
    """Trains an encoder.

    Parameters
    ----------
    encoder : nn.Module
        ``forward(response, subject, *, space, positions, mask)``, of which it takes what it needs; returns a Tensor
        (the objective's head) or a dict of heads.
    objective : Objective
    optimizer : callable
        From parameters to an optimiser.
    lr_scheduler : callable, optional
        From the optimiser (and `total_steps`, where it takes that) to a schedule, stepped after every batch.
    augmentations : sequence of Augmentation
        Of the responses, in training.
    hide_subject : float
        Share of the training rows whose subject the encoder is not told (-1).
    spaces : sequence of str
        Names of the spaces, in the order of their numbers in batches.
    rates : dict of float
        Patterns of parameters (``encoder.head.*``) to the factor on their learning rate; the first that fits counts.
    positions : dict of Tensor, shape (n_chans, 3)
        Space to the places of its sensors (m, head frame), NaN where unknown; see `positions_of`.
    seed : int
        Chance in a step follows from (seed, step, process), so a run resumed at an epoch's end equals an unbroken one.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        augmentations: Sequence[Augmentation] = (),
        hide_subject: float = 0.0,
        spaces: Sequence[str] = ("all",),
        rates: Mapping[str, float] | None = None,
        positions: Mapping[str, Tensor] | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.encoder, self.objective, self.rates = encoder, objective, dict(rates or {})
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.augmentations = nn.ModuleList(augmentations)
        self.hide_subject, self.spaces, self.seed = hide_subject, list(spaces), seed
        # Frozen, and so never in training mode; see `neurodec.training.staging`.
        self.held: list[nn.Module] = []
        self._positions = dict(positions or {})
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def train(self, mode: bool = True) -> EncoderModule:
        """Set the mode of all that trains."""
        super().train(mode)
        for module in self.held:
            module.eval()
        return self

    def forward(self, batch: Batch) -> Heads:
        """Return the heads of a batch, space after space."""
        head, found = self.objective.head, {}
        for space, rows in batch.rows_of():
            given = {"mask": batch.mask.get(space), "positions": self._positions.get(space)}
            subject = batch.subject[rows]
            found[space] = heads_of(self.encoder, batch.responses[space], subject, space, head, **given)
        return _joined(found)

    def losses(self, found: Heads, batch: Batch, *, alone: bool = False) -> dict[str, Tensor]:
        """Return the objective's terms in full precision, over the rows of every process unless `alone`."""
        with torch.autocast(self.device.type, enabled=False):
            # Half and double precision trainers convert the targets of a batch as well.
            found, batch = mapped(found, _single), batch.mapped(_single)
            if not alone and self._trainer is not None and self.trainer.world_size > 1:
                found, batch = mapped(found, self._everyone), batch.gathered(self._everyone)
            return self.objective(found, batch, self._progress, **self._options(self.objective.forward))

    def _everyone(self, rows: Tensor) -> Tensor:
        """Gather rows across processes, with gradients where there are any."""
        return self.all_gather(rows, sync_grads=rows.requires_grad).flatten(0, 1)

    def _options(self, function: Callable) -> dict[str, Any]:
        return {"encoder": self.encoder} if takes(function, "encoder") else {}

    @property
    def scores(self) -> bool:
        """Whether the objective scores validation trials by more than its loss."""
        return type(self.objective).score is not Objective.score

    @property
    def _progress(self) -> float:
        if self._trainer is None or (not self.trainer.max_steps and not self.trainer.max_epochs):
            return 0.0
        total = self.trainer.estimated_stepping_batches
        return min(1.0, self.trainer.global_step / total) if 0 < total < float("inf") else 0.0

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Seed dropout from the step, for exact resumption."""
        step = self.trainer.fit_loop.total_batch_idx * self.trainer.world_size + self.global_rank
        torch.manual_seed(self.seed * 1_000_003 + step)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the sum of the objective's terms."""
        hidden = torch.rand_like(batch.subject, dtype=torch.float32) < self.hide_subject
        responses = dict(batch.responses)
        for augmentation in self.augmentations:
            responses = mapped(responses, augmentation)
        batch = replace(batch, subject=batch.subject.masked_fill(hidden, -1), responses=responses)
        batch = self._prepared(batch)
        terms = self.losses(self(batch), batch)
        loss = torch.stack(list(terms.values())).sum()
        self._log("train", loss, terms, len(batch))
        self._log_guess("train", batch, alone=False)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Keep the embeddings; the scores need all of them."""
        batch = self._prepared(batch)
        found = self(batch)
        terms = self.losses(found, batch, alone=True)  # every process judges all held-out trials
        loss = torch.stack(list(terms.values())).sum()
        self._log("val", loss, terms, len(batch))
        self._log_guess("val", batch, alone=True)
        head = self.objective.head
        if head in batch.targets:
            with torch.autocast(self.device.type, enabled=False):
                wanted = self.objective.project(head, _single(batch.targets[head]))
            self._seen.append((found[head].float(), batch.stimulus, wanted.float()))

    def _prepared(self, batch: Batch) -> Batch:
        prepare = self.objective.prepare
        return prepare(batch, self._progress, **self._options(prepare))

    def on_validation_epoch_end(self) -> None:
        """Log the objective's score, or how often a held-out stimulus is found among all held-out ones."""
        if not self._seen:
            return
        brain, stimulus, target = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        if self.scores:
            self.log("val_score", self.objective.score(brain, target), prog_bar=True)
            return
        gallery, true = stimulus.unique(return_inverse=True)
        first = torch.zeros_like(gallery).scatter_(
            0, true.flip(0), torch.arange(len(true), device=true.device).flip(0)
        )
        similarity = F.normalize(brain.flatten(1), dim=-1) @ F.normalize(target[first].flatten(1), dim=-1).T
        self.log("val_chance", 1 / len(gallery))
        self.log("val_top1", (similarity.argmax(dim=1) == true).float().mean(), prog_bar=True)

    def _log(self, part: str, loss: Tensor, terms: Heads, n_rows: int) -> None:
        options = {"on_step": False, "on_epoch": True, "batch_size": n_rows}
        self.log(f"{part}_loss", loss, prog_bar=True, **options)
        if len(terms) > 1:
            for name, term in terms.items():
                self.log(f"{part}_{name}", term, **options)

    @torch.no_grad()
    def _log_guess(self, part: str, batch: Batch, *, alone: bool) -> None:
        """Log what a system that reads nothing can reach."""
        guessed = self.objective.guess(batch.mapped(_single))
        if guessed is not None:
            loss = torch.stack(list(self.losses(guessed, batch, alone=alone).values())).sum()
            self.log(f"{part}_loss_of_mean", loss, on_step=False, on_epoch=True, batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        """Return the optimiser of what is trained, and the schedule if there is one."""
        named = [(name, one) for name, one in self.named_parameters() if one.requires_grad]
        parameters = [one for _, one in named]
        groups: dict[float, list[Any]] = {}
        for name, one in named:
            factor = next((rate for pattern, rate in self.rates.items() if fnmatch(name, pattern)), 1.0)
            groups.setdefault(factor, []).append(one)
        optimizer = self.optimizer([{"params": own} for own in groups.values()] if self.rates else parameters)
        for factor, group in zip(groups, optimizer.param_groups, strict=True):
            group["lr"] *= factor
        if any(parameter.dtype == torch.float16 for parameter in parameters):
            for (
                group
            ) in optimizer.param_groups:  # half precision rounds less to nothing, and then divides by it
                group["eps"] = max(group.get("eps", 1e-4), 1e-4)
        if self.lr_scheduler is None:
            return optimizer
        scheduler = scheduled(self.lr_scheduler, optimizer, int(self.trainer.estimated_stepping_batches))
        rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        first = next(iter(groups))
        if not all(
            math.isclose(rate * first, rates[0] * factor) for factor, rate in zip(groups, rates, strict=True)
        ):
            raise NeurodecError(
                f"{type(scheduler).__name__} gives all parameters one rate, so the factors `rates` would be lost; take "
                "neurodec.training.CosineSchedule."
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def scheduled(build: LRSchedulerCallable, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Build a schedule; the total number of steps is filled in where it takes one that the recipe cannot know."""
    try:
        return build(optimizer)
    except (TypeError, ValueError):  # OneCycleLR without total_steps says the latter
        return build(optimizer, total_steps=total_steps)


def heads_of(
    encoder: nn.Module,
    response: Tensor,
    subject: Tensor,
    space: str,
    head: str,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Heads:
    """Run an encoder with what of the subject, space, positions and mask it takes; one Tensor is named `head`."""
    arguments = (response, subject) if takes_subject(encoder) else (response,)
    options: dict[str, Any] = {"space": space} if takes(encoder.forward, "space") else {}
    if takes(encoder.forward, "positions"):
        if positions is None:
            raise NeurodecError(
                f"{type(encoder).__name__} reads the positions of sensors, and the recordings (space {space}) have "
                "none; save them with a montage (raw.set_montage of MNE), or name electrodes by the 10-05 system."
            )
        options["positions"] = positions.to(response)
    if mask is not None:
        if not takes(encoder.forward, "mask"):
            raise NeurodecError(
                f"The objective hides parts of the responses, and {type(encoder).__name__} takes no `mask`; take an "
                "encoder that does."
            )
        options["mask"] = mask
    found = encoder(*arguments, **options)
    return found if isinstance(found, dict) else {head: found}


def takes(function: Callable, name: str) -> bool:
    """Return whether a function has an argument of this name."""
    return name in inspect.signature(function).parameters


def takes_subject(encoder: nn.Module) -> bool:
    """Return whether an encoder's forward wants the subject: a second argument of that name, or one without default."""
    second = list(inspect.signature(encoder.forward).parameters.values())[1:2]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        argument.name == "subject" or (argument.default is argument.empty and argument.kind in positional)
        for argument in second
    )


def _single(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


def _joined(found: dict[str, Heads]) -> Heads:
    """Join the heads of all spaces; those of different shapes stay apart, by space."""
    (first, *_) = found.values()
    joined: Heads = {}
    for name, values in first.items():
        own = {space: heads[name] for space, heads in found.items()}
        alike = all(other.shape[1:] == values.shape[1:] for other in own.values())
        joined[name] = torch.cat(list(own.values())) if alike else own
    return joined
