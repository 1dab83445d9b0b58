"""The `evaluation:` sections of systems that predict classes or numbers, beside linear decoders of rhythms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level, groups_of
from neurodec.data.stimuli import BETWEEN
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import attention_of, companions_of
from neurodec.evaluation.classification.class_section import class_section, label_blocks, number_section
from neurodec.evaluation.classification.grouped import Grouped
from neurodec.evaluation.classification.label_measures import (
    Measure,
    accuracy,
    balanced_accuracy,
    class_measures,
    confusion_of,
    label_intervals,
    number_measures,
)
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import balanced_size, paired_difference
from neurodec.evaluation.statistics.permutations import exchanged_labels, permutation_p
from neurodec.files import atomic_path, read_json, read_own_table, write_json, write_table
from neurodec.linear import Classifier, SpectralClassifier, SpectralRegressor

_UNBALANCED = 1.25  # times its fair share: from there on the largest class makes plain accuracy misleading
_FOR_ATTENTION = 32  # trials
_P_METHOD = "{} rotations of the labels within each {}, and exchanges between those that have one label"
_TEXT = {"subject": str, "group": str, "label": str}


@dataclass(frozen=True)
class LabelRun:
    """What one fold gave.

    Parameters
    ----------
    table : DataFrame
        One row per test trial (of a sequence: per member) and way: `way`, `kind`, `subject`, `group`, `label`, and what
        was predicted.
    n_met : int
        Tested people whose recordings an earlier training saw, without labels.
    n_shared : int
        Tested people whose other trials were learned from.
    attention : dict
        See `neurodec.systems.System.region_attention`.
    """

    table: pd.DataFrame
    n_met: int
    n_shared: int
    attention: dict[str, Any]


@dataclass(frozen=True)
class LabelEvaluation(Evaluation):
    """What predicted classes and predicted numbers have in common: test trials, groups, baselines, controls.

    Parameters
    ----------
    groups : {"subject", "run"}
        What intervals generalise over, and what labels are turned around within for the p value. One subject's trials
        are alike, so it is people; of one person, single trials.
    n_permutations : int
        Draws behind p values.
    seed : int
        Of every draw here.
    """

    groups: Literal["subject", "run"] = "subject"
    n_permutations: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.groups not in ("subject", "run"):
            raise NeurodecError(f"`groups` is {self.groups!r}; use subject or run.")

    needs_system: ClassVar[bool] = True
    key: ClassVar[str]

    @property
    def level(self) -> Level:
        """Nothing: the split is the data set's, and what it shares is reported."""
        return "none"

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return single test trials."""
        return {"single": test}

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> LabelRun:
        """Predict with the system, the stages that stand beside it, and linear decoders; see `Evaluation.run`."""
        fitted = required(fitted, type(self).__name__)
        head = fitted.system.head
        test = study.table
        parts = [self._rows("decoder", "decoder", test, predictions["single"].of(head), fitted, head)]
        for name, companion in companions_of(fitted.system).items():
            found = companion.predict(study).of(head)
            parts.append(self._rows(name, "control", test, found, fitted, head))
        if predictions["single"].of(head).ndim == 2:  # linear decoders read single trials, not sequences
            for name, found in self.linear(study, fitted, head).items():
                parts.append(self._rows(name, "baseline", test, found, fitted, head))
        first, own = next(iter(study.spaces.items()))
        attention = attention_of(fitted.system, own.select(slice(0, _FOR_ATTENTION)), first)
        met = set(getattr(fitted.system, "config", {}).get("met_before", []))
        people = set(test["subject"])
        shared = people & set(fitted.train.table["subject"])
        return LabelRun(pd.concat(parts, ignore_index=True), len(met & people), len(shared), attention)

    @abstractmethod
    def linear(self, study: Study, fitted: Fitted, head: str) -> dict[str, np.ndarray]:
        """Return the predictions of linear decoders, by name."""

    @abstractmethod
    def _columns(self, found: np.ndarray, table: pd.DataFrame, fitted: Fitted, head: str) -> pd.DataFrame:
        """Return `label` and the predictions of every row."""

    @abstractmethod
    def _measures(self, rows: pd.DataFrame) -> dict[str, Measure]:
        """Return what scores the rows of one way."""

    def _rows(
        self, way: str, kind: str, table: pd.DataFrame, found: np.ndarray, fitted: Fitted, head: str
    ) -> pd.DataFrame:
        columns = self._columns(np.asarray(found), table, fitted, head)
        each = np.repeat(np.arange(len(table)), len(columns) // len(table))
        return columns.assign(
            way=way,
            kind=kind,
            subject=table["subject"].to_numpy()[each],
            group=groups_of(table, self.groups).to_numpy()[each],
        )

    def _of_way(self, rows: pd.DataFrame) -> dict[str, Any]:
        measures = self._measures(rows)
        ones = np.ones(len(rows))
        n_trials = balanced_size(rows["label"].to_numpy()) if self.section == "classification" else None
        bounds = label_intervals(measures, rows["group"].to_numpy(), n_trials)
        values = {name: measure(ones) for name, measure in measures.items()}
        return values | {
            "ci95" if name == "accuracy" else f"ci95_{name}": own for name, own in bounds.items()
        }

    def results(self, runs: Sequence[LabelRun]) -> dict[str, Any]:
        """Return the section `classification` or `regression`, with `baselines`, `controls` and `attention`."""
        table = pd.concat([run.table for run in runs], ignore_index=True)
        ways = {way: rows.reset_index(drop=True) for way, rows in table.groupby("way", sort=False)}
        own = ways.pop("decoder")
        found = {**self._of_way(own), **self._more(own), "scheme": "split of the data set"}
        n_people, notes = own["subject"].nunique(), []
        if n_shared := sum(run.n_shared for run in runs):
            notes.append(f"Of {n_shared} of the {n_people} tested people other trials were learned from.")
        if n_met := sum(run.n_met for run in runs):
            notes.append(
                f"{n_met} of the {n_people} tested people are in the recordings that the encoder was pre-trained on, "
                "without labels."
            )
        found |= {"note": " ".join(notes)} if notes else {}
        sections: dict[str, Any] = {self.key: found, "baselines": {}, "controls": {}}
        if runs[0].attention:
            sections["attention"] = runs[0].attention
        for way, rows in ways.items():
            part = {**self._of_way(rows), "difference_to_decoder": self._difference(own, rows)}
            sections["baselines" if rows["kind"].iloc[0] == "baseline" else "controls"][way] = part
        return sections

    @abstractmethod
    def _more(self, rows: pd.DataFrame) -> dict[str, Any]:
        """Return chance, p values and details."""

    @abstractmethod
    def _difference(self, own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
        """Return the paired comparison of the decoder with another way."""

    def save(self, run: LabelRun, folder: Path) -> None:
        """Write ``labels.csv`` and ``about.json``, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            about = {"n_met": run.n_met, "n_shared": run.n_shared, "attention": run.attention}
            write_json(partial / "about.json", about)
            write_table(partial / "labels.csv", run.table)

    def load(self, folder: Path) -> LabelRun:
        """Read them."""
        return LabelRun(
            read_own_table(folder / "labels.csv", dtype=_TEXT), **read_json(folder / "about.json")
        )


