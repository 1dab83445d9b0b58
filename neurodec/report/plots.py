"""The report's charts: one style, colours of Okabe and Ito (2008) that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import mne
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#707070"
_LINES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
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
_FEWEST_CHANS = 8  # a map drawn through fewer is mostly invention
_MOST_NAMES = 24  # classes whose names and counts still fit beside a matrix
_SLICES = 6
_LONGEST = 40  # characters of a name


def label_of(name: object) -> str:
    """Return a name as a figure can show it: on one line, not too long, and where ``$`` begins no formula."""
    text = " ".join(str(name).split())
    return (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...").replace("$", r"\$")


def figure_of(width: float, height: float, n_columns: int = 1) -> tuple[Figure, Any]:
    """Return a figure (inches) and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, n_columns)


def _mark_chance(axes: Axes, chance: float, *, vertical: bool = False) -> None:
    (axes.axvline if vertical else axes.axhline)(
        chance, color=GREY, linestyle="--", linewidth=1.2, label="chance"
    )


@styled
def intervals(rows: Sequence[dict[str, Any]], chance: float, label: str) -> Figure:
    """Draw one dot, and an interval where there is one, per row.

    Parameters
    ----------
    rows : sequence of dict
        `name`, `value` (a share), `ci95` (low and high, or None) and `kind` ("decoder", "baseline", "control" or
        "subject"), which sets the colour.
    chance : float
        Drawn as a dashed line.
    label : str
        Of the x axis.
    """
    colors = {"decoder": BLUE, "baseline": ORANGE, "control": GREY, "subject": GREEN}
    figure, axes = figure_of(7.2, 1.1 + 0.42 * len(rows))
    for place, row in enumerate(reversed(rows)):
        color, value = colors[row["kind"]], row["value"]
        if row["ci95"]:
            axes.plot(row["ci95"], [place, place], color=color, linewidth=3, solid_capstyle="butt", alpha=0.6)
        axes.plot(value, place, "o", color=color, markersize=9)
        text = f"{100 * value:.1f} %"
        axes.annotate(text, (value, place), (0, 7), textcoords="offset points", ha="center", bbox=_PAPER)
    _mark_chance(axes, chance, vertical=True)
    axes.annotate(
        "chance",
        (chance, 0),
        (4, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=GREY,
    )
    axes.set_yticks(range(len(rows)), [label_of(row["name"]) for row in reversed(rows)])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(ylim=(-0.6, len(rows) - 0.2), xlabel=label)
    axes.set_xlim(left=0)
    return figure


def _lines(axes: Axes, points: pd.DataFrame, x: str) -> None:
    """Draw `top1` against `x`, one colour per `decoder`; with several folds their mean, and each as a thin line."""
    names = sorted(dict.fromkeys(points["decoder"]), key=lambda name: name == "ridge")  # alike in every panel
    for color, name in zip(_LINES, names, strict=False):
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


@styled
def repetitions(points: pd.DataFrame, chance: float) -> Figure:
    """Draw top-1 against the number of averaged repetitions.

    Parameters
    ----------
    points : DataFrame
        Columns `fold, decoder, n, top1, ci95`.
    chance : float
    """
    figure, axes = figure_of(6.8, 3.8)
    _lines(axes, points, "n")
    _mark_chance(axes, chance)
    axes.set(xlabel="averaged repetitions per stimulus", ylabel="top-1 accuracy")
    axes.legend()
    return figure


@styled
def adaptation(points: pd.DataFrame, kind: str) -> Figure:
    """Draw top-1 against the size of the context, for the system and its companions.

    Parameters
    ----------
    points : DataFrame
        Columns `decoder, size, top1, ci95, chance_top1`.
    kind : {"pictures", "voxels"}
    """
    figure, axes = figure_of(6.8, 4.2)
    _lines(axes, points.assign(fold=""), "size")
    _mark_chance(axes, points["chance_top1"].iloc[0])
    label = "pictures of the new person's context" if kind == "pictures" else "voxels, drawn at random"
    axes.set_xscale("log")
    sizes = sorted(set(points["size"]))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel=label, ylabel="top-1 accuracy")
    axes.legend(fontsize=9)
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
        for place, (color, (name, row)) in enumerate(zip(_LINES, means.iterrows(), strict=False)):
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


@styled
def windows(points: pd.DataFrame, chance: float) -> Figure:
    """Draw top-1 for growing and for sliding time windows.

    Parameters
    ----------
    points : DataFrame
        Columns `fold, decoder, kind, tmin, tmax, top1, ci95`.
    chance : float
    """
    kinds = list(dict.fromkeys(points["kind"]))
    figure, grid = figure_of(4.6 * max(len(kinds), 1.4), 3.8, len(kinds))
    for axes, kind in zip(np.atleast_1d(grid), kinds, strict=True):
        part = points[points["kind"] == kind]
        growing = kind == "growing"
        part = part.assign(time=(part["tmax"] if growing else (part["tmin"] + part["tmax"]) / 2).round(6))
        _lines(axes, part, "time")
        _mark_chance(axes, chance)
        axes.axvline(0, color=GREY, linewidth=0.8)
        title = "growing: everything up to this time" if growing else "sliding: this time only"
        axes.set(xlabel="time after stimulus onset (s)", ylabel="top-1 accuracy", title=label_of(title))
    axes.legend()
    return figure


