"""The content-addressed cache: a row is computed once for its content, model, layer and transform."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, key_of, track, write_json

T = TypeVar("T")
_BLOCK = 512  # rows computed, kept and lost together
_IN_MEMORY = 1 << 30  # bytes; more stays on the disk


def cache_folder() -> Path:
    """Return where features are kept: ``$NEURODEC_CACHE``, or ``neurodec`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("NEURODEC_CACHE") or Path(base) / "neurodec")


class CachedRows(View):
    """Rows in the blocks of the cache, read when they are asked for.

    Parameters
    ----------
    places : list of (ndarray, int)
        Memory-mapped block and row in it, for every row.
    """

    def __init__(self, places: list[tuple[np.ndarray, int]]) -> None:
        self.places, first = places, places[0][0]
        self.shape, self.dtype = (len(places), *first.shape[1:]), first.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows, shape (len(rows), ..., D)."""
        return np.stack([self.places[row][0][self.places[row][1]] for row in rows])


def cached_rows(
    contents: Sequence[str],
    recipe: dict[str, Any],
    compute: Callable[[list[int]], Iterable[np.ndarray]],
    description: str,
    *,
    half: bool = False,
) -> np.ndarray | View:
    """Compute the rows that the cache lacks, in blocks, each kept as soon as it is done.

    A killed run loses one block; a new stimulus costs one row. Processes that work on the same rows at the same time do
    the work twice at worst: a block counts only when it is complete.

    Parameters
    ----------
    contents : sequence of str
        Content hash of every row.
    recipe : dict
        What else the numbers depend on: model, weights hash, layer, transform and normalisation.
    compute : callable
        From all missing row numbers to their features, in batches (n_rows, ..., D) of any size, so that reading and
        computing can overlap.
    description : str
        Text beside the progress bar.
    half : bool
        Keep rows in half precision.

    Returns
    -------
    ndarray or View
        Shape (len(contents), ..., D), float32 or float16; a view beyond a gigabyte.

    Raises
    ------
    NeurodecError
        If there are no rows.
    """
    if not contents:
        raise NeurodecError("There is no stimulus to compute features of; check the stimulus table.")
    folder = cache_folder() / "features" / key_of([recipe, half])
    known = _known(folder)
    missing = list({content: row for row, content in enumerate(contents) if content not in known}.values())
    blocks, done = joined(compute(missing) if missing else (), _BLOCK, np.concatenate), 0
    for rows in track(blocks, description, total=-(-len(missing) // _BLOCK)):
        own = [contents[row] for row in missing[done : done + len(rows)]]
        done, name = done + len(rows), key_of(own)
        with atomic_path(folder / f"{name}.npy") as partial, partial.open("wb") as handle:
            np.save(handle, rows.astype(np.float16 if half else np.float32))
        write_json(folder / f"{name}.json", own)
    known = _known(folder) if missing else known
    return in_memory(CachedRows([known[content] for content in contents]))


def in_memory(rows: View) -> np.ndarray | View:
    """Return rows as an array, unless they take more than a gigabyte."""
    return rows if rows.nbytes > _IN_MEMORY else np.asarray(rows)


def joined(pieces: Iterable[T], n_rows: int, join: Callable[[list[T]], T]) -> Iterator[T]:
    """Join pieces, in their order, to blocks of at least so many rows."""
    waiting: list[T] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= n_rows:
            yield join(waiting)
            waiting = []
    if waiting:
        yield join(waiting)


def _known(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Return block and row of every content; a block that a failing disk has damaged is left out."""
    found: dict[str, tuple[np.ndarray, int]] = {}
    for index in sorted(folder.glob("*.json")):
        try:
            contents = json.loads(index.read_text(encoding="utf-8"))
            block = np.load(index.with_suffix(".npy"), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            continue
        if len(block) == len(contents):
            found |= {content: (block, row) for row, content in enumerate(contents)}
    return found
