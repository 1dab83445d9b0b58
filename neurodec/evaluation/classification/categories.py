"""The `evaluation:` section of a category-decoding recipe: what is tested is left out, all is fitted inside folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.evaluation.classification.class_section import class_section
from neurodec.evaluation.classification.grouped import Grouped, Measures, inflation_of
from neurodec.evaluation.classification.schemes import (
    SINGLE_TRIALS,
    Folds,
    Scheme,
    clusters_of,
    shared_training,
    split,
)
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.section import Evaluation, Fitted
from neurodec.evaluation.statistics.intervals import paired_difference
from neurodec.evaluation.statistics.permutations import exchanged_labels, permutation_p
from neurodec.files import read_json, track, write_json
from neurodec.linear import ChosenClassifier, Classifier, RidgeClassifier

_ENOUGH_REFITS = 99  # below, p values and intervals rest on a bound instead
_A_RANGE = 20  # refits of which the middle 95 % are reported
_SHORTEST_BASELINE = 0.05  # seconds before onset that make a control
_UNBALANCED = 1.25  # times its fair share: from there on the largest category makes plain accuracy misleading
_BOTH_SIDES = (
    "Trials of the same run are on both sides of these folds, so whatever is common to a run (drifts, a learning "
    "person) can be decoded too; leave_one_run_out is the stricter test."
)


@dataclass(frozen=True)
class Classification(Evaluation):
    """Decode which concept was shown, in trials that the classifier has not seen.

    Parameters
    ----------
    classifier : Classifier, optional
        By default, of trials with time, the best of ridge, window means and xDAWN by cross-validation within training
        (`ChosenClassifier`); ridge of voxels. By class path, such as `neurodec.systems.ContrastiveClassifier`.
    scheme : str
        What is left out; training takes all other trials, those of other subjects too, and penalties are tuned there.
        ``leave_one_run_out``, ``leave_one_session_out``, ``leave_one_subject_out``: whole groups.
        ``stratified_k_fold``: single trials, every category in equal shares. ``repeated_k_fold``: the same over
        `n_repeats` divisions, with means and the standard deviation. ``fixed_split``: the trials whose `split` is
        ``test``, as published with many class data sets; pictures or people on both sides are no leak there. All others
        are trained on, those for validation too.
    n_folds : int, optional
        Leave out several groups at a time, in this many folds; each alone by default. 5 for single trials.
    n_repeats : int
        Of ``repeated_k_fold``.
    n_shuffles : int, optional
        Refits with labels shuffled within whatever is left out together, or exchanged between what has one label each;
        for the control, and from 99 on for p values and intervals. By default what the classifier can afford: 199 for
        ridge, 4 for the default, 2 for a network, each of whose refits is a training per fold.
    prestimulus : bool
        Refit on the samples before onset alone (all others set to zero), where the trials have 50 ms of them.
    baseline : Classifier, optional
        Linear one that runs beside a classifier other than ridge.
    others : dict of Classifier
        Further classifiers to compare with, by name: the same network from random weights, or one of rhythms.
    n_permutations : int
        Draws behind p values without refits.
    seed : int
        Of every draw here.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Classification, Study
    >>> rng = np.random.default_rng(0)
    >>> labels = np.tile(["face", "house"], 40)
    >>> responses = rng.normal(size=(80, 30)) + 3 * (labels == "face")[:, None]
    >>> study = Study.from_arrays(responses, labels, concept=labels, run=np.repeat(["1", "2", "3", "4"], 20))
    >>> run = Classification(n_shuffles=1, n_permutations=100).of_trials(study.trials)
    >>> sections = Classification().results([run])
    >>> sections["classification"]["accuracy"] > 0.9
    True
    """

    classifier: Classifier | None = None
    scheme: Scheme = "leave_one_run_out"
    n_folds: int | None = None
    n_repeats: int = 10
    n_shuffles: int | None = None
    prestimulus: bool = True
    baseline: Classifier | None = None
    others: dict[str, Classifier] = field(default_factory=dict)
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
            Sections of `results.json`: `classification` (accuracy, balanced_accuracy, auc, their ci95 and p_value,
            chance, unbalanced, scheme, per_fold, per_subject, classes, confusion, and `chosen`: candidate to number of
            folds, where the classifier chose one), `controls` (shuffled, prestimulus, others) and, for a classifier
            other than ridge, `baselines` (ridge).

        Raises
        ------
        NeurodecError
            If there are fewer than two concepts or groups.

        Notes
        -----
        The AUC compares trials of one left-out group only (scores of different fits share no scale): the share of
        correctly ordered pairs, one concept against the rest, averaged over concepts; of several concepts by softmax
        probabilities. Intervals are over what is left out together; over subjects, or single trials of one subject,
        where folds cut through runs or the split is fixed.

        Folds share training trials, so their errors go together. The variance behind intervals is multiplied by what
        refits with shuffled labels show of that; with too few of them by ``1 + n_folds * n_test / n_train`` (Nadeau and
        Bengio 2003, Inference for the generalization error, Machine Learning 52), which is more than enough, and the
        null distribution of exchanged test labels is widened as much.
        """
        if self.scheme != "repeated_k_fold":
            return self._once(trials, self.seed)
        runs = [self._once(trials, self.seed + number) for number in range(self.n_repeats)]
        sections = {name: _over_repeats([run[name] for run in runs]) for name in runs[0]}
        sections["classification"] |= {
            "n_repeats": len(runs),
            "sd_over_repeats": {
                name: float(np.std([run["classification"][name] for run in runs], ddof=1))
                for name in Measures._fields
                if len(runs) > 1
            },
        }
        return sections

    def _once(self, trials: Trials, seed: int) -> dict[str, Any]:
        """Cross-validate over one division of the trials."""
        classes, labels = np.unique(trials.table["concept"].to_numpy(dtype=str), return_inverse=True)
        if len(classes) < 2:
            raise NeurodecError(f"All trials show {classes[0]}; decoding needs at least two concepts.")
        groups, folds = split(trials.table, labels, self.scheme, self.n_folds, seed)
        tested = np.sort(np.concatenate([test for _, test in folds]))
        grouped = Grouped(labels[tested], groups[tested], len(classes))
        classifier = (self.classifier or ChosenClassifier()).for_trials(trials.info)
        n_shuffles = classifier.n_shuffles if self.n_shuffles is None else self.n_shuffles
        shuffled = np.array(list(exchanged_labels(labels, groups, n_shuffles, seed)), dtype=int)
        shuffled = shuffled.reshape(n_shuffles, len(labels))
        clusters = clusters_of(trials.table, self.scheme, groups)
        clusters = None if clusters is None else clusters[tested]

        def decoded(by: Classifier, of: Trials, labellings: np.ndarray, title: str) -> np.ndarray:
            return _cross_validated(by, of, labellings, groups, folds, title)[0][:, tested]

        scores, decided = _cross_validated(
            classifier, trials, np.vstack([labels, shuffled]), groups, folds, "decoding"
        )
        scores = scores[:, tested]
        nulls = [
            (Grouped(row[tested], groups[tested], len(classes)), scores[1 + place])
            for place, row in enumerate(shuffled)
        ]
        bound = shared_training(folds)
        inflation = Measures(bound, bound, bound)
        if len(nulls) >= _ENOUGH_REFITS and len(folds) > 1:
            inflation = inflation_of(nulls, clusters)

        def scored(of: np.ndarray) -> dict[str, Any]:
            intervals = grouped.intervals(of, clusters, inflation)
            return {"chance": 1 / of.shape[1], **grouped.measure(of)._asdict(), **_bounds(intervals)}

        found, controls = scored(scores[0]), {}
        measured = [own.measure(of) for own, of in nulls]
        if measured:
            controls["shuffled"] = _null_summary(measured, found)
        found |= self._p_values(grouped, scores[0], found, measured, bound)
        found |= {"scheme": self.scheme, "classes": classes.tolist(), **grouped.details(scores[0])}
        if chosen := [fold["chosen"] for fold in decided if "chosen" in fold]:
            found["chosen"] = dict(Counter(chosen))
        found["unbalanced"] = found["majority"] > _UNBALANCED / len(classes)
        if self.scheme in SINGLE_TRIALS and trials.table[["subject", "session", "run"]].duplicated().any():
            found["note"] = _BOTH_SIDES
        found["per_subject"] = _per_subject(grouped, scores[0], trials.table["subject"].to_numpy()[tested])
        early = _before_onset(trials) if self.prestimulus else None
        if early is not None:
            again = decoded(classifier, early, labels[None], "before onset")
            controls["prestimulus"] = {**scored(again[0]), "tmax": 0.0}
        sections = {"classification": found, "controls": controls}

        def compared(by: Classifier, title: str) -> dict[str, Any]:
            other = decoded(by.for_trials(trials.info), trials, labels[None], title)[0]
            right = grouped.right(scores[0]), grouped.right(other)
            difference = paired_difference(*right, clusters, inflation=inflation.accuracy)
            return {**scored(other), "difference_to_decoder": difference}

        for name, other in self.others.items():
            controls[name] = compared(other, name)
        if not isinstance(classifier, RidgeClassifier):
            sections["baselines"] = {"ridge": compared(self.baseline or RidgeClassifier(), "linear baseline")}
        return sections

    @property
    def level(self) -> Level:
        """Nothing: what is left out is the scheme's, and a fixed split of a class data set is no leak."""
        return "none"

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> dict[str, Any]:
        """Decode all trials of a study with one space; see `of_trials`."""
        return self.of_trials(study.trials)

    def results(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the sections of the only run."""
        return runs[0]

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return class_section(sections, name)

    def save(self, run: dict[str, Any], folder: Path) -> None:
        """Write the sections."""
        write_json(folder / "sections.json", run)

    def load(self, folder: Path) -> dict[str, Any]:
        """Read the sections."""
        return read_json(folder / "sections.json")

    def _p_values(
        self,
        grouped: Grouped,
        scores: np.ndarray,
        found: dict[str, Any],
        nulls: list[Measures],
        bound: float,
    ) -> dict[str, Any]:
        if len(nulls) >= _ENOUGH_REFITS:
            p = {"p_method": f"{len(nulls)} refits with shuffled labels"}
            drawn = np.array(nulls).T
        else:
            rows = np.array(
                list(exchanged_labels(grouped.labels, grouped.groups, self.n_permutations, self.seed + 1))
            )
            drawn = np.array(grouped.exchanged(scores, rows)).T
            p = {"p_method": f"{len(rows)} exchanges of test labels within groups"}
            if bound > 1:
                middle = drawn.mean(axis=1, keepdims=True)
                drawn = middle + np.sqrt(bound) * (drawn - middle)
                p["p_method"] += (
                    ", spread by what folds that share training trials can add at most: p is rather too large"
                )
        p["p_floor"] = 1 / (1 + drawn.shape[1])
        return p | {
            _named("p_value", name): permutation_p(found[name], values)
            for name, values in zip(Measures._fields, drawn, strict=True)
        }


def _cross_validated(
    classifier: Classifier, trials: Trials, labels: np.ndarray, groups: np.ndarray, folds: Folds, title: str
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return scores of left-out trials, shape (n_labellings, n_trials, n_classes), and what every fit decided."""
    subjects = np.unique(trials.table["subject"], return_inverse=True)[1]
    scores, decided = np.zeros((*labels.shape, labels.max() + 1)), []
    for train, test in track(folds, title, total=len(folds)):
        classifier.fit(trials.responses[train], labels[:, train], groups[train], subjects[train])
        decided.append(classifier.summary())
        found = classifier.scores(trials.responses[test], subjects[test])
        scores[:, test, : found.shape[2]] = found
        scores[:, test, found.shape[2] :] = -np.inf  # classes that no training trial shows
    return scores, decided


def _named(quantity: str, measure: str) -> str:
    """Name an interval or p value: that of the accuracy bears no further name."""
    return quantity if measure == "accuracy" else f"{quantity}_{measure}"


def _bounds(intervals: Measures) -> dict[str, list[float]]:
    return {_named("ci95", name): bounds for name, bounds in intervals._asdict().items()}


def _before_onset(trials: Trials) -> Trials | None:
    """Return the trials with everything from onset on set to zero, or None if nothing comes before."""
    if not has_time(trials.info) or trials.times[0] > -_SHORTEST_BASELINE:
        return None
    responses = np.array(trials.responses)
    responses[..., trials.times > -0.5 / trials.info["sfreq"]] = 0
    return Trials(responses, trials.table, trials.info)


def _null_summary(nulls: list[Measures], found: dict[str, Any]) -> dict[str, Any]:
    """Summarise the refits with shuffled labels: their mean, and of many the range of the middle 95 %."""
    drawn = Measures(*np.array(nulls).T)
    means = {name: float(values.mean()) for name, values in drawn._asdict().items()}
    told = {"chance": found["chance"], **means, "n_refits": len(nulls)}
    if len(nulls) < _A_RANGE:
        return told
    return told | _bounds(Measures(*(np.quantile(values, [0.025, 0.975]).tolist() for values in drawn)))


def _per_subject(grouped: Grouped, scores: np.ndarray, subjects: np.ndarray) -> dict[str, Any]:
    measured = {}
    for subject in dict.fromkeys(subjects.tolist()):
        own = subjects == subject
        measured[subject] = {
            **grouped.select(own).measure(scores[own])._asdict(),
            "n_trials": int(own.sum()),
        }
    return measured


def _over_repeats(runs: list[Any]) -> Any:
    """Join the same section of several divisions: numbers are averaged, of p values the largest stands."""
    first = runs[0]
    if isinstance(first, dict):
        joined = {name: _over_repeats([run[name] for run in runs]) for name in first}
        largest = {name: max(run[name] for run in runs) for name in first if name.startswith("p_value")}
        # Folds differ between divisions: those of the first stand.
        kept = {name: first[name] for name in ("per_fold", "classes") if name in first}
        return joined | largest | kept
    if isinstance(first, list) and not isinstance(first[0], str | dict):
        return np.mean(runs, axis=0).tolist()
    return float(np.mean(runs)) if isinstance(first, float) else first
