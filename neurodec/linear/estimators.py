"""Classifiers of trials as scikit-learn has them: on arrays, in pipelines, grids and cross-validations."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from neurodec.linear.classifier import Classifier, RidgeClassifier


class ArrayClassifier(ClassifierMixin, BaseEstimator):
    """A `Classifier` that learns one labelling of arrays.

    Parameters
    ----------
    classifier : Classifier, optional
        `RidgeClassifier` by default; `WindowMeansClassifier`, `XdawnClassifier`, `SpectralClassifier`, ...
    sfreq, tmin : float, optional
        Rate (Hz) and first time (s) of responses over time, for classifiers that ask for them.

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from neurodec.linear import ArrayClassifier, RidgeClassifier
    >>> rng = np.random.default_rng(0)
    >>> labels = np.tile(["face", "house"], 40)
    >>> epochs = rng.normal(size=(80, 4, 30)) + (labels == "face")[:, None, None]
    >>> grid = GridSearchCV(ArrayClassifier(RidgeClassifier()), {"classifier__alphas": [[0.1], [10.0]]}, cv=4)
    >>> float(grid.fit(epochs, labels).best_score_)
    1.0
    """

    def __init__(
        self, classifier: Classifier | None = None, sfreq: float | None = None, tmin: float = 0.0
    ) -> None:
        self.classifier, self.sfreq, self.tmin = classifier, sfreq, tmin

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        subjects: np.ndarray | None = None,
    ) -> Self:
        """Learn labels.

        Parameters
        ----------
        X : ndarray, shape (n_trials, n_chans, n_times) or (n_trials, n_features)
        y : ndarray, shape (n_trials,)
        groups : ndarray, shape (n_trials,), optional
            Such as runs; a tuning inside the training trials leaves out whole ones. By default every trial is one.
        subjects : ndarray, shape (n_trials,), optional
            Whose trials; of one person by default.
        """
        X, y = validate_data(self, X, y, dtype="numeric", allow_nd=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"All trials are of 1 class ({self.classes_[0]}); add trials of another one class."
            )
        self._people, who = np.unique(np.zeros(len(y)) if subjects is None else subjects, return_inverse=True)
        groups = np.arange(len(y)) if groups is None else np.asarray(groups)
        self.classifier_ = clone(self.classifier or RidgeClassifier()).for_trials(self._info(X))
        self.classifier_.fit(X, labels[None], groups, who)
        return self

    def decision_function(self, X: np.ndarray, subjects: np.ndarray | None = None) -> np.ndarray:
        """Return one score per class, shape (n_trials, n_classes); of two classes that of the second less the first.

        Parameters
        ----------
        X : ndarray
            Shape (n_trials, n_chans, n_times) or (n_trials, n_features).
        subjects : ndarray, optional
            Labels of subjects; all by default.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype="numeric", allow_nd=True, reset=False)
        who = np.full(len(X), 0 if len(self._people) == 1 else -1)
        if subjects is not None:
            places = {person: place for place, person in enumerate(self._people.tolist())}
            who = np.array([places.get(person, -1) for person in np.asarray(subjects).tolist()])
        scores = self.classifier_.scores(X, who)[0]
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: np.ndarray, subjects: np.ndarray | None = None) -> np.ndarray:
        """Return the label of the largest score, shape (n_trials,).

        Parameters
        ----------
        X : ndarray
            Shape (n_trials, n_chans, n_times) or (n_trials, n_features).
        subjects : ndarray, optional
            Labels of subjects; all by default.
        """
        scores = self.decision_function(X, subjects)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def _info(self, X: np.ndarray) -> dict[str, Any]:
        if X.ndim == 2:
            return {}
        return {"dims": ["trial", "channel", "time"], "sfreq": self.sfreq, "tmin": self.tmin}
