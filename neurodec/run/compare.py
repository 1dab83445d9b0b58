"""Several runs side by side: one table, one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, read_json, write_table
from neurodec.report.rows import leading

_CHANCE = {"retrieval": "chance_top1", "classification": "chance"}


def compare(runs: Sequence[str | Path], out: str | Path) -> pd.DataFrame:
    """Write ``comparison.csv`` and ``comparison.png`` of the headline scores of several runs.

    Parameters
    ----------
    runs : sequence of str or Path
        Folders with a ``results.json``.
    out : str or Path
        Folder to write.

    Returns
    -------
    DataFrame
        `run, recipe, score, decoder, value, low, high, chance, simulated`: every run's system, and the ridge beside it.

    Raises
    ------
    NeurodecError
        If a folder holds no results.
    """
    rows = [row for run in runs for row in _rows(Path(run))]
    table = pd.DataFrame(rows)
    write_table(Path(out) / "comparison.csv", table)
    with atomic_path(Path(out) / "comparison.png") as partial:
        _figure(table).savefig(partial, dpi=150, bbox_inches="tight")
    return table


def _rows(run: Path) -> list[dict[str, Any]]:
    results = read_json(run / "results.json")
    section = next((name for name in _CHANCE if name in results), None)
    if section is None:
        raise NeurodecError(
            f"{run / 'results.json'} holds neither retrieval nor classification; run its evaluation."
        )
    chance, (score, bounds, _) = _CHANCE[section], leading(results)
    found = {"system": results[section], **results.get("baselines", {})}
    return [
        {
            "run": run.name,
            "recipe": results["recipe"],
            "score": score,
            "decoder": name,
            "value": part[score],
            "low": part[bounds][0],
            "high": part[bounds][1],
            "chance": part.get(chance, results[section][chance]),
            "simulated": results["simulated"],
        }
        for name, part in found.items()
    ]


def _figure(table: pd.DataFrame) -> Any:
    from matplotlib.figure import Figure

    names = [f"{row.run}\n{row.decoder}" for row in table.itertuples()]
    figure = Figure(figsize=(1.2 + 0.9 * len(names), 3.6))
    axes = figure.subplots()
    errors = [table["value"] - table["low"], table["high"] - table["value"]]
    colors = ["#4477aa" if decoder == "system" else "#bbbbbb" for decoder in table["decoder"]]
    axes.bar(
        range(len(names)),
        table["value"],
        yerr=[error.clip(lower=0) for error in errors],
        color=colors,
        capsize=3,
    )
    for place, chance in enumerate(table["chance"]):
        axes.plot([place - 0.4, place + 0.4], [chance, chance], color="#cc3311", lw=1.2)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7)
    axes.set_ylabel(f"{' / '.join(table['score'].unique())} with 95 % interval; red: chance")
    axes.spines[["top", "right"]].set_visible(False)
    if table["simulated"].any():
        axes.set_title("simulated" if table["simulated"].all() else "some of these are simulated", fontsize=9)
    return figure
