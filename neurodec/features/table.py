"""Features: one row per stimulus, traceable to the picture it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, write_json


@dataclass(frozen=True)
class Features:
    """Frozen target embeddings.

    Parameters
    ----------
    values : np.ndarray
        Shape (n_stimuli, ..., D), float32.
    stimuli : list of str
        The stimulus of every row.
    info : dict
        `embedding_space`, `key`, and what the key was made from: model, weights hash, layer, transform, normalisation
        and the content hash of every row.
    """

    values: np.ndarray
    stimuli: list[str]
    info: dict[str, Any]

    def rows(self, stimuli: Sequence[str]) -> np.ndarray:
        """Return the row number of every named stimulus, shape (len(stimuli),).

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
        """Write `values.npy` and `features.json`, atomically, the latter last."""
        with atomic_path(Path(folder) / "values.npy") as partial, partial.open("wb") as handle:
            np.save(handle, self.values)
        write_json(Path(folder) / "features.json", {**self.info, "stimuli": self.stimuli})

    @classmethod
    def load(cls, folder: str | Path) -> Features:
        """Read a folder written by `save`.

        Raises
        ------
        NeurodecError
            If it is missing or damaged.
        """
        info = read_json(Path(folder) / "features.json")
        with reading(folder, "features", "they are damaged, so delete the folder"):
            values, stimuli = np.load(Path(folder) / "values.npy"), info.pop("stimuli")
            if not isinstance(stimuli, list) or values.ndim < 2:
                raise NeurodecError(f"The features in {folder} are damaged; delete the folder.")
        if len(values) != len(stimuli):
            raise NeurodecError(
                f"The features in {folder} have {len(values)} rows for {len(stimuli)} stimuli; delete the folder."
            )
        return cls(values, stimuli, info)
