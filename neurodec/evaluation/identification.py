"""Which person a half of a recording is of, told by its other half: a network beside functional connectivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.capabilities import summaries_of
from neurodec.evaluation.identification_section import WAYS, identification_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.recording_halves import connectivity_of, halves_of, standardised
from neurodec.evaluation.retrieval.similarity import TIE, unit_rows
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval, paired_difference
from neurodec.evaluation.statistics.permutations import permutation_p, permuted_scores
from neurodec.files import atomic_path, read_own_table, write_table

_NO_STATES = (
    "The encoder gives no vector of a window (a method `states`), so functional connectivity stands alone."
)


@dataclass(frozen=True)
class IdentificationRun:
    """What one fold gave.

    Parameters
    ----------
    people : DataFrame
        Candidates: `subject`, `space`, and whether they are `tested` (1) or were trained on (0).
    similarities : dict of ndarray, shape (n_people, n_people)
        Of every second half (rows) with every first half (columns), by `network` and `connectivity`; minus infinity
        between people who were measured with other parcels.
    """

    people: pd.DataFrame
    similarities: dict[str, np.ndarray]


@dataclass(frozen=True)
class PersonIdentification(Evaluation):
    """Find a person's second half of a recording by the first one, among all people of the fold, and the reverse.

    Parameters
    ----------
    n_permutations : int
        Draws behind p values; all exchanges of people are made where there are no more than this.
    seed : int
        Of these draws.
    leakage : str
        What training and test must not share: people.

    Notes
    -----
    Candidates are the tested and the training people, queries the tested ones. The network was fitted to the training
    people and has not seen the tested ones, which alone may set these apart from the others; connectivity is fitted to
    nobody. Both halves are of the same recordings, so what a day in the scanner leaves in both counts as the person.

    Every recording is divided in the middle, by onsets; windows that straddle it are left out, so that halves share no
    volume. Each half is z-scored anew: of series that were z-scored over the recording, what is above the mean in one
    half is below it in the other, so that a network would tell the halves of a person apart. The network's vector of a
    half is the mean over its windows of what it makes of the hidden last volume; functional connectivity are the
    correlations between parcels over the last volumes of the windows, which with a step of 1 are all volumes but the
    first few. Either is taken less the mean of that half over the candidates, since people share most of it, and
    compared by Pearson's correlation.

    p exchanges the second halves among all candidates. Folds with the same candidates, as of leaving one person out,
    share the exchange: their answers go together. Intervals are over people.

    References
    ----------
    Finn et al. (2015), Functional connectome fingerprinting: identifying individuals using patterns of brain
    connectivity, Nature Neuroscience 18, 1664.
    """

    n_permutations: int = 10_000
    seed: int = 0
    leakage: Level = "subject"

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("identification.share",)

    def __post_init__(self) -> None:
        if self.n_permutations < 1:
            raise NeurodecError(f"`n_permutations` is {self.n_permutations}; give 1 or more, such as 10000.")

    @property
    def level(self) -> Level:
        """What training and test must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse trials without time or onsets, a person alone, and recordings too short to be halved."""
        for space, trials in study.spaces.items():
            _require_people(halves_of(trials), space)

    def run(
        self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None
    ) -> IdentificationRun:
        """Compare all halves of one fold; see `Evaluation.run`."""
        fitted = required(fitted, type(self).__name__)
        people, found = [], []
        for space, trials in study.spaces.items():
            candidates = {who: (trials, *rows) for who, rows in halves_of(trials).items()}
            tested = set(candidates)
            known = fitted.train.spaces.get(space)
            if known is not None:
                others = {who: (known, *rows) for who, rows in halves_of(known).items()}
                candidates = {**others, **candidates}
            _require_people(candidates, space)
            vectors = [
                [_vectors(fitted.system, own.select(rows), space) for rows in halves]
                for own, *halves in candidates.values()
            ]
            ways = set.intersection(*(set(half) for person in vectors for half in person))
            found.append({way: _similarities(vectors, way) for way in WAYS if way in ways})
            people.append(pd.DataFrame({"subject": list(candidates), "space": space}))
            people[-1]["tested"] = [int(who in tested) for who in candidates]
        joined = {
            way: _joined([own[way] for own in found]) for way in WAYS if all(way in own for own in found)
        }
        return IdentificationRun(pd.concat(people, ignore_index=True), joined)

    def results(self, runs: Sequence[IdentificationRun]) -> dict[str, Any]:
        """Return the section `identification`: the share identified by either way, with intervals and per subject."""
        ways = [way for way in WAYS if all(way in run.similarities for run in runs)]
        tested = pd.concat([run.people[run.people["tested"] == 1] for run in runs], ignore_index=True)
        sizes = np.concatenate([_n_candidates(run.people)[run.people["tested"] == 1] for run in runs])
        clusters = np.repeat(tested["subject"].to_numpy(dtype=str), 2)
        hits = {way: np.concatenate([_hits(run, way) for run in runs]) for way in ways}
        n_candidates = float(sizes.mean())
        found: dict[str, Any] = {
            "n_people": int(tested["subject"].nunique()),
            "n_queries": len(clusters),
            "n_candidates": int(n_candidates) if n_candidates.is_integer() else n_candidates,
            "chance": float((1 / sizes).mean()),
        }
        if "network" in hits:
            found["share"] = float(hits["network"].mean())
        else:
            found["note"] = _NO_STATES
        for way, own in hits.items():
            null, method = self._null(runs, way)
            found[way] = {
                "name": WAYS[way],
                "share": float(own.mean()),
                "ci95": interval(own, clusters),
                "p_value": permutation_p(float(own.sum()), null),
                "p_floor": 1 / (1 + len(null)),
                "p_method": method,
            }
        if len(hits) == 2:
            against = paired_difference(hits["network"], hits["connectivity"], clusters)
            bounds = np.clip(against["ci95"], -1, 1).tolist()  # of two people Student's t would go further
            found["network_minus_connectivity"] = {**against, "ci95": bounds}
        table = pd.DataFrame({**hits, "subject": clusters}).groupby("subject", sort=False).mean()
        per_subject = {str(who): own.to_dict() for who, own in table.iterrows()}
        return {"identification": {**found, "per_subject": per_subject}}

    def _null(self, runs: Sequence[IdentificationRun], way: str) -> tuple[np.ndarray, str]:
        """Return the number of hits under exchanges of second halves, and how many there were, in words."""
        blocks: dict[tuple[str, ...], np.ndarray] = {}
        for run in runs:
            marks = sum(marks_of(run.similarities[way])) * run.people["tested"].to_numpy()
            for space, rows in run.people.groupby("space", sort=False).indices.items():
                own = run.people.iloc[rows].sort_values("subject")
                key = (str(space), *own["subject"])  # folds with the same candidates
                blocks[key] = blocks.get(key, 0.0) + marks[np.ix_(own.index, own.index)].T
        seeds = np.random.SeedSequence(self.seed).generate_state(len(blocks))
        first = next(iter(blocks.values()))
        if len(blocks) == 1 and factorial(min(len(first), 20)) <= self.n_permutations:
            orders = np.array(list(permutations(range(len(first))))[1:])  # the first is the order observed
            return first[np.arange(len(first)), orders].sum(
                axis=1
            ), f"all {len(orders) + 1} exchanges of people"
        drawn = [
            permuted_scores(own, self.n_permutations, int(seed))
            for own, seed in zip(blocks.values(), seeds, strict=True)
        ]
        return np.sum(drawn, axis=0), f"{self.n_permutations} exchanges of people"

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return identification_section(sections["identification"], name)

    def save(self, run: IdentificationRun, folder: Path) -> None:
        """Write ``people.csv`` and the similarities, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            for way, own in run.similarities.items():
                np.save(partial / f"{way}.npy", own)
            write_table(partial / "people.csv", run.people)

    def load(self, folder: Path) -> IdentificationRun:
        """Read them."""
        people = read_own_table(folder / "people.csv", dtype={"subject": str, "space": str})
        with reading(folder, "an evaluation", "it is damaged, so delete it and run again"):
            found = {way: np.load(folder / f"{way}.npy") for way in WAYS if (folder / f"{way}.npy").exists()}
            if not found or any(own.shape != (len(people), len(people)) for own in found.values()):
                raise NeurodecError(f"The evaluation in {folder} is damaged; delete it and run again.")
        return IdentificationRun(people, found)


