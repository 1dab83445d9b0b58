"""What a fit follows from, as one key: parameters, trials and targets, by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from neurodec.data import Study
from neurodec.data.noise import read_described
from neurodec.data.responses import View, blocks_of
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.files import key_of, require_file_name

_WHOLE = 256 * 2**20  # bytes up to which all values are read
_SAMPLED = 1024  # rows that are read of larger arrays
_FACTS = ("modality", "units", "sfreq", "tmin", "ch_names", "voxel_indices", "affine")


def content_key(study: Study, targets: dict[str, Features]) -> str:
    """Return a key of trials and targets.

    Parameters
    ----------
    study : Study
    targets : dict of Features

    Returns
    -------
    str
        Of tables, descriptions, and values: all of them up to 256 MB, of larger arrays 1,024 rows in equal steps, so
        that nothing is read for minutes.
    """
    parts: dict[str, Any] = {}
    for name, trials in study.spaces.items():
        facts = {fact: trials.info.get(fact) for fact in _FACTS}
        table = hashlib.sha256(trials.table.to_csv(index=False).encode()).hexdigest()
        parts[name] = [facts, table, values_key(trials.responses)]
    known = {
        require_file_name(name, "The target"): [own.info.get("key"), values_key(own.values)]
        for name, own in targets.items()
    }
    return key_of([parts, known])


def values_key(values: np.ndarray | View) -> str:
    """Return a key of an array's shape, dtype and values; see `content_key`."""
    digest = hashlib.blake2b(repr((tuple(values.shape), str(values.dtype))).encode())
    n_bytes = int(np.prod(values.shape, dtype=np.int64)) * values.dtype.itemsize
    if n_bytes <= _WHOLE:
        for rows in blocks_of(len(values)):
            digest.update(np.ascontiguousarray(values[rows]))
    else:
        for row in np.unique(np.linspace(0, len(values) - 1, _SAMPLED).astype(int)).tolist():
            digest.update(np.ascontiguousarray(values[row]))
    return digest.hexdigest()


def weights_key(network: nn.Module) -> str:
    """Return a key of the weights that a network has now."""
    return key_of({name: values_key(value.cpu().numpy()) for name, value in network.state_dict().items()})


def written_files(folder: Path) -> list[str]:
    """Name the files of a fit, for its description: without one of them it is fitted again."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def is_whole(folder: Path, config: dict[str, Any]) -> bool:
    """Return whether all files are there that a description names."""
    return all((folder / name).is_file() for name in config.get("files", ()))


def is_fitted(folder: Path, key: str) -> bool:
    """Return whether a folder holds the finished fit of a key, with all its files.

    Raises
    ------
    NeurodecError
        If it holds another fit.
    """
    if not (folder / "config.json").exists():
        return False
    config = read_described(folder / "config.json")
    if config.get("key") != key:
        raise NeurodecError(
            f"{folder} holds a fit with another configuration or to other trials; choose another folder, or delete it."
        )
    return is_whole(folder, config)
