"""The report: one HTML page that holds everything, from `results.json` and the files beside it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import neurodec
from neurodec.data import load_stimuli, summary
from neurodec.files import atomic_path, read_json
from neurodec.report.advice import next_steps, shared_in_words
from neurodec.report.charts import Folds, all_charts, info_of
from neurodec.report.grids import reconstruction_grids, save_grid, thumbnail
from neurodec.report.sentences import (
    against_ridge,
    beyond_chance,
    candidate_sets,
    further,
    label_rows,
    leading,
    nearest_in_words,
    over_seeds,
    p_value,
    per_picture,
    percent,
    picture_rows,
    preferred_regions,
    preparation,
    score_rows,
    section_of,
    uncentred,
    undrawable_in_words,
    words,
)
from neurodec.training.history import nothing_learnt

_TEMPLATE = Path(__file__).with_name("template.html")
_PANEL_ROWS = 5
_PACKAGES = ("torch", "lightning", "mne", "open-clip-torch", "numpy", "scikit-learn")


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
    environment.filters |= {"percent": percent, "p_value": p_value, "words": words}
    folds = Folds(out, results.get("seeds", ()), results.get("system"))
    rows = score_rows(results, folds.decoder)
    charts = [chart.saved(out / "images") for chart in all_charts(out, results, rows, folds)]
    config, info = out / "config.yaml", info_of(out)
    good = bool(rows) and beyond_chance(rows)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        rows=rows,
        uncentred=uncentred(results, folds.decoder),
        decoder=folds.decoder,
        against=against_ridge(results),
        leading=leading(results)[0],
        further=further(results),
        sets=candidate_sets(section_of(results, "candidate_sets")),
        encoding=section_of(results, "encoding"),
        hidden=section_of(results, "hidden_patches"),
        preferred=preferred_regions(section_of(results, "encoding")),
        over_seeds=over_seeds(results),
        labels=label_rows(results),
        beyond_chance=good,
        preparation=preparation(info),
        shared=shared_in_words(results.get("shared") or {}),
        steps=next_steps(results, info, good),
        nearest=nearest_in_words(results.get("reconstruction") or {}),
        undrawable=undrawable_in_words(results.get("reconstruction") or {}),
        overview=charts[:1],
        charts=charts[1:],
        panels=_panels(out, folds),
        grids=reconstruction_grids(out),
        pictures=picture_rows(results.get("reconstruction") or {}),
        per_picture=per_picture(out),
        nothing_learnt=nothing_learnt(info.get("preprocessing")),
        account=info.get("account") or [],
        account_lines=summary(info.get("account") or []),
        sources=(info.get("provenance") or {}).get("sources", []),
        versions={"Python": platform.python_version(), "neurodec": neurodec.__version__}
        | {name: version(name) for name in _PACKAGES},
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )
    save_grid(out, out / "images" / "reconstructions.png")
    with atomic_path(out / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    return out / "report.html"


def _panels(out: Path, folds: Folds) -> list[dict[str, Any]]:
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
