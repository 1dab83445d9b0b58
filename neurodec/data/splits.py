"""Who trains on what: validation concepts, left-out groups, and the check that nothing leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError

TRAINING = ("train", "validation")
"""Splits that a training may see: trials to learn from, and those that an epoch is chosen by."""
Level = str
"""What training and test must not share: "concept", "stimulus", "recording", any other column, or "none"."""
_WEAKER = {"concept": "stimulus", "stimulus": "recording"}
_SHARED = {"concept": ("stimulus", "concept"), "recording": (), "none": ()}
_PLURALS = {"stimulus": "stimuli"}


def shared_columns(level: Level) -> tuple[str, ...]:
    """Return the columns of which training and test may share no value at a level."""
    return _SHARED.get(level, (level,))


def of_stimuli(level: Level, stimuli: pd.DataFrame) -> bool:
    """Return whether a level is of what was shown, not of whom it was shown to, or when."""
    return level in ("concept", "stimulus") or level in stimuli


def groups_of(table: pd.DataFrame, column: str) -> pd.Series:
    """Return a column of a trial table as text, sessions and runs together with whose they are.

    Parameters
    ----------
    table : DataFrame
    column : str
        Such as "concept", "subject", "session" or "run".
    """
    columns = {"session": ["session"], "run": ["session", "run"]}.get(column)
    if columns is None:
        return table[column].astype(str)
    return table["subject"].str.cat([table[name] for name in columns], sep="/")


def column_of(table: pd.DataFrame, column: str, stimuli: pd.DataFrame | None = None) -> pd.Series:
    """Return a column of the trials, or of the stimuli that they show, as text; see `groups_of`.

    Raises
    ------
    NeurodecError
        If neither has it.
    """
    if column in table:
        return groups_of(table, column)
    if stimuli is None or column not in stimuli:
        known = dict.fromkeys([*table, *([] if stimuli is None else stimuli)])
        raise NeurodecError(
            f"There is no column {column} of trials or stimuli; there are {', '.join(map(str, known))}."
        )
    told = stimuli.drop_duplicates("stimulus").set_index("stimulus")[column]
    return table["stimulus"].map(told).astype(str)


def check_leakage(table: pd.DataFrame, level: Level = "concept", stimuli: pd.DataFrame | None = None) -> None:
    """Refuse a table whose training and test trials share what an evaluation generalises over.

    Parameters
    ----------
    table : DataFrame
        Columns `stimulus`, `concept`, `split` and, for the message, `subject`, `session` and `run`.
    level : str
        What must not be shared: "concept" (and so stimuli), "stimulus", "recording" (runs), any further column of the
        trials or of the stimuli (`sentence`, `subject`, ...), or "none" (the fixed split of a data set of classes is no
        leak).
    stimuli : DataFrame, optional
        The stimulus table, whose columns may be named.

    Raises
    ------
    NeurodecError
        Naming what is shared and the first rows of it, or a column that there is not.
    """
    columns = shared_columns(level)
    try:
        values = {column: column_of(table, column, stimuli) for column in columns}
    except NeurodecError as error:
        raise NeurodecError(
            f"The evaluation's `leakage` is {level}. {error} Or set recording, or none."
        ) from None
    train, test = (table[table["split"].isin(names)] for names in (TRAINING, ("test",)))
    if level == "recording":
        runs = groups_of(table.astype(dict.fromkeys(("subject", "session", "run"), str)), "run")
        both = sorted(set(runs[train.index]) & set(runs[test.index]))
        if both:
            raise NeurodecError(
                f"Training and test share {len(both)} run(s), first {both[0]} (subject/session/run); split by whole "
                "runs, or correct the `split` column."
            )
    for column in columns:
        plural = _PLURALS.get(column, f"{column}s")
        groups = values[column]
        shared = sorted(set(groups[train.index]) & set(groups[test.index]))
        if shared:
            shows = [part.index[groups[part.index] == shared[0]][:2] for part in (train, test)]
            rows = sorted([*shows[0], *shows[1]])
            subjects = ", ".join(dict.fromkeys(table["subject"][rows]))
            what = f"1 {column}" if len(shared) == 1 else f"{len(shared)} {plural}"
            weaker = _WEAKER.get(column, "none")
            way = f"set the evaluation's `leakage: {weaker}` if that is how the data are meant to be split"
            if column == "stimulus" and len(shared) == test[column].nunique():
                way += (
                    "; labels are decoded by `neurodec.evaluation.Classification` with `scheme: fixed_split`"
                )
            raise NeurodecError(
                f"Training and test share {what}, first {shared[0]} (rows {', '.join(map(str, rows))}) of subject "
                f"{subjects}; zero-shot decoding needs them disjoint, so correct the `split` column, or {way}."
            )


def n_overlapping(table: pd.DataFrame, length: float) -> int:
    """Count test windows that share time with a training window of the same recording.

    Parameters
    ----------
    table : DataFrame
        Of trials; without the column `onset` (s, in the recording) nothing is known, and 0 returned.
    length : float
        Of a window (s).
    """
    if "onset" not in table:
        return 0
    n_found = 0
    for rows in table.groupby(["subject", "session", "run"]).indices.values():
        own = table.iloc[rows]
        onsets = own["onset"].to_numpy(dtype=float)
        train = np.sort(onsets[own["split"].isin(TRAINING)])
        test = onsets[own["split"] == "test"]
        if not len(train) or not len(test):
            continue
        place = np.searchsorted(train, test)
        before, after = train[np.maximum(place - 1, 0)], train[np.minimum(place, len(train) - 1)]
        apart = np.minimum(np.abs(test - before), np.abs(test - after))
        n_found += int((apart < length - 1e-9).sum())
    return n_found


def validation_concepts(concepts: pd.Series | np.ndarray, fraction: float, seed: int) -> set[str]:
    """Draw the concepts (or people) that are held out of training for model selection.

    Parameters
    ----------
    concepts : sequence of str
        Concepts of the *training* trials; test concepts must not be among them.
    fraction : float
        Share of the concepts, between 0 and 1; at least one concept when it is above 0.
    seed : int
        Seed of the draw, which depends on the set of concepts only, not on their order.

    Returns
    -------
    set of str
    """
    if not 0 <= fraction < 1:
        raise NeurodecError(
            f"validation_fraction is {fraction}; give a share from 0 up to, not including, 1."
        )
    names = np.unique(np.asarray(concepts, dtype=str))
    n_held_out = max(1, round(fraction * len(names))) if fraction else 0
    return set(np.random.default_rng(seed).permutation(names)[:n_held_out].tolist())
