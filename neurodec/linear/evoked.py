"""Linear decoders of evoked responses: means over windows, and the covariance with what each class evokes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from pyriemann.estimation import Shrinkage, XdawnCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline

from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.linear.classifier import Classifier


class _Discriminant(Classifier):
    """Linear discriminant analysis with shrinkage on features that a subclass makes; see `Classifier`."""

    def for_trials(self, info: dict[str, Any]) -> Self:
        """Return the decoder itself.

        Raises
        ------
        NeurodecError
            If trials have no time, as patterns of voxels.
        """
        if not has_time(info):
            raise NeurodecError(
                f"{type(self).__name__} needs channels by samples; use RidgeClassifier for patterns."
            )
        return self

    @abstractmethod
    def _fit_features(self, responses: np.ndarray, labels: np.ndarray) -> tuple[Any, np.ndarray]:
        """Learn features for one labelling, and return what `_features` needs and those of the trials."""

    @abstractmethod
    def _features(self, fitted: Any, responses: np.ndarray) -> np.ndarray:
        """Return features (n_trials, n_features)."""

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> Self:
        """Fit one discriminant per labelling; see `Classifier.fit`.

        Raises
        ------
        NeurodecError
            If there is only one class to learn, or no more trials than classes.
        """
        if labels.min() == labels.max():
            raise NeurodecError("All training trials have the same label; add trials of another class.")
        if labels.shape[1] <= labels.max() + 1:
            raise NeurodecError(
                f"{labels.shape[1]} training trials of {labels.max() + 1} classes are too few for a covariance; add "
                "trials."
            )
        responses = np.asarray(responses, dtype=np.float64)
        self._scale = responses.std() or 1.0  # volts would be lost beside the floors of a covariance
        self._n_classes, self._fitted = labels.max() + 1, []
        for labelling in labels:
            fitted, features = self._fit_features(responses / self._scale, labelling)
            self._fitted.append((fitted, _discriminant(features, labelling)))
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the logarithm of each class's likelihood, up to what classes share; see `Classifier.scores`."""
        responses = np.asarray(responses, dtype=np.float64) / self._scale
        scores = np.full((len(self._fitted), len(responses), self._n_classes), -np.inf)
        for row, (fitted, discriminant) in enumerate(self._fitted):
            found = discriminant.decision_function(self._features(fitted, responses))
            if found.ndim == 1:
                found = np.stack([-found / 2, found / 2], axis=1)
            scores[row][:, discriminant.classes_] = found
        return scores


class WindowMeansClassifier(_Discriminant):
    """Shrinkage linear discriminant analysis of the mean response in adjoining windows.

    What is locked to the onset and slower than a window is kept; what is faster, such as alpha, is averaged away.

    Parameters
    ----------
    n_windows : int
        Windows of (nearly) equal length over the whole trial.

    Notes
    -----
    Every class has the same prior, so that a frequent one is not favoured.

    References
    ----------
    Blankertz, Lemm, Treder, Haufe & Müller (2011), Single-trial analysis and classification of ERP components,
    NeuroImage 56, 814, doi:10.1016/j.neuroimage.2010.06.048. Shrinkage: Ledoit & Wolf (2004), by scikit-learn.
    """

    n_shuffles = 99

    def __init__(self, n_windows: int = 12) -> None:
        self.n_windows = n_windows

    def _fit_features(self, responses: np.ndarray, labels: np.ndarray) -> tuple[None, np.ndarray]:
        return None, self._features(None, responses)

    def _features(self, fitted: None, responses: np.ndarray) -> np.ndarray:
        windows = np.array_split(np.arange(responses.shape[-1]), min(self.n_windows, responses.shape[-1]))
        means = [responses[..., window].mean(axis=-1) for window in windows]
        return np.stack(means, axis=-1).reshape(len(responses), -1)


class XdawnClassifier(_Discriminant):
    """Shrinkage linear discriminant analysis in the tangent space of xDAWN covariances.

    Spatial filters enhance what each class evokes; the covariance of a filtered trial with these averages is mapped to
    the tangent space at their log-Euclidean mean.

    Parameters
    ----------
    n_filters : int
        Spatial filters of each class, at most the number of channels.
    shrinkage : float
        Weight of the identity (times the mean power) in every covariance, which a short trial leaves singular.

    Notes
    -----
    Filters depend on labels, so every shuffled labelling costs a whole fit: with fewer than 99 of them, the report's
    intervals and p values rest on a bound.

    References
    ----------
    Barachant & Congedo (2014), A plug&play P300 BCI using information geometry, arXiv:1409.0107. Covariances and
    tangent space: pyriemann.
    """

    n_shuffles = 19

    def __init__(self, n_filters: int = 4, shrinkage: float = 0.1) -> None:
        self.n_filters, self.shrinkage = n_filters, shrinkage

    def _fit_features(self, responses: np.ndarray, labels: np.ndarray) -> tuple[Pipeline, np.ndarray]:
        fitted = make_pipeline(
            XdawnCovariances(min(self.n_filters, responses.shape[1]), estimator="scm", xdawn_estimator="lwf"),
            Shrinkage(self.shrinkage),
            TangentSpace({"mean": "logeuclid", "map": "riemann"}),
        )
        return fitted, fitted.fit_transform(responses, labels)

    def _features(self, fitted: Pipeline, responses: np.ndarray) -> np.ndarray:
        return fitted.transform(responses)


def _discriminant(features: np.ndarray, labels: np.ndarray) -> LinearDiscriminantAnalysis:
    n_classes = len(np.unique(labels))
    discriminant = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(n_classes, 1 / n_classes)
    )
    return discriminant.fit(features, labels)
