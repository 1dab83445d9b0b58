"""Figures of what foundation models of EEG read: hidden patches filled in, and attention between regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from neurodec.report.plots import BLUE, figure_of, label_of, styled

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
