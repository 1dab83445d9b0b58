"""Whether what is decoded from imagery matches the cue of the trial: a permutation test within runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level, column_of
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.imagination_section import imagination_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.centring import projected
from neurodec.evaluation.retrieval.similarity import similarity
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval
from neurodec.evaluation.statistics.permutations import permutation_p, permuted_scores
from neurodec.files import atomic_path, read_own_table, write_table

_BINS = 40
_ENOUGH = 6  # groups; the spread of fewer is hardly known


@dataclass(frozen=True)
class CueMatchRun:
    """What one fold gave.

    Parameters
    ----------
    table : DataFrame
        One row per trial: `subject`, `stimulus` (its cue) and `group`, which lies within a subject.
    cosines : dict of ndarray, shape (n_trials, n_cues)
        Of what the `system`, and perhaps the linear baseline (`ridge`), decode with the target of every cue; columns
        are in the order in which cues first appear in the table.
    """

    table: pd.DataFrame
    cosines: dict[str, np.ndarray]


@dataclass(frozen=True)
class CueMatch(Evaluation):
    """Zero-shot imagination: whether what is decoded from single trials resembles the target of their own cue.

    Parameters
    ----------
    head : str, optional
        Prediction that is compared; the system's own choice by default.
    target : str, optional
        Target that cues are of, such as `text`; that of the head by default. It has the same width.
    groups : str
        Column of the trials or stimuli, or several joined by ``+``, such as ``session+category``: labels are exchanged
        within its groups only, and always within subjects, since trials of a run are alike.
    n_permutations : int
        Draws behind p values.
    seed : int
        Of these draws.
    leakage : str
        What training and test trials must not share; see `Retrieval`.

    Notes
    -----
    The statistic is the mean over trials of the cosine of what is decoded with the target of the trial's cue. It is
    compared with that of cues exchanged among the trials of a group: p is ``(1 + #{permuted >= observed}) / (1 +
    n_permutations)``, and `expected` the mean of all permutations. Nothing is centred, as published: what the trials of
    a run, or all targets, share moves the statistic and its permutations alike. Groups with a single cue tell nothing
    and are left out.

    The interval of the difference is over cues, or over groups where these are six or more and differ more. Each trial
    gives its own cosine less the means of its row and column, plus the mean of its group, so that what a run shares
    cancels; the variance over cues is raised by what this centring takes from it. It does not generalise over people.

    References
    ----------
    Phipson and Smyth (2010), Permutation p-values should never be zero, Statistical Applications in Genetics and
    Molecular Biology 9; Winkler et al. (2015), Multi-level block permutation, NeuroImage 123 (exchange within blocks).
    """

    head: str | None = None
    target: str | None = None
    groups: str = "run"
    n_permutations: int = 10_000
    seed: int = 0
    leakage: Level = "stimulus"

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("imagination.statistic", "imagination.difference")

    def __post_init__(self) -> None:
        if self.n_permutations < 1:
            raise NeurodecError(f"`n_permutations` is {self.n_permutations}; give 1 or more, such as 10000.")

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse unknown groups, and trials among which no cues can be exchanged."""
        table = study.table
        tested = table[table["split"].isin(("test", "cv"))]
        groups = self.groups_of(tested, study.stimuli)
        if len(tested) and tested["stimulus"].groupby(groups).nunique().max() < 2:
            raise NeurodecError(
                f"CueMatch exchanges cues within {self.groups} of a subject, and none of these {groups.nunique()} "
                "groups has two cues; name a wider column by `groups`, such as session or subject."
            )

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return single test trials."""
        return {"single": test}

    def compared_heads(self, head: str) -> list[str]:
        """Return the head that is compared."""
        return [self.head or head]

    def groups_of(self, table: pd.DataFrame, stimuli: pd.DataFrame) -> pd.Series:
        """Return the group of every trial, within which cues are exchanged.

        Parameters
        ----------
        table : DataFrame
            Of trials.
        stimuli : DataFrame
            Whose columns may be named too.

        Raises
        ------
        NeurodecError
            If there is no such column.
        """
        names = [name.strip() for name in self.groups.split("+")]
        try:
            columns = [column_of(table, name, stimuli) for name in names if name != "subject"]
        except NeurodecError as error:
            raise NeurodecError(f"CueMatch's `groups` is {self.groups!r}. {error}") from None
        found = table["subject"].astype(str)
        return found.str.cat(columns, sep=" | ") if columns else found

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> CueMatchRun:
        """Compare every trial with every cue; see `Evaluation.run`."""
        fitted = required(fitted, type(self).__name__)
        found, head = predictions["single"], self.head or fitted.system.head
        target = self.target or head
        if target not in fitted.targets:
            raise NeurodecError(
                f"CueMatch compares with the target {target}, and there are {', '.join(fitted.targets) or 'none'}; "
                "name one of these by `target`."
            )
        own, z = fitted.targets[target], found.of(head)
        if head in fitted.targets:  # before a projector of the head's own target meets another width
            _require_same_shape(fitted.targets[head].values.shape, own.values.shape, head, target)
        cues = own.rows(found.table["stimulus"].drop_duplicates().tolist())
        shown = projected(fitted.system, head, own).values[cues]
        _require_same_shape(z.shape, shown.shape, head, target)
        cosines = {"system": similarity(z, shown)}
        ridge = None if fitted.baseline is None or head not in fitted.targets else fitted.baseline(head)
        if ridge is not None and set(study.spaces) <= set(ridge.spaces):
            cosines["ridge"] = similarity(ridge.predict(study).of(head), own.values[cues])
        table = found.table[["subject", "stimulus"]].reset_index(drop=True)
        groups = self.groups_of(found.table, study.stimuli).to_numpy()
        return CueMatchRun(table.assign(group=groups), cosines)

    def results(self, runs: Sequence[CueMatchRun]) -> dict[str, Any]:
        """Return the section `imagination`: the statistic, what permutations give, and the same per subject."""
        found = self._of_way(runs, "system")
        if all("ridge" in run.cosines for run in runs):
            ridge = self._of_way(runs, "ridge")
            found["ridge"] = {key: ridge[key] for key in ridge if key not in ("per_subject", "null")}
        return {"imagination": {**found, "groups": self.groups, "n_permutations": self.n_permutations}}

    def _of_way(self, runs: Sequence[CueMatchRun], way: str) -> dict[str, Any]:
        blocks = [
            (run.table.iloc[rows], run.cosines[way][rows][:, codes[rows]])
            for run, codes in ((run, pd.factorize(run.table["stimulus"])[0]) for run in runs)
            for rows in run.table.groupby(["subject", "group"], sort=False).indices.values()
        ]
        seeds = np.random.SeedSequence(self.seed).generate_state(len(blocks))
        tables: list[pd.DataFrame] = []
        sums: dict[str, Any] = {}
        silent: dict[str, int] = {}
        for (block, cosines), seed in zip(blocks, seeds, strict=True):
            table, who = of_group(block, cosines), str(block["subject"].iloc[0])
            silent.setdefault(who, 0)
            if block["stimulus"].nunique() < 2:
                silent[who] += 1
                continue
            tables.append(table.assign(block=len(tables)))
            sums[who] = sums.get(who, 0.0) + permuted_scores(cosines, self.n_permutations, int(seed))
        whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["subject"])
        total = sum(sums.values(), start=np.zeros(self.n_permutations))
        found = _summary(whole, total, sum(silent.values()))
        if len(whole):
            null = total / len(whole)
            bounds = float(null.min()) - 1e-9, float(null.max()) + 1e-9  # equal targets give one value
            counts, edges = np.histogram(null, _BINS, bounds)
            found["null"] = {"edges": edges.tolist(), "counts": counts.tolist()}
        per_subject = {
            who: _summary(whole[whole["subject"] == who], sums.get(who, total), silent[who]) for who in silent
        }
        return {**found, "p_floor": 1 / (1 + self.n_permutations), "per_subject": per_subject}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return imagination_section(sections["imagination"], name)

    def save(self, run: CueMatchRun, folder: Path) -> None:
        """Write ``trials.csv`` and the cosines, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            for way, cosines in run.cosines.items():
                np.save(partial / f"{way}.npy", cosines)
            write_table(partial / "trials.csv", run.table)

    def load(self, folder: Path) -> CueMatchRun:
        """Read them."""
        table = read_own_table(folder / "trials.csv", dtype=str)
        with reading(folder, "an evaluation", "it is damaged, so delete it and run again"):
            cosines = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
            shape = (len(table), table["stimulus"].nunique())
            if "system" not in cosines or any(own.shape != shape for own in cosines.values()):
                raise NeurodecError(f"The evaluation in {folder} is damaged; delete it and run again.")
        return CueMatchRun(table, cosines)


