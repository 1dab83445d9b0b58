"""Answers with a guarantee: sets of candidates that hold the seen one as often as promised, and when to say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.stats import beta

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import Calibrates, companions_of, require
from neurodec.evaluation.further_sections import candidate_sets_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.centring import projected, training_centre
from neurodec.evaluation.retrieval.similarity import Centre, Gallery
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.evaluation.section import Evaluation, Fitted, Predictor, required
from neurodec.evaluation.statistics.intervals import interval
from neurodec.features import Features
from neurodec.files import read_own_table, write_table

_SURE = 0.95  # of the bound on wrong answers
_LEADS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2)  # fixed before any trial is seen
_MOST = 2000  # further pictures among which a calibration draws its candidates
_TEXT = {"decoder": str, "subject": str, "stimulus": str, "kind": str, "note": str}


@dataclass(frozen=True)
class CandidateSets(Evaluation):
    """Conformal prediction for retrieval: for every response candidates that it may have been, and an answer or none.

    Part of every person's training trials is kept apart from the system. How much the seen picture stands out there
    tells how many candidates must be named so that it is among them as often as promised, and from which lead of the
    first over the second an answer is given.

    Parameters
    ----------
    coverage : list of float
        How often the set shall hold what was seen.
    risk : float
        Share of wrong answers among those given that is allowed, with 95 % confidence.
    share : float
        Share of concepts that is kept apart, where the system has none yet.
    n_repetitions : int, optional
        Trials averaged per test stimulus; as many as there are of stimuli kept apart by default, since the guarantee
        is for responses as noisy as those.
    leakage : str
        What training and test trials must not share.
    seed : int
        Of trials and candidates.

    Notes
    -----
    The guarantee is an average over pictures and holds for the person and for pictures like those of the training; of
    easier ones more sets are right, of harder ones fewer. So coverage is measured on the test trials, and shown.
    Pictures of one concept are alike, so bounds count concepts, not pictures.

    References
    ----------
    Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World (split conformal prediction); Angelopoulos
    et al. (2021), Learn then Test, arXiv 2110.01052 (Bonferroni over thresholds).
    """

    coverage: list[float] = field(default_factory=lambda: [0.9, 0.5])
    risk: float = 0.2
    share: float = 0.25
    n_repetitions: int | None = None
    leakage: Level = "concept"
    seed: int = 0

    needs_system: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, values in {
            "coverage": self.coverage,
            "risk": [self.risk],
            "share": [self.share],
        }.items():
            wrong = [value for value in values if not 0 < value < 1]
            if wrong:
                raise NeurodecError(f"`{name}` is {wrong[0]:g}; give a share between 0 and 1.")

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> pd.DataFrame:
        """Calibrate and score; see `Evaluation.run`.

        Returns
        -------
        DataFrame
            One row per test row, level and kind. Of kind "set": `size` and whether it is `right`, which is to hold what
            was seen; of kind "answer": whether one is given (`size`), and `right`.

        Raises
        ------
        NeurodecError
            If the system keeps no trials apart, or a tested subject has none.
        """
        fitted = required(fitted, type(self).__name__)
        support = fitted.train.part(subjects=study.subjects)
        absent = [name for name in study.subjects if name not in support.subjects]
        if absent:
            raise NeurodecError(
                f"Subject {absent[0]} has no training trials to calibrate candidate sets on; take protocol: "
                "within_subject, joint or new_subject, or leave this evaluation out."
            )
        whole = require(fitted.system, Calibrates, "keeps no trials to calibrate candidate sets on")
        system, apart = whole.calibration_split(support, fitted.targets, self.share, self.seed)
        apart, note = apart.average(), whole.calibration_note
        n_repetitions = self.n_repetitions or round(float(apart.table["n_averaged"].median()))
        fewest = int(study.table.groupby(["subject", "stimulus"]).size().min())
        n_repetitions = min(n_repetitions, fewest)
        tested = study.average(n_repetitions, self.seed)
        # Trials kept apart are to be to the centre what test trials are: not of it.
        rest, _ = fitted.train.parted(set(apart.table["concept"]))
        rows, head = [], fitted.system.head
        for name, one in {fitted.name: system, **companions_of(system)}.items():
            features = projected(one, head, fitted.targets[head])
            centre = training_centre(one, head, rest, features, study.subjects, seed=self.seed)
            asked = self._asked(one, tested, features, head, centre)
            known = self._known(one, apart, fitted.train, features, head, centre, asked.scores.shape[1])
            about = {
                "decoder": name,
                "note": note,
                "n_repetitions": n_repetitions,
                "calibrated_among": known.scores.shape[1],
            }
            rows += [
                self._judged(known.of_subject(subject), asked.of_subject(subject)).assign(**about)
                for subject in study.subjects
            ]
        return pd.concat(rows, ignore_index=True)

    def results(self, runs: Sequence[pd.DataFrame]) -> dict[str, Any]:
        """Return the section `candidate_sets`, by decoder: measured coverage and size of sets, and the answers."""
        table, found = pd.concat(runs), {}
        for name, part in table.groupby("decoder", sort=False):
            sets = [self._of_sets(own) for _, own in part[part["kind"] == "set"].groupby("level", sort=False)]
            found[name] = {
                "n_candidates": int(part["n_candidates"].iloc[0]),
                "n_calibration": int(part["n_calibration"].min()),
                "calibrated_among": int(part["calibrated_among"].min()),
                "n_repetitions": int(part["n_repetitions"].iloc[0]),
                "note": part["note"].iloc[0],
                "sets": sets,
                "answers": self._of_answers(part[part["kind"] == "answer"]),
            }
        return {"candidate_sets": found}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return candidate_sets_section(sections["candidate_sets"])

    def save(self, run: pd.DataFrame, folder: Path) -> None:
        """Write ``candidate_sets.csv``."""
        write_table(folder / "candidate_sets.csv", run)

    def load(self, folder: Path) -> pd.DataFrame:
        """Read it."""
        return read_own_table(folder / "candidate_sets.csv", dtype=_TEXT)

    def _of_sets(self, part: pd.DataFrame) -> dict[str, Any]:
        right, clusters = part["right"].to_numpy(dtype=float), part["stimulus"].to_numpy()
        return {
            "coverage": float(part["level"].iloc[0]),
            "found": float(right.mean()),
            "ci95": interval(right, clusters),
            "mean_size": float(part["size"].mean()),
            "median_size": float(part["size"].median()),
            "single": float((part["size"] == 1).mean()),
        }

    def _of_answers(self, part: pd.DataFrame) -> dict[str, Any]:
        given = part[part["size"] == 1]
        about = {"risk": self.risk, "answered": float((part["size"] == 1).mean()), "n": len(given)}
        if not len(given):
            return {**about, "right": None, "ci95": None}
        right = given["right"].to_numpy(dtype=float)
        ci95 = interval(right, given["stimulus"].to_numpy())
        return {**about, "right": float(right.mean()), "ci95": ci95}

    def _judged(self, known: Standing, asked: Standing) -> pd.DataFrame:
        """Return sets and answers for the test rows of a subject."""
        n_rows, n_candidates = asked.scores.shape
        about = asked.table[["subject", "stimulus"]].reset_index(drop=True)
        concepts = known.table["concept"].to_numpy()
        about = about.assign(n_candidates=n_candidates, n_calibration=len(known.table))
        rows, found = [], asked.scores[np.arange(n_rows), asked.true]
        for coverage in self.coverage:
            lowest = cut_off(
                known.scores[np.arange(len(known.true)), known.true], coverage, len(set(concepts))
            )
            size, right = (asked.scores >= lowest).sum(axis=1), found >= lowest
            rows.append(about.assign(kind="set", level=coverage, size=size, right=right))
        lead = lowest_lead(known.lead, known.first == known.true, self.risk, concepts)
        size, right = (asked.lead >= lead).astype(int), asked.first == asked.true
        rows.append(about.assign(kind="answer", level=self.risk, size=size, right=right))
        return pd.concat(rows)

    def _asked(
        self, system: Predictor, study: Study, features: Features, head: str, centre: Centre
    ) -> Standing:
        """Return how the candidates of the test stand out for the test trials."""
        found = system.predict(study)
        gallery = replace(Retrieval().candidates(found.table, study.stimuli, features), centre=centre)
        similarities = gallery.similarity(np.asarray(found.of(head)))
        return Standing.of(similarities, gallery.true_index(found.table), found.table)

    def _known(
        self,
        system: Predictor,
        apart: Study,
        train: Study,
        features: Features,
        head: str,
        centre: Centre,
        n_candidates: int,
    ) -> Standing:
        """Return how training pictures, as many as there are candidates, stand out for trials kept apart."""
        found = system.predict(apart)
        own, rng = list(dict.fromkeys(found.table["stimulus"])), np.random.default_rng(self.seed)
        others = rng.permutation(np.setdiff1d(train.table["stimulus"].unique(), own))[:_MOST]
        names = [*own, *others.tolist()]
        pool = Gallery(np.asarray(features.of(names)), names, names, centre=centre)
        similarities = pool.similarity(np.asarray(found.of(head)))
        drawn = _with_others(similarities, pool.true_index(found.table), n_candidates, rng)
        return Standing.of(drawn, np.zeros(len(drawn), dtype=int), found.table)


@dataclass(frozen=True)
class Standing:
    """By how much every candidate stands out for every response.

    Parameters
    ----------
    scores : ndarray, shape (n_rows, n_candidates)
        Similarities, z-scored over the candidates of each response.
    true : ndarray of int, shape (n_rows,)
        What was seen.
    table : DataFrame
        The responses.
    """

    scores: np.ndarray
    true: np.ndarray
    table: pd.DataFrame

    @classmethod
    def of(cls, similarities: np.ndarray, true: np.ndarray, table: pd.DataFrame) -> Standing:
        """Z-score every row."""
        spread = similarities.std(axis=1, keepdims=True)
        scores = (similarities - similarities.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12)
        return cls(scores, true, table.reset_index(drop=True))

    def of_subject(self, subject: str) -> Standing:
        """Return the rows of a subject."""
        rows = np.flatnonzero(self.table["subject"] == subject)
        return Standing(self.scores[rows], self.true[rows], self.table.iloc[rows])

    @property
    def first(self) -> np.ndarray:
        """The best candidate of every row."""
        return self.scores.argmax(axis=1)

    @property
    def lead(self) -> np.ndarray:
        """By how much the best candidate stands out more than the second."""
        two = np.partition(self.scores, -2, axis=1)[:, -2:]
        return two[:, 1] - two[:, 0]


def cut_off(scores: np.ndarray, coverage: float, n_concepts: int) -> float:
    """Return the lowest score of a set that holds the true candidate with probability `coverage` or more.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Of the true candidates of a calibration.
    coverage : float
    n_concepts : int
        Whose pictures they are of. With a picture of each, the place is the ``floor((n + 1) (1 - coverage))``-th
        lowest.

    Returns
    -------
    float
        With too few concepts minus infinity, so that all candidates are named.
    """
    below = (n_concepts + 1) * (1 - coverage) - 1  # concepts whose scores may lie lower
    if below < -1e-9:
        return -np.inf
    return float(np.sort(scores)[int(np.floor(below * len(scores) / n_concepts + 1e-9))])


def lowest_lead(leads: np.ndarray, right: np.ndarray, risk: float, concepts: np.ndarray) -> float:
    """Return the lead from which an answer is given, so that few of those given are wrong.

    Of eight leads, fixed beforehand, the lowest is taken at which the upper bound of the share of wrong answers
    (Clopper-Pearson, 95 % for all eight together) is `risk` at most.

    Parameters
    ----------
    leads : ndarray, shape (n,)
        Of a calibration.
    right : ndarray of bool, shape (n,)
        Whether the first candidate was what was seen.
    risk : float
    concepts : ndarray, shape (n,)
        Of what was seen. Answers to pictures of one concept are right or wrong together, so a concept counts once.

    Returns
    -------
    float
        Infinity where no lead is large enough.
    """
    for lead in _LEADS:
        given = leads >= lead
        n_concepts = len(set(concepts[given]))
        if not n_concepts:
            break
        wrong = n_concepts * float((~right[given]).mean())
        bound = beta.isf((1 - _SURE) / len(_LEADS), wrong + 1, max(n_concepts - wrong, 1e-9))
        if bound <= risk:
            return lead
    return np.inf


def _with_others(
    similarities: np.ndarray, true: np.ndarray, n_candidates: int, rng: np.random.Generator
) -> np.ndarray:
    """Return for every row the true candidate's similarity first, and those of others that are drawn."""
    keys = rng.random(similarities.shape)
    keys[np.arange(len(true)), true] = -1.0
    n_candidates = min(n_candidates, similarities.shape[1])
    chosen = np.argsort(keys, axis=1)[:, :n_candidates]
    return np.take_along_axis(similarities, chosen, axis=1)
