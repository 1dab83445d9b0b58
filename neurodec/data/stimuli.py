"""What a stimulus is: the stimulus table decides, the trial table must agree."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.tables import is_missing, read_table
from neurodec.data.trial_tables import require_splits
from neurodec.errors import NeurodecError

LABELS = ("concept", "split")
BETWEEN = "|"
"""What stands between the classes of a sequence, such as the stages of a night's epochs (``W|N1|N2``)."""
GALLERY = "gallery"
OWN = ("stimulus", "concept", "split", "image", "caption")
"""Columns that every stimulus table gets; all further ones are free."""
FILES = ("image", "audio", "array")
"""Columns that name a file below the data root."""
STRETCH = ("offset", "duration", "row")
"""Columns that tell which part of its file a stimulus is: seconds, or a row."""


def table_files(root: Path, *tables: str | None) -> tuple[Path, ...]:
    """Return the named tables below `root` that are there; what reads one tells if it is missing."""
    return tuple(root / table for table in tables if table and (root / table).is_file())


def read_stimuli(path: Path, root: Path) -> pd.DataFrame:
    """Read a stimulus table: the column `stimulus`, and optionally `concept`, `split`, `image`, `caption` and any more.

    Parameters
    ----------
    path : Path
        CSV or TSV file.
    root : Path
        Folder that the columns `image`, `audio` and `array` are relative to; an empty one is allowed.

    Returns
    -------
    DataFrame
        The columns that the file has, as text: what it does not say, the trials may.

    Raises
    ------
    NeurodecError
        If a picture is missing or lies outside `root`, a stimulus is listed twice or has no name, or a split is no
        split.
    """
    table = read_table(path, ("stimulus",))
    nameless = table.index[is_missing(table["stimulus"])]
    if len(nameless):
        raise NeurodecError(
            f"{path} names no stimulus at row {nameless[0] + 2}; give it a name, or remove the row."
        )
    repeated = table["stimulus"][table["stimulus"].duplicated()]
    if len(repeated):
        raise NeurodecError(f"{path} lists the stimulus {repeated.iloc[0]} twice; keep one row.")
    for column in set(table) - {*LABELS, "stimulus"}:
        table[column] = table[column].mask(is_missing(table[column]), "")
    for column in set(FILES) & set(table):
        table[column] = [file_below(root, name, path, row, column) for row, name in table[column].items()]
    if "concept" in table:
        blank = is_missing(table["concept"])
        if blank.any() and not blank.all():
            row = table.index[blank][0]
            raise NeurodecError(
                f"{path} has no concept at row {row + 2}; give one to every stimulus, or to none."
            )
        table = table.drop(columns="concept") if blank.all() else table
    if "split" in table:
        require_splits(table["split"], str(path), gallery=True)
    return table.reset_index(drop=True)


def file_below(root: Path, image: str, source: str | Path, row: int, column: str = "image") -> str:
    """Return the path below `root` of a stimulus' file.

    Raises
    ------
    NeurodecError
        If it leads elsewhere (a table could name any file of the machine) or is not there.
    """
    if not image:
        return ""
    forms = [unicodedata.normalize(form, image) for form in ("NFC", "NFD")]  # macOS writes NFD
    image = next((form for form in (image, *forms) if (root / form).is_file()), image)
    inside = os.path.relpath(os.path.normpath(root / image), os.path.normpath(root))
    outside = inside == os.pardir or inside.startswith(os.pardir + os.sep) or os.path.isabs(inside)
    if outside or not (root / inside).is_file():
        kind = "picture" if column == "image" else f"{column} file"
        way = f"put the {kind}s there" if outside else "correct the table"
        raise NeurodecError(
            f"{source} names the {kind} {image} (row {row + 2}), which is not below {root}; {way}."
        )
    return Path(inside).as_posix()


