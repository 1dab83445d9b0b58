"""How well a system reads people whom it knows from little: accuracy against the size of the context and the voxels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.evaluation.capabilities import Adapts, companions_of, require
from neurodec.evaluation.further_sections import adaptation_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.retrieval.centring import projected, training_centre
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import chance_top
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.evaluation.section import Evaluation, Fitted, Predictor, required
from neurodec.evaluation.statistics.intervals import interval
from neurodec.files import read_own_table, track, write_table

_TEXT = {"kind": str, "decoder": str, "subject": str, "stimulus": str}


@dataclass(frozen=True)
class Adaptation(Evaluation):
    """Retrieval by a system that is adapted anew to contexts of several sizes, and to some of the voxels.

    Any system whose `adapt` takes a context can be scored; its companions are adapted to the same contexts.

    Parameters
    ----------
    n_pictures : list of int
        Pictures of a context; sizes above what a person saw are left out.
    n_voxels : list of int
        Voxels, drawn at random as published, with all pictures; for responses without time.
    n_repeats : int
        Contexts of every size, drawn anew.
    seed : int
        Of contexts and voxels.
    """

    n_pictures: list[int] = field(default_factory=lambda: [25, 50, 100, 200, 400, 800])
    n_voxels: list[int] = field(default_factory=list)
    n_repeats: int = 3
    seed: int = 0

    needs_system: ClassVar[bool] = True

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> pd.DataFrame:
        """Adapt and score; see `Evaluation.run`.

        Returns
        -------
        DataFrame
            `kind, size, decoder, subject, stimulus, top1, two_way, n_candidates`, mean over repeats.

        Raises
        ------
        NeurodecError
            If the system does not adapt, or the tested subjects have no training trials.
        """
        fitted = required(fitted, type(self).__name__)
        system = require(fitted.system, Adapts, "does not adapt to people, so there is no curve to draw")
        support = fitted.train.part(subjects=study.subjects)
        if not len(support):
            raise NeurodecError(
                "The tested subjects have no training trials to adapt to; take protocol: new_subject or within_subject."
            )
        test, rows = study.average(seed=self.seed), []
        jobs = list(self._jobs(support))
        for kind, size, repeat in track(jobs, "Contexts", total=len(jobs)):
            rng = np.random.default_rng([self.seed, size, repeat])
            some, tested = _drawn(support, test, kind, size, rng)
            adapted = system.adapt(some, fitted.targets)
            for name, one in {fitted.name: adapted, **companions_of(adapted)}.items():
                scored = self._scored(one, some, tested, fitted)
                shares = {"top1": scored.top(1), "two_way": scored.top(1, 2)}
                about = {"kind": kind, "size": size, "decoder": name, "n_candidates": scored.n_candidates}
                rows.append(scored.table[["subject", "stimulus"]].assign(**about, **shares))
        keys = ["kind", "size", "decoder", "subject", "stimulus", "n_candidates"]
        return pd.concat(rows).groupby(keys, sort=False)[["top1", "two_way"]].mean().reset_index()

    def results(self, runs: Sequence[pd.DataFrame]) -> dict[str, Any]:
        """Return the section `adaptation`: points with top-1, its interval and two-way identification."""
        table = pd.concat(runs)
        points = []
        for (kind, size, decoder), part in table.groupby(["kind", "size", "decoder"], sort=False):
            clusters, top1 = part["stimulus"].to_numpy(), part["top1"].to_numpy()
            points.append(
                {
                    "kind": str(kind),
                    "size": int(size),
                    "decoder": str(decoder),
                    "top1": float(top1.mean()),
                    "ci95": interval(top1, clusters),
                    "two_way": float(part["two_way"].mean()),
                    "chance_top1": chance_top(int(part["n_candidates"].iloc[0])),
                }
            )
        return {"adaptation": {"points": points, "n_repeats": self.n_repeats}}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return adaptation_section(sections["adaptation"])

    def save(self, run: pd.DataFrame, folder: Path) -> None:
        """Write ``adaptation.csv``."""
        write_table(folder / "adaptation.csv", run)

    def load(self, folder: Path) -> pd.DataFrame:
        """Read it."""
        return read_own_table(folder / "adaptation.csv", dtype=_TEXT)

    def _jobs(self, support: Study) -> Iterator[tuple[str, int, int]]:
        n_seen = support.table.groupby("subject")["stimulus"].nunique().min()
        sizes = {int(min(n, n_seen)) for n in self.n_pictures}
        for size in sorted(sizes):
            for repeat in range(self.n_repeats if size < n_seen else 1):
                yield "pictures", size, repeat
        fewest = min(trials.responses.shape[1] for trials in support.spaces.values())
        for size in sorted(n for n in self.n_voxels if n <= fewest):
            for repeat in range(self.n_repeats):
                yield "voxels", size, repeat

    def _scored(self, system: Predictor, support: Study, test: Study, fitted: Fitted) -> Scored:
        retrieval, head = Retrieval(seed=self.seed), fitted.system.head
        found = system.predict(test)
        features = projected(system, head, fitted.targets[head])
        gallery = retrieval.candidates(found.table, test.stimuli, features)
        centre = training_centre(system, head, support, features, test.subjects, seed=self.seed)
        return Scored.of(np.asarray(found.of(head)), found.table, replace(gallery, centre=centre))


def _drawn(
    support: Study, test: Study, kind: str, size: int, rng: np.random.Generator
) -> tuple[Study, Study]:
    """Return a context and the test trials that belong to it: of some pictures, or of some voxels."""
    if kind == "pictures":
        rows = {}
        for space, trials in support.spaces.items():
            kept = np.zeros(len(trials), dtype=bool)
            for _, own in trials.table.groupby("subject")["stimulus"]:
                drawn = rng.permutation(own.unique())[:size]
                kept[own.index[own.isin(drawn)]] = True
            rows[space] = np.flatnonzero(kept)
        return support.select(rows), test
    columns = {
        space: np.sort(rng.choice(trials.responses.shape[1], size, replace=False))
        for space, trials in support.spaces.items()
    }
    if any(has_time(trials.info) for trials in support.spaces.values()):
        raise NeurodecError("`n_voxels` is for responses without time; leave it out for EEG and MEG.")
    return tuple(
        replace(one, spaces={name: trials.take(columns[name]) for name, trials in one.spaces.items()})
        for one in (support, test)
    )
