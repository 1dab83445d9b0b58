"""Figures of retrieval: curves over repetitions, time, regions and candidates, and maps."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from neurodec.evaluation.figures import (
    BLUE,
    GREY,
    ORANGE,
    curves,
    figure_of,
    label_of,
    mark_chance,
    styled,
)

_FEWEST_CHANS = 8  # a map drawn through fewer is mostly invention
_MOST_NAMES = 24  # concepts whose names still fit beside a matrix


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
    curves(axes, points, "n")
    mark_chance(axes, chance)
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
    curves(axes, points.assign(fold=""), "size")
    mark_chance(axes, points["chance_top1"].iloc[0])
    label = "pictures of the new person's context" if kind == "pictures" else "voxels, drawn at random"
    axes.set_xscale("log")
    sizes = sorted(set(points["size"]))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel=label, ylabel="top-1 accuracy")
    axes.legend(fontsize=9)
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
        curves(axes, part, "time")
        mark_chance(axes, chance)
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
        mark_chance(axes, chance, vertical=True)
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
