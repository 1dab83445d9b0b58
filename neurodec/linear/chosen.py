"""The default decoder of categories: one of a few linear ones, chosen within the training trials."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.metrics import recall_score

from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.linear.classifier import Classifier, RidgeClassifier, tuning_folds
from neurodec.linear.evoked import WindowMeansClassifier, XdawnClassifier


class ChosenClassifier(Classifier):
    """The candidate that classifies left-out groups of the training trials best, then fitted to all of them.

    Parameters
    ----------
    candidates : dict of Classifier, optional
        By name; of equally good ones the first is taken. By default ``ridge`` (`RidgeClassifier`) and, where trials
        have time, ``window_means`` (`WindowMeansClassifier`) and ``xdawn`` (`XdawnClassifier`).
    n_folds : int
        Folds of the choice; whole groups are held out. With one group, consecutive trials.

    Attributes
    ----------
    chosen_ : str
        The candidate, after `fit`.

    Notes
    -----
    Candidates are compared by balanced accuracy. Of several labellings (shuffled ones, for a null distribution) the
    first one, which is the true one, decides for all: the choice sees training trials only, so it cannot lift the score
    of trials that are left out. Cost: ``n_folds`` fits of every candidate, and one of the best.
    """

    n_shuffles = 4

    def __init__(self, candidates: dict[str, Classifier] | None = None, n_folds: int = 3) -> None:
        self.candidates, self.n_folds = candidates, n_folds

    def for_trials(self, info: dict[str, Any]) -> Classifier:
        """Return the decoder with candidates for these trials; of one candidate, that candidate."""
        given: dict[str, Classifier] = self.candidates or {"ridge": RidgeClassifier()}
        if self.candidates is None and has_time(info):
            given = {**given, "window_means": WindowMeansClassifier(), "xdawn": XdawnClassifier()}
        told = {name: candidate.for_trials(info) for name, candidate in given.items()}
        return ChosenClassifier(told, self.n_folds) if len(told) > 1 else next(iter(told.values()))

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> Self:
        """Choose a candidate and fit it; see `Classifier.fit`.

        Raises
        ------
        NeurodecError
            If there are no candidates, or a candidate cannot be fitted.
        """
        if not self.candidates:
            raise NeurodecError(
                "ChosenClassifier needs `candidates`; Classification names those of its trials."
            )
        right = dict.fromkeys(self.candidates, 0.0)
        true, everything = labels[:1], np.arange(len(groups))
        for held_out in tuning_folds(groups, self.n_folds):
            train = np.setdiff1d(everything, held_out)
            if len(np.unique(true[0, train])) <= true.max():
                continue  # a fold without trials of some class tells nothing of it
            for name, candidate in self.candidates.items():
                candidate.fit(responses[train], true[:, train], groups[train], subjects[train])
                found = candidate.scores(responses[held_out], subjects[held_out])[0].argmax(axis=1)
                right[name] += recall_score(true[0, held_out], found, average="macro", zero_division=0)
        self.chosen_ = max(right, key=right.__getitem__)
        self.candidates[self.chosen_].fit(responses, labels, groups, subjects)
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the scores of the chosen candidate; see `Classifier.scores`."""
        return self.candidates[self.chosen_].scores(responses, subjects)

    def summary(self) -> dict[str, Any]:
        """Return the name of the chosen candidate."""
        return {"chosen": self.chosen_}
