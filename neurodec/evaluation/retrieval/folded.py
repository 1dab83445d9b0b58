"""Test rows of cross-validation folds that had candidates of their own, scored as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.scored import Scored


class ScoredFolds:
    """Several `Scored` of different candidates, with what summaries ask of one.

    Parameters
    ----------
    parts : sequence of Scored
        One per fold; each row is ranked among the candidates of its own fold.

    Notes
    -----
    Folds share training trials, so their errors go together: variances are multiplied by ``1 + n_folds * n_test /
    n_train`` (Nadeau and Bengio 2003, Inference for the generalization error, Machine Learning 52).
    """

    def __init__(self, parts: Sequence[Scored]) -> None:
        self.parts, self.gallery = list(parts), parts[0].gallery
        self.n_repetitions = float(np.mean([part.n_repetitions for part in parts]))
        self.n_candidates = min(part.n_candidates for part in parts)
        self.weights = np.array([len(part.table) for part in parts]) / sum(len(part.table) for part in parts)
        self.inflation = 1 + len(parts) * float(np.mean(self.weights / (1 - self.weights)))

    @cached_property
    def table(self) -> pd.DataFrame:
        """All rows, fold after fold."""
        return pd.concat([part.table for part in self.parts], ignore_index=True)

    @property
    def ranks(self) -> np.ndarray:
        """Rank of the true candidate within its fold, shape (n_rows,)."""
        return np.concatenate([part.ranks for part in self.parts])

    @property
    def answered(self) -> ScoredFolds | None:
        """The same rows among the answers of their folds; see `Scored.answered`."""
        parts = [part.answered for part in self.parts]
        known = [part for part in parts if part is not None]
        return ScoredFolds(known) if len(known) == len(parts) else None

    @property
    def collapsed(self) -> bool:
        """Whether every fold gives one answer to all."""
        return all(part.collapsed for part in self.parts)

    @property
    def chance_by_concept(self) -> float:
        """Top-1 of who knows the concept and nothing else."""
        return float(self.weights @ [part.chance_by_concept for part in self.parts])

    def top(self, m: int = 1, k: int | None = None) -> np.ndarray:
        """Return every row's expected share of top-`m` hits; see `Scored.top`."""
        return np.concatenate([part.top(m, k) for part in self.parts])

    def within_pools(self, size: int, seed: int) -> dict[str, Any]:
        """Refuse pools, which would mix candidates of several folds."""
        raise NeurodecError("`pool_size` needs one gallery, and every fold has its own; leave it out.")

    def chance(self, m: int = 1) -> float:
        """Return the chance of a hit among the first `m`, over rows."""
        return float(self.weights @ [part.chance(m) for part in self.parts])

    def shuffled(self, m: int, n_permutations: int, seed: int) -> np.ndarray:
        """Return the null distribution: exchanges within folds, spread by what shared training trials add at most."""
        drawn = [part.shuffled(m, n_permutations, seed + place) for place, part in enumerate(self.parts)]
        joined = self.weights @ np.array(drawn)
        return joined.mean() + np.sqrt(self.inflation) * (joined - joined.mean())


def joined(parts: Sequence[Scored]) -> Scored | ScoredFolds:
    """Return the rows of several folds as one; where no candidate is in two of them, each among its own.

    Raises
    ------
    NeurodecError
        If folds share some of their candidates, but not all.
    """
    galleries: dict[tuple[str, ...], list[Scored]] = {}
    for part in parts:
        galleries.setdefault(tuple(part.gallery.stimuli), []).append(part)
    n_different = len(set().union(*galleries))
    if len(galleries) == 1 or n_different < sum(map(len, galleries)):
        return Scored.concatenate(parts)
    return ScoredFolds([Scored.concatenate(own) for own in galleries.values()])
