"""Folds of a cross-validation: whole groups of trials, drawn, and a study with one fold marked as its test."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from neurodec.data.splits import column_of
from neurodec.data.study import Study
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import Whitening


@dataclass(frozen=True)
class CrossValidation:
    """How trials without a split of their own are divided.

    Parameters
    ----------
    groups : str
        Column of the trials (`concept`, `stimulus`, `subject`, `session`, `run`, ...) or of the stimuli (`sentence`,
        ...) whose values are left out whole.
    n_folds : int
        Into which these are drawn.
    seed : int
        Of that draw.
    whiten : {"none", "mvnn-epochs", "mvnn-time", "zscore", "robust"}
        Fitted to the training trials of every fold, session by session; the reader then leaves them as they are.
    """

    groups: str = "concept"
    n_folds: int = 5
    seed: int = 0
    whiten: Whitening = "none"


def labels_of(study: Study, groups: str | Sequence[Any]) -> pd.Series:
    """Return the group of every trial, as text.

    Parameters
    ----------
    study : Study
    groups : str or sequence
        A column, or one value per trial.

    Raises
    ------
    NeurodecError
        If there is no such column, or another number of values.
    """
    table = study.table
    if isinstance(groups, str):
        return column_of(table, groups, study.stimuli)
    if len(groups) != len(table):
        raise NeurodecError(f"`groups` has {len(groups)} values for {len(table)} trials; give one per trial.")
    return pd.Series([str(group) for group in groups], index=table.index)


def drawn(labels: pd.Series, n_folds: int, seed: int) -> Iterator[set[str]]:
    """Yield the groups that each fold leaves out; folds hold about equally many trials.

    Raises
    ------
    NeurodecError
        If there are fewer groups than folds.
    """
    names = np.random.default_rng(seed).permutation(labels.unique())
    if not 2 <= n_folds <= len(names):
        raise NeurodecError(
            f"{len(names)} groups cannot be drawn into {n_folds} folds; choose 2 to {len(names)}."
        )
    codes = labels.map({name: place for place, name in enumerate(names)}).to_numpy()
    for _, rows in GroupKFold(n_folds).split(codes, groups=codes):
        yield set(names[np.unique(codes[rows])].tolist())


def marked(study: Study, groups: str | Sequence[Any], left_out: Collection[str]) -> Study:
    """Return the study with the trials of some groups, and their stimuli, as test and all others as training."""
    tested = labels_of(study, groups).isin(left_out).to_numpy()
    spaces, first = {}, 0
    for space, trials in study.spaces.items():
        own = tested[first : first + len(trials)]
        first += len(trials)
        spaces[space] = replace(trials, table=trials.table.assign(split=np.where(own, "test", "train")))
    shown = set(study.table["stimulus"][tested])
    splits = np.where(study.stimuli["stimulus"].isin(shown), "test", "train")
    return replace(study, spaces=spaces, stimuli=study.stimuli.assign(split=splits))
