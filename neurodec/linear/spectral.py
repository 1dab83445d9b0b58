"""A linear decoder of rhythms: how strong each band is at every channel, and how channels go together in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from pyriemann.estimation import Shrinkage
from pyriemann.tangentspace import TangentSpace
from sklearn.linear_model import RidgeCV

from neurodec.data.responses import View
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.linear.classifier import Classifier, RidgeClassifier

TANGENT_BANDS = ((4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 48.0))
_AT_ONCE = 1000  # trials
_FOR_REFERENCE = 2000
_LOWEST, _HIGHEST, _WIDTH = 2.0, 48.0, 2.0  # hertz: clear of slow drifts and of the mains


class SpectralFeatures:
    """Band power of every channel and the tangent-space image of the channels' covariance in each band.

    Parameters
    ----------
    sfreq : float
        Hertz.
    bands, tangent, tangent_bands, shrinkage
        See `SpectralClassifier`.

    Notes
    -----
    Trials are read in blocks, and the features kept in single precision: 23 numbers per channel and, with the
    covariances, ``2 n_chans (n_chans + 1)`` more. The reference of the tangent space is the mean of at most 2,000
    trials, spread over all.
    """

    def __init__(
        self,
        sfreq: float,
        bands: Sequence[tuple[float, float]] | None = None,
        tangent: bool = True,
        tangent_bands: Sequence[tuple[float, float]] = TANGENT_BANDS,
        shrinkage: float = 0.1,
    ) -> None:
        self.sfreq, self.bands, self.tangent = sfreq, bands, tangent
        self.tangent_bands, self.shrinkage = tangent_bands, shrinkage

    def fit_transform(self, responses: np.ndarray | View) -> np.ndarray:
        """Find the reference of every wide band and what standardises the features, and return those of the trials.

        Raises
        ------
        NeurodecError
            If no band holds a frequency of the trials.
        """
        chosen = np.unique(np.linspace(0, len(responses) - 1, _FOR_REFERENCE).round().astype(int))
        _, covariances = self.spectra(np.asarray(responses[chosen]))
        self._spaces = [TangentSpace(metric="riemann").fit(band) for band in covariances]
        features = self._raw(responses)
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        return (features - self._mean) / self._spread

    def transform(self, responses: np.ndarray | View) -> np.ndarray:
        """Return standardised features, shape (n_trials, n_features), float32."""
        return (self._raw(responses) - self._mean) / self._spread

    def _raw(self, responses: np.ndarray | View) -> np.ndarray:
        parts = []
        for start in range(0, len(responses), _AT_ONCE):
            powers, covariances = self.spectra(np.asarray(responses[start : start + _AT_ONCE]))
            logarithms = np.log(np.maximum(powers, np.finfo(powers.dtype).tiny)).reshape(len(powers), -1)
            images = [space.transform(band) for space, band in zip(self._spaces, covariances, strict=True)]
            parts.append(np.concatenate([logarithms, *images], axis=1).astype(np.float32))
        return np.concatenate(parts)

    def spectra(self, responses: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return power (n_trials, n_bands, n_chans), and covariances (n_trials, n_chans, n_chans) of wide bands."""
        n_times = responses.shape[-1]
        frequencies = np.fft.rfftfreq(n_times, 1 / self.sfreq)
        taper = np.hanning(n_times + 2)[1:-1]
        spectrum = np.fft.rfft((responses - responses.mean(axis=-1, keepdims=True)) * taper, axis=-1)
        members = _members(self.bands or _narrow(frequencies), frequencies)
        if not members:
            raise NeurodecError(
                f"No band holds a frequency of trials of {n_times / self.sfreq:g} s at {self.sfreq:g} Hz; give longer "
                "trials or wider `bands`."
            )
        power = np.abs(spectrum) ** 2
        powers = np.stack([power[..., band].mean(axis=-1) for band in members], axis=1)
        covariances = []
        for band in _members(self.tangent_bands, frequencies) if self.tangent else []:
            part = np.concatenate([spectrum[..., band].real, spectrum[..., band].imag], axis=-1)
            covariances.append(Shrinkage(self.shrinkage).transform(_positive(part @ part.swapaxes(1, 2))))
        return powers, covariances


