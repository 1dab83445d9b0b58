"""The history of a training, and what it tells: whether anything was learned at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

_REMEDIES = {
    "l_freq": "a band-pass filter (`l_freq: 0.1`, `h_freq: 40`)",
    "baseline": "a baseline (`baseline: [null, 0]`)",
    "whiten": "whitening (`whiten: mvnn-epochs` or `zscore`)",
}
_CLEARLY = 0.995  # of the mean predictor's loss; less of a lead is chance


def nothing_learned(preprocessing: dict[str, Any] | None) -> str:
    """Tell that a training learned nothing, and what usually helps that the recipe does not do yet.

    Parameters
    ----------
    preprocessing : dict, optional
        Of the recordings (`neurodec.preprocessing.EEGPreprocessing`), where it is known.
    """
    absent = [
        remedy
        for name, remedy in _REMEDIES.items()
        if preprocessing is not None and preprocessing.get(name) in (None, "none")
    ]
    return (
        "The loss never got below that of predicting the mean target for every trial, so scores at chance are no "
        f"surprise. What often helps: {', '.join([*absent, 'more trials', 'more epochs'])}."
    )


def joined_history(checkpoints: Path, folds: Sequence[str]) -> pd.DataFrame | None:
    """Return the epochs of all folds and stages below a folder of checkpoints, or None where nothing was trained."""
    files = {
        (fold, file.parent.name if file.parent.name != fold else ""): file
        for fold in folds
        for file in sorted((checkpoints / fold).glob("**/metrics.csv"))
    }
    tables = [pd.read_csv(file).assign(fold=fold, stage=stage) for (fold, stage), file in files.items()]
    return pd.concat(tables) if tables else None


def training_summary(history: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Compare every fold's loss with that of a model that reads nothing.

    Parameters
    ----------
    history : DataFrame
        ``OUT/metrics.csv``: columns `fold`, `train_loss`, `train_loss_of_mean`, and `val_loss`, `val_loss_of_mean`
        where concepts were held out.

    Returns
    -------
    dict
        Fold to `part` (which trials are judged: "val", or "train" where there are no others), `best_loss`,
        `loss_of_mean` (in the same epoch) and `beats_mean_predictor`, the last two None where the objective does not
        say what a model that reads nothing would predict.
    """
    found = {}
    history = history.reset_index(drop=True)
    for fold, rows in history.groupby("fold", sort=False):
        rows = rows.dropna(axis=1, how="all")
        part = "val" if "val_loss" in rows and rows["val_loss"].notna().any() else "train"
        known = f"{part}_loss_of_mean" in rows  # some objectives have no such question
        ratio = rows[f"{part}_loss"] / (rows[f"{part}_loss_of_mean"] if known else 1.0)
        best = rows.loc[ratio.idxmin()] if ratio.notna().any() else rows.iloc[-1]
        found[str(fold)] = {
            "part": part,
            "best_loss": float(best[f"{part}_loss"]),
            "loss_of_mean": float(best[f"{part}_loss_of_mean"]) if known else None,
            "beats_mean_predictor": bool(ratio.min() < _CLEARLY) if known else None,
        }
    return found
