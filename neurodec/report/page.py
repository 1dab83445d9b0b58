"""The report: one HTML page that holds everything, from `results.json` and the files beside it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import neurodec
from neurodec.data import Trials, load_stimuli, summary
from neurodec.data.study import MARK
from neurodec.files import atomic_path, read_json, read_own_table
from neurodec.report import plots
from neurodec.report.grids import (
    data_url,
    reconstructed,
    reconstruction_grids,
    save_grid,
    score_column,
    thumbnail,
)
from neurodec.training.history import NOTHING_LEARNT

_TEMPLATE = Path(__file__).with_name("template.html")
_PANEL_ROWS = 5
_PACKAGES = ("torch", "lightning", "mne", "open-clip-torch", "numpy", "scikit-learn")
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


def write_report(out: str | Path) -> Path:
    """Write ``OUT/report.html`` and its pictures in ``OUT/images``.

    Parameters
    ----------
    out : str or Path
        Folder of a run. `results.json` is needed; any other part that is absent is left out.

    Returns
    -------
    Path
        The page: self-contained, below 5 MB (15 MB with reconstructed pictures).

    Raises
    ------
    NeurodecError
        If `results.json` is missing or damaged.
    """
    out = Path(out)
    results = read_json(out / "results.json")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "p_value": _p_value, "words": _words}
    folds = _Folds(out)
    rows = _rows(results, folds.decoder)
    charts = [chart.saved(out / "images") for chart in _charts(out, results, rows, folds)]
    config = out / "config.yaml"
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        rows=rows,
        decoder=folds.decoder,
        against=_against(results),
        leading=_leading(results)[0],
        further=_further(results),
        over_seeds=_over_seeds(results),
        overview=charts[:1],
        charts=charts[1:],
        panels=_panels(out, folds),
        grids=reconstruction_grids(out),
        pictures=_picture_rows(results.get("reconstruction") or {}),
        per_picture=_per_picture(out),
        nothing_learnt=f"{NOTHING_LEARNT[0].upper()}{NOTHING_LEARNT[1:]}.",
        account=_info(out).get("account") or [],
        account_lines=summary(_info(out).get("account") or []),
        sources=(_info(out).get("provenance") or {}).get("sources", []),
        versions={"Python": platform.python_version(), "neurodec": neurodec.__version__}
        | {name: version(name) for name in _PACKAGES},
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )
    save_grid(out, out / "images" / "reconstructions.png")
    with atomic_path(out / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    return out / "report.html"


class _Folds:
    """What ``OUT/evaluation`` holds, over all folds.

    Parameters
    ----------
    out : Path
        Folder of a run.
    """

    def __init__(self, out: Path) -> None:
        self.folders = sorted(file.parent for file in (out / "evaluation").glob("*/curves.json"))
        self._curves = {folder.name: read_json(folder / "curves.json") for folder in self.folders}

    @property
    def decoder(self) -> str:
        """Name of the decoder that the recipe is about, as the curves give it."""
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

    def similarity(self) -> np.ndarray | None:
        """Return the mean similarity of each seen stimulus with each candidate, both in the order of concepts.

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
        return mean.to_numpy()[:, first["concept"].argsort(kind="stable")]


def _info(out: Path) -> dict[str, Any]:
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


def _rows(results: dict[str, Any], decoder: str) -> list[dict[str, Any]]:
    """Flatten decoder, baselines and controls to rows of one table."""
    score, bounds, second = _leading(results)
    parts = [("decoder", decoder, results.get("retrieval") or results.get("classification"))]
    parts += [("baseline", f"{name} (linear)", part) for name, part in results.get("baselines", {}).items()]
    controls = {"shuffled": "shuffled labels", "prestimulus": "before onset"}
    parts += [
        ("control", f"control: {controls.get(name, name)}", part)
        for name, part in results.get("controls", {}).items()
    ]
    return [
        {
            "kind": kind,
            "name": name,
            "value": part[score],
            "ci95": part.get(bounds),
            "second": part.get(second),
            "auc": part.get("auc"),
            "median_rank": part.get("median_rank"),
            "p": part.get("p_value_balanced_accuracy" if score == "balanced_accuracy" else "p_value"),
        }
        for kind, name, part in parts
        if part and score in part
    ]


