"""Which figures a run has numbers for, and their captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neurodec.data import Trials
from neurodec.data.study import MARK
from neurodec.data.trials import has_time
from neurodec.files import atomic_path, read_json, read_own_table
from neurodec.report import plots, reading_plots
from neurodec.report.evoked_response import evoked_figure, evoked_of
from neurodec.report.grids import data_url
from neurodec.report.sentences import leading, section_of, words

_BROAD = 8  # inches; such figures take both columns of the page
_TRIALS_FOR_MAP = 200  # enough for the spread of every voxel, and quickly read from disk


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Parameters
    ----------
    name : str
        Of its file in ``OUT/images``.
    title, caption : str
        The caption is also what a screen reader tells.
    figure : Figure
    lines : bool
        Drawn with lines and dots, whose colours the page may darken; maps stay as they are.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    lines: bool = True

    def saved(self, folder: Path) -> dict[str, Any]:
        """Write the PNG file, and return what the template needs."""
        with atomic_path(folder / f"{self.name}.png") as partial:
            self.figure.savefig(partial)
        source = data_url((folder / f"{self.name}.png").read_bytes(), "png")
        kind = "lines" if self.lines else "map"
        wide = " broad" if self.figure.get_figwidth() > _BROAD else ""
        return {"title": self.title, "caption": self.caption, "source": source, "kind": kind + wide}


class Folds:
    """What ``OUT/evaluation`` holds of the first evaluation and the first seed, over all folds.

    Parameters
    ----------
    out : Path
        Folder of a run.
    seeds : sequence of int
        Of the recipe.
    system : str, optional
        Name of what the recipe is about; the curves tell it otherwise.
    """

    def __init__(self, out: Path, seeds: Sequence[int] = (), system: str | None = None) -> None:
        self._system = system
        end = f"-seed{seeds[0]}" if len(seeds) > 1 else ""
        self.folders = sorted(file.parent for file in (out / "evaluation").glob(f"*{end}/curves.json"))
        self._curves = {folder.name: read_json(folder / "curves.json") for folder in self.folders}

    @property
    def decoder(self) -> str:
        """Name of the decoder that the recipe is about, as the curves give it."""
        if self._system is not None:
            return self._system
        points = self.points("repetitions")
        names = [name for name in points.get("decoder", []) if name != "ridge"]
        return names[0] if names else "decoder"

    def points(self, name: str) -> pd.DataFrame:
        """Return one curve's points with the column `fold`; empty where it was not measured."""
        rows = [
            {"fold": fold, **point} for fold, found in self._curves.items() for point in found.get(name) or []
        ]
        return pd.DataFrame(rows)

    def ranks(self) -> pd.DataFrame:
        """Return the rank of every test row, best first; empty where there are none."""
        files = [folder / "ranks.csv" for folder in self.folders if (folder / "ranks.csv").exists()]
        tables = [read_own_table(file, dtype=str) for file in files]
        if not tables:
            return pd.DataFrame()
        ranks = pd.concat(tables, ignore_index=True)
        return ranks.assign(rank=ranks["rank"].astype(float)).sort_values("rank", kind="stable")

    def similarity(self) -> tuple[np.ndarray, list[str], list[str]] | None:
        """Return the mean similarity of each seen concept with each candidate, and the sorted concepts of both.

        Folds whose candidates differ from the first one's are left out.
        """
        found, first = [], None
        for folder in self.folders:
            if not all(
                (folder / name).exists() for name in ("similarity.npy", "candidates.csv", "ranks.csv")
            ):
                continue
            candidates = read_own_table(folder / "candidates.csv", dtype=str)
            first = candidates if first is None else first
            if candidates.equals(first):
                rows = read_own_table(folder / "ranks.csv", dtype=str)["concept"]
                found.append(pd.DataFrame(np.load(folder / "similarity.npy")).groupby(rows.to_numpy()).mean())
        if not found:
            return None
        mean = pd.concat(found).groupby(level=0).mean()
        order = first["concept"].argsort(kind="stable")
        return mean.to_numpy()[:, order], list(mean.index), first["concept"].iloc[order].tolist()


def info_of(out: Path) -> dict[str, Any]:
    """Return what the first space says of itself, and the account of all."""
    file = out / "prepared" / MARK
    if not file.exists():
        return {}
    study = read_json(file)
    spaces = [read_json(out / "prepared" / name / "info.json") for name in study["spaces"]]
    account = [entry for space in spaces for entry in space.get("account", [])]
    return {
        **spaces[0],
        "account": account,
        "provenance": study["provenance"],
        "spaces": list(study["spaces"]),
    }