def of_group(table: pd.DataFrame, cosines: np.ndarray) -> pd.DataFrame:
    """Return what every trial of a group adds to the statistic.

    Parameters
    ----------
    table : DataFrame
        Of the trials: `subject`, `group`, `stimulus`.
    cosines : ndarray, shape (n, n)
        Of what is decoded from trial i with the cue of trial j.

    Returns
    -------
    DataFrame
        With `own` (the cosine with the own cue), `expected` (its mean over all permutations within the group), `less`
        (`own` without the means of row and column, whose mean over the group is that of ``own - expected``), and
        `free`, the share of pairs of trials with different cues.
    """
    own, mean = np.diag(cosines), cosines.mean()
    shares = table["stimulus"].value_counts(normalize=True).to_numpy()
    less = own - cosines.mean(axis=1) - cosines.mean(axis=0) + mean
    return table.assign(own=own, expected=mean, less=less, free=1 - float(np.square(shares).sum()))


def difference_interval(trials: pd.DataFrame) -> list[float]:
    """Return the 95 % interval of the mean of `less`: over cues, or over six groups or more where that is wider.

    Parameters
    ----------
    trials : DataFrame
        From `of_group`, of groups with two cues or more.

    Notes
    -----
    Of centred trials the sums of a group's cues vary less than their total: by ``(m - 1) / m`` for m cues, and the
    variance over all K cues, estimated about their mean, by ``1 / K`` less again. Both are made good for.
    """
    less, cues, groups = (trials[name].to_numpy() for name in ("less", "stimulus", "group"))
    n_cues, free = len(set(cues.tolist())), trials["free"].to_numpy()
    kept = float(np.square(free).sum() / free.sum()) - 1 / n_cues
    over_groups = interval(less, groups, "mean")
    if kept < 1e-9:  # of two cues that all groups share, each gives the same
        return over_groups
    over_cues = interval(less, cues, "mean", inflation=(1 - 1 / n_cues) / kept)
    wider = over_groups[1] - over_groups[0] > over_cues[1] - over_cues[0]
    return over_groups if wider and len(set(groups.tolist())) >= _ENOUGH else over_cues


