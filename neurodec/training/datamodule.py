"""Training batches: trials and their target embeddings, gathered by index."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
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
    validate_on_test : bool
        Judge epochs on the averaged *test* trials and train on every concept, as published code does. Only the
        selection `published_protocol` of a recipe sets it, which says so in its results.
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
    A batch is one gather by index, never a per-trial collation: from the GPU's memory when the trials fit in half of
    what is free there, otherwise from the memory map, so that recordings larger than memory train too.
    """

    def __init__(
        self,
        prepared: Path,
        features: Path,
        text_features: Path | None = None,
        subjects: list[str] | None = None,
        batch_size: int = 64,
        validation_fraction: float = 0.1,
        validate_on_test: bool = False,
        average_repetitions: bool = False,
        ch_names: list[str] | None = None,
        tmin: float | None = None,
        tmax: float | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.validation_fraction = 0.0 if validate_on_test else validation_fraction
        self.validate_on_test, self.average_repetitions = validate_on_test, average_repetitions
        self.features = Features.load(features)
        self.texts = Features.load(text_features) if text_features else None
        trials = Trials.load(prepared)
        self.subjects = subjects or list(dict.fromkeys(trials.table["subject"]))
        self.trials = prepare_inputs(trials, ch_names, tmin, tmax)
        self.n_subjects, self.sfreq = len(self.subjects), self.trials.info.get("sfreq")
        if self.features.values.ndim != 2:
            raise NeurodecError(
                f"The targets of {features} have shape {self.features.values.shape}; contrastive training needs one "
                "vector per stimulus, so name a single layer."
            )
        self.n_outputs = self.features.values.shape[1]
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
        self.training = self._gather(np.flatnonzero(wanted & ~held_out), self.average_repetitions)
        if self.validate_on_test:
            self.validation = self._gather(np.flatnonzero(self._tested()), average=True)
        elif held_out.any():
            self.validation = self._gather(np.flatnonzero(wanted & held_out), self.average_repetitions)
        else:
            self.validation = None
        if len(self.training) < self.batch_size:
            raise NeurodecError(
                f"{len(self.training)} training trials do not fill a batch of {self.batch_size}; lower data.batch_size."
            )

    def _tested(self) -> pd.Series:
        """Mark the test trials: of the training subjects, or, where they have none, of those left out."""
        table = self.trials.table
        tested = table["split"] == "test"
        own = tested & table["subject"].isin(self.subjects)
        return own if own.any() else tested

    def _gather(self, rows: np.ndarray, average: bool) -> Gather:
        trials = self.trials
        if average:
            trials = trials.select(rows).average()
            rows = np.arange(len(trials))
        table = trials.table.iloc[rows]
        places = {subject: place for place, subject in enumerate(self.subjects)}
        tensors = {
            "subject": torch.tensor([places.get(subject, -1) for subject in table["subject"]]),
            "stimulus": torch.from_numpy(self.features.rows(table["stimulus"])),
        }
        tables = {"target": torch.from_numpy(self.features.values)}
        if self.texts is not None:
            tables["text"] = torch.from_numpy(self.texts.values[self.texts.rows(self.features.stimuli)])
        gather = Gather(as_tensor(trials.responses), torch.from_numpy(rows), tensors, tables)
        return gather.to(self.trainer.strategy.root_device) if self.trainer else gather

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
    """Some rows of the responses, what belongs to each, and the tables that their `stimulus` points into.

    Parameters
    ----------
    responses : Tensor, shape (n_trials, ...)
        May be backed by a memory map.
    rows : Tensor, shape (n,), int64
        The trials that take part.
    tensors : dict of Tensor, shape (n, ...)
        One row per trial that takes part; `stimulus` among them.
    tables : dict of Tensor
        First axis is the stimulus.
    """

    def __init__(self, responses: Tensor, rows: Tensor, tensors: Batch, tables: Batch) -> None:
        self.responses, self.rows, self.tensors, self.tables = responses, rows, tensors, tables
        self._buffers = {name: Buffers() for name in ("response", *tables)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, places: list[int]) -> Batch:
        """Return a whole batch by one gather per tensor."""
        index = torch.tensor(places, device=self.rows.device)
        batch = {name: tensor[index] for name, tensor in self.tensors.items()}
        batch |= {name: self._rows(name, table, batch["stimulus"]) for name, table in self.tables.items()}
        return {"response": self._rows("response", self.responses, self.rows[index]), **batch}

    def _rows(self, name: str, source: Tensor, rows: Tensor) -> Tensor:
        if rows.is_cuda or source.dtype != torch.float32:
            return source.index_select(0, rows)
        out = self._buffers[name].lend((len(rows), *source.shape[1:]))
        return torch.index_select(source, 0, rows, out=out)

    def to(self, device: torch.device) -> Gather:
        """Move to a GPU if half of its free memory holds the responses; otherwise stay."""
        if device.type != "cuda":
            return self
        n_bytes = 4 * len(self) * self.responses[0].numel()
        if n_bytes > torch.cuda.mem_get_info(device)[0] / 2:
            return self
        groups = (self.tensors, self.tables)
        moved = ({name: tensor.to(device) for name, tensor in group.items()} for group in groups)
        rows = torch.arange(len(self), device=device)
        return Gather(self.responses[self.rows].to(device), rows, *moved)


class Buffers:
    """Lends float32 tensors and takes them back once nothing refers to them any more.

    A batch of tens of megabytes is otherwise mapped and unmapped by the allocator every time, and touching fresh
    pages costs several times the copy itself.
    """

    def __init__(self) -> None:
        self._lent: list[tuple[np.ndarray, weakref.ref]] = []

    def lend(self, shape: tuple[int, ...]) -> Tensor:
        """Return an uninitialised tensor of this shape."""
        free = [place for place, (_, lent) in enumerate(self._lent) if lent() is None]
        memory = self._lent.pop(free[0])[0] if free else None
        if memory is None or memory.shape != shape:
            memory = np.empty(shape, dtype=np.float32)
        view = memory[:]  # the tensor's storage keeps this view alive, through autograd and further views too
        self._lent.append((memory, weakref.ref(view)))
        return torch.from_numpy(view)


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
