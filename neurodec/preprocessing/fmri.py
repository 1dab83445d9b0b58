"""From a BOLD series to one response per event: detrending, z-scores, block means, GLM betas and volumes over time."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from nilearn.glm.first_level import make_first_level_design_matrix
from nilearn.signal import clean

from neurodec.errors import NeurodecError

Estimate = Literal["block_mean", "lsa", "lss", "volumes", "windows"]
_RESPONSE = 32.0  # seconds until a haemodynamic response is over
_MARGIN = 1e-6  # seconds: volumes and onsets lie on grids that are written with few decimals


def clean_series(
    series: np.ndarray,
    t_r: float,
    *,
    detrend: bool = True,
    high_pass: float | None = None,
    confounds: np.ndarray | None = None,
) -> np.ndarray:
    """Remove slow drifts and confounds from one run and z-score every voxel over its volumes.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        As recorded, any unit.
    t_r : float
        Seconds between volumes.
    detrend : bool
        Remove a straight line.
    high_pass : float, optional
        Remove cosines below this frequency (Hz).
    confounds : ndarray, shape (n_volumes, n_confounds), optional
        Regressed out together with the drifts (Lindquist et al. 2019, doi:10.1002/hbm.24528).

    Returns
    -------
    ndarray, shape (n_volumes, n_voxels), float64
        Voxels that never change are zero.
    """
    with warnings.catch_warnings():  # a voxel that never changes has no spread to divide by
        warnings.filterwarnings("ignore", message=".*(constant|zero variance|invalid value).*")
        cleaned = clean(
            np.asarray(series, dtype=np.float64),
            detrend=detrend,
            standardize="zscore_sample",
            filter="cosine" if high_pass else False,
            high_pass=high_pass,
            t_r=t_r,
            confounds=confounds,
        )
    return np.nan_to_num(cleaned, nan=0.0, posinf=0.0, neginf=0.0)


def has_response(
    onsets: np.ndarray,
    durations: np.ndarray,
    n_volumes: int,
    t_r: float,
    hrf_model: str | None,
    hrf_shift: float = 5.0,
) -> np.ndarray:
    """Tell which events have a response that a scan holds.

    Parameters
    ----------
    onsets, durations : ndarray, shape (n_events,)
        Seconds from the first volume.
    n_volumes : int
    t_r : float
        Seconds between volumes.
    hrf_model : str, optional
        Of a GLM: at least half of the squared regressor must lie inside the scan, or its amplitude would be noise
        blown up. None stands for block means, which need a volume in their window.
    hrf_shift : float
        Of block means.

    Returns
    -------
    ndarray of bool, shape (n_events,)
    """
    if hrf_model is None:
        starts = np.asarray(onsets, dtype=float) + hrf_shift
        last = (n_volumes - 1) * t_r
        return (starts + np.asarray(durations) > -_MARGIN) & (starts <= last + t_r / 2 + _MARGIN)
    after = int(np.ceil(_RESPONSE / t_r))
    n_longer = n_volumes + after + int(np.ceil(np.max(durations, initial=0.0) / t_r))
    events = pd.DataFrame({"onset": onsets, "duration": durations})
    energy = _design(n_longer, t_r, events, hrf_model, 0.01)[0] ** 2
    return energy[:n_volumes].sum(axis=0) >= 0.5 * np.maximum(energy.sum(axis=0), _MARGIN)


def block_means(
    series: np.ndarray, t_r: float, onsets: np.ndarray, durations: np.ndarray, hrf_shift: float = 5.0
) -> np.ndarray:
    """Average the volumes of every event, moved by the delay of the haemodynamic response.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Volume ``i`` was taken at ``i * t_r``.
    t_r : float
        Seconds between volumes.
    onsets, durations : ndarray, shape (n_events,)
        Seconds. An event that spans no volume takes the one nearest to its moved onset.
    hrf_shift : float
        Seconds between an event and its response.

    Returns
    -------
    ndarray, shape (n_events, n_voxels)

    Raises
    ------
    NeurodecError
        If the scan ends before an event's response.
    """
    times = np.arange(len(series)) * t_r
    starts = np.asarray(onsets, dtype=float) + hrf_shift
    ends = starts + np.asarray(durations, dtype=float)
    inside = (times >= starts[:, None] - _MARGIN) & (times < ends[:, None] - _MARGIN)  # (events, volumes)
    nearest = np.abs(times - starts[:, None]) <= t_r / 2 + _MARGIN
    inside = np.where(inside.any(axis=1, keepdims=True), inside, nearest)
    counts = inside.sum(axis=1)
    if not counts.all():
        late = int(np.argmin(counts))
        raise NeurodecError(
            f"the event at {onsets[late]:g} s has no volume {hrf_shift:g} s later, the scan ends at "
            f"{len(series) * t_r:g} s; correct the onset or lower `hrf_shift`"
        )
    return (inside / counts[:, None]) @ series


def first_volumes(t_r: float, onsets: np.ndarray, hrf_shift: float = 0.0) -> np.ndarray:
    """Return the volume nearest to every event, moved by the delay of the haemodynamic response.

    Parameters
    ----------
    t_r : float
        Seconds between volumes.
    onsets : ndarray, shape (n_events,)
        Seconds from the first volume.
    hrf_shift : float
        Seconds between an event and the first volume of its response.

    Returns
    -------
    ndarray of int, shape (n_events,)
        May lie outside the scan.
    """
    return np.floor((np.asarray(onsets, dtype=float) + hrf_shift) / t_r + 0.5 + _MARGIN).astype(int)


def volumes_after(
    series: np.ndarray, t_r: float, onsets: np.ndarray, n_volumes: int, hrf_shift: float = 0.0
) -> np.ndarray:
    """Cut the volumes that follow every event.

    Parameters
    ----------
    series : ndarray, shape (n_scanned, n_voxels)
        Volume ``i`` was taken at ``i * t_r``.
    t_r : float
        Seconds between volumes.
    onsets : ndarray, shape (n_events,)
        Seconds from the first volume.
    n_volumes : int
        Length of a window.
    hrf_shift : float
        Seconds between an event and its window, which begins at the nearest volume: nothing is interpolated.

    Returns
    -------
    ndarray, shape (n_events, n_voxels, n_volumes)

    Raises
    ------
    NeurodecError
        If a window does not lie in the scan.
    """
    first = first_volumes(t_r, onsets, hrf_shift)
    outside = (first < 0) | (first + n_volumes > len(series))
    if outside.any():
        raise NeurodecError(
            f"the {n_volumes} volumes of the event at {np.asarray(onsets)[outside][0]:g} s do not lie in the scan of "
            f"{len(series) * t_r:g} s; correct the onset, or lower `n_volumes`"
        )
    return series[first[:, None] + np.arange(n_volumes)].swapaxes(1, 2)


def glm_betas(
    series: np.ndarray,
    t_r: float,
    events: pd.DataFrame,
    *,
    mode: Literal["lsa", "lss"] = "lsa",
    hrf_model: str = "spm",
    high_pass: float = 0.01,
    confounds: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate one amplitude per event by ordinary least squares.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_voxels)
        Volume ``i`` was taken at ``i * t_r``.
    t_r : float
        Seconds between volumes.
    events : DataFrame
        `onset` and `duration` in seconds, one row per event.
    mode : "lsa" or "lss"
        "lsa" puts all events into one model. "lss" fits one model per event, with a second regressor for the sum of
        all others (Mumford, Turner, Ashby & Poldrack 2012, NeuroImage 59); it suits events that overlap.
    hrf_model : str
        Any of nilearn's, such as "spm" or "glover".
    high_pass : float
        Edge of the cosine drift model (Hz).
    confounds : ndarray, shape (n_volumes, n_confounds), optional
        Further regressors of no interest.

    Returns
    -------
    ndarray, shape (n_events, n_voxels)

    Raises
    ------
    NeurodecError
        If events cannot be distinguished, so that their amplitudes are undefined.

    Notes
    -----
    LSS needs no loop over models: with the drifts projected out, each is a regression on two columns, which has a
    closed form. Cost of both modes: one product, n_events × n_volumes × n_voxels.
    """
    design, drifts = _design(len(series), t_r, events, hrf_model, high_pass)
    if confounds is not None:
        drifts = np.hstack([drifts, confounds - confounds.mean(axis=0)])
    basis = _orthonormal(drifts)
    design = design - basis @ (basis.T @ design)  # (n_volumes, n_events), drifts projected out
    series = series - basis @ (basis.T @ series)
    if mode == "lsa" or design.shape[1] == 1:
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise NeurodecError(
                "the events cannot be distinguished by one model (lsa), as some coincide; use lss or block_mean"
            )
        return np.linalg.lstsq(design, series, rcond=None)[0]
    others = design.sum(axis=1, keepdims=True) - design
    own, cross, rest = (design**2).sum(axis=0), (design * others).sum(axis=0), (others**2).sum(axis=0)
    determinant = own * rest - cross**2
    if (determinant <= 1e-10 * own * rest).any():
        raise NeurodecError(
            "an event coincides with all others together, so lss cannot weigh it; use block_mean"
        )
    return (rest[:, None] * (design.T @ series) - cross[:, None] * (others.T @ series)) / determinant[:, None]


