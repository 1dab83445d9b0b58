"""What there is to show of `CueMatch`: the statistic beside its permutations, and every person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from neurodec.evaluation.figures import BLUE, GREY, figure_of, styled
from neurodec.evaluation.presentation import Chart, Note, Section, Table, bracketed, p_value

_SURE = 0.05
_COLUMNS = ("", "Trials", "Cosine with the cue", "Expected", "Difference [95 % interval]", "p")


def imagination_section(found: Mapping[str, Any], name: str) -> Section:
    """Return what to show of `CueMatch`.

    Parameters
    ----------
    found : dict
        The section `imagination` of the results.
    name : str
        Of the system.
    """
    silent, within = found["n_silent_groups"], found["groups"]
    groups = "1 group has" if silent == 1 else f"{silent} groups have"
    left_out = f" {groups} a single cue, which tells nothing, and {'is' if silent == 1 else 'are'} left out."
    if not found["n_trials"]:
        strong = f"No group of trials ({within}, within subjects) has two cues that could be exchanged."
        return Section(title="Imagination", blocks=[Note(left_out, strong)])
    verb = "matches" if found["p_value"] < _SURE else "does not match"
    strong = (
        f"What {name} decodes from imagery {verb} the cue of the trial better than other cues "
        f"(p {p_value(found['p_value'], found['p_floor'])})."
    )
    text = (
        f" Mean cosine of {found['n_trials']} trials with their cues, against cues exchanged within "
        f"{found['n_groups']} group(s) ({within}, within subjects), {found['n_permutations']} permutations."
        f"{left_out if silent else ''}"
    )
    parts = {name: found, **({"ridge (linear)": found["ridge"]} if "ridge" in found else {})}
    people = found["per_subject"] if len(found["per_subject"]) > 1 else {}
    parts |= {f"subject {who}": own for who, own in people.items() if own["n_trials"]}
    lines = [_line(who, own, found["p_floor"]) for who, own in parts.items()]
    caption = "Mean cosine of the trials with their cues: with the cues exchanged, and observed."
    figure = null_figure(found["null"]["counts"], found["null"]["edges"], found["statistic"])
    return Section(
        title="Imagination",
        blocks=[Note(text, strong), Table(_COLUMNS, lines, bold=[0])],
        charts=[Chart("imagination-null", "Imagination", caption, figure)],
    )


def _line(who: str, own: Mapping[str, Any], floor: float) -> tuple[str, ...]:
    numbers = (
        f"{own['statistic']:.4f}",
        f"{own['expected']:.4f}",
        bracketed(own["difference"], own["ci95"], 4),
    )
    return who, str(own["n_trials"]), *numbers, p_value(own["p_value"], floor)


@styled
def null_figure(counts: Sequence[int], edges: Sequence[float], statistic: float) -> Figure:
    """Draw the histogram of the statistic under permutation, and the observed one as a line.

    Parameters
    ----------
    counts : sequence of int
    edges : sequence of float
        Of the bins, one more than counts.
    statistic : float
    """
    figure, axes = figure_of(6.8, 3.4)
    axes.stairs(counts, edges, fill=True, color=GREY, alpha=0.6, label="cues exchanged")
    axes.axvline(statistic, color=BLUE, linewidth=2, label="observed")
    axes.set(xlabel="mean cosine with the cue", ylabel="permutations")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above the bars
    return figure
