"""Multivariate noise normalisation (MVNN) and scaling: statistics from the training part only, applied to all."""

from __future__ import annotations

from typing import Literal

import numpy as np

from neurodec.errors import NeurodecError


def ledoit_wolf(samples: np.ndarray) -> np.ndarray:
    """Return Ledoit-Wolf covariances of standardised variables, scaled back, for a whole batch.

    Equal to `sklearn.discriminant_analysis._cov(X, shrinkage="auto")` of every item, without the loop.

    Parameters
    ----------
    samples : ndarray, shape (..., n_samples, n_chans), float64

    Returns
    -------
    ndarray, shape (..., n_chans, n_chans)

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, eq. 14.
    """
    n_samples, n_chans = samples.shape[-2:]
    centred = samples - samples.mean(axis=-2, keepdims=True)
    scale = centred.std(axis=-2, keepdims=True)
    scale = np.where(scale < 10 * np.finfo(float).eps * np.abs(samples).max(), 1.0, scale)
    unit = centred / scale
    empirical = unit.swapaxes(-1, -2) @ unit / n_samples
    mean_variance = np.trace(empirical, axis1=-2, axis2=-1) / n_chans
    fourth = ((unit**2).sum(axis=-1) ** 2).sum(axis=-1) / n_samples
    second = (empirical**2).sum(axis=(-2, -1))
    dispersion = second / n_chans - mean_variance**2
    noise = np.minimum((fourth - second) / (n_chans * n_samples), dispersion)
    shrinkage = np.divide(noise, dispersion, out=np.zeros_like(noise), where=noise > 0)[..., None, None]
    target = mean_variance[..., None, None] * np.eye(n_chans)
    return ((1 - shrinkage) * empirical + shrinkage * target) * (scale.swapaxes(-1, -2) * scale)


def mvnn_covariance(epochs: np.ndarray, mode: Literal["epochs", "time"] = "epochs") -> np.ndarray:
    """Return the noise covariance of one session's training part.

    Parameters
    ----------
    epochs : ndarray, shape (n_conditions, n_repetitions, n_chans, n_times)
        May be memory-mapped; conditions are read in blocks of about 64 MB.
    mode : {"epochs", "time"}
        Covariance over time of every repetition, or over repetitions of every time point; then the mean.

    Returns
    -------
    ndarray, shape (n_chans, n_chans), float64

    References
    ----------
    Guggenmos, Sterzer and Cichy (2018), Multivariate pattern analysis for MEG; the THINGS-EEG2 code, training
    part only as in NICE (Song et al. 2024). Cost: linear in the number of samples, quadratic in channels.
    """
    axes = {"epochs": (0, 1, 3, 2), "time": (0, 3, 1, 2)}[mode]
    block = max(1, 8_000_000 // int(np.prod(epochs.shape[1:])))
    total = np.zeros((epochs.shape[2], epochs.shape[2]))
    for start in range(0, len(epochs), block):
        samples = np.asarray(epochs[start : start + block], dtype=np.float64).transpose(axes)
        total += ledoit_wolf(samples).mean(axis=1).sum(axis=0)
    return total / len(epochs)


def mvnn_whitener(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric inverse square root of a covariance.

    Raises
    ------
    NeurodecError
        If the covariance is singular, as flat or duplicated channels make it.
    """
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= values[-1] * 1e-14:
        raise NeurodecError(
            "The noise covariance is singular; remove flat or duplicated channels, or whiten with 'zscore'."
        )
    return (vectors / np.sqrt(values)) @ vectors.T


def apply_whitener(whitener: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Return `whitener @ responses` over the channel axis of (..., n_chans, n_times)."""
    return np.matmul(whitener.astype(responses.dtype), responses)


def zscore(responses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Standardise every channel (or voxel) by the mean and deviation of the reference trials.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels)
    reference : ndarray
        The training trials, in the same layout.
    """
    axes = (0, 2) if reference.ndim == 3 else (0,)
    mean = reference.mean(axis=axes, keepdims=True, dtype=np.float64)
    scale = np.maximum(reference.std(axis=axes, keepdims=True, dtype=np.float64), np.finfo(np.float32).tiny)
    return ((responses - mean) / scale).astype(np.float32)


def robust_scale(responses: np.ndarray, reference: np.ndarray, clamp: float = 20.0) -> np.ndarray:
    """Centre by the median, divide by the interquartile range of the reference trials, and clamp.

    Parameters
    ----------
    responses, reference : ndarray, shape (n_trials, n_chans, n_times)
    clamp : float
        Largest absolute value kept, in interquartile ranges (Défossez et al. 2023 use 20).
    """
    low, middle, high = np.quantile(reference, [0.25, 0.5, 0.75], axis=(0, 2), keepdims=True)
    scaled = (responses - middle) / np.maximum(high - low, np.finfo(np.float32).tiny)
    return np.clip(scaled, -clamp, clamp).astype(np.float32)
