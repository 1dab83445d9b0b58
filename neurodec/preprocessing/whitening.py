"""Multivariate noise normalisation (MVNN) and per-channel scaling of epochs.

MVNN (Guggenmos, Sterzer & Cichy 2018, doi:10.1016/j.neuroimage.2018.02.044) in the form published with THINGS-EEG2
and used by NICE and ATM: one Ledoit-Wolf covariance per epoch (or per time point), averaged, inverse square root.
The published code calls scikit-learn once per epoch; here the shrinkage is evaluated in closed form for a whole block
of epochs at once, with the same result.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from neurodec.errors import NeurodecError

MvnnMode = Literal["epochs", "time"]
BLOCK = 64  # epochs held in float64 at a time
_SMALLEST_SCALE = 1e-8  # of the largest channel's


def ledoit_wolf_sum(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of the Ledoit-Wolf covariances of many small data sets.

    Each term equals ``sklearn.discriminant_analysis._cov(samples[i], shrinkage="auto")``: features are standardised,
    their correlations shrunk towards the identity (Ledoit & Wolf 2004), and the result is scaled back.

    Parameters
    ----------
    samples : ndarray, shape (n_sets, n_samples, n_features)
        The data sets; computed in float64 whatever their dtype.
    weights : ndarray, shape (n_sets,)
        Weight of every covariance.

    Returns
    -------
    ndarray, shape (n_features, n_features), float64
    """
    n_sets, n_samples, n_features = samples.shape
    mean = samples.mean(axis=1, dtype=np.float64)
    centred = samples - mean[:, None]
    variance = np.einsum("bnp,bnp->bp", centred, centred) / n_samples
    # scikit-learn leaves a constant feature unscaled, and tells it by this bound on the rounding error
    eps = np.finfo(np.float64).eps
    constant = variance <= n_samples * eps * variance + (n_samples * mean * eps) ** 2
    scale = np.sqrt(np.where(constant, 1.0, variance))
    trace = (variance / scale**2).sum(axis=1)  # of the correlation matrix: the number of features that vary

    by_gram = n_features <= n_samples
    if by_gram:
        covariance = centred.transpose(0, 2, 1) @ centred / n_samples  # (n_sets, p, p)
        squares = np.square(covariance / scale[:, :, None] / scale[:, None, :]).sum(axis=(1, 2))
    else:  # the other Gram matrix has the same Frobenius norm and is smaller
        scaled = centred / scale[:, None]
        squares = np.square(scaled @ scaled.transpose(0, 2, 1) / n_samples).sum(axis=(1, 2))
    fourth = np.square(np.einsum("bnp,bp->bn", np.square(centred), scale**-2)).sum(axis=1) / n_samples

    mu = trace / n_features
    delta = (squares - 2 * mu * trace + n_features * mu**2) / n_features
    beta = np.minimum((fourth - squares) / (n_features * n_samples), delta)
    shrinkage = np.divide(beta, delta, out=np.zeros(n_sets), where=beta != 0)

    keep = weights * (1 - shrinkage)
    if by_gram:
        total = np.tensordot(keep, covariance, axes=1)
    else:
        rows = (centred * np.sqrt(keep / n_samples)[:, None, None]).reshape(-1, n_features)
        total = rows.T @ rows
    total[np.diag_indices(n_features)] += (weights * shrinkage * mu) @ scale**2
    return total


def mvnn_covariance(responses: Any, conditions: np.ndarray, mode: MvnnMode = "epochs") -> np.ndarray:
    """Return the noise covariance of trials: averaged within each condition, then over conditions.

    Parameters
    ----------
    responses : ndarray or View, shape (n_trials, n_chans, n_times)
        The *training* trials of one session. May be memory-mapped.
    conditions : ndarray, shape (n_trials,)
        What was shown, any labels; conditions may have different numbers of trials.
    mode : "epochs" or "time"
        "epochs": covariance over time within every trial. "time": covariance across the trials of a condition at every
        time point.

    Returns
    -------
    ndarray, shape (n_chans, n_chans), float64

    Raises
    ------
    NeurodecError
        In "time" mode, if no condition was shown twice.
    """
    _, codes, counts = np.unique(conditions, return_inverse=True, return_counts=True)
    if mode == "epochs":
        return _covariance_over_time(responses, 1.0 / (len(counts) * counts[codes]))
    return _covariance_over_trials(responses, codes, counts)


