"""What the report of a run shows: a section per evaluation, and one of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from neurodec.data import load_stimuli
from neurodec.evaluation.presentation import Kept, Section
from neurodec.evaluation.section import Evaluation
from neurodec.files import read_json
from neurodec.report.charts import info_of
from neurodec.run.picture_section import pictures_section


def shown_sections(
    out: Path, results: Mapping[str, Any], evaluations: Mapping[str, Evaluation]
) -> dict[str, Section]:
    """Return what to show of every evaluation, and of the pictures where some were drawn.

    Parameters
    ----------
    out : Path
        Folder of the run.
    results : dict
        Contents of `results.json`.
    evaluations : dict of Evaluation
        By name; the first one's results are at the top.
    """
    name, info = results.get("system") or "decoder", info_of(out)
    pictures, sounds = _shown(out)
    found = {}
    for place, (own, evaluation) in enumerate(evaluations.items()):
        sections = results if not place else results["further"][own]
        folders = _folders(out, None if not place else own, results.get("seeds") or ())
        found[own] = evaluation.section(sections, name, Kept(folders, info, pictures, sounds))
    if "reconstruction" in results:
        found["reconstruction"] = pictures_section(results["reconstruction"], out)
    return found


def _folders(out: Path, further: str | None, seeds: Any) -> list[Path]:
    """Return where an evaluation keeps its folds, of the first seed."""
    home = out / "evaluation" if further is None else out / "evaluation" / "further" / further
    end = f"-seed{seeds[0]}" if len(seeds) > 1 else ""
    return sorted(path for path in home.glob(f"*{end}") if path.is_dir() and path.name != "further")


def _shown(out: Path) -> tuple[dict[str, Path], dict[str, tuple[Path, float, float]]]:
    """Return the picture, and the stretch of sound, of every stimulus that has one."""
    stamps = out / "stages.json"
    root = read_json(stamps).get("data_root") if stamps.exists() else None
    if root is None or not (out / "prepared" / "stimuli.csv").exists():
        return {}, {}
    stimuli = load_stimuli(out / "prepared").drop_duplicates("stimulus")
    images = zip(stimuli["stimulus"], stimuli["image"], strict=True)
    pictures = {stimulus: Path(root) / image for stimulus, image in images if image}
    if not {"audio", "offset", "duration"} <= set(stimuli):
        return pictures, {}
    begins = pd.to_numeric(stimuli["offset"])
    ends = begins + pd.to_numeric(stimuli["duration"])
    stretches = zip(stimuli["stimulus"], stimuli["audio"], begins, ends, strict=True)
    return pictures, {name: (Path(root) / file, begin, end) for name, file, begin, end in stretches if file}
