"""The `evaluation:` section of a category-decoding recipe: whole groups left out, all fitted inside the folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.model_selection import GroupKFold

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.grouped import Grouped, grouped_permutations
from neurodec.evaluation.section import Evaluation, Fitted
from neurodec.evaluation.statistics import paired_difference, permutation_p
from neurodec.files import read_json, track, write_json
from neurodec.linear.classifier import Classifier, RidgeClassifier

Scheme = Literal["leave_one_run_out", "leave_one_session_out", "leave_one_subject_out"]
LEVELS = {
    "leave_one_run_out": ["subject", "session", "run"],
    "leave_one_session_out": ["subject", "session"],
    "leave_one_subject_out": ["subject"],
}
_ENOUGH_REFITS = 99  # below, the p value exchanges the labels of the test trials instead
_SHORTEST_BASELINE = 0.05  # seconds before onset that make a control


@dataclass(frozen=True)
class Classification(Evaluation):
    """Decode which concept was shown, in runs, sessions or subjects that the decoder has not seen.

    Parameters
    ----------
    decoder : Classifier, optional
        The ridge classifier by default. By class path, such as
        `neurodec.training.ContrastiveClassifier`.
    scheme : {"leave_one_run_out", "leave_one_session_out", "leave_one_subject_out"}
        What is left out. Training takes all other groups, those of other subjects too; penalties are tuned in there.
    n_folds : int, optional
        Leave out several groups at a time, in this many folds; each alone by default.
    n_shuffles : int
        Refits with labels shuffled within every group, for the control; from 99 on they also give the p value.
    prestimulus : bool
        Refit on the samples before onset alone (all others set to zero), where the trials have 50 ms of them.
    baseline : Classifier, optional
        Linear decoder that runs beside a decoder that is none.
    n_bootstrap, n_permutations : int
        Draws behind intervals, and behind p values without refits.
    seed : int
        Of every draw here.
    """

    decoder: Classifier | None = None
    scheme: Scheme = "leave_one_run_out"
    n_folds: int | None = None
    n_shuffles: int = 199
    prestimulus: bool = True
    baseline: Classifier | None = None
    n_bootstrap: int = 5000
    n_permutations: int = 5000
    seed: int = 0

    needs_system: ClassVar[bool] = False

    def of_trials(self, trials: Trials) -> dict[str, Any]:
        """Cross-validate, then again with shuffled labels, before onset, and with the linear baseline.

        Parameters
        ----------
        trials : Trials
            `concept` is what is decoded.

        Returns
        -------
        dict
            Sections of `results.json`: `classification` (accuracy, chance, ci95, auc, ci95_auc, p_value, scheme,
            per_fold, per_subject, classes, confusion), `controls` (shuffled, prestimulus) and, for a decoder that is
            not linear, `baselines` (ridge).

        Raises
        ------
        NeurodecError
            If there are fewer than two concepts or groups.

        Notes
        -----
        The AUC compares trials of one left-out group only (scores of different fits share no scale): the share of
        correctly ordered pairs, one concept against the rest, averaged over concepts. Each interval is the wider of
        two bootstraps, over trials within groups and over groups.
        """
        classes, labels = np.unique(trials.table["concept"].to_numpy(dtype=str), return_inverse=True)
        if len(classes) < 2:
            raise NeurodecError(f"All trials show {classes[0]}; decoding needs at least two concepts.")
        groups = trials.table[LEVELS[self.scheme]].agg("/".join, axis=1).to_numpy(dtype=str)
        grouped = Grouped(labels, groups, len(classes))
        shuffled = grouped_permutations(labels, grouped.codes, self.n_shuffles, self.seed)
        decoder = self.decoder or RidgeClassifier()
        scores = self._cross_validate(decoder, trials, np.vstack([labels, shuffled]), groups, "decoding")
        found, controls = self._scored(grouped, scores[0]), {}
        nulls = [Grouped(row, groups, len(classes)).measure(scores[1 + i]) for i, row in enumerate(shuffled)]
        if nulls:
            controls["shuffled"] = _null_summary(nulls, found)
        found |= self._p_values(grouped, scores[0], found, nulls)
        found |= {"scheme": self.scheme, "classes": classes.tolist(), **grouped.details(scores[0])}
        found["per_subject"] = _per_subject(grouped, scores[0], trials)
        early = _before_onset(trials) if self.prestimulus else None
        if early is not None:
            again = self._cross_validate(decoder, early, labels[None], groups, "before onset")
            controls["prestimulus"] = {**self._scored(grouped, again[0]), "tmax": 0.0}
        sections = {"classification": found, "controls": controls}
        if not isinstance(decoder, RidgeClassifier):
            sections["baselines"] = {"ridge": self._baseline(trials, grouped, groups, scores[0])}
        return sections

    @property
    def level(self) -> Level:
        """Groups are left out here, whatever the `split` column says."""
        return "none"

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> dict[str, Any]:
        """Decode all trials of a study with one space; see `of_trials`."""
        return self.of_trials(study.trials)

    def results(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the sections of the only run."""
        return runs[0]

    def save(self, run: dict[str, Any], folder: Path) -> None:
        """Write the sections."""
        write_json(folder / "sections.json", run)

    def load(self, folder: Path) -> dict[str, Any]:
        """Read the sections."""
        return read_json(folder / "sections.json")

    def _baseline(
        self, trials: Trials, grouped: Grouped, groups: np.ndarray, scores: np.ndarray
    ) -> dict[str, Any]:
        linear = self._cross_validate(
            self.baseline or RidgeClassifier(), trials, grouped.labels[None], groups, "linear baseline"
        )[0]
        difference = paired_difference(
            grouped.right(scores), grouped.right(linear), grouped.codes, self.n_bootstrap, self.seed
        )
        return {**self._scored(grouped, linear), "difference_to_decoder": difference}

    def _cross_validate(
        self, decoder: Classifier, trials: Trials, labels: np.ndarray, groups: np.ndarray, title: str
    ) -> np.ndarray:
        """Return scores of left-out trials, shape (n_labellings, n_trials, n_classes)."""
        subjects = np.unique(trials.table["subject"], return_inverse=True)[1]
        scores = np.zeros((*labels.shape, labels.max() + 1))
        folds = _folds(groups, self.n_folds)
        for train, test in track(folds, title, total=len(folds)):
            decoder.fit(trials.responses[train], labels[:, train], groups[train], subjects[train])
            found = decoder.scores(trials.responses[test], subjects[test])
            scores[:, test, : found.shape[2]] = found
            scores[:, test, found.shape[2] :] = -np.inf  # classes that no training trial shows
        return scores

    def _scored(self, grouped: Grouped, scores: np.ndarray) -> dict[str, Any]:
        intervals = grouped.intervals(scores, self.n_bootstrap, self.seed)
        accuracy, auc = grouped.measure(scores)
        return {
            "accuracy": accuracy,
            "chance": 1 / scores.shape[1],
            "ci95": intervals[0],
            "auc": auc,
            "ci95_auc": intervals[1],
        }

    def _p_values(
        self, grouped: Grouped, scores: np.ndarray, found: dict[str, Any], nulls: list[tuple[float, float]]
    ) -> dict[str, Any]:
        if len(nulls) >= _ENOUGH_REFITS:
            p = {"p_method": f"{len(nulls)} refits with shuffled labels"}
        else:
            rows = grouped_permutations(grouped.labels, grouped.codes, self.n_permutations, self.seed + 1)
            nulls = grouped.exchanged(scores, rows)
            p = {"p_method": f"{len(nulls)} exchanges of test labels within groups"}
        accuracies, areas = np.array(nulls).T
        return p | {
            "p_value": permutation_p(found["accuracy"], accuracies),
            "p_value_auc": permutation_p(found["auc"], areas),
        }


