"""Several runs side by side: one table, one figure, and tests on the rows that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from neurodec.errors import NeurodecError
from neurodec.evaluation.classification.class_section import leading_score
from neurodec.evaluation.figures import label_of
from neurodec.evaluation.statistics.intervals import paired_difference
from neurodec.files import atomic_path, read_json, read_own_table, write_table

_CHANCE = {"retrieval": "chance_top1", "classification": "chance"}


def _leading(section: str, found: dict[str, Any]) -> tuple[str, str]:
    """Return the score that leads, and its interval."""
    return ("top1", "ci95_top1") if section == "retrieval" else leading_score(found)[:2]


_FLIPS = {"permutation_type": "samples", "n_resamples": 9_999, "batch": 500, "random_state": 0}


def compare(runs: Sequence[str | Path], out: str | Path) -> pd.DataFrame:
    """Write ``comparison.csv`` and ``comparison.png`` of the headline scores of several runs, and test them in pairs.

    ``differences.csv`` holds a line for every two runs that scored the same rows; see `paired_tests`.

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
    write_table(Path(out) / "differences.csv", paired_tests(runs))
    with atomic_path(Path(out) / "comparison.png") as partial:
        _figure(table).savefig(partial, dpi=150, bbox_inches="tight")
    return table


def paired_tests(runs: Sequence[str | Path]) -> pd.DataFrame:
    """Test the systems of every two runs on the test rows that both scored.

    Parameters
    ----------
    runs : sequence of str or Path

    Returns
    -------
    DataFrame
        `first, second, n_rows, difference, low, high, p_value, p_corrected`: the difference of the top-1 (or of the
        accuracy; a tie at the top is a miss) with its 95 % interval over stimuli or groups (`paired_difference`), the
        two-sided p of flipping the signs of their differences, and that p corrected for all pairs (Holm 1979). Pairs
        whose rows or candidates differ are left out, and so are runs that keep no rows.
    """
    hits = {str(run): _hits(Path(run)) for run in runs}
    columns = ["first", "second", "n_rows", "difference", "low", "high", "p_value"]
    rows = []
    for one, two in combinations(hits, 2):
        if hits[one] is None or hits[two] is None or not hits[one].index.equals(hits[two].index):
            continue
        clusters = hits[one].index.get_level_values("cluster").to_numpy()
        found = paired_difference(hits[one].to_numpy(), hits[two].to_numpy(), clusters)
        sums = (hits[one] - hits[two]).groupby(level="cluster", sort=False).sum().to_numpy()
        names = Path(one).name, Path(two).name
        rows.append([*names, len(hits[one]), found["difference"], *found["ci95"], sign_flip_p(sums)])
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_corrected=holm(table["p_value"].to_numpy(dtype=float)))


def sign_flip_p(sums: np.ndarray) -> float:
    """Return the two-sided p of a sum of differences (n,) under exchanged signs: all of them, or 9,999 drawn ones."""

    def size(differences: np.ndarray, axis: int) -> np.ndarray:
        return np.round(np.abs(differences.sum(axis=axis)), 9)

    return float(permutation_test((sums,), size, vectorized=True, alternative="greater", **_FLIPS).pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p values (n,) for their number (Holm 1979, Scand. J. Stat. 6)."""
    order = np.argsort(p_values)
    stepped = (
        np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)) if len(order) else p_values
    )
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _hits(run: Path) -> pd.Series | None:
    """Return whether every test row was right, by person, stimulus and place; None where a run keeps no rows."""
    tables = []
    for folder in sorted(path for path in (run / "evaluation").glob("*") if path.is_dir()):
        if (folder / "ranks.csv").exists():
            table = read_own_table(folder / "ranks.csv", dtype={"subject": str, "stimulus": str})
            candidates = len(read_own_table(folder / "candidates.csv", dtype=str))
            tables.append(
                table.assign(hit=table["rank"] <= 1, cluster=table["stimulus"], candidates=candidates)
            )
        elif (folder / "labels.csv").exists():
            table = read_own_table(folder / "labels.csv", dtype={"subject": str, "group": str, "label": str})
            table = table[table["way"] == "decoder"]
            scores = table[[name for name in table if name.startswith("score ")]]
            named = scores.columns[scores.to_numpy().argmax(axis=1)].str.removeprefix("score ")
            tables.append(
                table.assign(
                    hit=named == table["label"], cluster=table["group"], stimulus=table["label"], candidates=0
                )
            )
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    table["place"] = table.groupby(["subject", "stimulus"]).cumcount()
    return (
        table.set_index(["subject", "stimulus", "place", "candidates", "cluster"])["hit"]
        .astype(float)
        .sort_index()
    )


def _rows(run: Path) -> list[dict[str, Any]]:
    results = read_json(run / "results.json")
    section = next((name for name in _CHANCE if name in results), None)
    if section is None:
        raise NeurodecError(
            f"{run / 'results.json'} holds neither retrieval nor classification; run its evaluation."
        )
    chance, (score, bounds) = _CHANCE[section], _leading(section, results[section])
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

    names = [f"{label_of(row.run)}\n{label_of(row.decoder)}" for row in table.itertuples()]
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
