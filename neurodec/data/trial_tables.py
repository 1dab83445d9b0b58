"""Rules of trial tables and descriptions: columns, splits, rates, and whether there is time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError

SPLITS = ("train", "validation", "test", "cv")


_GALLERY = "gallery"  # pictures that nobody was shown


_SLOWEST = 10.0  # Hz; no EEG or MEG is sampled more slowly, so a rate below is in another unit


_SAME_RATE = 1e-5  # relative; FIF and EDF keep a rate in fewer digits than it was given


def has_time(info: dict[str, Any]) -> bool:
    """Return whether responses of this description run over time."""
    return "time" in info["dims"] if info.get("dims") else info.get("sfreq") is not None


def with_defaults(table: pd.DataFrame, **defaults: str) -> pd.DataFrame:
    """Complete a user's table to the columns of `Trials`.

    Parameters
    ----------
    table : DataFrame
        At least the column `stimulus`.
    **defaults : str
        Values of missing columns, such as ``subject="01"``. Otherwise `concept` is the stimulus, `split` is "cv",
        `subject`, `session` and `run` are "01", and `repetition` counts the showings within subject and split.
    """
    table = table.reset_index(drop=True)
    fallback = {"concept": table["stimulus"], "split": "cv", "subject": "01", "session": "01", "run": "01"}
    for name, value in {**fallback, **defaults}.items():
        if name not in table:
            table[name] = value
    if "repetition" not in table:
        table["repetition"] = table.groupby(["subject", "split", "stimulus"]).cumcount()
    return table


def require_splits(splits: pd.Series, where: str, *, gallery: bool = False) -> None:
    """Refuse a word that is not a split.

    Parameters
    ----------
    splits : Series of str
    where : str
        Names the table in the message.
    gallery : bool
        Allow "gallery", for stimuli that nobody was shown.

    Raises
    ------
    NeurodecError
        Naming the word.
    """
    wrong = sorted(set(splits.astype(str)) - {*SPLITS, *([_GALLERY] if gallery else [])})
    if wrong:
        raise NeurodecError(
            f"{where} has the split {wrong[0]!r}; use train, validation, test, or cv for cross-validation."
        )


def require_rate(sfreq: float | None, where: str) -> None:
    """Refuse a sampling rate that no EEG or MEG has.

    Raises
    ------
    NeurodecError
        With the likely cause.
    """
    if sfreq is not None and not _SLOWEST <= sfreq < np.inf:
        raise NeurodecError(
            f"{where} has a sampling rate of {sfreq:g} Hz, too low for EEG or MEG; times in milliseconds instead of "
            "seconds, or a rate in kHz, are the usual cause: correct the unit."
        )


def same_rate(first: float, second: float) -> bool:
    """Return whether two sampling rates are one, give or take the digits that file formats keep."""
    return abs(first - second) <= _SAME_RATE * max(abs(first), abs(second))