def _orthonormal(regressors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of what the regressors span, however much they overlap."""
    left, strengths, _ = np.linalg.svd(
        regressors / np.maximum(np.linalg.norm(regressors, axis=0), _MARGIN), False
    )
    return left[:, strengths > 1e-8 * strengths[0]]


def _design(
    n_volumes: int, t_r: float, events: pd.DataFrame, hrf_model: str, high_pass: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return one regressor per event (n_volumes, n_events), and the drifts with the constant."""
    names = [f"event{row:06d}" for row in range(len(events))]
    single = events[["onset", "duration"]].assign(trial_type=names)
    matrix = make_first_level_design_matrix(
        np.arange(n_volumes) * t_r, single, hrf_model=hrf_model, drift_model="cosine", high_pass=high_pass
    )
    return matrix[names].to_numpy(), matrix.drop(columns=names).to_numpy()


def zscore_rows(patterns: np.ndarray, measured: np.ndarray | None = None) -> np.ndarray:
    """Centre and scale every voxel over the events of one run; voxels that never change become zero.

    Parameters
    ----------
    patterns : ndarray, shape (n_events, n_voxels)
    measured : ndarray of bool, shape (n_events,), optional
        Events that mean and deviation are taken of; all by default.

    Returns
    -------
    ndarray
        Same shape. It uses no labels, so a left-out run may be scaled by itself.
    """
    kept = patterns if measured is None else patterns[measured]
    spread = kept.std(axis=0)
    return (patterns - kept.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
