"""Figures of a run, whatever was evaluated, and how figures get onto the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodec.data import Trials
from neurodec.data.continuous import Windows
from neurodec.data.study import MARK
from neurodec.data.trial_tables import has_time
from neurodec.evaluation.figures import intervals
from neurodec.evaluation.presentation import Chart, Section, words
from neurodec.files import atomic_path, file_name, read_json
from neurodec.report.evoked_response import evoked_figure, evoked_of
from neurodec.report.run_figures import slices, training
from neurodec.report.thumbnails import data_url

_BROAD = 8  # inches; such figures take both columns of the page
_TRIALS_FOR_MAP = 200  # enough for the spread of every voxel, and quickly read from disk


def saved(chart: Chart, folder: Path, evaluation: str = "") -> dict[str, Any]:
    """Write the PNG file of a figure, and return what the template needs; a further evaluation is named in both."""
    name = f"{evaluation}-{chart.name}" if evaluation else chart.name
    file = folder / f"{file_name(name)}.png"
    with atomic_path(file) as partial:
        chart.figure.savefig(partial)
    wide = " broad" if chart.figure.get_figwidth() > _BROAD else ""
    kind = "lines" if chart.lines else "map"
    source = data_url(file.read_bytes(), "image/png")
    title = f"{words(evaluation)}: {chart.title}" if evaluation else chart.title
    return {"title": title, "caption": chart.caption, "source": source, "kind": kind + wide}


def scores_chart(section: Section) -> Chart:
    """Return the overview of a section's table of scores."""
    caption = (
        "Dots are scores, bars 95 % intervals (for shuffled labels: the middle 95 % of all shufflings), the dashed "
        "line is chance."
    )
    label = f"{section.label.lower()} accuracy" if section.score == "top1" else section.label.lower()
    return Chart("scores", "Scores", caption, intervals(section.rows, section.chance, label))


def info_of(out: Path) -> dict[str, Any]:
    """Return what the first space says of itself, and the account of all."""
    file = out / "prepared" / MARK
    if not file.exists():
        return {}
    study = read_json(file)
    spaces = [read_json(out / "prepared" / name / "info.json") for name in study["spaces"]]
    account = [entry for space in spaces for entry in space.get("account", [])]
    further = read_json(out / "preprocessing.json") if (out / "preprocessing.json").exists() else {}
    return {
        **spaces[0],
        "account": account,
        **further,
        "provenance": study["provenance"],
        "spaces": list(study["spaces"]),
    }


def run_charts(out: Path, results: dict[str, Any]) -> Iterator[Chart]:
    """Yield the figures of a run: evoked response, training, the voxels that were used."""
    yield from _evoked(out)
    yield from _training(out, results)
    yield from _voxels(out)


def _training(out: Path, results: dict[str, Any]) -> Iterator[Chart]:
    if not (out / "metrics.csv").exists():
        return
    peeked = results.get("selection") == "published_protocol"
    caption = (
        "Loss after every epoch, on training trials and on the test trials that the epoch is chosen by, as published."
        if peeked
        else "Loss after every epoch, on training trials and on trials held out of training (other concepts, or "
        "of labels other people), and the accuracy on the latter. Test data play no part here."
    )
    figure = training(pd.read_csv(out / "metrics.csv"), "test trials" if peeked else "held-out trials")
    yield Chart("training", "Training", caption, figure)


def _evoked(out: Path) -> Iterator[Chart]:
    info = info_of(out)
    space = out / "prepared" / info["spaces"][0] if info else out
    trials = Trials.load(space) if (space / "trials.csv").exists() else None
    if trials is not None and isinstance(trials.responses, Windows):
        trials = trials.split("test")  # those of the training begin anywhere
    evoked = None if trials is None else evoked_of(trials)
    if evoked is None:
        return
    best = int(evoked.snr.argmax())
    caption = (
        f"Average of {evoked.n_trials} trials, one line per channel, and its root mean square over channels beside "
        "that of the plus-minus average, which holds the noise alone. The power of the average is at most "
        f"{evoked.snr[best]:.1f} times that of the noise, at {evoked.times[best]:.3f} s; at 1 nothing common to all "
        "trials is locked to the onset."
    )
    yield Chart("evoked", "Evoked response", caption, evoked_figure(evoked))


def _voxels(out: Path) -> Iterator[Chart]:
    info = info_of(out)
    space = out / "prepared" / info["spaces"][0] if info else out
    if not info.get("mask_shape") or has_time(info) or not (space / "responses.npy").exists():
        return
    trials = Trials.load(space)
    trials = trials.select(np.linspace(0, len(trials) - 1, min(len(trials), _TRIALS_FOR_MAP)).astype(int))
    image = Trials(_explained(trials), trials.table.iloc[:1], trials.info).to_nifti()
    caption = (
        "Which voxels were used, and the share of each one's variance over trials that lies between concepts."
    )
    yield Chart("voxels", "Voxels", caption, slices(image.get_fdata()[..., 0]), lines=False)


def _explained(trials: Trials) -> np.ndarray:
    """Return the share of every voxel's variance that lies between concepts, shape (1, n_voxels)."""
    _, codes, counts = np.unique(trials.table["concept"], return_inverse=True, return_counts=True)
    responses = np.asarray(trials.responses)
    centred = responses - responses.mean(axis=0, dtype=np.float64)
    means = np.stack([centred[codes == code].mean(axis=0) for code in range(len(counts))])
    total = np.maximum((centred**2).sum(axis=0), np.finfo(np.float32).tiny)
    share = (counts[:, None] * means**2).sum(axis=0) / total
    return np.maximum(share, 1e-6)[None].astype(np.float32)  # a zero would read as outside the mask