@dataclass(frozen=True)
class PredictedClasses(LabelEvaluation):
    """Score predicted classes: balanced accuracy, Cohen's kappa, weighted F1, AUROC, of two classes AUC-PR.

    Beside the system stand the stages of its recipe that are marked `companion`, such as the same training from random
    weights, and linear decoders: band power and tangent space unless the recipe says otherwise.

    Parameters
    ----------
    baselines : dict of Classifier, optional
        By name.
    groups, n_permutations, seed
        See `LabelEvaluation`.

    Notes
    -----
    p counts turned-around labels whose balanced accuracy is as high. Linear decoders get validation trials too, since
    they tune by cross-validation.
    """

    baselines: dict[str, Classifier] | None = None

    key: ClassVar[str] = "classification"
    headlines: ClassVar[tuple[str, ...]] = tuple(
        f"classification.{name}"
        for name in ("accuracy", "balanced_accuracy", "kappa", "weighted_f1", "auc", "auc_pr")
    )

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        shown = class_section(sections, name)
        blocks = label_blocks(sections, sections["classification"], "balanced accuracy")
        return replace(shown, title="Predicted classes", blocks=blocks)

    def linear(self, study: Study, fitted: Fitted, head: str) -> dict[str, np.ndarray]:
        """Fit linear decoders to the training trials of every space, and score its test trials."""
        classes = fitted.targets[head].info["classes"]
        given = {"spectral": SpectralClassifier()} if self.baselines is None else self.baselines
        found = {}
        for name, decoder in given.items():
            parts = []
            for space, test in study.spaces.items():
                train = _training_of(fitted, space)
                labels = np.array([classes.index(concept) for concept in train.table["concept"]])
                people = {who: code for code, who in enumerate(train.table["subject"].unique())}
                codes = train.table["subject"].map(people).to_numpy()
                groups = groups_of(train.table, "subject" if len(people) > 1 else "run")
                told = decoder.for_trials(train.info)
                told.fit(train.responses, labels[None], groups.to_numpy(dtype=str), codes)
                tested = test.table["subject"].map(people).fillna(-1).to_numpy(dtype=int)
                scores = told.scores(test.responses, tested)[0]
                whole = np.full((len(test), len(classes)), -np.inf)
                whole[:, : scores.shape[1]] = scores
                parts.append(whole)
            found[name] = np.concatenate(parts)
        return found

    def _columns(self, found: np.ndarray, table: pd.DataFrame, fitted: Fitted, head: str) -> pd.DataFrame:
        classes = fitted.targets[head].info["classes"]
        labels = [name for concept in table["concept"] for name in concept.split(BETWEEN)]
        scores = found.reshape(-1, len(classes))
        lowest = scores[np.isfinite(scores)].min() - 1  # a class that no training trial shows
        scores = np.where(np.isfinite(scores), scores, lowest)
        return pd.DataFrame(scores, columns=[f"score {name}" for name in classes]).assign(label=labels)

    def _measures(self, rows: pd.DataFrame) -> dict[str, Measure]:
        return class_measures(*_scores_and_labels(rows))

    def _more(self, rows: pd.DataFrame) -> dict[str, Any]:
        scores, labels = _scores_and_labels(rows)
        classes, n_classes = _classes_of(rows), scores.shape[1]
        groups, named = rows["group"].to_numpy(dtype=str), scores.argmax(axis=1)
        details = Grouped(labels, groups, n_classes).details(scores)
        del details["per_fold"]  # the groups are people, who are reported one by one below
        own, nulls = confusion_of(labels, named, n_classes), []
        for row in exchanged_labels(labels, groups, self.n_permutations, self.seed, "rotated"):
            confusion = confusion_of(row, named, n_classes)
            nulls.append((accuracy(confusion), balanced_accuracy(confusion)))
        null, balanced_null = np.array(nulls).T
        return {
            "chance": 1 / n_classes,
            "classes": classes,
            **details,
            "unbalanced": details["majority"] > _UNBALANCED / n_classes,
            "p_value": permutation_p(accuracy(own), null),
            "p_value_balanced_accuracy": permutation_p(balanced_accuracy(own), balanced_null),
            "p_floor": 1 / (1 + self.n_permutations),
            "p_method": _P_METHOD.format(self.n_permutations, self.groups),
            "per_subject": {
                who: {
                    **Grouped(labels[members], groups[members], n_classes).measure(scores[members])._asdict(),
                    "n_trials": len(members),
                }
                for who, members in rows.groupby("subject", sort=False).indices.items()
            },
        }

    def _difference(self, own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
        (scores, labels), (others, _) = _scores_and_labels(own), _scores_and_labels(other)
        # Weighted so that the mean over trials is the balanced accuracy.
        counts = np.bincount(labels, minlength=scores.shape[1])
        weights = len(labels) / ((counts > 0).sum() * counts[labels])
        right, also = ((found.argmax(axis=1) == labels) * weights for found in (scores, others))
        difference = paired_difference(right, also, own["group"].to_numpy(), step=float(weights.max()))
        return {**difference, "of": "balanced accuracy"}


@dataclass(frozen=True)
class PredictedNumbers(LabelEvaluation):
    """Score predicted numbers: Pearson's r, R², root mean squared error; beside ridge on band power and tangent space.

    Parameters
    ----------
    groups, n_permutations, seed
        See `LabelEvaluation`.

    Notes
    -----
    p counts turned-around numbers with which r is as high.
    """

    key: ClassVar[str] = "regression"
    headlines: ClassVar[tuple[str, ...]] = ("regression.pearson_r", "regression.r2", "regression.rmse")

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return number_section(sections)

    def linear(self, study: Study, fitted: Fitted, head: str) -> dict[str, np.ndarray]:
        """Fit band power by ridge to the training trials of every space."""
        parts = []
        for space, test in study.spaces.items():
            train = _training_of(fitted, space)
            wanted = fitted.targets[head].of(train.table["stimulus"])
            model = SpectralRegressor(float(train.info["sfreq"])).fit(train.responses, wanted[:, 0])
            parts.append(model.predict(test.responses)[:, None])
        return {"spectral": np.concatenate(parts)}

    def _columns(self, found: np.ndarray, table: pd.DataFrame, fitted: Fitted, head: str) -> pd.DataFrame:
        return pd.DataFrame({"label": table["stimulus"].astype(str), "found": found[:, 0]})

    def _measures(self, rows: pd.DataFrame) -> dict[str, Measure]:
        return number_measures(*_numbers(rows))

    def _more(self, rows: pd.DataFrame) -> dict[str, Any]:
        found, true = _numbers(rows)
        ones = np.ones(len(true))
        groups = rows["group"].to_numpy()
        drawn = exchanged_labels(true, groups, self.n_permutations, self.seed, "rotated")
        nulls = np.array([number_measures(found, row)["pearson_r"](ones) for row in drawn])
        r = number_measures(found, true)["pearson_r"]
        return {
            "n_trials": len(true),
            "p_value": permutation_p(r(ones), nulls),
            "p_floor": 1 / (1 + self.n_permutations),
            "p_method": _P_METHOD.format(self.n_permutations, self.groups),
            "per_subject": {
                who: {
                    name: measure(np.ones(len(own)))
                    for name, measure in number_measures(*_numbers(own)).items()
                }
                for who, own in rows.groupby("subject", sort=False)
            },
        }

    def _difference(self, own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
        errors = [-np.square(found - true) for found, true in (_numbers(own), _numbers(other))]
        difference = paired_difference(*errors, own["group"].to_numpy(), step=None)
        return {**difference, "of": "squared error, less is positive"}


def _training_of(fitted: Fitted, space: str) -> Trials:
    """Return the training trials that are measured as test trials of a space are."""
    if space not in fitted.train.spaces:
        raise NeurodecError(
            f"No training trial is of the space {space}, so linear decoders have nothing to learn for its test trials; "
            "correct the split."
        )
    return fitted.train.spaces[space]


def _classes_of(rows: pd.DataFrame) -> list[str]:
    return [name.removeprefix("score ") for name in rows if name.startswith("score ")]


def _scores_and_labels(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    classes = _classes_of(rows)
    labels = np.array([classes.index(name) for name in rows["label"]])
    return rows[[f"score {name}" for name in classes]].to_numpy(), labels


def _numbers(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["found"].to_numpy(dtype=float), rows["label"].to_numpy(dtype=float)
