"""What a system predicts of trials: one array per head, and the rows that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_own_table, require_file_name, write_table

_TEXT = dict.fromkeys(("stimulus", "concept", "split", "subject", "session", "run", "space"), str)


@dataclass(frozen=True)
class Predictions:
    """Predicted targets.

    Parameters
    ----------
    heads : dict of ndarray, shape (n_rows, ...), float32
        Name of the target to what is predicted of it; tokens and latents keep their axes.
    table : DataFrame
        Trial table of the rows.
    """

    heads: dict[str, np.ndarray]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def of(self, head: str) -> np.ndarray:
        """Return the predictions of one head.

        Raises
        ------
        NeurodecError
            Naming the heads that there are.
        """
        if head not in self.heads:
            raise NeurodecError(
                f"The system predicts {', '.join(self.heads)}, not {head}; name one of these, or add the target."
            )
        return self.heads[head]

    def save(self, folder: str | Path) -> None:
        """Write ``<head>.npy`` and ``trials.csv``, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            for name, values in self.heads.items():
                np.save(partial / f"{require_file_name(name, 'The target')}.npy", values)
            write_table(partial / "trials.csv", self.table)

    @classmethod
    def load(cls, folder: str | Path) -> Predictions:
        """Read a folder written by `save`; arrays stay on the disk until they are asked for.

        Raises
        ------
        NeurodecError
            If it is missing or damaged.
        """
        folder = Path(folder)
        table = read_own_table(folder / "trials.csv", dtype=_TEXT)
        with reading(folder, "predictions", "delete it and run again"):
            heads = {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}
            if not heads or any(len(values) != len(table) for values in heads.values()):
                raise NeurodecError(f"The predictions in {folder} are damaged; delete it and run again.")
        return cls(heads, table)

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """Join the rows of parts that have the same heads."""
        heads = {name: np.concatenate([part.heads[name] for part in parts]) for name in parts[0].heads}
        return cls(heads, pd.concat([part.table for part in parts], ignore_index=True))
