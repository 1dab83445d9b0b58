"""A decoder's similarities with every candidate, its ranks and scores, and how a fold's evaluation is kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.retrieval.similarity import (
    Gallery,
    chance_top,
    expected_top,
    pooled_retrieval,
    rank_bounds,
    top_candidates,
)
from neurodec.evaluation.statistics.permutations import permuted_scores, stimulus_matrix
from neurodec.files import atomic_path, read_json, read_own_table, write_json, write_table

_N_POOLS = 30  # as in the tables of NSD
_SAME = 0.01  # spread of similarities between responses, over their spread between candidates
_TEXT = {"subject": str, "stimulus": str, "concept": str}


@dataclass(frozen=True)
class Scored:
    """Test rows against candidates.

    Parameters
    ----------
    similarities : ndarray, shape (n_rows, n_candidates), float64
        From one forward pass.
    table : DataFrame
        Columns `subject, stimulus, concept`, one row per test row; and `uncentred`, see `with_uncentred`.
    gallery : Gallery
        The candidates; their embeddings may be absent (zero width) when read from disk.
    n_repetitions : float
        Trials averaged per row (mean over rows).
    """

    similarities: np.ndarray
    table: pd.DataFrame
    gallery: Gallery
    n_repetitions: float
    inflation: ClassVar[float] = 1.0

    @classmethod
    def of(cls, z: np.ndarray, table: pd.DataFrame, gallery: Gallery) -> Scored:
        """Compare predictions with a gallery.

        Parameters
        ----------
        z : ndarray, shape (n_rows, D)
        table : DataFrame, one row per prediction
            As from `Trials.average`.
        gallery : Gallery
        """
        repetitions = table["n_averaged"].mean() if "n_averaged" in table else 1
        repetitions = round(float(repetitions), 2)
        rows = table[list(_TEXT)].reset_index(drop=True)
        return cls(
            gallery.similarity(z),
            rows,
            gallery,
            int(repetitions) if repetitions == int(repetitions) else repetitions,
        )

    @classmethod
    def with_uncentred(cls, z: np.ndarray, table: pd.DataFrame, gallery: Gallery) -> Scored:
        """Compare as `of` does, and put beside every row its top-1 where nothing is centred, as many papers compare."""
        scored, plain = cls.of(z, table, gallery), cls.of(z, table, replace(gallery, centre=None))
        return replace(scored, table=scored.table.assign(uncentred=plain.top()))

    @classmethod
    def concatenate(cls, parts: Sequence[Scored]) -> Scored:
        """Join the test rows of several folds that had the same candidates.

        Raises
        ------
        NeurodecError
            If the candidates differ.
        """
        first = parts[0]
        if any(list(part.gallery.stimuli) != list(first.gallery.stimuli) for part in parts):
            raise NeurodecError(
                "The folds have different retrieval candidates, so their scores cannot be pooled; evaluate them one "
                "by one."
            )
        return cls(
            np.concatenate([part.similarities for part in parts]),
            pd.concat([part.table for part in parts], ignore_index=True),
            first.gallery,
            float(np.mean([part.n_repetitions for part in parts])) if len(parts) > 1 else first.n_repetitions,
        )

    @cached_property
    def answered(self) -> Scored | None:
        """The same rows with fewer candidates: the gallery's answers, each as similar as its best stimulus."""
        if self.gallery.answers is None:
            return None
        codes, names = pd.factorize(np.asarray(self.gallery.answers, dtype=object))
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(names)))
        best = np.maximum.reduceat(self.similarities[:, order], starts, axis=1)
        gallery = Gallery(np.zeros((len(names), 0)), names.tolist(), names.tolist(), "answer")
        table = self.table[list(_TEXT)].assign(concept=names[codes[self.true]])
        return Scored(best, table, gallery, self.n_repetitions)

    @property
    def n_candidates(self) -> int:
        """Size of the gallery."""
        return self.similarities.shape[1]

    @cached_property
    def true(self) -> np.ndarray:
        """The true candidate of every row, shape (n_rows,)."""
        return self.gallery.true_index(self.table)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Best and worst rank of the true candidate, given ties."""
        return rank_bounds(self.similarities, self.true)

    @property
    def ranks(self) -> np.ndarray:
        """Mean rank of the true candidate among its ties, from 1, shape (n_rows,)."""
        return (self.bounds[0] + self.bounds[1]) / 2

    def top(self, m: int = 1, k: int | None = None) -> np.ndarray:
        """Return every row's expected share of top-`m` hits among `k` candidates (all by default)."""
        return expected_top(*self.bounds, self.n_candidates, k or self.n_candidates, m)

    def chance(self, m: int = 1) -> float:
        """Return the chance of a hit among the first `m`."""
        return chance_top(self.n_candidates, m)

    def shuffled(self, m: int, n_permutations: int, seed: int) -> np.ndarray:
        """Return top-`m` accuracies under random exchanges of responses among stimuli, shape (n_permutations,)."""
        drawn = (m, n_permutations, seed)
        if drawn not in self._nulls:
            matrix = stimulus_matrix(self.exchanged_top(m), self.table["stimulus"].to_numpy())
            self._nulls[drawn] = permuted_scores(matrix, n_permutations, seed)
        return self._nulls[drawn]

    @cached_property
    def _nulls(self) -> dict[tuple[int, int, int], np.ndarray]:
        return {}

    @property
    def chance_by_concept(self) -> float:
        """Top-1 of who knows the concept of what was seen and nothing else: one of its candidates, drawn."""
        sizes = pd.Series(self.gallery.concepts).value_counts()
        return float((1 / self.table["concept"].map(sizes)).mean())

    def exchanged_top(self, m: int = 1) -> np.ndarray:
        """Return every row's top-`m` share if each test stimulus were the true one, shape (n_rows, n_stimuli)."""
        shown = self.table.drop_duplicates("stimulus")
        columns = np.broadcast_to(self.gallery.true_index(shown), (len(self.table), len(shown)))
        return expected_top(*rank_bounds(self.similarities, columns), self.n_candidates, self.n_candidates, m)

    def within_pools(self, size: int, seed: int) -> dict[str, Any]:
        """Score rows and candidates both ways within random pools of every subject's test stimuli.

        Parameters
        ----------
        size : int
            Stimuli in a pool.
        seed : int
            Of the pools.

        Returns
        -------
        dict
            Mean and standard deviation over 30 pools of `pooled_retrieval`, and its chance.

        Raises
        ------
        NeurodecError
            If several rows of a subject belong to one candidate, or a subject saw fewer stimuli.
        """
        rng = np.random.default_rng(seed)
        subjects = self.table["subject"].to_numpy()
        found: dict[str, list[np.ndarray]] = {}
        for subject in dict.fromkeys(subjects.tolist()):
            rows = np.flatnonzero(subjects == subject)
            if len(np.unique(self.true[rows])) < len(rows):
                raise NeurodecError(
                    f"`pool_size` pairs responses with images, and several of subject {subject} belong to the same "
                    'candidate; leave `gallery` at "stimulus", and `pool_size` out where trials are not averaged.'
                )
            if len(rows) < size:
                raise NeurodecError(
                    f"`pool_size` is {size}, and subject {subject} saw {len(rows)} test stimuli; make it smaller."
                )
            pools = np.stack([rng.permutation(len(rows))[:size] for _ in range(_N_POOLS)])
            shares = pooled_retrieval(self.similarities[np.ix_(rows, self.true[rows])], pools)
            for name, values in shares.items():
                found.setdefault(name, []).append(values)
        spread = {name: np.mean(values, axis=0) for name, values in found.items()}
        return {
            "pool_size": size,
            "n_pools": _N_POOLS,
            "chance": 1 / size,
            **{
                name: {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
                for name, values in spread.items()
            },
        }

    @property
    def collapsed(self) -> bool:
        """Whether all rows give the same answer, as an encoder does whose inputs do not reach its output."""
        between_rows = float(self.similarities.std(axis=0).mean())
        return len(self.table) > 1 and between_rows < _SAME * float(self.similarities.std(axis=1).mean())

    def rank_table(self) -> pd.DataFrame:
        """Return `subject, stimulus, concept, rank, top1 ... top5` (the stimuli found, best first), and `uncentred`."""
        found = np.asarray(self.gallery.stimuli)[top_candidates(self.similarities)]
        columns = {f"top{place + 1}": found[:, place] for place in range(found.shape[1])}
        rest = self.table.drop(columns=list(_TEXT))
        return pd.concat([self.table[list(_TEXT)].assign(rank=self.ranks, **columns), rest], axis=1)


@dataclass(frozen=True)
class RetrievalRun:
    """What the evaluation of one fold found.

    Parameters
    ----------
    system : Scored
        What the recipe is about.
    ridge : Scored, optional
        The linear baseline on the same test rows.
    prestimulus : Scored, optional
        The ridge refitted to the time before onset.
    curves : dict
        `repetitions`, `windows`, `regions`, `regions_left_out`, `channels`, `k_way`: lists of dicts.
    others : dict of Scored
        The system's companions, by name.
    """

    system: Scored
    ridge: Scored | None
    prestimulus: Scored | None
    curves: dict[str, Any]
    others: dict[str, Scored] = field(default_factory=dict)

    def save(self, folder: str | Path) -> None:
        """Write the folder in one step: `similarity.npy`, `ranks.csv`, `candidates.csv`, `curves.json`, ..."""
        gallery = self.system.gallery
        with atomic_path(folder) as partial:
            partial.mkdir()
            for name, scored in (
                ("", self.system),
                ("ridge_", self.ridge),
                ("prestimulus_", self.prestimulus),
            ):
                if scored is not None:
                    np.save(partial / f"{name}similarity.npy", scored.similarities)
                    write_table(partial / f"{name}ranks.csv", scored.rank_table())
            candidates = pd.DataFrame({"stimulus": list(gallery.stimuli), "concept": list(gallery.concepts)})
            if gallery.answers is not None:
                candidates["answer"] = list(gallery.answers)
            write_table(partial / "candidates.csv", candidates)
            write_json(partial / "curves.json", self.curves)
            for number, scored in enumerate(self.others.values()):
                np.save(partial / f"other{number}_similarity.npy", scored.similarities)
                write_table(partial / f"other{number}_ranks.csv", scored.rank_table())
            about = {"gallery": gallery.kind, "n_repetitions": self.system.n_repetitions}
            about |= {"others": list(self.others)}
            write_json(partial / "about.json", about)

    @classmethod
    def load(cls, folder: str | Path) -> RetrievalRun:
        """Read a folder written by `save`.

        Raises
        ------
        NeurodecError
            If it is missing or damaged.
        """
        folder = Path(folder)
        about = read_json(folder / "about.json")
        with reading(folder, "an evaluation", "it is damaged, so delete it and run again"):
            candidates = read_own_table(folder / "candidates.csv", dtype=str)
            gallery = Gallery(
                np.zeros((len(candidates), 0)),
                list(candidates["stimulus"]),
                list(candidates["concept"]),
                about["gallery"],
                answers=list(candidates["answer"]) if "answer" in candidates else None,
            )
            parts = [
                _read(folder, name, gallery, about["n_repetitions"])
                for name in ("", "ridge_", "prestimulus_")
            ]
            others = {
                name: _read(folder, f"other{number}_", gallery, about["n_repetitions"])
                for number, name in enumerate(about.get("others", []))
            }
        return cls(parts[0], parts[1], parts[2], read_json(folder / "curves.json"), others)


def _read(folder: Path, name: str, gallery: Gallery, n_repetitions: float) -> Scored | None:
    if name and not (folder / f"{name}similarity.npy").exists():
        return None
    table = read_own_table(folder / f"{name}ranks.csv", dtype=_TEXT)
    rows = table.filter([*_TEXT, "uncentred"])
    return Scored(np.load(folder / f"{name}similarity.npy"), rows, gallery, n_repetitions)
