"""Which of several concurrent streams a person attends to: correlation of the predicted series with each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level, groups_of
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval, jackknife_interval, paired_difference
from neurodec.evaluation.statistics.permutations import permutation_p
from neurodec.evaluation.stream_scores import (
    StreamSums,
    leads,
    null_shares,
    null_sums,
    require_in_a_row,
    shifted_copies,
    smallest_p,
)
from neurodec.evaluation.streams_section import streams_section
from neurodec.files import atomic_path, read_json, write_json

_LEAST_OTHERS = 19  # streams, without which no p value below 0.05 is possible in a single run
_LEAST_RUNS = 5  # that an interval over runs takes
_SHIFT, _COPIES = 1.0, 199  # s between shifted copies, and how many at most
_COLUMNS = ("stream", "offset", "duration")

Ways = dict[str, list[StreamSums]]
"""Of every decoder, sums of every run."""


@dataclass(frozen=True)
class Streams(Evaluation):
    """Pearson's r of the predicted series with the attended, the ignored and other streams, in runs and in windows.

    Stimuli are windows of streams (`stream`, `offset`, `duration`; s), among them those of streams that nobody heard;
    trials are windows in a row (`onset`) that show the attended stream, and name the `ignored` one where there is one.

    Parameters
    ----------
    seconds : list of float
        Lengths of the stretches in which streams are compared: windows of a run that follow each other.
    n_permutations : int
        Draws of the null.
    seed : int
        Of these draws.
    leakage : str
        What training and test trials must not share.

    Notes
    -----
    The null of r: in every run another stream takes the place of the attended one, drawn among those that were not
    played, neither in this run nor in training, at the same times; the attended one is drawn too, so p is exact where
    streams are exchangeable. That of the comparison with the ignored stream draws two of them: no stream is followed.
    With fewer than 19 such streams the attended one is turned around within its run instead, by whole seconds. The
    smallest p that can be reached is given as `p_floor`.

    Intervals leave out one run each where there are 5 or more, else one window each: they then tell nothing of further
    runs, which `interval_over` says.

    References
    ----------
    O'Sullivan et al. (2015), Attentional selection in a cocktail party environment can be decoded from single-trial
    EEG, Cerebral Cortex 25.
    """

    seconds: list[float] = field(default_factory=lambda: [5.0, 10.0, 30.0, 60.0])
    n_permutations: int = 10_000
    seed: int = 0
    leakage: Level = "concept"

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("streams.r_attended", "streams.attended_ahead")

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse stimuli that are no windows of streams, and trials without onset; see `Evaluation.check`."""
        missing = [name for name in _COLUMNS if name not in study.stimuli]
        if missing or "onset" not in study.table:
            where = "stimulus table" if missing else "trial table"
            raise NeurodecError(
                f"Streams compares windows of streams, and the {where} has no column {(missing or ['onset'])[0]}; give "
                "stimuli `stream`, `offset` and `duration`, and trials `onset` (s)."
            )

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return single test trials."""
        return {"single": test}

    def compared_heads(self, head: str) -> list[str]:
        """Return the compared head."""
        return [head]

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> Ways:
        """Correlate the predictions of the system, and of ridge, with all streams; see `Evaluation.run`.

        Raises
        ------
        NeurodecError
            If the target is no series over time, or windows of a run overlap.
        """
        fitted = required(fitted, type(self).__name__)
        self.check(study)
        head = fitted.system.head
        targets = fitted.targets[head]
        found = predictions["single"].of(head)
        if targets.dims[-1] != "time" or found.ndim != 3:
            raise NeurodecError(
                f"Streams compares series over time, and the target {head} is {' x '.join(targets.dims[1:])}; take a "
                "target such as neurodec.features.Series."
            )
        ways = {"decoder": _sums(found, study, fitted, fitted.system)}
        ridge = fitted.baseline(head) if fitted.baseline else None
        if ridge is not None:
            ways["ridge"] = _sums(ridge.predict(study).of(head), study, fitted, ridge)
        return ways

    def results(self, runs: Sequence[Ways]) -> dict[str, Any]:
        """Return the section `streams` and, beside it, that of ridge under `baselines`."""
        ways: Ways = {name: [own for run in runs for own in run[name]] for name in runs[0]}
        own = self._of_way(ways["decoder"])
        sections: dict[str, Any] = {"streams": own, "baselines": {}, "controls": {}}
        if "ridge" in ways:
            ours, theirs = (self._ahead(ways[name], 1) for name in ("decoder", "ridge"))
            difference = paired_difference(np.concatenate(ours), np.concatenate(theirs), _clusters(ours))
            sections["baselines"]["ridge"] = {
                **self._of_way(ways["ridge"]),
                "difference_to_decoder": difference,
            }
        return sections

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return streams_section(sections, name)

    def save(self, run: Ways, folder: Path) -> None:
        """Write ``about.json`` and the sums of every run, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            about = {}
            for name, parts in run.items():
                np.savez(partial / f"{name}.npz", *[own.sums for own in parts])
                about[name] = [
                    {key: value for key, value in vars(own).items() if key != "sums"} for own in parts
                ]
            write_json(partial / "about.json", about)

    def load(self, folder: Path) -> Ways:
        """Read them."""
        ways = {}
        for name, parts in read_json(folder / "about.json").items():
            with (
                reading(folder, "an evaluation of streams", "delete it and run again"),
                np.load(folder / f"{name}.npz") as sums,
            ):
                ways[name] = [StreamSums(**own, sums=sums[f"arr_{place}"]) for place, own in enumerate(parts)]
        return ways

    def _of_way(self, parts: list[StreamSums]) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        whole = [own.correlations()[0] for own in parts]
        n, value = len(parts), float(np.mean([r[0] for r in whole]))
        null = null_sums([np.delete(r, 1) / n for r in whole], self.n_permutations, rng)
        floor = smallest_p([own.n_null + 1 for own in parts], self.n_permutations)
        windows = [self._stretches(parts, seconds, rng, floor) for seconds in self.seconds]
        windows = [own for own in windows if own]
        first = windows[0] if windows else self._stretches(parts, parts[0].seconds, rng, floor)
        known = "ahead_of_ignored" in first
        lead = "ahead_of_ignored" if known else "ahead_of_others"
        return {
            "attended_ahead": first[lead],
            "ci95": first[f"ci95_{lead}"],
            "p_value": first[f"p_value_{lead}"],
            "p_floor": floor,
            "chance": 0.5,
            "ahead_of": "the ignored stream" if known else "other streams",
            "seconds": first["seconds"],
            "r_attended": value,
            "ci95_r_attended": _interval(parts, value),
            "p_value_r_attended": max(permutation_p(value, null), floor),
            "r_ignored": _mean([r[1] for r in whole]),
            "r_others": float(np.mean([r[2:].mean() for r in whole])),
            "null": "the attended stream, shifted" if parts[0].shifted else "streams that were not played",
            "interval_over": "runs" if n >= _LEAST_RUNS else "windows of these runs",
            "n_runs": n,
            "n_windows": sum(own.n_windows for own in parts),
            "windows": windows,
            "per_run": [_of_run(own, r) for own, r in zip(parts, whole, strict=True)],
        }

    def _stretches(
        self, parts: list[StreamSums], seconds: float, rng: np.random.Generator, floor: float
    ) -> dict[str, Any]:
        """Return how often the attended stream is ahead in stretches of a length; nothing where no run is as long."""
        n_joined = max(1, round(seconds / parts[0].seconds))
        stretches = [own.correlations(n_joined) for own in parts if own.n_windows >= n_joined]
        if not stretches:
            return {}
        total = sum(map(len, stretches))
        found: dict[str, Any] = {
            "seconds": n_joined * parts[0].seconds,
            "n": total,
            "r_attended": float(np.concatenate(stretches)[:, 0].mean()),
        }
        candidates = [np.delete(r, 1, axis=1) for r in stretches]
        scores = {"ahead_of_others": [leads(r[:, :1], r[:, 1:]).mean(axis=1) for r in candidates]}
        nulls = {
            "ahead_of_others": null_sums(list(map(_ranks, candidates)), self.n_permutations, rng) / total
        }
        if not np.isnan(np.concatenate(stretches)[:, 1]).any():
            scores["ahead_of_ignored"] = self._ahead(parts, n_joined)
            nulls["ahead_of_ignored"] = null_shares(candidates, self.n_permutations, rng)
            found["r_ignored"] = float(np.concatenate(stretches)[:, 1].mean())
        for name, own in scores.items():
            joined = np.concatenate(own)
            found[name] = float(joined.mean())
            found[f"ci95_{name}"] = interval(joined, _clusters(own), n_trials=total)
            found[f"p_value_{name}"] = max(permutation_p(found[name], nulls[name]), floor)
        return found

    def _ahead(self, parts: list[StreamSums], n_joined: int) -> list[np.ndarray]:
        """Return of every stretch, by run, if the attended stream leads the ignored one, or which share of others."""
        found = []
        for r in (own.correlations(n_joined) for own in parts if own.n_windows >= n_joined):
            known = not np.isnan(r[:, 1]).any()
            found.append(leads(r[:, 0], r[:, 1]) if known else leads(r[:, :1], r[:, 2:]).mean(axis=1))
        return found