def _summary(trials: pd.DataFrame, sums: np.ndarray, n_silent: int) -> dict[str, Any]:
    """Return the scores of trials from `of_group`, given the sums of their cosines under permutation."""
    if not len(trials):  # every permutation is the same
        return {"n_trials": 0, "n_groups": 0, "n_silent_groups": n_silent, "p_value": 1.0}
    statistic, expected = float(trials["own"].mean()), float(trials["expected"].mean())
    return {
        "n_trials": len(trials),
        "n_cues": int(trials["stimulus"].nunique()),
        "n_groups": int(trials["block"].nunique()),
        "n_silent_groups": n_silent,
        "statistic": statistic,
        "expected": expected,
        "difference": statistic - expected,
        "ci95": difference_interval(trials),
        "p_value": permutation_p(statistic, sums / len(trials)),
    }


def _require_same_shape(known: tuple[int, ...], asked: tuple[int, ...], head: str, target: str) -> None:
    if tuple(known[1:]) != tuple(asked[1:]):
        shapes = [" x ".join(map(str, own[1:])) for own in (known, asked)]
        raise NeurodecError(
            f"CueMatch compares the prediction {head} ({shapes[0]} values) with the target {target} ({shapes[1]}); "
            "name a target of the same space by `target`, or another prediction by `head`."
        )
