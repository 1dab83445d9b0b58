"""Windows of volumes that follow each other, from a series without events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.continuous import Windows
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError

_N_STRETCHES = 10


def require_window(n_volumes: int, step: int) -> None:
    """Refuse windows that hold no future, or never move.

    Raises
    ------
    NeurodecError
    """
    if n_volumes < 2 or step < 1:
        raise NeurodecError(
            f"Windows of a series need `n_volumes` of 2 or more and a `step` of 1 or more, not {n_volumes} and {step}; "
            "correct these."
        )


def require_held_out(held_out: list[str], known: set[str]) -> None:
    """Refuse to hold out people who are not there.

    Raises
    ------
    NeurodecError
    """
    unknown = set(held_out) - known
    if unknown:
        raise NeurodecError(
            f"`held_out` names subject {min(unknown)}, and there are {', '.join(sorted(known))}; correct it."
        )


def split_of(subject: str, held_out: list[str]) -> str:
    """Return the split of a person's windows: of a cross-validation where nobody is held out."""
    return "cv" if not held_out else "test" if subject in held_out else "train"


def window_trials(
    series: np.ndarray,
    t_r: float,
    n_volumes: int,
    step: int,
    *,
    name: str,
    fields: dict[str, str],
    info: dict[str, Any],
    path: Path,
    account: Account,
) -> Trials:
    """Cut a run into windows; none crosses its ends, and overlapping ones take no room.

    Parameters
    ----------
    series : ndarray, shape (n_scanned, n_parcels)
        Z-scored.
    t_r : float
        Seconds between volumes.
    n_volumes, step : int
        Length of a window, and volumes between the beginnings of two.
    name : str
        Of the run; it stands for the stimulus as well.
    fields : dict of str
        `subject`, `session`, `run`, `split` of all windows.
    info : dict
        Goes into `Trials.info`.
    path : Path
        For messages.
    account : Account
        Of the run; it is closed here.

    Returns
    -------
    Trials
        The column `stretch` tells tenths of the run, which may be held out: single windows overlap.

    Raises
    ------
    NeurodecError
        If the run is shorter than a window.
    """
    n_scanned, n_parcels = series.shape
    if n_scanned < n_volumes:
        raise NeurodecError(
            f"{path} has {n_scanned} volumes, fewer than a window of {n_volumes}; lower `n_volumes`, leave the run "
            "out, or correct `axes`."
        )
    starts = np.arange(0, n_scanned - n_volumes + 1, step)
    plain = np.zeros((1, n_parcels)), np.ones((1, n_parcels))
    windows = Windows(series.astype(np.float32), starts, np.zeros_like(starts), *plain, n_volumes)
    stretches = [f"{name}/{number}" for number in starts * _N_STRETCHES // n_scanned]
    table = pd.DataFrame({"stimulus": name, "onset": starts * t_r, "stretch": stretches})
    told = {"sfreq": 1 / t_r, "tmin": 0.0, "account": [account.entry(name, len(starts), n_parcels)]}
    return Trials(windows, with_defaults(table, **fields), {**info, **told})
