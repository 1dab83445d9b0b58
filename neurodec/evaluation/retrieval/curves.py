"""Accuracy against repetitions, time windows and sensor regions, and the importance of single channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from neurodec.data.responses import View
from neurodec.data.trial_tables import has_time
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.evaluation.retrieval.ablation import (
    Predict,
    Window,
    advantage,
    bin_width,
    keep_only,
    named_regions,
    refit,
    regions_of,
    time_windows,
    without_chan,
)
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Gallery
from neurodec.evaluation.statistics.intervals import interval
from neurodec.files import track
from neurodec.linear.features import binned

Point = dict[str, Any]
Averages = Callable[[int | None, int], tuple[dict[str, np.ndarray], pd.DataFrame]]
Known = dict[tuple[int | None, int] | None, dict[str, np.ndarray]]

ROWS_AT_ONCE = 1024  # trials embedded together
N_DRAWS = 3  # seeded choices of repetitions per point of the curve
_CHANNEL_ROWS = 5_000  # responses embedded for channel importance
_WIDEST = 16_384  # values of a target that a refit is made for
_REPETITIONS = (1, 2, 5, 10, 20, 40, 80)


def predict_rows(predict: Predict, trials: Trials) -> np.ndarray:
    """Embed trials a block at a time, so that memory-mapped responses are never read whole.

    Raises
    ------
    NeurodecError
        If the decoder returns another number of rows.
    """
    blocks = []
    for start in range(0, len(trials), ROWS_AT_ONCE):
        block = trials.select(slice(start, start + ROWS_AT_ONCE)).in_memory()
        z = np.asarray(predict(block))
        if len(z) != len(block):
            raise NeurodecError(
                f"The decoder returned {len(z)} embeddings for {len(block)} trials; return one each."
            )
        blocks.append(z)
    return np.concatenate(blocks)


def as_trials(z: np.ndarray, table: pd.DataFrame) -> Trials:
    """Return embeddings of single trials as trials, so that they are averaged like those."""
    flat = np.asarray(z, dtype=np.float32).reshape(len(z), -1)
    return Trials(flat, table, {"dims": ["trial", "value"]})


def averages(
    test: Trials,
    decoders: dict[str, Predict],
    averaging: Literal["response", "embedding"],
    known: Known | None = None,
    averaged: Trials | None = None,
    asked: tuple[int | None, int] = (None, 0),
) -> Averages:
    """Return a function (n_repetitions, seed) -> ({decoder: z}, table) that embeds averaged test responses.

    Parameters
    ----------
    test : Trials
        Single trials.
    decoders : dict of callables
        Each turns Trials into embeddings.
    averaging : {"response", "embedding"}
        Average the responses before the encoder, as all published EEG retrieval does, or the embeddings of single
        trials after it (then every trial is embedded once, whatever is asked for later).
    known : dict, optional
        What is embedded already, by decoder: of single trials under None, of averaged responses under their
        (n_repetitions, seed).
    averaged, asked : Trials and (n_repetitions, seed), optional
        An average that is made already.
    """
    known = known or {}
    if averaging == "response":

        def of_responses(n: int | None, seed: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
            done = known.get((n, seed), {})
            ready = averaged is not None and (n, seed) == asked
            mean = averaged if ready else test.average(n, seed=seed)
            if set(decoders) - set(done):
                mean = mean.in_memory()
            return {
                name: done[name] if name in done else predict_rows(predict, mean)
                for name, predict in decoders.items()
            }, mean.table

        return of_responses
    done = known.get(None, {})
    single = {
        name: done[name] if name in done else predict_rows(predict, test)
        for name, predict in decoders.items()
    }
    embedded = {name: as_trials(z, test.table) for name, z in single.items()}

    def of_embeddings(n: int | None, seed: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
        averaged = {name: single.average(n, seed=seed) for name, single in embedded.items()}
        found = {name: np.asarray(part.responses) for name, part in averaged.items()}
        return found, next(iter(averaged.values())).table

    return of_embeddings


def repetition_counts(test: Trials, wanted: bool | Sequence[int], most: int | None) -> dict[int, int]:
    """Return how many repetitions to average and how many draws to make of each.

    Parameters
    ----------
    test : Trials
        Single trials.
    wanted : bool or sequence of int
        True chooses 1, 2, 5, 10, 20, ... and all.
    most : int, optional
        Upper end. Never more than the stimulus with the fewest trials has.

    Returns
    -------
    dict
        Number of repetitions to number of seeded draws: one where there is nothing to choose.
    """
    sizes = test.table.groupby(["subject", "stimulus"]).size()
    most = min(most or sizes.min(), sizes.min())
    if wanted is False or most < 2:
        return {}
    counts = (*_REPETITIONS, most) if wanted is True else wanted
    return {int(n): 1 if n == sizes.max() else N_DRAWS for n in sorted(set(counts)) if 1 <= n <= most}


def repetition_curve(
    average: Averages, counts: dict[int, int], galleries: dict[str, Gallery], seed: int
) -> list[Point]:
    """Return top-1 against the number of averaged repetitions, mean over draws: {decoder, n, top1, ci95}.

    Parameters
    ----------
    average : callable
        See `averages`.
    counts : dict
        See `repetition_counts`.
    galleries : dict of Gallery
        Candidates of every decoder.
    seed : int
        Of the draws.
    """
    points = []
    for n, n_draws in track(counts.items(), "Repetitions", total=len(counts)):
        scores: dict[str, list[np.ndarray]] = {}
        for draw in range(n_draws):
            predicted, table = average(n, seed + draw)
            for decoder, z in predicted.items():
                scores.setdefault(decoder, []).append(Scored.of(z, table, galleries[decoder]).top())
        for decoder, drawn in scores.items():
            mean = np.mean(drawn, axis=0)
            ci95 = interval(mean, table["stimulus"].to_numpy())
            points.append({"decoder": decoder, "n": n, "top1": float(mean.mean()), "ci95": ci95})
    return points


@dataclass(frozen=True)
class Ablation:
    """Windows, regions and channels for one fold, from averaged test responses.

    Parameters
    ----------
    test : Trials
        Averaged: one row per subject and stimulus.
    gallery, linear_gallery : Gallery
        Candidates of the encoder, and of the ridge, which knows no projector that the encoder's objective learned.
    shown : Trials
        What the encoder sees when parts are hidden from it: `test` itself, or the single trials, whose embeddings are
        then averaged.
    predict : callable
        The trained encoder, for occlusion.
    train, targets : Trials and ndarray or View (n_train, ...), optional
        Training trials and their targets, for the refitted ridge; without them there is occlusion only.
    decoder : str
        Name of the encoder in the curves.
    window : float
        Seconds; width and step of the windows.
    """

    test: Trials
    gallery: Gallery
    linear_gallery: Gallery
    shown: Trials
    predict: Predict
    train: Trials | None
    targets: np.ndarray | View | None
    decoder: str
    window: float

    def windows(self) -> list[Point]:
        """Top-1 of every growing and sliding window: {decoder, method, kind, tmin, tmax, top1, ci95}.

        Before onset there is the refitted ridge alone: an encoder that was not trained on that time sees nothing there.
        """
        points = []
        windows = time_windows(self.test.times, self.test.info["sfreq"], self.window)
        for window in track(windows, "Time windows", total=len(windows)):
            about = asdict(window)
            if window.tmin >= 0:
                score = self._score(self._occluded(window=window), self.gallery)
                points.append({"decoder": self.decoder, "method": "occlusion", **about, **score})
            if self.train is not None:
                z = self._refit_window(window)
                points.append(
                    {"decoder": "ridge", "method": "refit", **about, **self._score(z, self.linear_gallery)}
                )
        return points

    def regions(self, groups: dict[str, list[int]], *, left_out: bool = False) -> list[Point]:
        """Top-1 with one region only, or without it: {decoder, method, region, n_chans, top1, ci95}.

        Parameters
        ----------
        groups : dict
            Region to channel (or voxel) indices.
        left_out : bool
            Use every channel but the region's.
        """
        points = []
        title = "Regions left out" if left_out else "Regions"
        for region, members in track(groups.items(), title, total=len(groups)):
            chans = (
                np.setdiff1d(np.arange(self.test.responses.shape[1]), members)
                if left_out
                else np.asarray(members)
            )
            if not len(chans):
                continue
            about = {"region": region, "n_chans": len(chans)}
            z = self._occluded(chans=chans)
            score = self._score(z, self.gallery)
            points.append({"decoder": self.decoder, "method": "occlusion", **about, **score})
            if self.train is not None:
                z = self._refit(np.s_[:, chans])
                score = self._score(z, self.linear_gallery)
                points.append({"decoder": "ridge", "method": "refit", **about, **score})
        return points

    def channels(self) -> list[Point]:
        """Return {ch_name, importance}: how much of the true candidate's `advantage` each channel carries.

        The advantage with all channels minus the advantage with the channel set to zero.
        """
        n_rows = max(1, min(len(self.shown), _CHANNEL_ROWS // len(self.shown.ch_names)))
        test = self.shown.select(np.linspace(0, len(self.shown) - 1, n_rows).astype(int))
        true = self.gallery.true_index(test.table)
        whole = advantage(self.gallery.similarity(predict_rows(self.predict, test)), true)
        points = []
        for chan, name in enumerate(track(test.ch_names, "Channels", total=len(test.ch_names))):
            z = predict_rows(self.predict, without_chan(test, chan))
            rest = advantage(self.gallery.similarity(z), true)
            points.append({"ch_name": name, "importance": whole - rest})
        return points

    def groups(self, wanted: bool | dict[str, list[str]]) -> dict[str, list[int]]:
        """Return region to channel indices: a recipe's own, those told by the names, or an fMRI recording's ROIs."""
        if not wanted:
            return {}
        names = self.test.info.get("ch_names")
        if isinstance(wanted, dict):
            return named_regions(names or [], wanted)
        return dict(self.test.info.get("roi") or {}) or (regions_of(names) if names else {})

    def before_onset(self) -> np.ndarray | None:
        """Return the ridge's predictions from the time before onset, or None where there is none to learn from.

        Targets of more than 16,384 values, such as sequences, are left out: the refit would not fit into memory.
        """
        if self.train is None or self.targets is None or not has_time(self.test.info):
            return None
        if np.prod(self.targets.shape[1:]) > _WIDEST:
            return None
        length = -self.test.info["tmin"]
        width = min(self._bin, length)
        if width * self.test.info["sfreq"] < 1:
            return None
        n_bins = int(length / width + 1e-6)
        train, test = (binned(part, -n_bins * width, width, n_bins) for part in (self.train, self.test))
        return refit(train, self._wanted, test, self._concepts)

    def _occluded(self, **kept: Any) -> np.ndarray:
        """Embed what is left when all but a window or some channels is hidden, one row per test row."""
        z = predict_rows(lambda block: self.predict(keep_only(block, **kept)), self.shown)
        if self.shown is self.test:
            return z
        return np.asarray(as_trials(z, self.shown.table).average().responses)

    @property
    def _start(self) -> float:
        return max(0.0, float(self.test.times[0]))

    @cached_property
    def _bin(self) -> float:
        return bin_width(self.test.responses.shape[1], self.test.info["sfreq"], self.window)

    @cached_property
    def _wanted(self) -> np.ndarray:
        return np.asarray(self.targets, dtype=np.float32).reshape(len(self.targets), -1)

    @cached_property
    def _concepts(self) -> np.ndarray:
        return self.train.table["concept"].to_numpy()

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test responses in time bins from onset on; voxel responses as they are."""
        if not has_time(self.test.info):
            return np.asarray(self.train.responses), np.asarray(self.test.responses)
        last = self.test.times[-1] + 1 / self.test.info["sfreq"]
        n_bins = int((last - self._start) / self._bin + 1e-6)
        return tuple(binned(part, self._start, self._bin, n_bins) for part in (self.train, self.test))

    def _refit_window(self, window: Window) -> np.ndarray:
        n_bins = round((window.tmax - window.tmin) / self._bin)
        train, test = (binned(part, window.tmin, self._bin, n_bins) for part in (self.train, self.test))
        return refit(train, self._wanted, test, self._concepts)

    def _refit(self, part: Any) -> np.ndarray:
        train, test = self._parts
        return refit(train[part], self._wanted, test[part], self._concepts)

    def _score(self, z: np.ndarray, gallery: Gallery) -> Point:
        scored = Scored.of(z, self.test.table, gallery)
        scores = scored.top()
        ci95 = interval(scores, scored.table["stimulus"].to_numpy())
        return {"top1": float(scores.mean()), "ci95": ci95}
