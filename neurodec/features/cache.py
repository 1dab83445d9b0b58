"""The content-addressed cache: a row is computed once for its content, model, layer and transform."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, key_of, track

_BLOCK = 256


def cache_folder() -> Path:
    """Return where features are kept: ``$NEURODEC_CACHE``, or ``neurodec`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("NEURODEC_CACHE") or Path(base) / "neurodec")


def cached_blocks(
    contents: Sequence[str], recipe: dict[str, Any], compute: Callable[[slice], np.ndarray], description: str
) -> np.ndarray:
    """Compute rows in blocks, each kept in the cache as soon as it is done.

    A killed run loses one block. Processes that work on the same rows at the same time do the work twice at worst:
    a block appears under its name only when it is complete, and both write the same numbers.

    Parameters
    ----------
    contents : sequence of str
        Content hash of every row; a block's key is made from those of its rows and from `recipe`.
    recipe : dict
        What else the numbers depend on: model, weights hash, layer, transform and normalisation.
    compute : callable
        From a slice of rows to their features, shape (n_rows, ..., D).
    description : str
        Text beside the progress bar.

    Returns
    -------
    np.ndarray
        Shape (len(contents), ..., D), float32.

    Raises
    ------
    NeurodecError
        If there are no rows.
    """
    if not contents:
        raise NeurodecError("There is no stimulus to compute features of; check the stimulus table.")
    blocks = [slice(start, min(start + _BLOCK, len(contents))) for start in range(0, len(contents), _BLOCK)]
    values = []
    for block in track(blocks, description):
        key = key_of([recipe, list(contents[block])])
        file = cache_folder() / "features" / f"{key}.npy"
        rows = _read_block(file, block.stop - block.start)
        if rows is None:
            rows = compute(block).astype(np.float32)
            with atomic_path(file) as partial, partial.open("wb") as handle:
                np.save(handle, rows)
        values.append(rows)
    return np.concatenate(values)


def _read_block(file: Path, n_rows: int) -> np.ndarray | None:
    """Read a block, or return None if it is absent or a failing disk has damaged it."""
    try:
        rows = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return rows if len(rows) == n_rows else None
