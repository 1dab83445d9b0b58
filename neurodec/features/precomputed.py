"""Targets that a person computed already: a vector, tokens or a sequence per stimulus, matched by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from neurodec.data.responses import View, blocks_of, select
from neurodec.errors import NeurodecError, reading
from neurodec.features.cache import in_memory
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.files import key_of, sha256_of


@dataclass(frozen=True)
class FeatureFiles(Extractor):
    """Features from a file, in place of a network.

    Parameters
    ----------
    file : str
        Path below the data root: ``.npy`` (read memory-mapped), ``.npz``, ``.pt`` or ``.safetensors``, shape (n, ...),
        or an ``.npz``, ``.pt`` or ``.safetensors`` of one array per stimulus under the stimulus' name.
    ids : str, optional
        Text file below the data root that names the stimulus of every row, one a line; a CSV or TSV file with the
        column `stimulus`; or the key of the names in `file`. Without it, the keys of `file` are the names.
    key : str, optional
        Key of the features in `file`, where it holds several arrays.
    embedding_space : str
        Name that priors and decoders are to check.
    normalize : bool
        Scale every vector to unit length; of tokens and sequences all values of a stimulus together.
    """

    file: str
    ids: str | None = None
    key: str | None = None
    embedding_space: str = "precomputed"
    normalize: bool = True

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return the features of the stimuli, in the order of their table.

        Parameters
        ----------
        stimuli : DataFrame
            Column `stimulus`.
        root : str or Path
            The data root.

        Raises
        ------
        NeurodecError
            If a stimulus has no row or two, a value is not finite, or the file holds something else than arrays.
        """
        path = Path(root) / self.file
        if not path.is_file():
            raise NeurodecError(f"The features {path} do not exist; correct `file` or --data-root.")
        with reading(path, "features", "save plain arrays, one row per stimulus"):
            arrays = _arrays(path)
            names, values = self._rows(arrays, path, Path(root))
        place = {name: row for row, name in enumerate(names)}
        if len(place) < len(names):
            twice = next(name for row, name in enumerate(names) if place[name] != row)
            raise NeurodecError(f"{path} has two rows for the stimulus {twice}; keep one.")
        missing = [name for name in stimuli["stimulus"] if name not in place]
        if missing:
            raise NeurodecError(
                f"{path} has no row for the stimulus {missing[0]} ({len(missing)} of {len(stimuli)} are missing; it "
                f"has {', '.join(names[:3])}, ...); name the rows as the stimulus table does."
            )
        chosen = select(values, np.array([place[name] for name in stimuli["stimulus"]], dtype=np.int64))
        blocks = (np.asarray(chosen[rows], dtype=np.float32) for rows in blocks_of(len(chosen)))
        lengths = np.concatenate([np.linalg.norm(block.reshape(len(block), -1), axis=1) for block in blocks])
        bad = np.flatnonzero(~np.isfinite(lengths) | ((lengths == 0) & self.normalize))
        if len(bad):
            raise NeurodecError(
                f"{path} has NaN, infinity or only zeros for the stimulus "
                f"{stimuli['stimulus'].iloc[bad[0]]}; repair it."
            )
        chosen = in_memory(Scaled(chosen, lengths if self.normalize else np.ones_like(lengths)))
        source = {"file": self.file, "sha256": sha256_of(path), "normalize": self.normalize}
        info: dict[str, Any] = {"embedding_space": self.embedding_space, **source}
        return Features(chosen, stimuli["stimulus"].tolist(), {**info, "key": key_of([source, names])})

    def sources(self, root: str | Path) -> list[str]:
        """Return the hashes of the file and of that of the names."""
        files = [Path(root) / name for name in (self.file, self.ids) if name is not None]
        return [sha256_of(file) for file in files if file.is_file()]

    def _rows(self, arrays: dict[str, np.ndarray], path: Path, root: Path) -> tuple[list[str], np.ndarray]:
        names: list[str] | None = None
        if self.ids is not None and self.ids in arrays:
            names = [_as_text(name) for name in np.ravel(arrays.pop(self.ids))]
        elif self.ids is not None:
            if not (root / self.ids).is_file():
                raise NeurodecError(
                    f"{path} has no key {self.ids}, and {root / self.ids} is not a file; correct `ids`."
                )
            names = _names(root / self.ids)
        if names is None and self.key is None and len(arrays) > 1:
            vectors = {name: np.squeeze(value) for name, value in arrays.items()}
            shapes = {value.shape for value in vectors.values()}
            if len(shapes) > 1:
                raise NeurodecError(
                    f"{path} holds arrays of {len(shapes)} shapes, {' and '.join(map(str, sorted(shapes)[:2]))}; give "
                    "every stimulus as many values, or say by `key` which array holds all of them."
                )
            return list(vectors), _numbers(np.stack(list(vectors.values())), path)
        if self.key is None and len(arrays) > 1:
            raise NeurodecError(f"{path} holds {', '.join(sorted(arrays)[:8])}; say which by `key`.")
        if self.key is not None and self.key not in arrays:
            raise NeurodecError(f"{path} has no key {self.key}; it has {', '.join(sorted(arrays)[:8])}.")
        values = _numbers(arrays[self.key or next(iter(arrays))], path)
        if names is None:
            raise NeurodecError(
                f"Nothing names the {len(values)} rows of {path}; give their stimuli by `ids`."
            )
        if len(names) != len(values):
            raise NeurodecError(f"{path} has {len(values)} rows, `ids` names {len(names)}; make them agree.")
        return names, values


class Scaled(View):
    """Rows divided by a length each, float32, as they are read.

    Parameters
    ----------
    source : ndarray or View, shape (n, ...)
    lengths : ndarray, shape (n,)
    """

    dtype = np.dtype(np.float32)

    def __init__(self, source: np.ndarray | View, lengths: np.ndarray) -> None:
        self.source, self.lengths, self.shape = source, lengths, source.shape

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows."""
        block = np.asarray(self.source[rows], dtype=np.float32)
        return block / self.lengths[rows].astype(np.float32).reshape(-1, *[1] * (block.ndim - 1))


def _names(file: Path) -> list[str]:
    """Read the stimuli of the rows: one a line, or the column `stimulus` of a table."""
    with reading(file, "a list of names"):
        if file.suffix not in (".csv", ".tsv"):
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines if line.strip()]
        table = pd.read_csv(file, sep=None, engine="python", dtype=str, keep_default_na=False)
        if "stimulus" not in table:
            raise NeurodecError(
                f"{file} has no column `stimulus`; it has {', '.join(map(str, table.columns[:8]))}."
            )
        return table["stimulus"].tolist()


def _as_text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim < 2 or values.dtype.kind not in "fiu" or not values.size:
        raise NeurodecError(
            f"{path} holds an array of shape {values.shape} ({values.dtype}); targets need numbers, one row per "
            "stimulus, shape (n, ...)."
        )
    return values


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by their keys; nothing else is read, and no code runs."""
    if path.suffix in (".safetensors", ".pt", ".pth"):
        plain = path.suffix == ".safetensors"
        content = load_file(path) if plain else torch.load(path, "cpu", weights_only=True)
        content = content if isinstance(content, dict) else {"features": content}
        return {
            str(key): value.detach().float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            for key, value in content.items()
        }
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"features": loaded}