def all_charts(
    out: Path, results: dict[str, Any], rows: list[dict[str, Any]], folds: Folds
) -> Iterator[Chart]:
    """Yield every figure for which there are numbers, the overview first."""
    found = results.get("retrieval") or results.get("classification") or {}
    chance = found.get("chance_top1", found.get("chance", 0.0))
    score, bounds, _ = leading(results)
    label = {"top1": "top-1 accuracy"}.get(score, words(score))
    if rows:
        caption = (
            "Dots are scores, bars 95 % intervals (for shuffled labels: the middle 95 % of all shufflings), "
            "the dashed line is chance."
        )
        yield Chart("scores", "Scores", caption, plots.intervals(rows, chance, label))
    subjects = [
        {"kind": "subject", "name": f"subject {name}", "value": part[score], "ci95": part.get(bounds)}
        for name, part in found.get("per_subject", {}).items()
    ]
    if len(subjects) > 1:
        caption = "The same score for every subject on their own; the dashed line is chance."
        yield Chart("subjects", "Subjects", caption, plots.intervals(subjects, chance, label))
    yield from _evoked(out)
    yield from _classification(results.get("classification") or {}, chance)
    yield from _retrieval(results, folds, chance)
    yield from _adaptation(results)
    yield from _encoding(section_of(results, "encoding"))
    yield from _patches(out, section_of(results, "attention"))
    yield from _maps(out, folds)
    if (out / "metrics.csv").exists():
        peeked = results.get("selection") == "published_protocol"
        held_out = "test trials" if peeked else "held-out trials"
        caption = (
            "Loss after every epoch, on training trials and on the test trials that the epoch is chosen by, as "
            "published."
            if peeked
            else "Loss after every epoch, on training trials and on trials held out of training (other concepts, or "
            "of labels other people), and the accuracy on the latter. Test data play no part here."
        )
        figure = plots.training(pd.read_csv(out / "metrics.csv"), held_out)
        yield Chart("training", "Training", caption, figure)


def _evoked(out: Path) -> Iterator[Chart]:
    info = info_of(out)
    space = out / "prepared" / info["spaces"][0] if info else out
    evoked = evoked_of(Trials.load(space)) if (space / "responses.npy").exists() else None
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


def _classification(found: dict[str, Any], chance: float) -> Iterator[Chart]:
    if found.get("per_fold"):
        unbalanced = found.get("unbalanced", False)
        line = "what always naming the most frequent category would reach" if unbalanced else "chance"
        caption = (
            f"Accuracy in every left-out group, which the decoder had not seen; the dashed line is {line}."
        )
        figure = plots.per_fold(found["per_fold"], found["majority"] if unbalanced else chance)
        yield Chart("folds", "Left-out groups", caption, figure)
    if found.get("confusion"):
        caption = "Trials by what was shown (rows) and what was decoded (columns). Right answers are on the diagonal."
        figure = plots.confusion(np.array(found["confusion"]), found["classes"])
        yield Chart("confusion", "Confusions", caption, figure, lines=False)


def _retrieval(results: dict[str, Any], folds: Folds, chance: float) -> Iterator[Chart]:
    spread = " Thin lines are single folds." if len(folds.folders) > 1 else " Bands are 95 % intervals."
    parts = {folds.decoder: results.get("retrieval") or {}, **results.get("baselines", {})}
    k_way = [{"decoder": name, **point} for name, part in parts.items() for point in part.get("k_way") or []]
    if k_way:
        caption = "Accuracy expected among fewer candidates, drawn at random. Bands are 95 % intervals."
        yield Chart("k-way", "Number of candidates", caption, plots.k_way(pd.DataFrame(k_way)))
    if len(points := folds.points("repetitions")):
        caption = "Accuracy when fewer repetitions of the same stimulus are averaged." + spread
        yield Chart("repetitions", "Repetitions", caption, plots.repetitions(points, chance))
    if len(points := folds.points("windows")):
        caption = (
            "Accuracy from part of the time. Ridge is refitted to each window; the encoder is not, and sees zeros "
            "outside it. For speed the refitted ridge reads coarser bins and tries fewer penalties than that of the "
            "table, so that the whole window need not give the same score."
        )
        if (points["tmin"] < 0).any():
            caption += " Before onset (ridge alone), anything above chance is a warning sign."
        caption += spread
        yield Chart("windows", "Time", caption, plots.windows(points, chance))
    titles = {"regions": "this region alone", "regions_left_out": "all but this region"}
    panels = {title: folds.points(name) for name, title in titles.items()}
    panels = {title: points for title, points in panels.items() if len(points)}
    if panels:
        caption = (
            "Accuracy from one region, or without it; in brackets its number of channels or voxels. Ridge is "
            "refitted, the encoder sees zeros."
        )
        yield Chart("regions", "Regions", caption, plots.regions(panels, chance))


