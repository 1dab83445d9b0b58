"""Figures of a run, whatever is evaluated: training, and the voxels that were used."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from neurodec.evaluation.figures import (
    BLUE,
    GREY,
    figure_of,
    styled,
)

_SLICES = 6


@styled
def training(history: pd.DataFrame, held_out: str = "held-out concepts") -> Figure:
    """Draw the losses and, where there is one, the validation accuracy by epoch.

    Parameters
    ----------
    history : DataFrame
        Columns `fold, epoch, train_loss` and perhaps `stage`, `val_loss`, `val_top1` or `val_score`, `val_chance`.
    held_out : str
        What the epochs were judged on.
    """
    measures = {"val_top1": f"top-1 among {held_out}", "val_score": f"score of {held_out}"}
    measure = next((name for name in measures if name in history and history[name].notna().any()), None)
    scored = measure is not None
    trainings = ["fold", "stage"] if "stage" in history and history["stage"].notna().all() else ["fold"]
    figure, grid = figure_of(9.2 if scored else 6.8, 3.8, 1 + scored)
    grid = np.atleast_1d(grid)
    named = {"train_loss": ("training", GREY), "val_loss": (held_out, BLUE)}
    for place, (_, fold) in enumerate(history.groupby(trainings, sort=False)):
        epochs = fold["epoch"] + 1
        for column, (label, color) in named.items():
            if column in fold and fold[column].notna().any():
                label = label if place == 0 else None
                grid[0].plot(epochs, fold[column], ".-", color=color, label=label, alpha=0.8)
        if scored:
            grid[1].plot(epochs, fold[measure], ".-", color=BLUE, alpha=0.8)
            if "val_chance" in fold:
                label = "chance" if place == 0 else None
                grid[1].plot(epochs, fold["val_chance"], "--", color=GREY, linewidth=1.2, label=label)
    grid[0].set(xlabel="epoch", ylabel="loss")
    grid[0].legend()
    if scored:
        grid[1].set(xlabel="epoch", ylabel=measures[measure])
        if measure == "val_top1":
            grid[1].yaxis.set_major_formatter(PercentFormatter(1))
            grid[1].set_ylim(bottom=0)
        if "val_chance" in history:
            grid[1].legend()
    return figure


@styled
def slices(volume: np.ndarray) -> Figure:
    """Draw the slices with most voxels, along the third axis, of a volume that is zero outside its mask."""
    counts = np.count_nonzero(volume, axis=(0, 1))
    chosen = np.sort(np.argsort(counts)[::-1][: min(_SLICES, np.count_nonzero(counts))])
    figure, grid = figure_of(1.6 * len(chosen) + 1, 2.4, len(chosen))
    for axes, place in zip(np.atleast_1d(grid), chosen, strict=True):
        seen = np.ma.masked_equal(volume[:, :, place].T, 0)
        image = axes.imshow(seen, origin="lower", cmap="viridis", vmin=0, vmax=volume.max())
        axes.set_title(f"slice {place}", fontsize=9)
        axes.set_axis_off()
    figure.colorbar(image, ax=grid, shrink=0.8)
    return figure
