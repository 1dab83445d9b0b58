"""The `evaluation:` section of a retrieval recipe: from trained decoders to honest numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.responses import View, select
from neurodec.data.splits import Level
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import companions_of
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.ablation import Predict
from neurodec.evaluation.retrieval.centring import mean_of, projected, training_centre
from neurodec.evaluation.retrieval.curves import (
    Ablation,
    Known,
    as_trials,
    averages,
    repetition_counts,
    repetition_curve,
)
from neurodec.evaluation.retrieval.folded import ScoredFolds, joined
from neurodec.evaluation.retrieval.retrieval_section import retrieval_section
from neurodec.evaluation.retrieval.scored import RetrievalRun, Scored
from neurodec.evaluation.retrieval.similarity import Centre, Gallery, concept_centres
from neurodec.evaluation.retrieval.summaries import k_way_of, summary_of
from neurodec.evaluation.section import Evaluation, Fitted, Predictor, required
from neurodec.evaluation.statistics.intervals import paired_difference
from neurodec.features import Features

K_WAY = (2, 4, 10, 50, 100, 200)


@dataclass(frozen=True)
class Retrieval(Evaluation):
    """Zero-shot retrieval of the seen stimulus among the test stimuli.

    Parameters
    ----------
    gallery : {"stimulus", "concept_centre"}
        Candidates: the very stimuli (ATM, NeuroBridge), or for each test concept the mean of its *other* images
        (NICE), which are the rows with split "gallery" of the stimulus table.
    head : str, optional
        Which of the system's predictions is compared with the target of its name; the system's own choice by default.
    candidates_from : str, optional
        Name of the target that candidates are taken from, where it is not the one that was trained on.
    answers : str, optional
        Column of the stimulus table, such as `word`, whose values are asked for as well: each is as similar as the best
        of its stimuli. Chance is then that of exchanged responses, since answers have unequally many stimuli.
    leakage : str
        What training and test trials must not share: zero-shot retrieval is of new concepts; "stimulus" allows new
        pictures of known concepts, "recording" and "none" the same pictures in other runs or anywhere; or any column
        of the trials or stimuli, such as `sentence`.
    k_way : list of int
        Gallery sizes for which the expected accuracy is given; sizes above the number of candidates are left out.
    pool_size : int, optional
        Also score within 30 random pools of this size and subject, both ways: which image a response shows, and which
        response an image belongs to. Tables of NSD do, with pools of 300 (MindEye, MindBridge, Brain-Diffuser).
    n_repetitions : int, optional
        Trials averaged per stimulus and subject; all of them by default.
    averaging : {"response", "embedding"}
        Average before or after the encoder.
    repetition_curve : bool or list of int
        Accuracy against the number of averaged repetitions; True chooses 1, 2, 5, 10, ... up to all.
    windows : float, optional
        Width and step, in seconds, of the growing and sliding time windows; null leaves them out.
    regions : bool or dict
        Accuracy per sensor region (fMRI: per ROI). True groups by 10-20 or CTF names; or give {region: [channels]}.
    channels : bool
        Importance of every channel, for the topography.
    n_permutations : int
        Draws behind p values.
    seed : int
        Of every draw here.

    Notes
    -----
    All decoders are ranked by one rule: the cosine of a prediction, less the mean prediction of the training trials,
    with a candidate, less the mean target of the training trials. What each of them reaches without that, as many
    papers compare, is reported beside it (`uncentred_top1`).

    Examples
    --------
    >>> from neurodec import Retrieval, evaluate
    >>> found = evaluate(system, study, targets, Retrieval(n_permutations=1000))  # doctest: +SKIP
    >>> found.to_frame()  # doctest: +SKIP
    """

    gallery: Literal["stimulus", "concept_centre"] = "stimulus"
    head: str | None = None
    candidates_from: str | None = None
    answers: str | None = None
    leakage: Level = "concept"
    k_way: list[int] = field(default_factory=lambda: list(K_WAY))
    pool_size: int | None = None
    n_repetitions: int | None = None
    averaging: Literal["response", "embedding"] = "response"
    repetition_curve: bool | list[int] = True
    windows: float | None = 0.1
    regions: bool | dict[str, list[str]] = True
    channels: bool = True
    n_permutations: int = 10_000
    seed: int = 0

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("retrieval.top1", "retrieval.top5", "retrieval.median_rank")

    def of_trials(
        self,
        test: Trials,
        stimuli: pd.DataFrame,
        features: Features,
        predict: Predict,
        *,
        ridge: Predict | None = None,
        ridge_features: Features | None = None,
        train: Trials | None = None,
        train_targets: np.ndarray | View | None = None,
        decoder: str = "encoder",
        known: Known | None = None,
        centre: Centre | None = None,
    ) -> RetrievalRun:
        """Evaluate the decoders of one fold whose test trials lie in one space.

        Parameters
        ----------
        test : Trials
            Single test trials, which nothing was fitted or chosen by.
        stimuli : DataFrame
            The stimulus table (`stimulus, concept, split`).
        features : Features
            Targets of all test and gallery stimuli.
        predict : callable, Trials -> ndarray (n_trials, D)
            The decoder that the recipe is about.
        ridge : callable, optional
            The linear baseline, trained on the same trials.
        ridge_features : Features, optional
            Targets that the linear baseline and `train_targets` are of, where the decoder's are projected.
        train, train_targets : Trials and ndarray or View (n_train, ...), optional
            Training trials and the target of each, for the ridge that is refitted to windows, regions and the time
            before onset.
        decoder : str
            Name of the decoder in the curves.
        known : dict, optional
            What it has embedded already; see `averages`.
        centre : Centre, optional
            Of the decoder's predictions and of `features`; nothing is taken off by default. That of the linear baseline
            is the mean of `train_targets`, to which its predictions shrink.

        Returns
        -------
        RetrievalRun
            Save it, and give one or several to `results`.

        Raises
        ------
        NeurodecError
            If there are no test trials, a tested stimulus has no candidate or feature, or there are fewer
            repetitions than asked for.
        """
        if not len(test):
            raise NeurodecError('There are no test trials; give some rows of the table the split "test".')
        gallery = replace(self.candidates(test.table, stimuli, features), centre=centre)
        linear = self.candidates(test.table, stimuli, features if ridge_features is None else ridge_features)
        if train_targets is not None:
            mean = mean_of(train_targets)
            linear = replace(linear, centre=Centre(mean, mean))
        decoders = {decoder: predict} | ({} if ridge is None else {"ridge": ridge})
        galleries = {decoder: gallery, "ridge": linear}
        averaged = test.average(self.n_repetitions, seed=self.seed).in_memory()
        asked = (self.n_repetitions, self.seed)
        average = averages(test, decoders, self.averaging, known, averaged, asked)
        predicted, table = average(self.n_repetitions, self.seed)
        scored = {name: Scored.with_uncentred(z, table, galleries[name]) for name, z in predicted.items()}
        counts = repetition_counts(test, self.repetition_curve, self.n_repetitions)
        curves = {
            "k_way": k_way_of(scored[decoder], self.k_way),
            "repetitions": repetition_curve(average, counts, galleries, self.seed),
        }
        single = self.averaging == "embedding" and self.n_repetitions is None
        ablation = Ablation(
            averaged,
            gallery,
            linear,
            test if single else averaged,
            predict,
            train,
            train_targets,
            decoder,
            self._width(averaged.info),
        )
        curves |= self._ablations(ablation)
        before = ablation.before_onset()
        prestimulus = None if before is None else Scored.of(before, averaged.table, linear)
        return RetrievalRun(scored[decoder], scored.get("ridge"), prestimulus, curves)

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse an answer that no column of the stimuli gives."""
        self._answers(study.stimuli)

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return single trials, or averaged ones, as `averaging` says."""
        if self.averaging == "embedding":
            return {"single": test}
        return {self._averaged: test.average(self.n_repetitions, seed=self.seed)}

    def compared_heads(self, head: str) -> list[str]:
        """Return the head that is ranked."""
        return [self.head or head]

    @property
    def _averaged(self) -> str:
        return f"averaged-{self.n_repetitions or 'all'}-{self.seed}"

    def rows(self, predictions: dict[str, Predictions], head: str) -> tuple[np.ndarray, pd.DataFrame]:
        """Return what a head predicts of every test stimulus, averaged as asked for, and the table of the rows.

        Parameters
        ----------
        predictions : dict of Predictions
        head : str
            Name of the prediction.
        """
        name = "single" if self.averaging == "embedding" else self._averaged
        if name not in predictions:
            raise NeurodecError(f"There are no predictions of {name} trials; run the stage predict first.")
        found = predictions[name]
        if self.averaging == "response":
            return np.asarray(found.of(head)), found.table
        averaged = as_trials(found.of(head), found.table).average(self.n_repetitions, seed=self.seed)
        return np.asarray(averaged.responses), averaged.table

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> RetrievalRun:
        """Evaluate one fold; see `Evaluation.run`. Curves are drawn where all subjects share a space."""
        if not len(study):
            raise NeurodecError('There are no test trials; give some rows of the table the split "test".')
        fitted = required(fitted, type(self).__name__)
        head, own = self._head(fitted), self._candidates_named(fitted)
        ridge = None if fitted.baseline is None else fitted.baseline(head)
        features = projected(fitted.system, head, own)
        centre = self._centre(fitted.system, head, fitted.train, features, study.subjects)
        runs = []
        for space, trials in study.spaces.items():
            train = fitted.train.spaces.get(space)
            train = None if train is None else train.average().in_memory()
            targets = None
            if train is not None:
                known = fitted.targets[head]
                targets = select(known.values, known.rows(train.table["stimulus"]))
            in_space = len(study.spaces) == 1
            evaluation = (
                self
                if in_space
                else replace(self, regions=False, channels=False, windows=None, repetition_curve=False)
            )
            runs.append(
                evaluation.of_trials(
                    trials,
                    study.stimuli,
                    features,
                    _z_of(fitted.system, head, space),
                    ridge_features=own,
                    ridge=None if ridge is None or space not in ridge.spaces else _z_of(ridge, head, space),
                    train=train,
                    train_targets=targets,
                    decoder=fitted.name,
                    known=self._known(predictions, fitted, head, space),
                    centre=centre,
                )
            )
        run = runs[0] if len(runs) == 1 else self._pooled(runs)
        return replace(run, others=self._others(study, fitted, head, own))

    def _centre(
        self, system: Predictor, head: str, train: Study, features: Features, subjects: Sequence[str]
    ) -> Centre:
        single = self.averaging == "embedding"
        return training_centre(system, head, train, features, subjects, single=single, seed=self.seed)

    def _others(self, study: Study, fitted: Fitted, head: str, own: Features) -> dict[str, Scored]:
        """Score the system's companions on the same rows."""
        found = {}
        for name, companion in companions_of(fitted.system).items():
            predictions = {rows: companion.predict(trials) for rows, trials in self.inputs(study).items()}
            z, table = self.rows(predictions, head)
            features = projected(companion, head, own)
            gallery = self.candidates(table, study.stimuli, features)
            centre = self._centre(companion, head, fitted.train, features, study.subjects)
            found[name] = Scored.with_uncentred(z, table, replace(gallery, centre=centre))
        return found

    def _head(self, fitted: Fitted) -> str:
        return self.head or fitted.system.head

    def _candidates_named(self, fitted: Fitted) -> Features:
        """Return the targets that candidates are taken from."""
        name = self.candidates_from or self._head(fitted)
        if name not in fitted.targets:
            raise NeurodecError(
                f"`candidates_from` is {name}, and the recipe has the targets {', '.join(fitted.targets)}; name one."
            )
        return fitted.targets[name]

    def _known(self, predictions: dict[str, Predictions], fitted: Fitted, head: str, space: str) -> Known:
        key = None if self.averaging == "embedding" else (self.n_repetitions, self.seed)
        found = predictions["single" if key is None else self._averaged]
        rows = (found.table["space"] == space).to_numpy()
        return {key: {fitted.name: np.asarray(found.of(head))[rows]}}

    def _pooled(self, runs: list[RetrievalRun]) -> RetrievalRun:
        """Join the rows of several spaces."""
        system = Scored.concatenate([run.system for run in runs])
        others = [
            Scored.concatenate(parts) if all(part is not None for part in parts) else None
            for parts in ([run.ridge for run in runs], [run.prestimulus for run in runs])
        ]
        return RetrievalRun(system, *others, {"k_way": k_way_of(system, self.k_way)})

    def save(self, run: RetrievalRun, folder: Path) -> None:
        """Write a fold's evaluation."""
        run.save(folder)

    def load(self, folder: Path) -> RetrievalRun:
        """Read a fold's evaluation."""
        return RetrievalRun.load(folder)

    def results(self, runs: Sequence[RetrievalRun]) -> dict[str, Any]:
        """Return the sections `retrieval`, `controls` and `baselines` of `results.json`.

        Parameters
        ----------
        runs : sequence of RetrievalRun
            One fold, or several, which are pooled: intervals are over stimuli, and p values permute these.
        """
        system = joined([run.system for run in runs])
        shuffled = {m: system.shuffled(m, self.n_permutations, self.seed) for m in (1, 5)}
        sections: dict[str, Any] = {
            "retrieval": self.summary(system),
            "controls": {
                "shuffled": {
                    "n_candidates": system.n_candidates,
                    "top1": float(shuffled[1].mean()),
                    "top5": float(shuffled[5].mean()),
                    "chance_top1": system.chance(),
                    "ci95_top1": np.quantile(shuffled[1], [0.025, 0.975]).clip(0, 1).tolist(),
                    "n_permutations": self.n_permutations,
                }
            },
        }
        if all(run.prestimulus is not None for run in runs):
            before = joined([run.prestimulus for run in runs])
            sections["controls"]["prestimulus"] = {"decoder": "ridge", **self.summary(before)}
        sections["baselines"] = {
            name: self.summary(joined([run.others[name] for run in runs])) for name in runs[0].others
        }
        if all(run.ridge is not None for run in runs):
            ridge, clusters = joined([run.ridge for run in runs]), system.table["stimulus"].to_numpy()
            against = paired_difference(system.top(), ridge.top(), clusters, inflation=system.inflation)
            sections["baselines"]["ridge"] = {**self.summary(ridge), "encoder_minus_ridge_top1": against}
        if not sections["baselines"]:
            del sections["baselines"]
        return sections

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return retrieval_section(sections, name, kept or Kept())

    def summary(self, scored: Scored | ScoredFolds) -> dict[str, Any]:
        """Return the metrics of one decoder, as `results.json` names them.

        Parameters
        ----------
        scored : Scored or ScoredFolds
        """
        return summary_of(scored, self)

    def candidates(self, shown_in: pd.DataFrame, stimuli: pd.DataFrame, features: Features) -> Gallery:
        """Return the gallery: every stimulus of the test split, or, when folds are made later, every one shown.

        Parameters
        ----------
        shown_in : DataFrame
        stimuli : DataFrame
        features : Features
        """
        shown = stimuli[stimuli["split"] == "test"]
        if shown.empty:
            shown = stimuli[stimuli["stimulus"].isin(set(shown_in["stimulus"]))]
        if self.gallery == "stimulus":
            values = select(features.values, features.rows(shown["stimulus"].tolist()))
            return Gallery(
                values, shown["stimulus"].tolist(), shown["concept"].tolist(), answers=self._answers(shown)
            )
        others = stimuli[(stimuli["split"] == "gallery") & ~stimuli["stimulus"].isin(set(shown["stimulus"]))]
        shown = shown.drop_duplicates("concept")
        values = features.values[features.rows(others["stimulus"].tolist())]
        centres = concept_centres(values, others["concept"].tolist(), shown["concept"].tolist())
        return Gallery(centres, shown["stimulus"].tolist(), shown["concept"].tolist(), "concept_centre")

    def _answers(self, shown: pd.DataFrame) -> list[str] | None:
        if self.answers is None:
            return None
        if self.answers not in shown:
            raise NeurodecError(
                f"`answers` is {self.answers}, and the stimulus table has {', '.join(shown)}; name one of these."
            )
        return shown[self.answers].astype(str).tolist()

    def _width(self, info: dict[str, Any]) -> float:
        """Return the width of windows (s): as asked for, by default at least one sample."""
        own = self.windows if self.windows != type(self).windows else None
        return own or max(0.1, 1 / (info.get("sfreq") or np.inf))

    def _ablations(self, ablation: Ablation) -> dict[str, Any]:
        groups = ablation.groups(self.regions)
        curves: dict[str, Any] = {"regions": ablation.regions(groups)}
        if has_time(ablation.test.info):
            if self.windows is not None:
                curves["windows"] = ablation.windows()
            if len(groups) > 2:  # of two, leaving one out is the other alone
                curves["regions_left_out"] = ablation.regions(groups, left_out=True)
            if self.channels and "channel" in ablation.test.dims:
                curves["channels"] = ablation.channels()
        return curves


def _z_of(system: Predictor, head: str, space: str) -> Predict:
    """Return a function from trials of a space to what a head predicts of them."""

    def predict(trials: Trials) -> np.ndarray:
        return np.asarray(system.predict(Study.of(trials, space=space)).of(head))

    return predict
