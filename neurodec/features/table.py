"""Features: one row per stimulus, traceable to the picture it came from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodec.data.responses import View, blocks_of
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, key_of, read_json, write_json

_DIMS = {
    2: ("stimulus", "value"),
    3: ("stimulus", "token", "value"),
    4: ("stimulus", "channel", "row", "column"),
}


@dataclass(frozen=True, repr=False)
class Features:
    """Frozen targets.

    Parameters
    ----------
    values : ndarray or View
        Shape (n_stimuli, ..., D), float32 or float16; memory-mapped when read from a folder.
    stimuli : list of str
        The stimulus of every row.
    info : dict
        `embedding_space`, `key`, and what the key was made from: model, weights hash, layer, transform, normalisation
        and the content hash of every row. `dims` names the axes where they are not the usual ones, as of a sequence:
        ``["stimulus", "value", "time"]``.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Features
    >>> clip = Features(np.eye(3, dtype=np.float32), ["cat", "dog", "owl"], {"embedding_space": "my-clip"})
    >>> clip.of(["owl"]).shape
    (1, 3)
    """

    values: np.ndarray | View
    stimuli: list[str]
    info: dict[str, Any]

    @classmethod
    def given(
        cls,
        values: np.ndarray | pd.DataFrame | pd.Series,
        stimuli: Sequence[str] | None = None,
        space: str = "given",
    ) -> Features:
        """Make features of embeddings, or of numbers, that are there already.

        Parameters
        ----------
        values : ndarray, shape (n_stimuli, ...), DataFrame or Series
            A DataFrame or Series is indexed by stimulus.
        stimuli : sequence of str, optional
            The stimulus of every row of an array.
        space : str
            Name of the embedding space.

        Raises
        ------
        NeurodecError
            If names and rows do not fit, a name occurs twice, or a value is not finite.

        Examples
        --------
        >>> import numpy as np
        >>> from neurodec import Features
        >>> Features.given(np.eye(2), ["cat", "dog"]).of(["dog"]).tolist()
        [[0.0, 1.0]]
        """
        if isinstance(values, (pd.DataFrame, pd.Series)):
            stimuli, values = values.index.tolist(), values.to_numpy()
        values, names = np.asarray(values), [str(name) for name in stimuli or []]
        if values.dtype.kind not in "fiu" or values.ndim < 1:
            raise NeurodecError(
                f"The targets are an array of {values.dtype}; give numbers, one row per stimulus."
            )
        if len(values) != len(names):
            raise NeurodecError(
                f"{len(values)} rows of targets and {len(names)} stimuli; give every row one name."
            )
        twice = next((name for name, n in Counter(names).items() if n > 1), None)
        if twice is not None:
            raise NeurodecError(f"The stimulus {twice} has several rows of targets; keep one.")
        if not np.isfinite(values).all():
            raise NeurodecError("The targets hold NaN or infinity; leave these stimuli out.")
        values = values.reshape(len(values), -1) if values.ndim == 1 else values
        values = np.ascontiguousarray(values, dtype=np.float32)
        key = key_of([names, hashlib.sha256(values.data).hexdigest()])
        return cls(values, names, {"embedding_space": space, "key": key})

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes: vectors, tokens, latents (channels of a map), or what the extractor calls them."""
        return tuple(self.info.get("dims") or _DIMS.get(self.values.ndim, ("stimulus",)))

    def __repr__(self) -> str:
        lengths = [
            f"{length} {name}s" for length, name in zip(self.values.shape[1:], self.dims[1:], strict=False)
        ]
        return f"<Features: {len(self.stimuli)} stimuli, {' x '.join(lengths)}, {self.embedding_space}>"

    @property
    def embedding_space(self) -> str:
        """Name of the space that the targets live in."""
        return self.info["embedding_space"]

    def of(self, stimuli: Sequence[str]) -> np.ndarray:
        """Return the targets of named stimuli, shape (len(stimuli), ..., D); see `rows`.

        Parameters
        ----------
        stimuli : sequence of str
        """
        return np.asarray(self.values[self.rows(stimuli)])

    def rows(self, stimuli: Sequence[str]) -> np.ndarray:
        """Return the row number of every named stimulus, shape (len(stimuli),).

        Parameters
        ----------
        stimuli : sequence of str

        Raises
        ------
        NeurodecError
            If a stimulus has no feature.
        """
        place = {stimulus: row for row, stimulus in enumerate(self.stimuli)}
        try:
            return np.array([place[stimulus] for stimulus in stimuli], dtype=np.int64)
        except KeyError as error:
            raise NeurodecError(
                f"No feature belongs to stimulus {error}; list its picture in the stimulus table."
            ) from error

    def save(self, folder: str | Path) -> None:
        """Write `values.npy` and `features.json`, atomically, the latter last.

        Parameters
        ----------
        folder : str or Path
        """
        lacking = [name for name in ("embedding_space", "key") if name not in self.info]
        if lacking or len(self.values) != len(self.stimuli):
            what = f"no {lacking[0]} in their info" if lacking else f"{len(self.values)} rows"
            raise NeurodecError(
                f"The features of {len(self.stimuli)} stimuli have {what}; let the extractor give `Features(values, "
                "stimuli, info)` with one row per stimulus, an `embedding_space` and a `key`."
            )
        header = {"descr": self.values.dtype.str, "fortran_order": False, "shape": tuple(self.values.shape)}
        with atomic_path(Path(folder) / "values.npy") as partial, partial.open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, header)
            for rows in blocks_of(len(self.values)):
                handle.write(np.ascontiguousarray(self.values[rows]).data)
        write_json(Path(folder) / "features.json", {**self.info, "stimuli": self.stimuli})

    @classmethod
    def load(cls, folder: str | Path) -> Features:
        """Read a folder written by `save`.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        NeurodecError
            If it is missing or damaged.
        """
        info = read_json(Path(folder) / "features.json")
        with reading(folder, "features", "they are damaged, so delete the folder"):
            values, stimuli = np.load(Path(folder) / "values.npy", mmap_mode="r"), info.pop("stimuli")
            if not isinstance(stimuli, list) or values.ndim < 2:
                raise NeurodecError(f"The features in {folder} are damaged; delete the folder.")
        if len(values) != len(stimuli):
            raise NeurodecError(
                f"The features in {folder} have {len(values)} rows for {len(stimuli)} stimuli; delete the folder."
            )
        return cls(values, stimuli, info)
