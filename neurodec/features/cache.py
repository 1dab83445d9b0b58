"""The content-addressed cache: a row is computed once for its content, model, layer and transform."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, key_of, track

_BLOCK = 512


def cache_folder() -> Path:
    """Return where features are kept: ``$NEURODEC_CACHE``, or ``neurodec`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("NEURODEC_CACHE") or Path(base) / "neurodec")


def cached_blocks(
    contents: Sequence[str], recipe: dict[str, Any], compute: Callable[[slice], np.ndarray], description: str
) -> np.ndarray:
    """Compute rows in blocks, each kept in the cache as soon as it is done.

    Parameters
    ----------
    contents : sequence of str
        Content hash of every row; a block's key is made from those of its rows and from `recipe`.
    recipe : dict
        Model, weights hash, layer, transform and normalisation.
    compute : callable
        From a slice of rows to their features.
    description : str
        Text beside the progress bar.

    Returns
    -------
    ndarray, shape (len(contents), ..., D), float32
    """
    if not contents:
        raise NeurodecError("There is no stimulus to compute features of; check the stimulus table.")
    blocks = [slice(start, min(start + _BLOCK, len(contents))) for start in range(0, len(contents), _BLOCK)]
    values = []
    for block in track(blocks, description):
        file = cache_folder() / "features" / f"{key_of([recipe, list(contents[block])])}.npy"
        if not file.exists():
            with atomic_path(file) as partial, partial.open("wb") as handle:
                np.save(handle, compute(block).astype(np.float32))
        values.append(np.load(file))
    return np.concatenate(values)
