"""Rows of responses and targets by index: from memory maps, views or the memory of a GPU."""

from __future__ import annotations

import warnings
import weakref

import numpy as np
import torch
from torch import Tensor

from neurodec.data.responses import Selection, View
from neurodec.features.cache import in_memory
from neurodec.training.batch import Batch


class Gather:
    """Some rows of the responses of one space, what belongs to each, and the tables that their `stimulus` points into.

    Parameters
    ----------
    responses : Tensor or View, shape (n_trials, ...)
        May be backed by a memory map; a view is read batch by batch.
    places : Tensor, shape (n,), int64
        The trials that take part.
    chans : Tensor of int64, optional
        Channels (or voxels) to take.
    rows : dict of Tensor, shape (n,)
        `stimulus`, `subject` and `space` of every trial that takes part.
    tables : dict of Tensor or View
        First axis is the stimulus.
    scale : float
        What responses are divided by once they are gathered.
    """

    def __init__(
        self,
        responses: Tensor | View,
        places: Tensor,
        chans: Tensor | None,
        rows: dict[str, Tensor],
        tables: dict[str, Tensor | View],
        scale: float = 1.0,
    ) -> None:
        self.responses, self.places, self.chans = responses, places, chans
        self.rows, self.tables, self.scale = rows, tables, scale
        self._buffers = {name: Buffers() for name in ("response", *tables)}

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, wanted: np.ndarray, space: str, first: int = 0) -> Batch:
        """Return some rows by one gather per tensor; `first` is the number of the first among those of a step."""
        index = torch.from_numpy(wanted).to(self.places.device)
        rows = {name: values[index] for name, values in self.rows.items()}
        targets = {name: self._take(name, table, rows["stimulus"]) for name, table in self.tables.items()}
        response = self._take("response", self.responses, self.places[index])
        if self.scale != 1.0:  # in place: the gathered rows are nobody else's
            response /= self.scale
        responses = {space: response if self.chans is None else response[:, self.chans]}
        return Batch(
            responses, targets, **rows, row=torch.arange(first, first + len(wanted), device=index.device)
        )

    def _take(self, name: str, source: Tensor | View, rows: Tensor) -> Tensor:
        if isinstance(source, View):
            return torch.from_numpy(source.read(rows.cpu().numpy())).float()
        rows = rows.to(source.device)
        if rows.is_cuda:
            return source.index_select(0, rows).float()
        if source.dtype != torch.float32:
            return source.index_select(0, rows).float()
        out = self._buffers[name].lend((len(rows), *source.shape[1:]))
        return torch.index_select(source, 0, rows, out=out)

    def to(self, device: torch.device) -> Gather:
        """Move to a GPU what half of its free memory holds: the targets, then the responses too; otherwise stay."""
        if device.type != "cuda":
            return self
        room = free_memory(device) / 2
        targets = sum(table.nbytes for table in self.tables.values())
        if targets > room or any(isinstance(table, View) for table in self.tables.values()):
            return self
        responses = len(self) * self.responses.nbytes // len(self.responses)
        tables = {name: table.to(device) for name, table in self.tables.items()}
        if targets + responses > room or isinstance(self.responses, View):
            return Gather(self.responses, self.places, self.chans, self.rows, tables, self.scale)
        rows = {name: values.to(device) for name, values in self.rows.items()}
        whole = torch.empty((len(self), *self.responses.shape[1:]), dtype=self.responses.dtype, device=device)
        for start in range(0, len(self), 1024):
            stop = min(start + 1024, len(self))
            whole[start:stop] = self.responses[self.places[start:stop]].to(device)
        chans = None if self.chans is None else self.chans.to(device)
        return Gather(whole, torch.arange(len(self), device=device), chans, rows, tables, self.scale)


def free_memory(device: torch.device) -> int:
    """Return the bytes that a GPU can still hold; blocks that torch keeps for later count as free."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


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


def source_of(responses: np.ndarray | View) -> tuple[Tensor | View, Tensor, Tensor | None]:
    """Return the tensor beneath responses, the rows to take from it, and the channels if not all."""
    if isinstance(responses, Selection) and isinstance(responses.source, np.ndarray):
        whole = as_tensor(responses.source)
        whole = whole if responses.times is None else whole[..., responses.times]
        chans = None if responses.chans is None else torch.from_numpy(np.asarray(responses.chans))
        return whole, torch.from_numpy(np.asarray(responses.rows)), chans
    return held(responses), torch.arange(len(responses)), None


def held(values: np.ndarray | View) -> Tensor | View:
    """Return values as a tensor; a view of more than a gigabyte stays one, and is read batch by batch."""
    values = in_memory(values) if isinstance(values, View) else values
    return values if isinstance(values, View) else as_tensor(values)


def as_tensor(values: np.ndarray) -> Tensor:
    """View an array as a tensor; a read-only memory map is fine, because nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(values))
