"""What a run keeps of its retrieval: curves, ranks and similarities of every fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.files import read_json, read_own_table


class KeptFolds:
    """What the folders of several folds hold, as `RetrievalRun.save` writes them.

    Parameters
    ----------
    folders : sequence of Path
        Those without curves are passed over.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder for folder in folders if (folder / "curves.json").exists()]
        self._curves = {folder.name: read_json(folder / "curves.json") for folder in self.folders}

    def points(self, name: str) -> pd.DataFrame:
        """Return one curve's points with the column `fold`; empty where it was not measured."""
        rows = [
            {"fold": fold, **point} for fold, found in self._curves.items() for point in found.get(name) or []
        ]
        return pd.DataFrame(rows)

    def ranks(self) -> pd.DataFrame:
        """Return the rank of every test row, best first; empty where there are none."""
        files = [folder / "ranks.csv" for folder in self.folders if (folder / "ranks.csv").exists()]
        tables = [read_own_table(file, dtype=str) for file in files]
        if not tables:
            return pd.DataFrame()
        ranks = pd.concat(tables, ignore_index=True)
        return ranks.assign(rank=ranks["rank"].astype(float)).sort_values("rank", kind="stable")

    def similarity(self) -> tuple[np.ndarray, list[str], list[str]] | None:
        """Return the mean similarity of each seen concept with each candidate, and the sorted concepts of both.

        Folds whose candidates differ from the first one's are left out.
        """
        found, first = [], None
        for folder in self.folders:
            if not all(
                (folder / name).exists() for name in ("similarity.npy", "candidates.csv", "ranks.csv")
            ):
                continue
            candidates = read_own_table(folder / "candidates.csv", dtype=str)
            first = candidates if first is None else first
            if candidates.equals(first):
                rows = read_own_table(folder / "ranks.csv", dtype=str)["concept"]
                found.append(pd.DataFrame(np.load(folder / "similarity.npy")).groupby(rows.to_numpy()).mean())
        if not found:
            return None
        mean = pd.concat(found).groupby(level=0).mean()
        order = first["concept"].argsort(kind="stable")
        return mean.to_numpy()[:, order], list(mean.index), first["concept"].iloc[order].tolist()
