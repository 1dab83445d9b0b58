"""The report: one HTML page that lays out what evaluations hand over, and tells what was run and read."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

import neurodec
from neurodec.data import summary
from neurodec.evaluation.presentation import Block, Note, Panel, Section, Sounds, Table, percent, words
from neurodec.evaluation.presentation import p_value as written_p
from neurodec.files import atomic_path, read_json
from neurodec.report.advice import next_steps, shared_in_words
from neurodec.report.charts import info_of, run_charts, saved, scores_chart
from neurodec.report.sentences import over_seeds, preparation
from neurodec.report.thumbnails import audible, thumbnail
from neurodec.training.history import nothing_learned

_TEMPLATE = Path(__file__).with_name("template.html")
_PACKAGES = ("torch", "lightning", "mne", "open-clip-torch", "numpy", "scikit-learn")


def write_report(out: str | Path, sections: Mapping[str, Section] | None = None) -> Path:
    """Write ``OUT/report.html`` and its figures in ``OUT/images``.

    Parameters
    ----------
    out : str or Path
        Folder of a run. `results.json` is needed; any other part that is absent is left out.
    sections : dict of Section, optional
        What evaluations show, by their names; the first leads the page.

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
    results, sections = read_json(out / "results.json"), sections or {}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "p_value": written_p, "words": words, "thumbnail": thumbnail}
    environment.filters["audible"] = audible
    environment.tests |= {
        "note": lambda block: isinstance(block, Note),
        "table": lambda block: isinstance(block, Table),
        "panel": lambda block: isinstance(block, Panel),
        "sounds": lambda block: isinstance(block, Sounds),
    }
    first = next(iter(sections.values()), Section())
    config, info = out / "config.yaml", info_of(out)
    shown = [
        _laid_out(section, out / "images", "" if not place else name)
        for place, (name, section) in enumerate(sections.items())
    ]
    further = [saved(chart, out / "images") for chart in run_charts(out, results)]
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        sections=shown,
        over_seeds=over_seeds(results),
        preparation=preparation(info),
        shared=shared_in_words(results.get("shared") or {}),
        steps=next_steps(results, first, info),
        charts=[*(chart for one in shown for chart in one["charts"]), *further],
        nothing_learned=nothing_learned(info.get("preprocessing")),
        account=info.get("account") or [],
        account_lines=summary(info.get("account") or []),
        sources=(info.get("provenance") or {}).get("sources", []),
        versions={"Python": platform.python_version(), "neurodec": neurodec.__version__}
        | {name: version(name) for name in _PACKAGES},
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )
    with atomic_path(out / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    return out / "report.html"


def _laid_out(section: Section, images: Path, name: str) -> dict[str, Any]:
    """Return what the template needs of a section, with its figures written; loud notes come first."""
    loud: list[Block] = [
        block for block in section.blocks if isinstance(block, Note) and block.kind == "loud"
    ]
    overview = [saved(scores_chart(section), images, name)] if section.rows else []
    return {
        "own": section,
        "title": section.title or (words(name) if name and section.rows else ""),
        "loud": loud,
        "blocks": [block for block in section.blocks if block not in loud],
        "overview": overview,
        "charts": [saved(chart, images, name) for chart in section.charts],
    }