def _folds(groups: np.ndarray, n_folds: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (training rows, test rows); no group is in both."""
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise NeurodecError(
            f"Only one group ({groups[0]}) to leave out; add recordings or choose another `scheme`."
        )
    return list(GroupKFold(min(n_folds or n_groups, n_groups)).split(groups, groups=groups))


def _before_onset(trials: Trials) -> Trials | None:
    """Return the trials with everything from onset on set to zero, or None if nothing comes before."""
    if trials.info["modality"] == "fmri" or trials.times[0] > -_SHORTEST_BASELINE:
        return None
    responses = np.array(trials.responses)
    responses[..., trials.times > -0.5 / trials.info["sfreq"]] = 0
    return Trials(responses, trials.table, trials.info)


def _null_summary(nulls: list[tuple[float, float]], found: dict[str, Any]) -> dict[str, Any]:
    """Summarise the refits with shuffled labels: their mean and the range of the middle 95 %."""
    accuracies, areas = np.array(nulls).T
    return {
        "accuracy": float(accuracies.mean()),
        "chance": found["chance"],
        "ci95": np.quantile(accuracies, [0.025, 0.975]).tolist(),
        "auc": float(areas.mean()),
        "ci95_auc": np.quantile(areas, [0.025, 0.975]).tolist(),
        "n_refits": len(nulls),
    }


def _per_subject(grouped: Grouped, scores: np.ndarray, trials: Trials) -> dict[str, Any]:
    subjects = trials.table["subject"].to_numpy()
    measured = {}
    for subject in dict.fromkeys(subjects.tolist()):
        accuracy, auc = grouped.select(subjects == subject).measure(scores[subjects == subject])
        measured[subject] = {"accuracy": accuracy, "auc": auc, "n_trials": int((subjects == subject).sum())}
    return measured