def marks_of(similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mark whom every half is most similar to.

    Parameters
    ----------
    similarities : ndarray, shape (n, n)
        Second halves in rows, first ones in columns.

    Returns
    -------
    tuple of ndarray, shape (n, n)
        1 at the best first half of every row, and at the best second half of every column; ties share it.
    """
    best = [similarities >= similarities.max(axis=axis, keepdims=True) - TIE for axis in (1, 0)]
    return best[0] / best[0].sum(axis=1, keepdims=True), best[1] / best[1].sum(axis=0, keepdims=True)


def _vectors(system: Any, half: Trials, space: str) -> dict[str, np.ndarray]:
    """Return a half by every way that there is."""
    half = standardised(half)
    found, states = {"connectivity": connectivity_of(half)}, summaries_of(system, half, space)
    return found if states is None else {"network": states.mean(axis=0, dtype=np.float64), **found}


def _similarities(people: list[list[dict[str, np.ndarray]]], way: str) -> np.ndarray:
    """Correlate all second halves with all first ones, both less their mean over people."""
    first, second = (np.array([halves[half][way] for halves in people], dtype=np.float64) for half in (0, 1))
    sides = [own - own.mean(axis=0) for own in (second, first)]
    late, early = (unit_rows(own - own.mean(axis=1, keepdims=True)) for own in sides)
    return late @ early.T


def _joined(blocks: list[np.ndarray]) -> np.ndarray:
    """Join the similarities of several spaces, between which there is none."""
    ends = np.cumsum([len(own) for own in blocks])
    whole = np.full((ends[-1], ends[-1]), -np.inf)
    for own, end in zip(blocks, ends, strict=True):
        whole[end - len(own) : end, end - len(own) : end] = own
    return whole


def _hits(run: IdentificationRun, way: str) -> np.ndarray:
    """Return how every tested person was identified, shape (2 * n_tested,): by the second half, by the first one."""
    tested = run.people["tested"].to_numpy(dtype=bool)
    return np.stack([np.diag(marks)[tested] for marks in marks_of(run.similarities[way])], axis=1).ravel()


def _n_candidates(people: pd.DataFrame) -> np.ndarray:
    return people.groupby("space")["subject"].transform("size").to_numpy()


def _require_people(people: Mapping[str, Any], space: str) -> None:
    if len(people) < 2:
        raise NeurodecError(
            f"PersonIdentification chooses between people, and {space} has {len(people)} "
            f"({', '.join(people) or 'nobody'}); add recordings of others with the same parcels."
        )
