"""How category decoding splits trials: whole runs, sessions or subjects, folds of single trials, or a fixed split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedKFold

from neurodec.data.splits import TRAINING, groups_of
from neurodec.errors import NeurodecError

Scheme = Literal[
    "leave_one_run_out",
    "leave_one_session_out",
    "leave_one_subject_out",
    "stratified_k_fold",
    "repeated_k_fold",
    "fixed_split",
]
Folds = list[tuple[np.ndarray, np.ndarray]]
_LEFT_OUT = {
    "leave_one_run_out": "run",
    "leave_one_session_out": "session",
    "leave_one_subject_out": "subject",
}
SINGLE_TRIALS = ("stratified_k_fold", "repeated_k_fold")
"""Schemes whose folds cut through runs."""
_K = 5


def split(
    table: pd.DataFrame, labels: np.ndarray, scheme: Scheme, n_folds: int | None, seed: int
) -> tuple[np.ndarray, Folds]:
    """Split trials for cross-validation.

    Parameters
    ----------
    table : DataFrame
        Of the trials, with `subject`, `session`, `run` and `split`.
    labels : ndarray of int, shape (n_trials,)
    scheme : str
        See `Classification`.
    n_folds : int, optional
        Of groups: each alone by default. Of single trials: 5 by default.
    seed : int
        Of the folds of single trials.

    Returns
    -------
    groups : ndarray of str, shape (n_trials,)
        What is left out together; labels are shuffled within it.
    folds : list of (ndarray, ndarray)
        Training and test rows; no group is in both, and no trial is tested twice.

    Raises
    ------
    NeurodecError
        If there is one group only, a class has fewer trials than folds, or one side of the fixed split is empty.
    """
    if scheme not in get_args(Scheme):
        raise NeurodecError(f"scheme {scheme!r} is unknown; use {', '.join(get_args(Scheme))}.")
    by: dict[str, Callable[[], tuple[np.ndarray, Folds]]] = {
        "fixed_split": lambda: _fixed(table),
        **dict.fromkeys(SINGLE_TRIALS, lambda: _stratified(labels, n_folds or _K, seed)),
    }
    return by.get(scheme, lambda: _grouped(table, _LEFT_OUT[scheme], n_folds))()


def clusters_of(table: pd.DataFrame, scheme: Scheme, groups: np.ndarray) -> np.ndarray | None:
    """Return what an interval generalises over, shape (n_trials,): None stands for single trials.

    Parameters
    ----------
    table : DataFrame
    scheme : str
        Of whole groups these are left out; otherwise it is over subjects, where there are several.
    groups : ndarray, shape (n_trials,)
        From `split`.
    """
    if scheme in _LEFT_OUT:
        return groups
    subjects = table["subject"].to_numpy(dtype=str)
    return subjects if len(set(subjects)) > 1 else None


def shared_training(folds: Folds) -> float:
    """Return the factor on the variance over test trials that folds which share training trials can need at most.

    References
    ----------
    Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52, equation 14.
    """
    if len(folds) < 2:
        return 1.0
    return 1.0 + len(folds) * float(np.mean([len(test) / len(train) for train, test in folds]))


def _grouped(table: pd.DataFrame, column: str, n_folds: int | None) -> tuple[np.ndarray, Folds]:
    groups = groups_of(table, column).to_numpy(dtype=str)
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise NeurodecError(
            f"Only one group ({groups[0]}) to leave out; add recordings or choose another `scheme`."
        )
    return groups, list(GroupKFold(min(n_folds or n_groups, n_groups)).split(groups, groups=groups))


def _stratified(labels: np.ndarray, n_folds: int, seed: int) -> tuple[np.ndarray, Folds]:
    fewest = np.bincount(labels).min()
    if fewest < n_folds:
        raise NeurodecError(
            f"A category has {fewest} trials, fewer than the {n_folds} folds; lower `n_folds` or leave it out."
        )
    folds = list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels))
    groups = np.empty(len(labels), dtype=f"<U{len('fold ') + len(str(n_folds))}")
    for number, (_, test) in enumerate(folds, start=1):
        groups[test] = f"fold {number}"
    return groups, folds


def _fixed(table: pd.DataFrame) -> tuple[np.ndarray, Folds]:
    tested = (table["split"] == "test").to_numpy()
    train = np.flatnonzero(table["split"].isin(TRAINING).to_numpy())
    if not tested.any() or not len(train):
        raise NeurodecError(
            f"`fixed_split` needs training and test trials, and there are {len(train)} and {tested.sum()}; give the "
            "table of stimuli a column `split`, or choose another `scheme`."
        )
    groups = np.where(tested, "test", groups_of(table, "run").to_numpy(dtype=str))
    return groups, [(train, np.flatnonzero(tested))]
