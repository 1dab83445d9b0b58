"""What there is to show of `PersonIdentification`: the network beside functional connectivity, and every person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurodec.evaluation.presentation import Note, Row, Section, Table, p_value, percent, share_interval

WAYS = {"network": "the network", "connectivity": "functional connectivity"}
_TOLD = (
    "The network was fitted to the other candidates and has not seen the tested people, which alone may set them "
    "apart; functional connectivity is fitted to nobody. Both halves are of the same recordings."
)


def identification_section(found: Mapping[str, Any], name: str) -> Section:
    """Return what to show of `PersonIdentification`; without vectors of a network there is no score of the system.

    Parameters
    ----------
    found : dict
        The section `identification` of the results.
    name : str
        Of the system.
    """
    ways = [way for way in WAYS if way in found]
    titles = {"network": name, "connectivity": WAYS["connectivity"]}
    text = (
        f" {found['n_queries']} halves of the recordings of {found['n_people']} people, among "
        f"{found['n_candidates']:g} candidates (chance {percent(found['chance'])})."
    )
    against = found.get("network_minus_connectivity")
    if against is not None:
        low, high = (f"{100 * bound:+.1f}" for bound in against["ci95"])
        text += (
            f" Compared with functional connectivity: {100 * against['difference']:+.1f} percentage points ({low} to "
            f"{high}, p {p_value(against['p_value'])})."
        )
    named = name if "network" in found else "Functional connectivity"
    strong = f"{named} identifies the person in {percent(found[ways[0]]['share'])}."
    people = [
        (f"subject {who}", *(percent(own[way], 0) for way in ways))
        for who, own in found["per_subject"].items()
    ]
    folded = Table(("", *(titles[way] for way in ways)), people, summary="Every person")
    if "network" not in found:
        own = found["connectivity"]
        shown = percent(own["share"]), share_interval(own["ci95"]), p_value(own["p_value"], own["p_floor"])
        table = Table(("", "Identified", "95 % interval", "p"), [(titles["connectivity"], *shown)])
        notes = Note(text, strong), Note(found["note"], kind="soft")
        return Section(title="Identification", blocks=[*notes, table, folded])
    first, other = (
        (titles[way], own["share"], own["ci95"], own["p_value"], own["p_floor"])
        for way, own in ((way, found[way]) for way in WAYS)
    )
    return Section(
        title="Identification",
        strong=strong,
        headline=text,
        score="share",
        label="Identified",
        rows=[Row(*first, "decoder"), Row(*other, "baseline")],
        chance=found["chance"],
        tested="people",
        blocks=[Note(_TOLD, kind="soft"), folded],
    )