def _adaptation(results: dict[str, Any]) -> Iterator[Chart]:
    found = section_of(results, "adaptation")
    points = pd.DataFrame(found.get("points", []))
    for kind in dict.fromkeys(points.get("kind", [])):
        many = f"Mean over {found['n_repeats']} draws; bands are 95 % intervals over test stimuli."
        what = "pictures that the person was shown" if kind == "pictures" else "voxels, with all pictures"
        caption = f"Accuracy for a new person against the number of {what}. {many}"
        yield Chart(
            f"adaptation-{kind}",
            f"Adaptation: {kind}",
            caption,
            plots.adaptation(points[points["kind"] == kind], kind),
        )


def _encoding(found: dict[str, Any]) -> Iterator[Chart]:
    people = [person for person in found.get("per_subject", []) if person.get("regions")]
    if not people:
        return
    explained, parts = [], []
    for person in people:
        for region, own in person["regions"].items():
            for way, scores in person["encoders"].items():
                explained.append({"region": region, "name": way, "value": scores["regions"][region]})
            if "noise_ceiling" in own:
                explained.append({"region": region, "name": "noise ceiling", "value": own["noise_ceiling"]})
            parts.append({"region": region, "name": "voxels", "value": own["n_voxels"] / person["n_voxels"]})
            if "attention" in own:
                parts.append({"region": region, "name": "attention", "value": own["attention"]})
    panels = {"explained variance": pd.DataFrame(explained), "share of the whole": pd.DataFrame(parts)}
    caption = (
        "Left the explained variance of each region's voxels, beside its ceiling. Right the share of the voxels that "
        "lie in a region, and, where a network inverts the encoders, the share of its attention that they get; what "
        "lies in no region is left out. Mean over subjects."
    )
    yield Chart("encoding", "Regions of the brain", caption, plots.by_region(panels))


def _patches(out: Path, attention: dict[str, Any]) -> Iterator[Chart]:
    for file in sorted((out / "evaluation").glob("**/example.npz"))[:1]:
        with np.load(file) as example:
            figure = reading_plots.hidden_patches(**example)
        caption = (
            "A window of a person who was not learnt from. Grey stretches were hidden from the model; there the "
            "coloured line is what it filled in, and the black one what was recorded."
        )
        yield Chart("hidden-patches", "Hidden patches", caption, figure)
    if attention:
        figure = reading_plots.attention(np.array(attention["values"]), attention["regions"])
        caption = (
            "How the attention of the electrodes of a region (rows) is shared among regions (columns), mean over "
            "trials, seconds, layers and heads. The mask of allowed pairs alone makes large regions draw more of it."
        )
        yield Chart("attention", "Attention between regions", caption, figure, lines=False)


def _maps(out: Path, folds: Folds) -> Iterator[Chart]:
    info, channels = info_of(out), folds.points("channels")
    if len(channels) and info.get("ch_pos"):
        importance = channels.groupby("ch_name", sort=False)["importance"].mean().to_dict()
        figure = plots.topography(importance, dict(zip(info["ch_names"], info["ch_pos"], strict=True)))
        if figure is not None:
            caption = (
                "How much of the true candidate's lead in similarity is lost when a channel is set to zero, seen "
                "from above, nose up. Red channels help, blue ones hurt."
            )
            yield Chart("topography", "Channels", caption, figure, lines=False)
    space = out / "prepared" / info["spaces"][0] if info else out
    if info.get("mask_shape") and not has_time(info) and (space / "responses.npy").exists():
        trials = Trials.load(space)
        trials = trials.select(np.linspace(0, len(trials) - 1, min(len(trials), _TRIALS_FOR_MAP)).astype(int))
        image = Trials(_explained(trials), trials.table.iloc[:1], trials.info).to_nifti()
        caption = "Which voxels were used, and the share of each one's variance over trials that lies between concepts."
        yield Chart("voxels", "Voxels", caption, plots.slices(image.get_fdata()[..., 0]), lines=False)
    if (similarity := folds.similarity()) is not None:
        caption = (
            "Similarity of what was decoded with every candidate, both sorted by concept. A bright diagonal means "
            "that the right one stands out."
        )
        yield Chart("similarity", "Similarity", caption, plots.similarity(*similarity), lines=False)


def _explained(trials: Trials) -> np.ndarray:
    """Return the share of every voxel's variance that lies between concepts, shape (1, n_voxels)."""
    _, codes, counts = np.unique(trials.table["concept"], return_inverse=True, return_counts=True)
    responses = np.asarray(trials.responses)
    centred = responses - responses.mean(axis=0, dtype=np.float64)
    means = np.stack([centred[codes == code].mean(axis=0) for code in range(len(counts))])
    total = np.maximum((centred**2).sum(axis=0), np.finfo(np.float32).tiny)
    share = (counts[:, None] * means**2).sum(axis=0) / total
    return np.maximum(share, 1e-6)[None].astype(np.float32)  # a zero would read as outside the mask