def _sums(found: np.ndarray, study: Study, fitted: Fitted, system: Any) -> list[StreamSums]:
    """Return the sums of every run of the test trials."""
    windows = _Windows.of(study.stimuli, fitted, system)
    runs = groups_of(study.table, "run")
    parts = []
    for run in runs.unique():
        places = np.flatnonzero(runs == run)
        own = study.table.iloc[places].assign(place=places).sort_values("onset", kind="stable")
        seconds = windows.seconds_of(own["stimulus"].iloc[0])
        require_in_a_row(own, seconds, run)
        names, shifted, candidates = windows.candidates(own, seconds)
        rows = own["place"].to_numpy()
        parts.append(StreamSums.of(run, names, shifted, seconds, np.asarray(found[rows]), candidates))
    return parts


@dataclass(frozen=True)
class _Windows:
    """Stimuli by stream and time, and their series as a system compares them."""

    stimuli: pd.DataFrame
    places: dict[tuple[str, float], str]
    trained: set[str]
    series: Callable[[Sequence[str | None]], np.ndarray]

    @classmethod
    def of(cls, stimuli: pd.DataFrame, fitted: Fitted, system: Any) -> _Windows:
        head = fitted.system.head
        targets = fitted.targets[head]
        table = stimuli.drop_duplicates("stimulus").set_index("stimulus")
        table = table.assign(offset=table["offset"].astype(float).round(6))
        places = {
            (stream, at): name
            for name, stream, at in zip(table.index, table["stream"], table["offset"], strict=True)
        }
        trained = {*table["stream"][fitted.train.table["stimulus"]], *_ignored(fitted.train.table)}

        def series(names: Sequence[str | None]) -> np.ndarray:
            known = [name for name in names if name is not None]
            if len(known) < len(names):
                return np.full((len(names), *targets.values.shape[1:]), np.nan)
            return np.asarray(system.project(head, targets.of(known)))

        return cls(table, places, trained, series)

    def seconds_of(self, stimulus: str) -> float:
        return float(self.stimuli["duration"][stimulus])

    def candidates(self, table: pd.DataFrame, seconds: float) -> tuple[list[str], bool, Iterable[np.ndarray]]:
        """Return the streams of a run, whether the null is shifts, and the series of each, (n_windows, ...)."""
        shown = table["stimulus"].tolist()
        times = self.stimuli["offset"][shown].tolist()
        attended, ignored = self.stimuli["stream"][shown].tolist(), _ignored(table)
        played = {*attended, *ignored, *self.trained}
        others = [
            stream
            for stream in self.stimuli["stream"].unique()
            if stream not in played and all((stream, at) in self.places for at in times)
        ]
        names = [", ".join(dict.fromkeys(own)) for own in (attended, ignored)]
        told = self.series(shown)
        unattended = self.series([self.places.get(key) for key in zip(ignored, times, strict=True)])
        if len(others) >= _LEAST_OTHERS:
            further = (self.series([self.places[stream, at] for at in times]) for stream in others)
            return [*names, *others], False, chain([told, unattended], further)
        joined = np.concatenate(list(told), axis=-1)
        copies = shifted_copies(joined, round(_SHIFT * told.shape[-1] / seconds), _COPIES)
        if not len(copies):
            raise NeurodecError(
                f"The run of {names[0]} is too short to turn its series around by {_SHIFT:g} s, and there are only "
                f"{len(others)} other streams; give {_LEAST_OTHERS}, or longer runs."
            )
        further = (np.stack(np.split(copy, len(told), axis=-1)) for copy in copies)
        return [*names, *["shifted"] * len(copies)], True, chain([told, unattended], further)


