"""Equal content under several names, and one name for several things."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.responses import blocks_of
from neurodec.data.splits import TRAINING, Level, of_stimuli
from neurodec.data.stimuli import FILES, STRETCH
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.files import sha256_of

_EPSILON = 1e-6  # seconds; stretches that touch share nothing


NO_CONCEPTS = (
    "no concepts are given, so every stimulus is its own: held-out concepts are held-out stimuli; add a column "
    "`concept` (such as the category) where stimuli belong together"
)


def no_concepts(table: pd.DataFrame) -> bool:
    """Return whether every stimulus of a trial table is its own concept, as where nobody gave any.

    Parameters
    ----------
    table : DataFrame
        With `stimulus` and `concept`.
    """
    return bool((table["stimulus"] == table["concept"]).all()) and len(set(table["stimulus"])) > 1


def check_twins(
    table: pd.DataFrame, stimuli: pd.DataFrame, root: Path, levels: Collection[Level]
) -> list[str]:
    """Refuse pictures and sounds that were shown in training and in the test under different names.

    Parameters
    ----------
    table : DataFrame
        Of all trials: `stimulus` and `split`.
    stimuli : DataFrame
        `stimulus` and the columns of files (paths below `root`, or ""), of each of which `offset` and `duration`, or
        `row`, may name a part.
    root : Path
    levels : collection of str
        What training and test must not share; contents count where stimuli do.

    Returns
    -------
    list of str
        Sentences for the account.

    Raises
    ------
    NeurodecError
        Naming the first such pair.

    Notes
    -----
    Cost: the sizes of all files, and the content of those whose sizes are equal.
    """
    shown = {
        name: set(table["stimulus"][table["split"].isin(splits)])
        for name, splits in (("train", TRAINING), ("test", ("test",)))
    }
    notes, leaked, kinds = [], [], set()
    for column in (name for name in FILES if name in stimuli):
        kind = {"image": "picture"}.get(column, column)
        for alike in of_one_file(stimuli, root, column):
            for names in equal_parts(alike):
                test = sorted(shown["test"].intersection(names))
                if len(test) > 1:
                    notes.append(
                        f"the test {kind}s {' and '.join(test[:4])} are one and the same, and cannot be distinguished"
                    )
            tested = alike["stimulus"].isin(shown["test"])  # names that both have are reported elsewhere
            pairs = shared_parts(alike[alike["stimulus"].isin(shown["train"]) & ~tested], alike[tested])
            leaked += pairs
            kinds |= {kind} if pairs else set()
    if not leaked:
        return notes
    first = f"{leaked[0][1]} as {leaked[0][0]}"
    said = f"{len(leaked)} test {'/'.join(sorted(kinds))}(s) were shown in training under another name, first {first}"
    if any(of_stimuli(level, stimuli) for level in levels):
        raise NeurodecError(
            f"{said}; decoding them is no zero-shot decoding, so take them out of training by the stimulus table, or "
            "set the evaluation's `leakage: none`."
        )
    return [*notes, said]


def of_one_file(stimuli: pd.DataFrame, root: Path, column: str = "image") -> list[pd.DataFrame]:
    """Return the stimuli, two or more, whose files, or rows of a file, have one content."""
    given = stimuli[stimuli[column] != ""]
    known = {file: (root / file).stat().st_size for file in given[column].unique()}
    sizes = given[column].map(known)
    alike = given[sizes.duplicated(keep=False) & (sizes > 0)]  # an empty file is refused when it is opened
    contents = {file: sha256_of(root / file) for file in alike[column].unique()}
    keys = [alike[column].map(contents), *([alike["row"]] if "row" in alike else [])]
    groups = alike.groupby(keys, sort=False).indices.values()
    return [alike.iloc[rows] for rows in groups if len(rows) > 1]


def equal_parts(stimuli: pd.DataFrame) -> list[list[str]]:
    """Return the groups of stimuli, of one file, that are the same part of it."""
    told = [name for name in STRETCH if name in stimuli]
    if not told:
        return [stimuli["stimulus"].tolist()]
    groups = [stimuli["stimulus"].iloc[rows].tolist() for rows in stimuli.groupby(told).indices.values()]
    return [names for names in groups if len(names) > 1]


def shared_parts(train: pd.DataFrame, test: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of a training and a test stimulus, of one file, that share a part of it; one per test stimulus."""
    if not len(train) or not len(test):
        return []
    if "offset" not in train:
        told = [name for name in STRETCH if name in train]
        parts = [
            own[told].agg("/".join, axis=1) if told else pd.Series("", own.index) for own in (train, test)
        ]
        first = dict(zip(parts[0][::-1], train["stimulus"][::-1], strict=True))
        return [
            (first[part], name)
            for part, name in zip(parts[1], test["stimulus"], strict=True)
            if part in first
        ]
    begin, end = _stretches(train)
    order = np.argsort(begin, kind="stable")
    begin, end, names = begin[order], end[order], train["stimulus"].to_numpy()[order]
    latest = np.maximum.accumulate(end)
    longest = np.maximum.accumulate(np.where(end == latest, np.arange(len(end)), 0))
    pairs = []
    for name, own_begin, own_end in zip(test["stimulus"], *_stretches(test), strict=True):
        place = np.searchsorted(begin, own_end - _EPSILON) - 1  # the last that begins before this one ends
        if place >= 0 and latest[place] > own_begin + _EPSILON:
            pairs.append((names[longest[place]], name))
    return pairs


def _stretches(stimuli: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end (s) of every stimulus in its file; one without a duration lasts to the end."""
    begin = pd.to_numeric(stimuli["offset"], errors="coerce").fillna(0.0).to_numpy(dtype=float)
    length = pd.to_numeric(stimuli.get("duration", pd.Series(np.inf, stimuli.index)), errors="coerce")
    return begin, begin + length.fillna(np.inf).to_numpy(dtype=float)


def note_concepts(table: pd.DataFrame) -> list[str]:
    """Tell of stimuli that stand under several concepts, as base names do (``cat/1.png``, ``dog/1.png``)."""
    counts = table.groupby("stimulus")["concept"].nunique()
    several = counts.index[counts > 1]
    if not len(several):
        return []
    first = several[0]
    own = sorted(set(table["concept"][table["stimulus"] == first].astype(str)))
    return [
        f"{len(several)} stimuli stand under several concepts, first {first} ({', '.join(own[:4])}); if one name "
        "stands for several pictures, give each a name of its own (such as its path)"
    ]


def refuse_twins(parts: dict[str, Trials]) -> None:
    """Refuse the same samples twice; another header, format or compression hides them from a hash of the files.

    Parameters
    ----------
    parts : dict of Trials
        By the name of the part.

    Raises
    ------
    NeurodecError
        Naming both.
    """
    seen: dict[str, str] = {}
    for name, part in parts.items():
        for place, rows in part.table.groupby(["subject", "session", "run"], sort=False).indices.items():
            where = "{} (subject {}, session {}, run {})".format(name, *place)
            digest = hashlib.sha256()
            for block in blocks_of(len(rows)):
                digest.update(np.ascontiguousarray(part.responses[rows[block]]))
            first = seen.setdefault(digest.hexdigest(), where)
            if first != where:
                raise NeurodecError(
                    f"The trials of {where} are the same recording as those of {first}; counted twice it would leak "
                    "between training and test, so remove one of them."
                )