def _covariance_over_time(responses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.zeros((responses.shape[1],) * 2)
    for start in range(0, len(responses), BLOCK):
        block = np.asarray(responses[start : start + BLOCK], dtype=np.float64)
        total += ledoit_wolf_sum(block.transpose(0, 2, 1), weights[start : start + BLOCK])
    return total


def _covariance_over_trials(responses: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if counts.min() < 2:
        raise NeurodecError(
            f"MVNN in time mode needs every training stimulus at least twice, but {np.sum(counts < 2)} of "
            f'{len(counts)} were shown once; set `whiten: "mvnn-epochs"`.'
        )
    _, n_chans, n_times = responses.shape
    order, starts = np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
    total = np.zeros((n_chans, n_chans))
    for count in np.unique(counts):
        same = np.flatnonzero(counts == count)
        for first in range(0, len(same), max(1, BLOCK // count)):
            chosen = same[first : first + max(1, BLOCK // count)]
            rows = order[starts[chosen][:, None] + np.arange(count)]  # (conditions, repetitions)
            block = np.asarray(responses[rows.ravel()], dtype=np.float64)
            block = block.reshape(*rows.shape, n_chans, n_times).transpose(0, 3, 1, 2)
            block = block.reshape(-1, count, n_chans)  # one data set per condition and time point
            total += ledoit_wolf_sum(block, np.full(len(block), 1.0 / (len(counts) * n_times)))
    return total


def inverse_square_root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix ``W`` with ``W @ covariance @ W = I``.

    Raises
    ------
    NeurodecError
        If the covariance is singular.
    """
    values, vectors = np.linalg.eigh(covariance)
    if not values[0] > len(values) * np.finfo(np.float64).eps * values[-1]:
        raise NeurodecError(
            "The noise covariance is singular: a channel is flat or a combination of others; drop it by `ch_names`."
        )
    return (vectors / np.sqrt(values)) @ vectors.T


def apply_whitener(responses: np.ndarray, whitener: np.ndarray) -> None:
    """Multiply the channels of every trial by `whitener`, in place and in the dtype of `responses`.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        Overwritten.
    whitener : ndarray, shape (n_chans, n_chans)
        Symmetric, from `inverse_square_root`.
    """
    matrix = whitener.astype(responses.dtype)
    for start in range(0, len(responses), BLOCK):
        responses[start : start + BLOCK] = matrix @ responses[start : start + BLOCK]


def standardise(
    responses: np.ndarray,
    fit_on: np.ndarray,
    kind: Literal["zscore", "robust"] = "zscore",
    clamp: float | None = None,
) -> np.ndarray:
    """Centre and scale every channel, in place, with statistics of some of the trials.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        Overwritten.
    fit_on : ndarray of int or bool
        Rows whose trials and times give the statistics: training trials, of one subject or session.
    kind : "zscore" or "robust"
        Mean and standard deviation, or median and interquartile range; scales are at least 1e-8 of the largest one.
    clamp : float, optional
        Limit the result to plus or minus this many scales.

    Returns
    -------
    ndarray, shape (n_chans, 1 + n_chans)
        What was fitted, as `whiten_by` takes it.
    """
    n_chans = responses.shape[1]
    centres, scales = np.empty(n_chans), np.empty(n_chans)
    for channel in range(n_chans):
        values = responses[fit_on, channel].astype(np.float64).ravel()
        if kind == "zscore":
            centres[channel], scales[channel] = values.mean(), values.std()
        else:
            low, centres[channel], high = np.percentile(values, [25, 50, 75])
            scales[channel] = high - low
    scales = np.maximum(scales, _SMALLEST_SCALE * scales.max())
    scales[scales == 0] = 1.0
    for channel, (centre, scale) in enumerate(zip(centres, scales, strict=True)):
        scaled = (responses[:, channel] - centre) / scale
        responses[:, channel] = scaled if clamp is None else np.clip(scaled, -clamp, clamp)
    return np.column_stack([centres, np.diag(scales**2)])


def whiten_by(responses: np.ndarray, noise: np.ndarray, clamp: float | None = None) -> None:
    """Whiten responses by what was fitted to others, in place.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        Overwritten.
    noise : ndarray, shape (n_chans, 1 + n_chans)
        The centre of every channel, and beside it the covariance of the channels, diagonal for z-scores.
    clamp : float, optional
        Limit the result to plus or minus this.
    """
    if noise[:, 0].any():
        responses -= noise[:, :1].astype(responses.dtype)
    apply_whitener(responses, inverse_square_root(noise[:, 1:]))
    if clamp is not None:
        np.clip(responses, -clamp, clamp, out=responses)


def standardise_groups(
    responses: np.ndarray,
    groups: np.ndarray,
    kind: Literal["zscore", "robust"] = "zscore",
    clamp: float | None = None,
) -> np.ndarray:
    """Return a copy in which every channel is standardised within each group, such as each subject.

    Subjects differ in amplitude many times over; a left-out subject is scaled by its own (unlabelled) trials.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
    groups : ndarray, shape (n_trials,)
        Subject, session or run of every trial.
    kind, clamp
        As in `standardise`.

    Returns
    -------
    ndarray
        Same shape and dtype.
    """
    scaled, groups = np.array(responses), np.asarray(groups)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        block = scaled[rows]
        standardise(block, np.arange(len(rows)), kind, clamp)
        scaled[rows] = block
    return scaled


def sorted_quantile_scale(
    samples: np.ndarray, low: float = 0.25, high: float = 0.75
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of every channel by order statistics, as the speech decoder does.

    Quantile q of n sorted values is the element at ``int(q * n)``, without interpolation. A scale of 0 becomes 1.

    Parameters
    ----------
    samples : ndarray, shape (n_trials, n_chans, n_times)
    low, high : float
        The scale is the difference of these quantiles.

    Returns
    -------
    centre, scale : ndarray, shape (n_chans,), float32
    """
    values = np.sort(np.moveaxis(samples, 1, 0).reshape(samples.shape[1], -1), axis=1)
    n = values.shape[1]
    centre, first, last = (values[:, int(share * n)] for share in (0.5, low, high))
    scale = np.where(last > first, last - first, 1.0)
    return centre.astype(np.float32), scale.astype(np.float32)
