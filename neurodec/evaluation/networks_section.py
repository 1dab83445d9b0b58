"""What a report shows of an ablation of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neurodec.evaluation.brain_maps import glass_brain, surface_map
from neurodec.evaluation.figures import BLUE, GREY, ORANGE, figure_of, label_of, styled
from neurodec.evaluation.presentation import Chart, Kept, Note, Section, Table, p_value, percent

_WAYS = {"masked": "set to zero at test time", "refitted": "ridge fitted without it"}
_SURE = 0.05


def networks_section(
    found: Mapping[str, Any], name: str, kept: Kept, networks: Mapping[str, list[str]] | None
) -> Section:
    """Lay out the section `networks` of the results.

    Parameters
    ----------
    found : dict
    name : str
        Of the system.
    kept : Kept
    networks : dict, optional
        Network to its parcels, where a recipe named them.
    """
    blocks: list[Any] = []
    for way, part in found["ways"].items():
        who = name if way == "masked" else "ridge"
        needed = [own["network"] for own in part["networks"] if own["p_fdr"] < _SURE]
        told = (
            f"{who} finds stimuli less well without {_listed(needed)}"
            if needed
            else f"{who} loses nothing for sure"
        )
        whole = ", ".join(
            f"{words} {percent(part['whole'][key]['value'])}"
            for key, words in (("top1", "top-1"), ("two_way", "two-way"))
        )
        text = f" ({_WAYS[way]}; with all networks {whole}; false discoveries controlled at 5 %.)"
        blocks += [Note(text, f"{told}."), Table(_COLUMNS, [_line(own) for own in part["networks"]])]
    for group in found.get("clusters", []):
        summary = f"Stimuli of {group['cluster']} ({group['n_stimuli']}), {_WAYS['masked']}"
        blocks.append(Table(_COLUMNS, [_line(own) for own in group["networks"]], summary=summary))
    charts = [
        Chart(
            "networks",
            "What each network carries",
            "Loss of two-way identification without each network, with 95 % intervals.",
            _losses(found["ways"], name),
        )
    ]
    return Section(title="Networks", blocks=blocks, charts=charts + _maps(found, kept, networks))


_COLUMNS = ("Without", "Parcels", "Top-1", "Two-way", "Loss of two-way", "p", "p, corrected")


def _line(own: Mapping[str, Any]) -> tuple[str, ...]:
    loss = own["loss"]["two_way"]
    bounds = " to ".join(f"{100 * bound:+.1f}" for bound in loss["ci95"])
    return (
        own["network"],
        str(own["n_parcels"]),
        percent(own["top1"]),
        percent(own["two_way"]),
        f"{100 * loss['difference']:+.1f} ({bounds}) points",
        p_value(own["p_value"]).removeprefix("= "),
        p_value(own["p_fdr"]).removeprefix("= "),
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@styled
def _losses(ways: Mapping[str, Any], name: str) -> Figure:
    """Draw a dot with its interval per network and way."""
    names = [own["network"] for own in next(iter(ways.values()))["networks"]]
    figure, axes = figure_of(7.2, 1.2 + 0.45 * len(names))
    for (way, part), color, shift in zip(ways.items(), (BLUE, ORANGE), (0.12, -0.12), strict=False):
        lost = {own["network"]: own["loss"]["two_way"] for own in part["networks"]}
        places = [len(names) - 1 - names.index(network) + shift for network in lost]
        for place, own in zip(places, lost.values(), strict=True):
            axes.plot(100 * np.array(own["ci95"]), [place, place], color=color, linewidth=3, alpha=0.6)
        values = [100 * own["difference"] for own in lost.values()]
        axes.plot(
            values, places, "o", color=color, label=label_of(name if way == "masked" else "ridge, refitted")
        )
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1.2)
    axes.set_yticks(range(len(names)), [label_of(own) for own in reversed(names)])
    axes.set_xlabel("loss of two-way identification (percentage points)")
    axes.legend(loc="best")
    return figure


def _maps(found: Mapping[str, Any], kept: Kept, networks: Mapping[str, list[str]] | None) -> list[Chart]:
    """Paint every parcel with the loss of its network, where the recordings tell where parcels lie."""
    brain = kept.info.get("brain")
    if not brain or "masked" not in found["ways"]:
        return []
    names = list(kept.info["ch_names"])
    members = dict(kept.info.get("roi") or {})
    if networks is not None:
        members = {network: [names.index(own) for own in parcels] for network, parcels in networks.items()}
    values = np.zeros(len(names))
    for own in found["ways"]["masked"]["networks"]:
        values[members.get(own["network"], [])] = 100 * own["loss"]["two_way"]["difference"]
    told = "Loss of two-way identification without the network of each parcel (percentage points)"
    in_mni = str(brain.get("space", "")).startswith("MNI")
    outlines = (
        "" if in_mni else " The outlines are those of MNI space, which these recordings do not say to be in."
    )
    drawn = [("glass-brain", f"{told}, seen through the brain.{outlines}", glass_brain(values, brain))]
    surface = surface_map(values, brain) if in_mni else None
    if surface is not None:
        drawn.append(("surface", f"{told}, on the cortex of fsaverage5 (red: loss).", surface))
    return [
        Chart(f"networks-{file}", "Where it is", caption, one, lines=False) for file, caption, one in drawn
    ]
