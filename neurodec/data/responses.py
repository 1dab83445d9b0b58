"""Lazy responses: rows, channels and samples of other responses, or their averages, read when they are asked for.

A leave-one-subject-out fold of ten subjects is 45 GB; as a view of a memory map it is a list of row numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

ROWS_AT_ONCE = 256
_SAMPLED = 1024
_Index = int | slice | np.ndarray | list | tuple


class View(ABC):
    """What an array of responses offers without being one: `shape`, `dtype`, `len`, indexing, `np.asarray`.

    Subclasses say how some rows are read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: _Index) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis or first is None:
            return np.asarray(self)[index]
        wanted = np.arange(len(self))[first]
        block = self.read(np.atleast_1d(wanted))
        return block[(slice(None) if wanted.ndim else 0, *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, dtype=dtype or self.dtype)
        for rows in blocks_of(len(self)):
            whole[rows] = self.read(np.arange(rows.start, rows.stop))
        return whole

    @abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the responses at row numbers, shape (len(rows), ...)."""


class Selection(View):
    """Some rows, channels (or voxels) and samples of an array; a selection of a selection reads the array itself.

    Parameters
    ----------
    source : ndarray or View, shape (n, n_chans, n_times) or (n, n_voxels)
        May be a memory map.
    rows : ndarray of int, shape (n_rows,)
    chans : ndarray of int, optional
        All by default.
    times : slice, optional
        Samples, a stretch; all by default.
    """

    def __init__(
        self,
        source: np.ndarray | View,
        rows: np.ndarray,
        chans: np.ndarray | None = None,
        times: slice | None = None,
    ) -> None:
        if isinstance(source, Selection):
            rows = source.rows[rows]
            if source.times is not None and times is not None:
                start = source.times.start
                times = slice(start + times.start, start + times.stop)
            times = source.times if times is None else times
            if source.chans is not None:
                chans = source.chans if chans is None else source.chans[chans]
            source = source.source
        self.source, self.rows, self.chans, self.times = source, rows, chans, times
        self.dtype = source.dtype
        shape = [len(rows), *source.shape[1:]]
        if chans is not None:
            shape[1] = len(chans)
        if times is not None:
            shape[-1] = times.stop - times.start
        self.shape = tuple(shape)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows; neighbours in a memory map are read in one piece."""
        wanted = self.rows[rows]
        stretch = len(wanted) > 0 and (np.diff(wanted) == 1).all()
        block = self.source[wanted[0] : wanted[-1] + 1] if stretch else self.source[wanted]
        if self.times is not None:
            block = block[..., self.times]
        return block if self.chans is None else block[:, self.chans]


class Averages(View):
    """Means over groups of rows, in float64 and returned as float32.

    Parameters
    ----------
    source : ndarray or View
    order : ndarray of int
        Row numbers, group after group.
    starts, counts : ndarray of int, shape (n_groups,)
        Where in `order` a group begins, and how many rows it has.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, source: np.ndarray | View, order: np.ndarray, starts: np.ndarray, counts: np.ndarray
    ) -> None:
        self.source, self.order, self.starts, self.counts = source, order, starts, counts
        self.shape = (len(counts), *source.shape[1:])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Average some groups, one in memory at a time."""
        mean = np.empty((len(rows), *self.shape[1:]), dtype=np.float32)
        for place, row in enumerate(rows):
            members = self.order[self.starts[row] : self.starts[row] + self.counts[row]]
            mean[place] = self.source[np.sort(members)].mean(axis=0, dtype=np.float64)
        return mean


def select(
    responses: np.ndarray | View,
    rows: _Index | None = None,
    chans: np.ndarray | None = None,
    times: slice | None = None,
) -> np.ndarray | View:
    """Return a view of some rows, channels and samples; nothing is copied.

    Parameters
    ----------
    responses : ndarray or View
    rows : indices, boolean mask or slice, optional
    chans : ndarray of int, optional
    times : slice, optional
    """
    if isinstance(responses, np.ndarray) and chans is None and (rows is None or isinstance(rows, slice)):
        part = responses if rows is None else responses[rows]
        return part if times is None else part[..., times]
    numbers = np.arange(len(responses))
    return Selection(responses, numbers if rows is None else numbers[rows], chans, times)


def blocks_of(n_rows: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Yield slices that cover `n_rows` rows, `size` at a time."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def typical_rms(responses: np.ndarray | View) -> float:
    """Return the median over trials of their root mean square; of a thousand trials where there are more."""
    rows = np.unique(np.linspace(0, len(responses) - 1, min(len(responses), _SAMPLED)).astype(int))
    blocks = (np.asarray(responses[rows[part]], dtype=np.float64) for part in blocks_of(len(rows)))
    squares = [np.square(block).reshape(len(block), -1).mean(axis=1) for block in blocks]
    return float(np.sqrt(np.median(np.concatenate(squares))))
