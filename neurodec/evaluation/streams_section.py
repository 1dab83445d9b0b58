"""What there is to show of attended streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from neurodec.evaluation.presentation import (
    Note,
    Section,
    Table,
    against_in_words,
    against_ridge,
    bracketed,
    p_value,
    percent,
    score_table,
    share_interval,
)


def streams_section(sections: Mapping[str, Any], name: str) -> Section:
    """Return what to show of the results of `Streams`: `streams` and `baselines`."""
    found = sections["streams"]
    table = score_table(sections, "streams", "attended_ahead", "ci95", name)
    rows = [replace(row, more=_more(part)) for row, part in table]
    ahead = f"ahead of {found['ahead_of']} in {percent(found['attended_ahead'])} of stretches of {found['seconds']:g} s"
    p = p_value(found["p_value_r_attended"], found["p_floor"])
    followed = found["p_value_r_attended"] < 0.05
    strong = "The attended stream is followed" if followed else "No stream is followed beyond chance"
    headline = (
        f": r {bracketed(found['r_attended'], found['ci95_r_attended'])} (p {p}), {ahead} (chance 50 %)."
    )
    text = (
        f"r is Pearson's, of predicted and true series over whole runs ({found['n_runs']}), and the mean over them; "
        f"intervals over {found['interval_over']}. Null: {found['null']}; p cannot be below {found['p_floor']:.2g}."
    )
    against = against_ridge(sections)
    text += against_in_words(against, f" ({found['seconds']:g} s)")
    return Section(
        title="Attended streams",
        strong=strong,
        headline=headline,
        score="attended_ahead",
        label=f"Attended ahead ({found['seconds']:g} s)",
        rows=rows,
        chance=0.5,
        more=("r attended", "r ignored", "r others"),
        chance_more=("0", "", "0"),
        against=against,
        tested="runs",
        blocks=[Note(text, kind="soft"), _by_length(found), _by_run(found)],
    )


def _more(part: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        bracketed(part["r_attended"], part["ci95_r_attended"]),
        _number(part["r_ignored"]),
        _number(part["r_others"]),
    )


def _by_length(found: Mapping[str, Any]) -> Table:
    lines = []
    for own in found["windows"]:
        line = [f"{own['seconds']:g} s", str(own["n"]), _number(own["r_attended"])]
        for which in ("ahead_of_ignored", "ahead_of_others"):
            told = which in own
            line.append(f"{percent(own[which])} ({share_interval(own[f'ci95_{which}'])})" if told else "")
            line.append(f"{own[f'p_value_{which}']:.4f}" if told else "")
        lines.append(line)
    columns = ["Stretch", "Number", "r attended", "Ahead of the ignored", "p", "Ahead of others", "p"]
    return Table(columns, lines)


def _by_run(found: Mapping[str, Any]) -> Table:
    lines = []
    for own in found["per_run"]:
        rank = f"{own['rank']:g} of {own['n_candidates']}" if "rank" in own else ""
        others = f"{own['r_others']:.3f} ± {own['sd_others']:.3f}"
        line = [
            own["run"],
            own["attended"],
            _number(own["r_attended"]),
            _number(own.get("r_ignored")),
            others,
        ]
        lines.append([*line, rank, f"{own['p_value']:.4f}"])
    columns = ["Run", "Attended", "r attended", "r ignored", "r others (mean ± SD)", "Rank", "p"]
    return Table(columns, lines, summary="Every run" if len(lines) > 8 else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
