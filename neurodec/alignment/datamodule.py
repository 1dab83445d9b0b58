"""Training batches: trials and their target embeddings, gathered by index."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neurodec.data import Trials, validation_concepts
from neurodec.errors import NeurodecError
from neurodec.features import Features

Batch = dict[str, Tensor]


class TrialsDataModule(L.LightningDataModule):
    """Training and validation trials of a prepared folder.

    The validation part is a share of the *training concepts*, so that selection never sees a test trial and always
    judges unseen concepts.

    Parameters
    ----------
    prepared : Path
        Folder written by `neurodec.data.prepare`.
    features : Path
        Folder of the image features of its stimuli.
    text_features : Path, optional
        Folder of the text features.
    subjects : list of str, optional
        Whose trials to train on; all by default. The encoder's subject ids are places in this list.
    batch_size : int
    validation_fraction : float
        Share of the training concepts held out; 0 trains on all.
    average_repetitions : bool
        Train on the mean over repetitions instead of single trials.
    ch_names : list of str, optional
        Channels to use; all by default.
    tmin, tmax : float, optional
        Window to use (s).
    seed : int
        Seed of the validation draw and of the shuffling.

    Notes
    -----
    A batch is one gather by index from one tensor (on the device if it is a GPU), never a per-trial collation.
    """

    def __init__(
        self,
        prepared: Path,
        features: Path,
        text_features: Path | None = None,
        subjects: list[str] | None = None,
        batch_size: int = 64,
        validation_fraction: float = 0.1,
        average_repetitions: bool = False,
        ch_names: list[str] | None = None,
        tmin: float | None = None,
        tmax: float | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.validation_fraction, self.average_repetitions = validation_fraction, average_repetitions
        self.features = Features.load(features)
        self.texts = Features.load(text_features) if text_features else None
        trials = Trials.load(prepared)
        self.subjects = subjects or list(dict.fromkeys(trials.table["subject"]))
        self.trials = prepare_inputs(trials, ch_names, tmin, tmax)
        self.n_subjects = len(self.subjects)
        self.n_outputs = self.features.values.shape[-1]
        self.n_chans = self.trials.responses.shape[1]
        self.n_times = self.trials.responses.shape[-1]

    def setup(self, stage: str) -> None:
        """Split the training trials by concept and lay them out for gathering."""
        table = self.trials.table
        wanted = (table["split"] == "train") & table["subject"].isin(self.subjects)
        if not wanted.any():
            raise NeurodecError(
                f"Subject(s) {', '.join(self.subjects)} have no training trial; check the `split` column."
            )
        held_out = table["concept"].isin(
            validation_concepts(table["concept"][wanted], self.validation_fraction, self.seed)
        )
        self.training = self._gather(np.flatnonzero(wanted & ~held_out))
        self.validation = self._gather(np.flatnonzero(wanted & held_out)) if held_out.any() else None
        if len(self.training) < self.batch_size:
            raise NeurodecError(
                f"{len(self.training)} training trials do not fill a batch of {self.batch_size}; lower data.batch_size."
            )

    def _gather(self, rows: np.ndarray) -> Gather:
        trials = self.trials.select(rows)
        if self.average_repetitions:
            trials = trials.average()
        stimulus = self.features.rows(trials.table["stimulus"])
        places = {subject: place for place, subject in enumerate(self.subjects)}
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        tensors = {
            "response": as_tensor(trials.responses),
            "subject": torch.tensor([places[subject] for subject in trials.table["subject"]]),
            "stimulus": torch.from_numpy(stimulus),
        }
        tables = {"target": torch.from_numpy(self.features.values)}
        if self.texts is not None:
            tables["text"] = torch.from_numpy(self.texts.values[self.texts.rows(self.features.stimuli)])
        return Gather(
            *({name: tensor.to(device) for name, tensor in group.items()} for group in (tensors, tables))
        )

    def train_dataloader(self) -> DataLoader:
        """Return shuffled batches; the order follows from the seed and the epoch."""
        order = EpochShuffle(
            len(self.training), self.seed, lambda: self.trainer.current_epoch if self.trainer else 0
        )
        return DataLoader(
            self.training, batch_size=self.batch_size, sampler=order, collate_fn=_as_is, drop_last=True
        )

    def val_dataloader(self) -> DataLoader | list:
        """Return the held-out concepts in order, or nothing."""
        if self.validation is None:
            return []
        return DataLoader(self.validation, batch_size=self.batch_size, collate_fn=_as_is)


class Gather(Dataset):
    """Rows of tensors, and of the tables that their `stimulus` points into.

    Parameters
    ----------
    tensors : dict of Tensor
        First axis is the trial; `stimulus` among them.
    tables : dict of Tensor
        First axis is the stimulus.
    """

    def __init__(self, tensors: Batch, tables: Batch) -> None:
        self.tensors, self.tables = tensors, tables

    def __len__(self) -> int:
        return len(self.tensors["stimulus"])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return a whole batch by one gather per tensor."""
        index = torch.tensor(rows, device=self.tensors["stimulus"].device)
        batch = {name: tensor[index] for name, tensor in self.tensors.items()}
        return batch | {name: table[batch["stimulus"]] for name, table in self.tables.items()}


class EpochShuffle(Sampler[int]):
    """A permutation that depends on the seed and the epoch alone, so that a resumed run sees the same batches.

    Parameters
    ----------
    length : int
    seed : int
    epoch : callable
        Tells the current epoch.
    """

    def __init__(self, length: int, seed: int, epoch: Callable[[], int]) -> None:
        self.length, self.seed, self.epoch = length, seed, epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch()]).permutation(self.length).tolist())


def prepare_inputs(
    trials: Trials, ch_names: list[str] | None, tmin: float | None, tmax: float | None
) -> Trials:
    """Pick channels and window; without either the responses stay memory-mapped."""
    if ch_names is not None:
        trials = trials.pick(ch_names)
    return trials if tmin is None and tmax is None else trials.crop(tmin, tmax)


def as_tensor(responses: np.ndarray) -> Tensor:
    """View responses as a tensor; a read-only memory map is fine, because nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(responses))


def _as_is(batch: Batch) -> Batch:
    return batch
