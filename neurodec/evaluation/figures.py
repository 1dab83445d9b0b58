"""One style of figures, in colours of Okabe and Ito (2008) that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from neurodec.evaluation.presentation import Row

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#707070"
LINES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
styled = mpl.rc_context(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.edgecolor": "#555555",
        "legend.frameon": False,
        "figure.facecolor": "white",
        "savefig.dpi": 144,
    }
)
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # keeps lines from crossing a label
_LONGEST = 40  # characters of a name


def label_of(name: object) -> str:
    """Return a name as a figure can show it: on one line, not too long, and where ``$`` begins no formula."""
    text = " ".join(str(name).split())
    return (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...").replace("$", r"\$")


def figure_of(width: float, height: float, n_columns: int = 1) -> tuple[Figure, Any]:
    """Return a figure (inches) and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, n_columns)


def mark_chance(axes: Axes, chance: float, *, vertical: bool = False) -> None:
    """Draw chance as a dashed line."""
    (axes.axvline if vertical else axes.axhline)(
        chance, color=GREY, linestyle="--", linewidth=1.2, label="chance"
    )


@styled
def intervals(rows: Sequence[Row], chance: float, label: str) -> Figure:
    """Draw one dot, and an interval where there is one, per row.

    Parameters
    ----------
    rows : sequence of Row
        Whose `value` is a share; the `kind` sets the colour.
    chance : float
        Drawn as a dashed line.
    label : str
        Of the x axis.
    """
    colors = {"decoder": BLUE, "baseline": ORANGE, "control": GREY, "subject": GREEN}
    figure, axes = figure_of(7.2, 1.1 + 0.42 * len(rows))
    for place, row in enumerate(reversed(rows)):
        color, value = colors[row.kind], row.value
        if row.ci95:
            axes.plot(row.ci95, [place, place], color=color, linewidth=3, solid_capstyle="butt", alpha=0.6)
        axes.plot(value, place, "o", color=color, markersize=9)
        text = f"{100 * value:.1f} %"
        axes.annotate(text, (value, place), (0, 7), textcoords="offset points", ha="center", bbox=_PAPER)
    mark_chance(axes, chance, vertical=True)
    axes.annotate(
        "chance",
        (chance, 0),
        (4, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=GREY,
    )
    axes.set_yticks(range(len(rows)), [label_of(row.name) for row in reversed(rows)])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(ylim=(-0.6, len(rows) - 0.2), xlabel=label)
    axes.set_xlim(left=0)
    return figure


def curves(axes: Axes, points: pd.DataFrame, x: str) -> None:
    """Draw `top1` against `x`, one colour per `decoder`; with several folds their mean, and each as a thin line."""
    names = sorted(dict.fromkeys(points["decoder"]), key=lambda name: name == "ridge")  # alike in every panel
    for color, name in zip(LINES, names, strict=False):
        part = points[points["decoder"] == name]
        line = part.groupby(x)["top1"].mean()
        axes.plot(line.index, line, "o-", color=color, markersize=4, label=label_of(name))
        if len(set(part["fold"])) == 1:
            part = part.sort_values(x)
            low, high = np.array(part["ci95"].tolist()).T
            axes.fill_between(part[x], low, high, color=color, alpha=0.18, linewidth=0)
        else:
            for _, fold in part.groupby("fold"):
                fold = fold.sort_values(x)
                axes.plot(fold[x], fold["top1"], color=color, alpha=0.3, linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(bottom=0)
