"""Training batches: trials of every space and their targets, gathered by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from neurodec.data import Study, Trials, validation_concepts
from neurodec.data.responses import select
from neurodec.data.splits import column_of, groups_of
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.training.augmentations import Augmentation
from neurodec.training.gather import Gather, held, source_of
from neurodec.training.steps import InOrder, Steps

_MOST = 64  # trials of a batch, unless a number is given


@dataclass(frozen=True)
class TrainingData:
    """The `data:` section of a recipe: what a step of training sees.

    Parameters
    ----------
    batch_size : int, optional
        Trials per step, over all processes and spaces: with several processes each takes its share, and a contrastive
        loss still sees all of them. By default 64, or half of the training trials where these are fewer than 128.
        `trainer.accumulate_grad_batches` adds up the gradients of several such batches.
    validation_fraction : float
        Share of the training concepts held out, so that selection judges unseen concepts (of an objective of labels:
        of the people); 0 trains on all. Trials whose split is "validation" are held out in their place.
    held_out_by : str, optional
        Column of the trials or stimuli, such as `sentence`, whose values are held out in place of concepts, and kept
        together where ridge tunes its penalty; in a recipe by default that of the evaluation's `leakage`.
    distinct_by : str, optional
        Column of the trials or stimuli of which a step holds no value twice, such as `stimulus`, or `block` of speech:
        in a contrastive loss, what two people saw or heard alike would be each other's negatives. Trials that find no
        place are left out of the epoch.
    average_repetitions : bool
        Train on the mean over repetitions instead of single trials.
    ch_names : list of str, optional
        Channels to use; all by default.
    tmin, tmax : float, optional
        Window to use (s).
    hide_subject : float
        Share of the training rows whose subject the encoder is not told (-1). Encoders that learn something of every
        subject need it where people are tested whom they have never met: 0.1, say.
    augmentations : list of Augmentation
        What is done to the responses of a batch, in training only.
    """

    batch_size: int | None = None
    validation_fraction: float = 0.1
    held_out_by: str | None = None
    distinct_by: str | None = None
    average_repetitions: bool = False
    ch_names: list[str] | None = None
    tmin: float | None = None
    tmax: float | None = None
    hide_subject: float = 0.0
    augmentations: list[Augmentation] = field(default_factory=list)

    def parameters(self) -> dict[str, Any]:
        """Return plain values that tell one setting from another."""
        optional = ("held_out_by", "distinct_by")
        own = {name: value for name, value in vars(self).items() if name not in optional or value}
        told = [
            {"class": type(one).__qualname__, **{k: v for k, v in vars(one).items() if k[0] != "_"}}
            for one in self.augmentations
        ]
        return {**own, "augmentations": told}

    def cut(self, study: Study) -> Study:
        """Return a view of the channels and the window that are used.

        Parameters
        ----------
        study : Study
        """
        return study.cut(self.ch_names, self.tmin, self.tmax)


class TrialBatches(L.LightningDataModule):
    """Training and validation trials of a study.

    Parameters
    ----------
    study : Study
        Training trials, cut to the channels and the window that are used.
    targets : dict of Features
        By name; every stimulus has a row in each.
    settings : TrainingData
    subjects : list of str
        The encoder's subject ids are places in this list; others are -1.
    seed : int
        Of the validation draw and of the shuffling.
    selection_trials : Study, optional
        Trials that epochs are judged on in place of held-out concepts: the averaged *test* trials of published code.
    scales : dict of float, optional
        What the responses of a space are divided by; 1 by default.
    held_out_by : str
        Column of trials or stimuli whose values are held out: "concept", "subject" (of a single one: runs), ...

    Notes
    -----
    A batch is one gather by index per space, never a per-trial collation: from the GPU's memory where targets, or
    targets and responses, fit in half of what is free there, otherwise from the memory map, so that recordings larger
    than memory train too. With several spaces every step takes equally many trials of each; the largest space is seen
    once per epoch, smaller ones begin again.
    """

    def __init__(
        self,
        study: Study,
        targets: dict[str, Features],
        settings: TrainingData,
        subjects: list[str],
        seed: int = 42,
        selection_trials: Study | None = None,
        scales: Mapping[str, float] | None = None,
        held_out_by: str = "concept",
    ) -> None:
        super().__init__()
        self.held_out_by = held_out_by
        self.study, self.targets, self.settings = study, targets, settings
        self.subjects, self.seed, self.selection_trials, self.scales = (
            subjects,
            seed,
            selection_trials,
            scales or {},
        )
        self.spaces = list(study.spaces)

    def setup(self, stage: str) -> None:
        """Split the training trials, and lay them out for gathering."""
        training, validation = {}, {}
        for name, trials in self.study.spaces.items():
            out = np.zeros(len(trials), dtype=bool)
            if self.marked and self.selection_trials is None:
                out = (trials.table["split"] == "validation").to_numpy()
            elif self.held_out:
                out = column_of(trials.table, self.column, self.study.stimuli).isin(self.held_out).to_numpy()
            training[name], validation[name] = np.flatnonzero(~out), np.flatnonzero(out)
        average = self.settings.average_repetitions
        trained = self.study.select(training)
        self.training = self._gathers(trained, average)
        self.groups = self._groups(trained.average() if average else trained)
        if self.selection_trials is not None:
            self.validation = self._gathers(self.selection_trials.average(), False)
        else:
            self.validation = self._gathers(self.study.select(validation), average)
        missing = [name for name in self.spaces if name not in self.training]
        smallest = min(map(len, self.training.values()), default=0)
        half = smallest // 2 * len(self.spaces)
        self.batch_size = self.settings.batch_size or max(min(_MOST, half), len(self.spaces))
        small = [name for name, gather in self.training.items() if len(gather) < self.share]
        if missing or small:
            n_trials = 0 if missing else len(self.training[small[0]])
            raise NeurodecError(
                f"{n_trials} training trials do not fill a batch of {self.share}; lower data.batch_size."
            )

    @cached_property
    def held_out(self) -> set[str]:
        """Concepts (or people, ...) of the validation trials; none where trials are marked, or the test judges."""
        if self.selection_trials is not None or self.marked or not self.settings.validation_fraction:
            return set()
        groups = column_of(self.study.table, self.column, self.study.stimuli)
        return validation_concepts(groups, self.settings.validation_fraction, self.seed)

    @cached_property
    def marked(self) -> bool:
        """Whether the data say which training trials are for validation."""
        return bool((self.study.table["split"] == "validation").any())

    @property
    def validates(self) -> bool:
        """Whether there are trials that an epoch is chosen by."""
        return self.selection_trials is not None or self.marked or self.settings.validation_fraction > 0

    @cached_property
    def column(self) -> str:
        """What is held out: the asked for, or where that is one person's the next finer."""
        if self.held_out_by != "subject":
            return self.held_out_by
        for column in ("subject", "session", "run"):
            if len(groups_of(self.study.table, column).unique()) > 1:
                return column
        raise NeurodecError(
            "All training trials are of one run of one subject, so none can be held out for validation; mark some by "
            "the split validation, or set data.validation_fraction to 0."
        )

    @property
    def share(self) -> int:
        """Trials of one space in a step, over all processes."""
        return max(1, self.batch_size // len(self.spaces))

    def _groups(self, study: Study) -> dict[str, np.ndarray] | None:
        """Return a number for what no step may hold twice, for every trial of every space."""
        column = self.settings.distinct_by
        if column is None:
            return None
        codes = pd.factorize(column_of(study.table, column, study.stimuli))[0]
        ends = np.cumsum([len(trials) for trials in study.spaces.values()])[:-1]
        return dict(zip(study.spaces, np.split(codes, ends), strict=True))

    def _gathers(self, study: Study, average: bool) -> dict[str, Gather]:
        study = study.average().in_memory() if average else study
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return {name: self._gather(name, trials).to(device) for name, trials in study.spaces.items()}

    def _gather(self, space: str, trials: Trials) -> Gather:
        places = {subject: place for place, subject in enumerate(self.subjects)}
        first = next(iter(self.targets.values()), None)
        stimuli = trials.table["stimulus"]
        known = pd.Index(self.study.table["stimulus"].unique()) if first is None else None
        number = self.spaces.index(space) if space in self.spaces else -1
        rows = {
            "subject": torch.tensor([places.get(subject, -1) for subject in trials.table["subject"]]),
            "stimulus": torch.from_numpy(
                first.rows(stimuli) if known is None else known.get_indexer(stimuli)
            ),
            "space": torch.full((len(trials),), number),
        }
        tables = {}
        for name, features in self.targets.items():
            order = features.rows(first.stimuli)
            aligned = np.array_equal(order, np.arange(len(order)))
            tables[name] = held(features.values if aligned else select(features.values, order))
        return Gather(*source_of(trials.responses), rows, tables, self.scales.get(space, 1.0))

    def train_dataloader(self) -> DataLoader:
        """Return shuffled steps; their order follows from the seed and the epoch.

        Raises
        ------
        NeurodecError
            If the processes cannot share a batch evenly.
        """
        rank, n_processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.share % n_processes:
            raise NeurodecError(
                f"A batch of {self.share} trials cannot be shared evenly by {n_processes} processes; change "
                "data.batch_size or trainer.devices."
            )
        steps = Steps(
            self.training,
            self.share,
            self.seed,
            lambda: self.trainer.current_epoch if self.trainer else 0,
            rank,
            n_processes,
            self.groups,
        )
        if self.groups is not None and not next(iter(steps.orders().values())).size:
            raise NeurodecError(
                f"No batch of {self.batch_size} trials has as many values of `distinct_by` "
                f"({self.settings.distinct_by}); lower data.batch_size, or leave data.distinct_by out."
            )
        return DataLoader(steps, batch_size=None)

    def val_dataloader(self) -> DataLoader | list:
        """Return the held-out concepts in order, all of them in every process, or nothing."""
        if not self.validation:
            return []
        return DataLoader(InOrder(self.validation, self.batch_size), batch_size=None)