@styled
def k_way(points: pd.DataFrame) -> Figure:
    """Draw top-1 against the number of candidates, beside chance.

    Parameters
    ----------
    points : DataFrame
        Columns `k, top1, ci95_top1, chance_top1`, and `decoder` where there are several.
    """
    figure, axes = figure_of(6.8, 3.8)
    for color, (name, line) in zip((BLUE, ORANGE), points.groupby("decoder", sort=False), strict=False):
        low, high = np.array(line["ci95_top1"].tolist()).T
        axes.plot(line["k"], line["top1"], "o-", color=color, markersize=4, label=label_of(name))
        axes.fill_between(line["k"], low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(line["k"], line["chance_top1"], "--", color=GREY, label="chance")
    axes.set_xscale("log")
    axes.set_xticks(line["k"], [str(k) for k in line["k"]])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="number of candidates", ylabel="top-1 accuracy", ylim=(0, 1))
    axes.legend()
    return figure


@styled
def regions(panels: dict[str, pd.DataFrame], chance: float) -> Figure:
    """Draw top-1 by region, one panel per title.

    Parameters
    ----------
    panels : dict
        Title to DataFrame with columns `fold, decoder, region, n_chans, top1`; folds are averaged, and shown as small
        dots when there are several.
    chance : float
    """
    names = list(dict.fromkeys(name for points in panels.values() for name in points["region"]))
    places = {name: len(names) - 1 - place for place, name in enumerate(names)}
    figure, grid = figure_of(4.6 * max(len(panels), 1.4), 1.6 + 0.42 * len(names), len(panels))
    farthest = max(high for points in panels.values() for _, high in points["ci95"])
    for axes, (title, points) in zip(np.atleast_1d(grid), panels.items(), strict=True):
        shown = points.groupby("decoder", sort=False)
        for shift, color, (name, part) in zip((0.12, -0.12), (BLUE, ORANGE), shown, strict=False):
            mean = part.groupby("region", sort=False)["top1"].mean()
            heights = [places[region] + shift for region in mean.index]
            axes.plot(mean, heights, "o", color=color, markersize=8, label=label_of(name))
            each = part["region"].map(places) + shift
            if len(set(part["fold"])) == 1:
                for height, bounds in zip(each, part["ci95"], strict=True):
                    axes.plot(bounds, [height, height], color=color, linewidth=2.5, alpha=0.5)
            else:
                axes.plot(part["top1"], each, ".", color=color, alpha=0.4)
        _mark_chance(axes, chance, vertical=True)
        sizes = points.drop_duplicates("region").set_index("region")["n_chans"]
        axes.set_yticks(
            list(places.values()), [f"{label_of(name)} ({sizes.get(name, 0)})" for name in places]
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="top-1 accuracy", title=label_of(title), ylim=(-0.6, len(names) - 0.4))
        axes.set_xlim(0, 1.05 * farthest)  # one scale for all panels
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=9)
    return figure


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
def similarity(values: np.ndarray, rows: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw the similarity of what was decoded for every concept (rows) with every candidate (columns).

    Parameters
    ----------
    values : ndarray, shape (n_concepts, n_candidates)
    rows, names : sequence of str
        Concepts of rows and columns, written where they fit.
    """
    figure, axes = figure_of(6.0, 5.0)
    image = axes.imshow(values, cmap="viridis", interpolation="nearest", aspect="auto")
    axes.set(xlabel="candidates, by concept", ylabel="concepts that were seen")
    if len(names) <= _MOST_NAMES and len(names) == values.shape[1]:
        axes.set_xticks(range(len(names)), [label_of(name) for name in names], rotation=90, fontsize=7)
    if len(rows) <= _MOST_NAMES:
        axes.set_yticks(range(len(rows)), [label_of(name) for name in rows], fontsize=7)
    figure.colorbar(image, shrink=0.85, label="cosine similarity")
    return figure


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
    _mark_chance(axes, chance, vertical=True)
    axes.set_yticks(places, [label_of(fold["group"]) for fold in found], fontsize=8)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="accuracy in the left-out group", xlim=(0, 1.02))
    if len(found) > 2 * _MOST_NAMES:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(found)} left-out groups")
    return figure


@styled
def topography(importance: dict[str, float], positions: dict[str, list[float] | None]) -> Figure | None:
    """Draw channel values on the head, or return None when too few channels have positions.

    Nothing is drawn far from all channels: what a front of the head does without electrodes is unknown.

    Parameters
    ----------
    importance : dict
        Channel name to value.
    positions : dict
        Channel name to [x, y, z] in metres, head frame, or None.
    """
    names = [name for name in importance if positions.get(name) is not None]
    if len(names) < _FEWEST_CHANS:
        return None
    montage = mne.channels.make_dig_montage({name: positions[name] for name in names}, coord_frame="head")
    info = mne.create_info(names, 1.0, "eeg", verbose="ERROR").set_montage(montage)
    values = np.array([importance[name] for name in names])
    most = float(np.abs(values).max()) or 1.0
    figure, axes = figure_of(5.0, 4.2)
    limits = (-most, most)
    image, _ = mne.viz.plot_topomap(
        values, info, axes=axes, show=False, cmap="RdBu_r", vlim=limits, contours=0, extrapolate="local"
    )
    figure.colorbar(image, shrink=0.7, label="lost without the channel")
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