def label_trials(trials: pd.DataFrame, stimuli: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Give every trial its concept and split: from the stimulus table, else from its own row, else the default.

    Parameters
    ----------
    trials : DataFrame
        At least the column `stimulus`.
    stimuli : DataFrame, optional
        As `read_stimuli` returns it.
    where : str
        Names the trials in messages.

    Raises
    ------
    NeurodecError
        If a trial shows a stimulus that the table does not list, or says of it what the table denies, or if a split
        is not a split.
    """
    trials = trials.reset_index(drop=True)
    if stimuli is not None:
        known = stimuli.set_index("stimulus")
        unknown = np.flatnonzero(~trials["stimulus"].isin(known.index))
        if len(unknown):
            raise NeurodecError(
                f"{where} shows {trials['stimulus'][unknown[0]]} (event {unknown[0] + 1} of {len(trials)}), which the "
                "stimulus table does not list; add it there or correct its name."
            )
        for name in set(LABELS) & set(known):
            told = trials["stimulus"].map(known[name])
            if name in trials:
                _require_agreement(trials, told, name, where)
            trials[name] = told
    if "concept" not in trials:
        trials["concept"] = trials["stimulus"]
    if "split" not in trials:
        trials["split"] = "cv"
    require_splits(trials["split"], where)
    return trials


def _require_agreement(trials: pd.DataFrame, told: pd.Series, name: str, where: str) -> None:
    own = trials[name]
    wrong = np.flatnonzero((own != told) & ~is_missing(own))
    if len(wrong):
        row = wrong[0]
        raise NeurodecError(
            f"{where} gives {trials['stimulus'][row]} the {name} {own[row]!r} (event {row + 1} of {len(trials)}), the "
            f"stimulus table {told[row]!r}; make them agree, or leave the column out of one of them."
        )


def complete_stimuli(stimuli: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Fill in what a stimulus table does not say from the trials that show the stimuli.

    Parameters
    ----------
    stimuli : DataFrame
        At least the column `stimulus`.
    trials : DataFrame
        Columns `stimulus`, `concept`, `split` of all trials.

    Returns
    -------
    DataFrame
        Columns `stimulus`, `concept`, `split`, `image`, `caption`, and the free ones. A stimulus that nobody was shown
        is its own concept and belongs to no split of its own ("cv"); one that training and test trials show, as a label
        does, is one of the test.
    """
    tested_first = trials.iloc[np.argsort(trials["split"].to_numpy() != "test", kind="stable")]
    shown = tested_first.drop_duplicates("stimulus").set_index("stimulus")
    stimuli = stimuli.copy()
    for name, fallback in (("concept", stimuli["stimulus"]), ("split", "cv")):
        if name not in stimuli:
            stimuli[name] = stimuli["stimulus"].map(shown[name]).fillna(fallback)
    for name in ("image", "caption"):
        if name not in stimuli:
            stimuli[name] = ""
    return stimuli[[*OWN, *(name for name in stimuli if name not in OWN)]].astype(str)


def stimuli_of_trials(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Make the stimulus table of recordings that come without one, with the labels on which all their trials agree.

    Parameters
    ----------
    tables : dict of DataFrame
        The events of every recording, by the name that messages give it.
    """
    labelled = [label_trials(table, None, where) for where, table in tables.items()]
    trials = pd.concat(labelled, ignore_index=True)
    agreed = [name for name in LABELS if trials.groupby("stimulus")[name].nunique().max() == 1]
    return trials.drop_duplicates("stimulus")[["stimulus", *agreed]].reset_index(drop=True)


def pictures_of(stimuli: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Add the pictures of stimuli that are named after files below ``stimuli/`` (BIDS)."""
    files = [f"stimuli/{name}" for name in stimuli["stimulus"]]
    forms = [(file, unicodedata.normalize("NFD", file)) for file in files]
    found = [next((form for form in both if (root / form).is_file()), "") for both in forms]
    return stimuli.assign(image=found)
