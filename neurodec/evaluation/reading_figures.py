"""Figures of what is inside: hidden patches filled in, attention between regions, and what voxels foretell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neurodec.evaluation.figures import BLUE, GREY, LINES, figure_of, label_of, styled

_MOST_CHANS = 6


@styled
def hidden_patches(x: np.ndarray, found: np.ndarray, hidden: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw some channels of a window, and what a model filled in where it could not look.

    Parameters
    ----------
    x, found : ndarray, shape (n_chans, n_patches, n_samples)
        What was recorded, and what the model gives; each patch lasts a second.
    hidden : ndarray of bool, shape (n_chans, n_patches)
    names : sequence of str
    """
    rows = np.unique(np.linspace(0, len(x) - 1, min(_MOST_CHANS, len(x))).round().astype(int))
    figure, axes = figure_of(10, 0.8 + 0.6 * len(rows))
    n_patches, n_samples = x.shape[1:]
    times = np.arange(n_patches * n_samples) / n_samples
    step = 6 * float(np.std(x[rows]))
    for place, row in enumerate(rows):
        level = -place * step
        for patch in np.flatnonzero(hidden[row]):
            part = slice(patch * n_samples, (patch + 1) * n_samples)
            axes.fill_between(
                [patch, patch + 1], level - step / 2, level + step / 2, color="#dddddd", linewidth=0
            )
            axes.plot(times[part], level + found[row, patch], color=BLUE, linewidth=1.2, zorder=3)
        axes.plot(times, level + x[row].ravel(), color="black", linewidth=0.6, zorder=2)
    axes.set_yticks(-step * np.arange(len(rows)), [label_of(names[row]) for row in rows])
    axes.set_xlabel("seconds")
    axes.set_xlim(0, n_patches)
    return figure


@styled
def attention(values: np.ndarray, regions: Sequence[str]) -> Figure:
    """Draw how much regions attend each other, rows of shares that add up to 1."""
    figure, axes = figure_of(5, 4.2)
    image = axes.imshow(values, cmap="viridis", vmin=0)
    axes.set_xticks(range(len(regions)), [label_of(name) for name in regions], rotation=40, ha="right")
    axes.set_yticks(range(len(regions)), [label_of(name) for name in regions])
    axes.set_xlabel("attended")
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] < 0.6 * values.max()
        text = f"{values[row, column]:.2f}"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share")
    return figure


@styled
def by_region(panels: dict[str, pd.DataFrame]) -> Figure:
    """Draw one bar per region and name, one panel per label of the y axis.

    Parameters
    ----------
    panels : dict of DataFrame
        Columns `region, name, value`; several rows of a region and name are averaged.
    """
    figure, grid = figure_of(4.8 * len(panels), 3.8, len(panels))
    for axes, (label, points) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        means = points.pivot_table("value", "name", "region", sort=False)
        width = 0.8 / len(means)
        for place, (color, (name, row)) in enumerate(zip(LINES, means.iterrows(), strict=False)):
            color = GREY if name == "noise ceiling" else color
            axes.bar(
                np.arange(len(row)) + (place + 0.5) * width - 0.4,
                row,
                width,
                color=color,
                label=label_of(name),
            )
        axes.set_xticks(range(means.shape[1]), [label_of(name) for name in means.columns])
        axes.set(ylabel=label)
        axes.legend(fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))  # above the bars
    return figure
