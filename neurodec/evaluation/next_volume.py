"""How well the next volume of a new person follows from those before it, beside what needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.presentation import Kept, Note, Section, Table
from neurodec.evaluation.section import Evaluation, Fitted, required
from neurodec.evaluation.statistics.intervals import interval
from neurodec.files import read_own_table, write_table
from neurodec.linear import Ridge

_NAMES = {
    "system": "the network",
    "mean": "the mean",
    "last": "the last volume",
    "ar1": "AR(1) of every parcel",
    "ar5": "AR(5) of every parcel",
    "ridge": "ridge from the last five volumes of all parcels",
}
_ORDER = 5


@dataclass(frozen=True)
class NextVolume(Evaluation):
    """Squared error of the last volume of every test window, predicted from the ones before.

    Parameters
    ----------
    leakage : str
        What training and test must not share: people.

    Notes
    -----
    Beside the network stand the mean, the last volume, autoregressions of every parcel of order 1 and 5, and ridge from
    the last five volumes of all parcels, fitted to the same training windows. Windows that follow each other overlap,
    so intervals are over stretches of a tenth of a recording.
    """

    leakage: Level = "subject"

    needs_system: ClassVar[bool] = True
    headlines: ClassVar[tuple[str, ...]] = ("next_volume.mse",)

    @property
    def level(self) -> Level:
        """What training and test must not share."""
        return self.leakage

    def check(self, study: Study) -> None:
        """Refuse windows that are too short for an autoregression."""
        for trials in study.spaces.values():
            if trials.responses.ndim != 3 or trials.responses.shape[-1] <= _ORDER:
                raise NeurodecError(
                    f"NextVolume predicts a volume from {_ORDER} before, and windows have the shape "
                    f"{trials.responses.shape[1:]}; cut windows of {_ORDER + 1} volumes or more (`n_volumes`)."
                )

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return the test windows."""
        return {"single": test}

    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> pd.DataFrame:
        """Score one fold; see `Evaluation.run`.

        Returns
        -------
        DataFrame
            `subject`, `stretch`, and the squared error of every way, one row per window.
        """
        fitted = required(fitted, type(self).__name__)
        found, tables = predictions["single"], []
        for space, trials in study.spaces.items():
            train = fitted.train.spaces.get(space)
            if train is None:
                raise NeurodecError(
                    f"No training window has the parcels of {space}; test people of one atlas."
                )
            known, asked = (np.asarray(own.responses, dtype=np.float64) for own in (train, trials))
            rows = (found.table["space"] == space).to_numpy()
            ways = {"system": np.asarray(found.of(fitted.system.head))[rows], **without_network(known, asked)}
            errors = {name: np.square(own - asked[..., -1]).mean(axis=1) for name, own in ways.items()}
            stretch = trials.table.get("stretch", trials.table["stimulus"])
            tables.append(pd.DataFrame({"subject": trials.table["subject"], "stretch": stretch, **errors}))
        return pd.concat(tables, ignore_index=True)

    def results(self, runs: Sequence[pd.DataFrame]) -> dict[str, Any]:
        """Return the section `next_volume`: the error of every way, with intervals, and per subject."""
        table = pd.concat(runs, ignore_index=True)
        clusters = table["stretch"].to_numpy(dtype=str)
        errors = {}
        for name, words in _NAMES.items():
            own = table[name].to_numpy()
            errors[name] = {"name": words, "mse": float(own.mean()), "ci95": interval(own, clusters, "mean")}
            if name != "system":
                less = table["system"].to_numpy() - own
                errors[name]["system_minus_this"] = {
                    "difference": float(less.mean()),
                    "ci95": interval(less, clusters, "mean"),
                }
        people = table.groupby("subject", sort=True)[list(_NAMES)].mean()
        per_subject = {str(who): own.to_dict() for who, own in people.iterrows()}
        about = {
            "n_windows": len(table),
            "n_stretches": len(set(clusters.tolist())),
            "mse": errors["system"]["mse"],
        }
        return {"next_volume": {**about, "errors": errors, "per_subject": per_subject}}

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what to show; see `Evaluation.section`."""
        found = sections["next_volume"]
        errors, lines = found["errors"], []
        for way in errors.values():
            less = way.get("system_minus_this")
            apart = (
                "" if less is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(less["difference"], *less["ci95"])
            )
            lines.append((way["name"], "{:.3f} [{:.3f}, {:.3f}]".format(way["mse"], *way["ci95"]), apart))
        better = [way["name"] for way in list(errors.values())[1:] if way["system_minus_this"]["ci95"][1] < 0]
        worse = [way["name"] for way in list(errors.values())[1:] if way["system_minus_this"]["ci95"][0] > 0]
        told = [f"{name} predicts the next volume better than {', '.join(better)}"] if better else []
        told += [f"worse than {', '.join(worse)}"] if worse else []
        text = f" ({found['n_windows']} windows, {found['n_stretches']} stretches; 1 is the variance of a parcel.)"
        columns = ("Prediction", "Mean squared error", "Network less this")
        people = [
            (f"subject {who}", *(f"{own[way]:.3f}" for way in _NAMES))
            for who, own in found["per_subject"].items()
        ]
        return Section(
            title="Next volume",
            blocks=[
                Note(text, f"{'; '.join(told) or f'{name} is not apart from any simpler prediction'}."),
                Table(columns, lines, bold=[0]),
                Table(("", *_NAMES.values()), people, summary="Every person"),
            ],
        )

    def save(self, run: pd.DataFrame, folder: Path) -> None:
        """Write ``next_volume.csv``."""
        write_table(folder / "next_volume.csv", run)

    def load(self, folder: Path) -> pd.DataFrame:
        """Read it."""
        return read_own_table(folder / "next_volume.csv", dtype={"subject": str, "stretch": str})


def without_network(known: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    """Predict the last volume of windows by what needs no network.

    Parameters
    ----------
    known, asked : ndarray, shape (n, n_parcels, n_volumes)
        Windows that autoregressions and ridge are fitted to, and those to predict.

    Returns
    -------
    dict of ndarray, shape (n_asked, n_parcels)
    """
    flat = [own[..., -1 - _ORDER : -1].reshape(len(own), -1) for own in (known, asked)]
    ridge = Ridge().fit(flat[0], known[..., -1])
    return {
        "mean": np.broadcast_to(known[..., -1].mean(axis=0), asked.shape[:2]),
        "last": asked[..., -2],
        "ar1": _autoregression(known, asked, 1),
        "ar5": _autoregression(known, asked, _ORDER),
        "ridge": ridge.predict(flat[1]),
    }


def _autoregression(known: np.ndarray, asked: np.ndarray, order: int) -> np.ndarray:
    """Fit every parcel by least squares to its own past, and predict."""
    past, given = (
        own[..., -1 - order : -1].swapaxes(0, 1) for own in (known, asked)
    )  # (n_parcels, n, order)
    past, given = (np.concatenate([own, np.ones((*own.shape[:2], 1))], axis=2) for own in (past, given))
    wanted = known[..., -1].T[..., None]
    gram, cross = past.swapaxes(1, 2) @ past, past.swapaxes(1, 2) @ wanted
    weights = np.linalg.solve(gram + 1e-9 * np.eye(gram.shape[-1]), cross)
    return (given @ weights)[..., 0].T
