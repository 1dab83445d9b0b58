"""Category decoders: the contract, and ridge regression onto one-hot labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold

from neurodec.errors import NeurodecError
from neurodec.linear.ridge import grouped_folds
from neurodec.linear.solvers import Factor, held_out_errors, partially_pooled_weights


class Classifier(BaseEstimator, ABC):
    """What `Classification` asks of a category decoder; fitted anew in every fold.

    It learns several labellings of the same trials at once (the true one and shuffled ones), because everything that
    does not look at labels can then be shared.

    Attributes
    ----------
    n_shuffles : int
        How many refits with shuffled labels it can afford where the recipe does not say.
    """

    n_shuffles: ClassVar[int] = 199

    def for_trials(self, info: dict[str, Any]) -> Self:
        """Return the decoder for trials of this description (`Trials.info`: `sfreq`, `ch_names`, ...)."""
        return self

    @abstractmethod
    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> Classifier:
        """Learn from training trials.

        Parameters
        ----------
        responses : ndarray, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels)
        labels : ndarray of int, shape (n_labellings, n_trials)
            Classes from 0.
        groups : ndarray, shape (n_trials,)
            Runs or subjects; tuning inside the training trials must not split a group.
        subjects : ndarray of int, shape (n_trials,)
            Whose trial it is, from 0.
        """

    @abstractmethod
    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return one score per class, shape (n_labellings, n_trials, n_classes); the largest wins.

        A subject that was not trained on is allowed.
        """

    def summary(self) -> dict[str, Any]:
        """Return what the fit decided by itself, for the report."""
        return {}


class RidgeClassifier(Classifier):
    """Ridge regression from responses to one-hot labels, its penalty tuned by grouped cross-validation.

    Parameters
    ----------
    alphas : sequence of float
        Penalties to choose from, relative to the mean squared norm of a (centred) response.
    n_folds : int
        Folds of the tuning; whole groups are held out. With one group, consecutive trials.
    per_subject : bool
        Learn weights that all subjects share plus weights of each subject's own, under one penalty: a subject with
        many trials is decoded nearly on its own, one with few borrows from the others.

    Notes
    -----
    Responses are centred but not scaled per feature; scale channels or voxels in the reader. Cost: with ``r`` the
    smaller of trials and features, one ``r³`` per tuning fold (and subject), whatever the number of labellings.
    """

    def __init__(
        self,
        alphas: Sequence[float] = tuple(np.logspace(-3, 3, 10).tolist()),
        n_folds: int = 5,
        per_subject: bool = False,
    ) -> None:
        self.alphas, self.n_folds, self.per_subject = alphas, n_folds, per_subject

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> RidgeClassifier:
        """Tune the penalty of every labelling and solve; see `Classifier.fit`.

        Raises
        ------
        NeurodecError
            If there is only one class to learn.
        """
        if labels.min() == labels.max():
            raise NeurodecError("All training trials have the same label; add trials of another class.")
        features = np.asarray(responses).reshape(len(responses), -1).astype(np.float64)
        self._centre = features.mean(axis=0)
        features -= self._centre
        factor = Factor.of(features)
        n_classes = labels.max() + 1
        targets = _one_hot(labels, n_classes)
        penalties = np.asarray(self.alphas) * (features**2).sum() / len(features)
        self._mean, self._shape = targets.mean(axis=0), (len(labels), n_classes)
        self._prior = np.stack([(labels == label).mean(axis=1) for label in range(n_classes)], axis=1)
        self._codes = np.unique(subjects) if self.per_subject else subjects[:0]
        folds = tuning_folds(groups, self.n_folds)
        if len(self._codes) < 2:
            self._axes = None
            errors = held_out_errors(factor, targets, penalties, folds)
            column = self._choose(errors, len(labels))
            self._shared, self._own = factor.solve(targets - self._mean, penalties[column]), []
            self._codes = self._codes[:0]
            return self
        rows, self._axes = factor.coordinates()
        column = self._choose(self._errors(rows, targets, folds, subjects, penalties), len(labels))
        shared, own = self._solve(rows, targets - self._mean, subjects, penalties)
        self._shared, self._own = _choose(shared, column), [_choose(weights, column) for weights in own]
        return self

    def _choose(self, errors: np.ndarray, n_labellings: int) -> np.ndarray:
        """Choose one penalty per labelling by its errors (n_penalties, n_targets); return that of every target."""
        chosen = errors.reshape(len(errors), n_labellings, -1).sum(axis=2).argmin(axis=0)
        self.alpha_ = np.asarray(self.alphas)[chosen]
        return np.repeat(chosen, errors.shape[1] // n_labellings)

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the predicted one-hot labels over the share of each class in training; see `Classifier.scores`.

        With the shares divided out, a more frequent class is not favoured: chance is one over the number of classes.
        """
        rows = np.asarray(responses).reshape(len(responses), -1) - self._centre
        rows = rows if self._axes is None else rows @ self._axes
        predicted = _predict(rows, subjects, self._codes, self._shared, self._own) + self._mean
        n_labellings, n_classes = self._shape
        predicted = predicted.reshape(len(rows), n_labellings, -1).transpose(1, 0, 2)
        if n_classes == 2:
            predicted = np.concatenate([predicted, 1 - predicted], axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._prior[:, None] > 0, predicted / self._prior[:, None], -np.inf)

    def _errors(
        self,
        rows: np.ndarray,
        targets: np.ndarray,
        folds: list[np.ndarray],
        subjects: np.ndarray,
        penalties: np.ndarray,
    ) -> np.ndarray:
        """Return the squared error of held-out rows with weights of every subject's own, (n_penalties, n_targets)."""
        errors = np.zeros((len(penalties), targets.shape[1]))
        for held_out in folds:
            train = np.setdiff1d(np.arange(len(rows)), held_out)
            centre, mean = rows[train].mean(axis=0), targets[train].mean(axis=0)
            solved = self._solve(rows[train] - centre, targets[train] - mean, subjects[train], penalties)
            for place, (shared, *own) in enumerate(zip(solved[0], *solved[1], strict=True)):
                found = _predict(rows[held_out] - centre, subjects[held_out], self._codes, shared, own)
                errors[place] += ((found + mean - targets[held_out]) ** 2).sum(axis=0)
        return errors

    def _solve(
        self, rows: np.ndarray, targets: np.ndarray, subjects: np.ndarray, penalties: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        members = [np.flatnonzero(subjects == code) for code in self._codes]
        return partially_pooled_weights(rows, targets, members, penalties)


def tuning_folds(groups: np.ndarray, n_folds: int) -> list[np.ndarray]:
    """Return the rows that each fold of a tuning holds out: whole groups, or consecutive trials of a single one."""
    if len(np.unique(groups)) > 1:
        return grouped_folds(len(groups), groups, n_folds)
    return [held_out for _, held_out in KFold(min(n_folds, len(groups))).split(groups)]


def _one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return targets (n_trials, n_labellings * n_classes); of two classes the first says it all."""
    targets = np.eye(n_classes)[labels.T]
    return targets[..., : 1 if n_classes == 2 else n_classes].reshape(labels.shape[1], -1)


def _choose(weights: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Take for every target (last axis) the weights of its own penalty (first axis)."""
    return np.take_along_axis(weights, penalty[None, None, :], axis=0)[0]


def _predict(
    rows: np.ndarray, subjects: np.ndarray, codes: np.ndarray, shared: np.ndarray, own: list[np.ndarray]
) -> np.ndarray:
    predicted = rows @ shared
    for code, weights in zip(codes, own, strict=len(own) > 0):
        predicted[subjects == code] += rows[subjects == code] @ weights
    return predicted
