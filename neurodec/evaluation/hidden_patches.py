"""How well a model fills in hidden patches of new people's recordings, beside what needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.capabilities import FillsIn, attention_of, require
from neurodec.evaluation.further_sections import hidden_patches_section
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval
from neurodec.files import atomic_path, read_json, read_own_table, track, write_json, write_table

EXAMPLE = "example.npz"
_AT_ONCE = 32  # windows
_NOT = "does not fill in hidden patches (neurodec.encoders.CSBrainPretraining does)"
_NAMES = {
    "mean": "the channel's mean",
    "previous": "the visible second before",
    "in_time": "a line in time",
    "other_channels": "the mean of visible channels",
}


@dataclass(frozen=True)
class HiddenPatchesRun:
    """What one fold gave.

    Parameters
    ----------
    table : DataFrame
        `subject, stimulus`, and the error of the model (`system`) and of every simpler way, one row per window.
    example : dict of ndarray
        Of the first window `x` and `found` (n_chans, n_patches, n_samples), `hidden` (n_chans, n_patches) and the
        `names` of its channels.
    attention : dict
        `regions` and `values` (rows attend columns), where the encoder tells.
    n_left_out : int
        Test windows of montages that no training window has.
    """

    table: pd.DataFrame
    example: dict[str, np.ndarray]
    attention: dict[str, Any]
    n_left_out: int = 0


@dataclass(frozen=True)
class HiddenPatches(Evaluation):
    """Mean squared error over hidden patches of test windows.

    Parameters
    ----------
    share : float
        Of patches that are hidden.
    n_windows : int, optional
        Windows per space; all by default.
    seed : int
        Of the patches and the windows.

    Notes
    -----
    Intervals are over recordings. Beside the model: the mean of a channel's visible samples; its last visible second; a
    straight line between the visible samples before and after; and the mean of the channels that are visible at that
    second.
    """

    share: float = 0.5
    n_windows: int | None = None
    seed: int = 0

    needs_system: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise NeurodecError(f"`share` is {self.share:g}; give a share between 0 and 1.")

    @property
    def level(self) -> Level:
        """People: what is filled in is of new ones."""
        return "subject"

    def run(
        self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None
    ) -> HiddenPatchesRun:
        """Hide and fill in; see `Evaluation.run`."""
        fitted = required(fitted, type(self).__name__)
        tables: list[pd.DataFrame] = []
        example: dict[str, np.ndarray] = {}
        known = {space: trials for space, trials in study.spaces.items() if space in fitted.train.spaces}
        if not known:
            raise NeurodecError(
                f"All test windows are of montages that no training window has ({', '.join(study.spaces)}), so "
                "there is nothing to score; choose other people to test (`held_out`)."
            )
        n_left_out = sum(len(trials) for space, trials in study.spaces.items() if space not in known)
        for space, trials in known.items():
            rng = np.random.default_rng(self.seed)
            if self.n_windows is not None and self.n_windows < len(trials):
                trials = trials.select(np.sort(rng.choice(len(trials), self.n_windows, replace=False)))
            starts = range(0, len(trials), _AT_ONCE)
            for start in track(starts, "hidden patches", total=len(starts)):
                block = trials.select(slice(start, start + _AT_ONCE))
                table, first = self._errors(block, space, fitted, rng)
                tables.append(table)
                example = example or {**first, "names": np.array(trials.ch_names)}
        first_space, trials = next(iter(known.items()))
        attention = attention_of(fitted.system, trials.select(slice(0, _AT_ONCE)), first_space)
        return HiddenPatchesRun(pd.concat(tables, ignore_index=True), example, attention, n_left_out)

    def _errors(
        self, trials: Trials, space: str, fitted: Fitted, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        values = np.asarray(trials.responses, dtype=np.float32)
        n_patches = round(values.shape[-1] / trials.info["sfreq"])
        x = values.reshape(*values.shape[:2], n_patches, -1)
        hidden = rng.random(x.shape[:3]) < self.share
        found = {
            "system": require(fitted.system, FillsIn, _NOT).restored(trials, hidden, space).reshape(x.shape),
            **filled(x, hidden),
        }
        weight = np.maximum(hidden.sum(axis=(1, 2)), 1)
        errors = {
            name: (np.square(own - x).mean(axis=-1) * hidden).sum(axis=(1, 2)) / weight
            for name, own in found.items()
        }
        table = trials.table[["subject", "stimulus"]].reset_index(drop=True).assign(**errors)
        return table, {"x": x[0], "found": found["system"][0], "hidden": hidden[0]}

    def results(self, runs: Sequence[HiddenPatchesRun]) -> dict[str, Any]:
        """Return `hidden_patches` (errors with intervals, and the share of the mean's taken off) and `attention`."""
        table = pd.concat([run.table for run in runs], ignore_index=True)
        clusters, found = table["stimulus"].to_numpy(), {}
        reference = float(table["mean"].mean())
        for name in ("system", *_NAMES):
            errors = table[name].to_numpy()
            found[name] = {
                "name": _NAMES.get(name, "the model"),
                "mse": float(errors.mean()),
                "ci95": interval(errors, clusters, "mean"),
                "explained": 1 - float(errors.mean()) / reference,
            }
            if name != "system":
                less = interval(table["system"].to_numpy() - errors, clusters, "mean")
                found[name]["system_minus_this"] = {
                    "difference": float((table["system"] - table[name]).mean()),
                    "ci95": less,
                }
        about = {
            "share": self.share,
            "n_windows": len(table),
            "n_left_out": sum(run.n_left_out for run in runs),
            "n_recordings": int(table["stimulus"].nunique()),
        }
        attention = {"attention": runs[0].attention} if runs[0].attention else {}
        return {"hidden_patches": {**about, "errors": found}, **attention}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        return hidden_patches_section(sections, kept or Kept(), EXAMPLE)

    def save(self, run: HiddenPatchesRun, folder: Path) -> None:
        """Write ``hidden_patches.csv``, ``example.npz`` and ``about.json``, the folder appearing at once."""
        with atomic_path(folder) as partial:
            partial.mkdir()
            np.savez(partial / EXAMPLE, **run.example)
            write_json(partial / "about.json", {"attention": run.attention, "n_left_out": run.n_left_out})
            write_table(partial / "hidden_patches.csv", run.table)

    def load(self, folder: Path) -> HiddenPatchesRun:
        """Read them."""
        with (
            reading(folder, "an evaluation", "it is damaged, so delete it and run again"),
            np.load(folder / EXAMPLE) as file,
        ):
            example = dict(file)
        table = read_own_table(folder / "hidden_patches.csv", dtype={"subject": str, "stimulus": str})
        return HiddenPatchesRun(table, example, **read_json(folder / "about.json"))


def filled(x: np.ndarray, hidden: np.ndarray) -> dict[str, np.ndarray]:
    """Fill hidden patches in without a model.

    Parameters
    ----------
    x : ndarray, shape (B, C, P, S)
    hidden : ndarray of bool, shape (B, C, P)

    Returns
    -------
    dict of ndarray, shape (B, C, P, S)
        See `HiddenPatches`; where nothing is visible, the channel's mean, or zero.
    """
    visible = ~hidden[..., None]
    n_seen = np.maximum(visible.sum(axis=2, keepdims=True), 1)
    mean = (x * visible).sum(axis=(2, 3), keepdims=True) / (n_seen * x.shape[-1])
    n_others = visible.sum(axis=1, keepdims=True)
    others = (x * visible).sum(axis=1, keepdims=True) / np.maximum(n_others, 1)
    places = np.arange(x.shape[2])
    before = np.maximum.accumulate(np.where(hidden, -1, places), axis=2)
    after = np.minimum.accumulate(np.where(hidden, len(places), places)[..., ::-1], axis=2)[..., ::-1]
    has_before, has_after = (before >= 0)[..., None], (after < len(places))[..., None]
    earlier = np.take_along_axis(x, np.maximum(before, 0)[..., None], axis=2)
    later = np.take_along_axis(x, np.minimum(after, len(places) - 1)[..., None], axis=2)
    left = np.where(has_before, earlier[..., -1:], np.where(has_after, later[..., :1], mean))
    right = np.where(has_after, later[..., :1], left)
    gap = np.maximum(after - before - 1, 1)[..., None] * x.shape[-1] + 1
    steps = (places - before - 1)[..., None] * x.shape[-1] + np.arange(1, x.shape[-1] + 1)
    line = left + (right - left) * np.where(has_before & has_after, steps / gap, 0.0)
    return {
        "mean": np.broadcast_to(mean, x.shape),
        "previous": np.where(has_before, earlier, mean),
        "in_time": line,
        "other_channels": np.broadcast_to(np.where(n_others > 0, others, mean), x.shape),
    }
