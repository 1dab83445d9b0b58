"""Halves of continuous recordings that share no volume, z-scored anew, and the functional connectivity of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodec.data import Trials
from neurodec.data.responses import blocks_of
from neurodec.data.splits import groups_of
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.similarity import unit_rows

_LEAST = 2  # windows of a half
_CHANGES = 1e-6  # of its largest value, that a parcel varies by


def halves_of(trials: Trials) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the windows of the first and of the second halves of everybody's recordings.

    Parameters
    ----------
    trials : Trials
        Windows of recordings, with the column `onset`.

    Returns
    -------
    dict of (ndarray of int, ndarray of int)
        Subject to rows; windows that straddle the middle of a recording are in neither.

    Raises
    ------
    NeurodecError
        If trials have no time or onsets, or a person fewer than two windows in a half.
    """
    table = trials.table
    if trials.responses.ndim != 3 or trials.dims[-1] != "time" or trials.responses.shape[1] < 3:
        raise NeurodecError(
            "PersonIdentification reads windows of 3 or more parcels over time, and trials have the shape "
            f"{trials.responses.shape[1:]} ({', '.join(trials.dims[1:])}); read series, as by ParcelSeries."
        )
    if "onset" not in table or table["onset"].isna().any():
        raise NeurodecError(
            "PersonIdentification halves recordings by the column `onset` (seconds) of the trials, which is missing or "
            "has gaps; read the recordings as windows, as by ParcelSeries, or add it."
        )
    onset, length = table["onset"].to_numpy(dtype=float), trials.responses.shape[-1] / trials.info["sfreq"]
    slack = 1e-6 * length
    found: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    runs = groups_of(table, "run")
    for rows in runs.groupby(runs, sort=False).indices.values():
        middle = (onset[rows].min() + onset[rows].max() + length) / 2
        first, second = found.setdefault(str(table["subject"].iloc[rows[0]]), ([], []))
        first.append(rows[onset[rows] + length <= middle + slack])
        second.append(rows[onset[rows] >= middle - slack])
    halves = {who: (np.concatenate(first), np.concatenate(second)) for who, (first, second) in found.items()}
    for who, (early, late) in halves.items():
        if min(len(early), len(late)) < _LEAST:
            raise NeurodecError(
                f"Subject {who} has {len(early)} and {len(late)} windows in the halves of their recordings, and "
                f"PersonIdentification needs {_LEAST} in each; leave them out, or cut shorter windows (`n_volumes`)."
            )
    return halves


def standardised(half: Trials) -> Trials:
    """Z-score every parcel over the windows of each recording in a half, whose responses are read.

    Parameters
    ----------
    half : Trials
        Windows (n, n_parcels, n_volumes).

    Notes
    -----
    Series come z-scored over whole recordings. So what the mean, or the variance, of a parcel is above in one half it
    is below in the other, and halves of one person would be less alike than those of two.
    """
    values = np.asarray(half.responses, dtype=np.float32)
    found = np.zeros_like(values)
    runs = groups_of(half.table, "run")
    for rows in runs.groupby(runs, sort=False).indices.values():
        own = values[rows].astype(np.float64)
        spread = own.std(axis=(0, 2), keepdims=True)
        changes = spread > _CHANGES * np.abs(own).max(axis=(0, 2), keepdims=True)
        found[rows] = (own - own.mean(axis=(0, 2), keepdims=True)) / np.where(changes, spread, np.inf)
    return replace(half, responses=found)


def connectivity_of(trials: Trials) -> np.ndarray:
    """Return the correlations between parcels over the last volumes of windows.

    Parameters
    ----------
    trials : Trials
        Windows (n, n_parcels, n_volumes).

    Returns
    -------
    ndarray, shape (n_parcels * (n_parcels - 1) / 2,), float32
        The upper triangle; 0 with parcels that never change.
    """
    last = [np.asarray(trials.responses[rows])[..., -1] for rows in blocks_of(len(trials))]
    volumes = np.concatenate(last).astype(np.float64)
    changes = volumes.std(axis=0) > _CHANGES * np.abs(volumes).max(axis=0)
    unit = unit_rows(((volumes - volumes.mean(axis=0)) * changes).T)  # (n_parcels, n)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)].astype(np.float32)