def _leading(results: dict[str, Any]) -> tuple[str, str, str]:
    """Return the names of the score that leads, of its interval and of the score beside it.

    With unbalanced categories plain accuracy rewards naming the most frequent one, so it steps back.
    """
    if "retrieval" in results:
        return "top1", "ci95_top1", "top5"
    if results.get("classification", {}).get("unbalanced"):
        return "balanced_accuracy", "ci95_balanced_accuracy", "accuracy"
    return "accuracy", "ci95", "balanced_accuracy"


def _against(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the paired comparison with ridge: `difference`, `ci95`, `p_value`."""
    ridge = results.get("baselines", {}).get("ridge", {})
    return ridge.get("encoder_minus_ridge_top1") or ridge.get("difference_to_decoder")


def _further(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the headline of every further evaluation of the recipe."""
    lines = []
    for name, sections in results.get("further", {}).items():
        score, bounds, _ = _leading(sections)
        found = sections.get("retrieval") or sections.get("classification") or {}
        if score in found:
            chance = found.get("chance_top1", found.get("chance"))
            lines.append(
                {"name": name, "score": _words(score), "value": found[score], "ci95": found.get(bounds)}
                | {"chance": chance, "n_candidates": found.get("n_candidates", len(found.get("classes", [])))}
            )
    return lines


def _over_seeds(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of every headline over the recipe's seeds."""
    found = results.get("over_seeds", {})
    return [
        {"name": name.split(".")[1], "n": len(found["seeds"]), **spread}
        for name, spread in found.items()
        if name != "seeds"
    ]


def _charts(out: Path, results: dict[str, Any], rows: list[dict[str, Any]], folds: _Folds) -> Iterator[Chart]:
    """Yield every figure for which there are numbers, the overview first."""
    found = results.get("retrieval") or results.get("classification") or {}
    chance = found.get("chance_top1", found.get("chance", 0.0))
    score, bounds, _ = _leading(results)
    label = {"top1": "top-1 accuracy"}.get(score, _words(score))
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
    yield from _classification(results.get("classification") or {}, chance)
    yield from _retrieval(results, folds, chance)
    yield from _maps(out, folds)
    if (out / "metrics.csv").exists():
        peeked = results.get("selection") == "published_protocol"
        held_out = "test trials" if peeked else "held-out concepts"
        caption = (
            "Loss after every epoch, on training trials and on the test trials that the epoch is chosen by, as "
            "published."
            if peeked
            else "Loss after every epoch, on training trials and on trials of concepts held out of training, and the "
            "accuracy on the latter. Test data play no part here."
        )
        figure = plots.training(pd.read_csv(out / "metrics.csv"), held_out)
        yield Chart("training", "Training", caption, figure)


def _classification(found: dict[str, Any], chance: float) -> Iterator[Chart]:
    if found.get("per_fold"):
        caption = (
            "Accuracy in every left-out group, which the decoder had not seen; the dashed line is chance."
        )
        yield Chart("folds", "Left-out groups", caption, plots.per_fold(found["per_fold"], chance))
    if found.get("confusion"):
        caption = "Trials by what was shown (rows) and what was decoded (columns). Right answers are on the diagonal."
        figure = plots.confusion(np.array(found["confusion"]), found["classes"])
        yield Chart("confusion", "Confusions", caption, figure, lines=False)


def _retrieval(results: dict[str, Any], folds: _Folds, chance: float) -> Iterator[Chart]:
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
            "outside it. Before onset, anything above chance is a warning sign." + spread
        )
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


def _maps(out: Path, folds: _Folds) -> Iterator[Chart]:
    info, channels = _info(out), folds.points("channels")
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
    if info.get("modality") == "fmri" and (space / "responses.npy").exists():
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
        yield Chart("similarity", "Similarity", caption, plots.similarity(similarity), lines=False)


def _panels(out: Path, folds: _Folds) -> list[dict[str, Any]]:
    """Return the best, random (fixed seed) and worst rows, each with the picture that was seen and those found."""
    stamps, ranks = out / "stages.json", folds.ranks()
    root = read_json(stamps).get("data_root") if stamps.exists() else None
    if root is None or ranks.empty or not (out / "prepared" / "stimuli.csv").exists():
        return []
    images = load_stimuli(out / "prepared").drop_duplicates("stimulus").set_index("stimulus")["image"]
    drawn = np.sort(np.random.default_rng(0).permutation(len(ranks))[:_PANEL_ROWS])
    groups = {
        "Best": ranks[:_PANEL_ROWS],
        "Drawn at random": ranks.iloc[drawn],
        "Worst": ranks[-_PANEL_ROWS:],
    }
    places = [name for name in (f"top{place}" for place in range(1, 6)) if name in ranks]
    panels = []
    for title, rows in groups.items():
        lines = []
        for row in rows.to_dict("records"):
            files = {
                name: Path(root) / images.get(name, "") for name in [row["stimulus"], *map(row.get, places)]
            }
            if not all(file.is_file() for file in files.values()):
                return []  # the pictures are elsewhere by now, or were never there
            found = [
                {
                    "source": thumbnail(files[row[place]]),
                    "right": row[place] == row["stimulus"],
                    "name": row[place],
                }
                for place in places
            ]
            lines.append({**row, "seen": thumbnail(files[row["stimulus"]]), "found": found})
        panels.append({"title": title, "lines": lines})
    return panels


def _picture_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten the scores of pictures: the brain's, its controls, and the ceilings."""
    names = {
        "shuffled": "control: shuffled brain",
        "mean_embedding": "control: mean embedding",
        "nearest_training": "control: nearest training picture",
        "true_through_prior": "ceiling: true embedding, prior and decoder",
        "true_through_decoder": "ceiling: true embedding, decoder alone",
        "autoencoder": "ceiling: autoencoder alone",
    }
    parts = {**found.get("controls", {}), **found.get("ceilings", {})}
    rows = [{"kind": "decoder", "name": "from the brain", **found}] if found else []
    return rows + [{"kind": "control", "name": names[name], **part} for name, part in parts.items()]


def _per_picture(out: Path) -> list[dict[str, Any]]:
    """Return concept, pixel correlation and identification of every picture, best first."""
    table = reconstructed(out)
    if table is None:
        return []
    column = score_column(table)
    ranked = table.sort_values([column, "pixcorr"], ascending=False, kind="stable")
    return [
        {"concept": concept, "pixcorr": pixcorr, "score": score}
        for concept, pixcorr, score in zip(ranked["concept"], ranked["pixcorr"], ranked[column], strict=True)
    ]


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 1e-4 else f"{p:.0e}"


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _explained(trials: Trials) -> np.ndarray:
    """Return the share of every voxel's variance that lies between concepts, shape (1, n_voxels)."""
    _, codes, counts = np.unique(trials.table["concept"], return_inverse=True, return_counts=True)
    responses = np.asarray(trials.responses)
    centred = responses - responses.mean(axis=0, dtype=np.float64)
    means = np.stack([centred[codes == code].mean(axis=0) for code in range(len(counts))])
    total = np.maximum((centred**2).sum(axis=0), np.finfo(np.float32).tiny)
    share = (counts[:, None] * means**2).sum(axis=0) / total
    return np.maximum(share, 1e-6)[None].astype(np.float32)  # a zero would read as outside the mask