class SpectralClassifier(Classifier):
    """Ridge classification from band power and band covariance, for what is not locked to the onset.

    Steady-state responses, motor imagery, sleep and emotion live in the power of rhythms whose phase differs from trial
    to trial; a linear decoder of the samples averages them away. Per band, the features are the logarithm of every
    channel's power and, with `tangent`, the tangent-space image of the channels' covariance.

    Parameters
    ----------
    bands : sequence of (float, float), optional
        Lower and upper edge, hertz; by default 2 Hz wide from 2 to 48 Hz, or to the Nyquist frequency.
    tangent : bool
        Also take the covariances. They have ``n_chans (n_chans + 1) / 2`` numbers per band, so leave them out beyond
        some 100 channels.
    tangent_bands : sequence of (float, float)
        Bands of the covariances: wide ones, for a covariance needs many samples.
    shrinkage : float
        Weight of the identity (times the mean power) in every covariance, which a short trial leaves singular.
    alphas, n_folds, per_subject
        See `RidgeClassifier`.
    sfreq : float, optional
        Hertz; `Classification` tells it from the trials.

    Notes
    -----
    Features are standardised by the training trials. Cost: one Fourier transform per trial; ``n_chans³`` per trial and
    wide band for the tangent space, whose reference is the Riemannian mean of the training trials.

    References
    ----------
    Barachant, Bonnet, Congedo & Jutten (2012), Multiclass brain-computer interface classification by Riemannian
    geometry, IEEE TBME 59, 920, doi:10.1109/TBME.2011.2172210. Tangent space: pyriemann.
    """

    def __init__(
        self,
        bands: Sequence[tuple[float, float]] | None = None,
        tangent: bool = True,
        tangent_bands: Sequence[tuple[float, float]] = TANGENT_BANDS,
        shrinkage: float = 0.1,
        alphas: Sequence[float] = tuple(np.logspace(-3, 3, 10).tolist()),
        n_folds: int = 5,
        per_subject: bool = False,
        sfreq: float | None = None,
    ) -> None:
        self.bands, self.tangent, self.tangent_bands, self.shrinkage = (
            bands,
            tangent,
            tangent_bands,
            shrinkage,
        )
        self.alphas, self.n_folds, self.per_subject, self.sfreq = alphas, n_folds, per_subject, sfreq

    def for_trials(self, info: dict[str, Any]) -> Self:
        """Return the decoder with the trials' sampling rate.

        Raises
        ------
        NeurodecError
            If trials have no time, as patterns of voxels.
        """
        if not has_time(info) or not info.get("sfreq"):
            raise NeurodecError(
                "Rhythms need channels by samples at a known rate; use RidgeClassifier for patterns."
            )
        return type(self)(**{**vars(self), "sfreq": float(info["sfreq"])})

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> SpectralClassifier:
        """Fit the tangent space, the scaling and the ridge classifier; see `Classifier.fit`.

        Raises
        ------
        NeurodecError
            If the rate is unknown, or no band holds a frequency of the trials.
        """
        if self.sfreq is None:
            raise NeurodecError("SpectralClassifier needs `sfreq`, the sampling rate of the trials.")
        self._features = SpectralFeatures(
            self.sfreq, self.bands, self.tangent, self.tangent_bands, self.shrinkage
        )
        features = self._features.fit_transform(responses)
        self._ridge = RidgeClassifier(self.alphas, self.n_folds, self.per_subject)
        self._ridge.fit(features, labels, groups, subjects)
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the ridge classifier's scores; see `Classifier.scores`."""
        return self._ridge.scores(self._features.transform(responses), subjects)


class SpectralRegressor:
    """Ridge regression of a number on band power and tangent space, its penalty by generalised cross-validation.

    Parameters
    ----------
    sfreq : float
        Hertz.
    """

    def __init__(self, sfreq: float) -> None:
        self._features = SpectralFeatures(sfreq)
        self._ridge = RidgeCV(alphas=np.logspace(-1, 6, 15))

    def fit(self, responses: np.ndarray | View, wanted: np.ndarray) -> SpectralRegressor:
        """Fit to trials (n, n_chans, n_times) and numbers (n,)."""
        self._ridge.fit(self._features.fit_transform(responses), wanted)
        return self

    def predict(self, responses: np.ndarray | View) -> np.ndarray:
        """Return a number of every trial, shape (n,)."""
        return self._ridge.predict(self._features.transform(responses))


def _narrow(frequencies: np.ndarray) -> list[tuple[float, float]]:
    """Return adjoining bands of 2 Hz, or of one bin where trials are shorter than half a second."""
    width = max(_WIDTH, frequencies[1])
    edges = np.arange(_LOWEST, min(_HIGHEST, frequencies[-1]) + 1e-9, width)
    return list(pairwise(edges.tolist()))


def _members(bands: Sequence[tuple[float, float]], frequencies: np.ndarray) -> list[np.ndarray]:
    """Return the bins from each band's lower edge to below its upper one; bands without any are left out."""
    found = [np.flatnonzero((low <= frequencies) & (frequencies < high)) for low, high in bands]
    return [band for band in found if len(band)]


def _positive(covariances: np.ndarray) -> np.ndarray:
    """Scale covariances (n, n_chans, n_chans) to unit mean power; a trial of zeros becomes the identity."""
    n_chans = covariances.shape[1]
    mean = np.trace(covariances, axis1=1, axis2=2) / n_chans
    scaled = covariances / np.where(mean > 0, mean, 1.0)[:, None, None]
    scaled[mean <= 0] = np.eye(n_chans)
    return scaled
