"""Figures of classification: confusions, and the accuracy of every left-out group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from neurodec.evaluation.figures import (
    BLUE,
    figure_of,
    label_of,
    mark_chance,
    styled,
)

_MOST_NAMES = 24  # classes whose names and counts still fit beside a matrix


@styled
def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw what was decoded for what was shown.

    Parameters
    ----------
    counts : ndarray, shape (n_classes, n_classes)
        Trials, true by decoded.
    names : sequence of str
        Of the classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(names) <= _MOST_NAMES
    size = min(4.2 + 0.28 * len(names), 9.0)
    figure, axes = figure_of(size + 1, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, interpolation="nearest")
    axes.set(xlabel="decoded", ylabel="shown")
    if few:
        axes.set_xticks(range(len(names)), [label_of(name) for name in names], rotation=40, ha="right")
        axes.set_yticks(range(len(names)), [label_of(name) for name in names])
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.6 * shares.max() else "black"
            axes.text(column, row, f"{count:g}", ha="center", va="center", color=color, fontsize=9)
    bar = figure.colorbar(image, shrink=0.8, label="share of the trials of this row")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


@styled
def per_fold(found: Sequence[dict[str, Any]], chance: float) -> Figure:
    """Draw the accuracy of every left-out group (`group`, `accuracy`), best first."""
    found = sorted(found, key=lambda fold: fold["accuracy"])
    figure, axes = figure_of(6.8, 1.2 + min(0.2 * len(found), 8))
    places = np.arange(len(found))
    axes.hlines(places, chance, [fold["accuracy"] for fold in found], color=BLUE, alpha=0.3)
    axes.plot([fold["accuracy"] for fold in found], places, "o", color=BLUE, markersize=5)
    mark_chance(axes, chance, vertical=True)
    axes.set_yticks(places, [label_of(fold["group"]) for fold in found], fontsize=8)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="accuracy in the left-out group", xlim=(0, 1.02))
    if len(found) > 2 * _MOST_NAMES:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(found)} left-out groups")
    return figure