def _ignored(table: pd.DataFrame) -> list[str]:
    return table["ignored"].astype(str).tolist() if "ignored" in table else [""] * len(table)


def _ranks(r: np.ndarray) -> np.ndarray:
    """Return of every candidate the sum over stretches of the share of others that it is ahead of, (n_candidates,)."""
    order = rankdata(r, axis=1) - 1  # ties count half
    return (order / (r.shape[1] - 1)).sum(axis=0)


def _clusters(scores: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the run of every stretch, or nothing where there are too few runs."""
    if len(scores) < _LEAST_RUNS:
        return None
    return np.repeat(np.arange(len(scores)), list(map(len, scores)))


def _interval(parts: list[StreamSums], value: float) -> list[float]:
    """Return the 95 % interval of the mean r of the attended stream over runs."""
    each = np.array([own.correlations()[0, 0] for own in parts])
    if len(parts) >= _LEAST_RUNS:
        without = (each.sum() - each) / (len(each) - 1)
    else:
        rest = [
            (each.sum() - each[place] + own.without(window)[0]) / len(each)
            for place, own in enumerate(parts)
            for window in range(own.n_windows)
            if own.n_windows > 1
        ]
        without = np.array(rest)
    return jackknife_interval(value, without, np.ones(len(without)), "correlation", 0.0)


def _of_run(own: StreamSums, r: np.ndarray) -> dict[str, Any]:
    """Return what one run tells: r of its streams, and the rank of the attended one among all of them."""
    null = r[2:]
    told: dict[str, Any] = {
        "run": own.run,
        "attended": own.streams[0],
        "r_attended": float(r[0]),
        "r_others": float(null.mean()),
        "sd_others": float(null.std()),
        "n_others": len(null),
        "p_value": permutation_p(float(r[0]), null),
    }
    if own.streams[1] and not np.isnan(r[1]):
        told |= {"ignored": own.streams[1], "r_ignored": float(r[1])}
    if not own.shifted:
        among = r[~np.isnan(r)]
        told |= {"rank": float(rankdata(-among)[0]), "n_candidates": len(among)}
        told["chance_rank"] = (len(among) + 1) / 2
    return told


def _mean(values: Sequence[float]) -> float | None:
    return None if np.isnan(values).any() else float(np.mean(values))
