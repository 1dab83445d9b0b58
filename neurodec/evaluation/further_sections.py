"""What there is to show of candidate sets, adaptation, voxels and hidden patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from neurodec.evaluation.classification.class_section import attention_chart
from neurodec.evaluation.presentation import (
    Block,
    Chart,
    Kept,
    Note,
    Section,
    Table,
    percent,
    share_interval,
)
from neurodec.evaluation.reading_figures import by_region, hidden_patches
from neurodec.evaluation.retrieval.retrieval_figures import adaptation


def candidate_sets_section(found: Mapping[str, Any]) -> Section:
    """Return what to show of `CandidateSets`, by decoder."""
    first = next(iter(found.values()))
    n = first["n_repetitions"]
    text = (
        "For every test picture the decoder also named a set of candidates, sized on "
        f"{first['n_calibration']} training pictures of the same person that it had not learned from, so that the set "
        "holds what was seen as often as promised; and it answered only where its first candidate led by enough that "
        f"at most {percent(first['answers']['risk'], 0)} of the answers should be wrong. Both are measured here on the "
        f"test pictures ({n} {'trial' if n == 1 else 'trials'} each, {first['n_candidates']} candidates)."
    )
    if first["calibrated_among"] < first["n_candidates"]:
        text += (
            f" There are only {first['calibrated_among']} training pictures to calibrate among, fewer than candidates, "
            "so answers may be wrong more often than promised."
        )
    text += f" {first['note']}" if first.get("note") else ""
    columns = ["Decoder"]
    for own in first["sets"]:
        columns += [f"Promised {percent(own['coverage'], 0)}: held", "95 % interval", "Candidates, mean"]
    columns += ["Answered", "of these right", "95 % interval"]
    lines = []
    for name, part in found.items():
        line = [name]
        for own in part["sets"]:
            line += [percent(own["found"]), share_interval(own["ci95"]), f"{own['mean_size']:.1f}"]
        answers = part["answers"]
        right = "" if answers["right"] is None else percent(answers["right"])
        lines.append([*line, percent(answers["answered"]), right, share_interval(answers["ci95"])])
    return Section(title="How sure it is", blocks=[Note(text, kind="soft"), Table(columns, lines)])


def adaptation_section(found: Mapping[str, Any]) -> Section:
    """Return what to show of `Adaptation`: accuracy against the size of the context."""
    points, charts = pd.DataFrame(found["points"]), []
    for kind in dict.fromkeys(points.get("kind", [])):
        what = "pictures that the person was shown" if kind == "pictures" else "voxels, with all pictures"
        caption = (
            f"Accuracy for a new person against the number of {what}. Mean over {found['n_repeats']} draws; bands are "
            "95 % intervals over test stimuli."
        )
        figure = adaptation(points[points["kind"] == kind], kind)
        charts.append(Chart(f"adaptation-{kind}", f"Adaptation: {kind}", caption, figure))
    return Section(charts=charts)


def encoding_section(found: Mapping[str, Any]) -> Section:
    """Return what to show of `VoxelEncoding`: explained variance, identification, regions, and what sentences stir."""
    people = found["per_subject"]
    first = people[0]
    ceiling = (
        ", the ceiling what of it repeats when a picture is shown again"
        if first["noise_ceiling"] is not None
        else ""
    )
    text = (
        "Encoders predict the response of every voxel to pictures that they have not seen. Explained variance is the "
        f"mean over voxels{ceiling}; identified is how often the seen picture is the likeliest of "
        f"{first['n_candidates']} under the encoders (chance {percent(first['chance_top1'], 2)})."
    )
    columns = ["Subject", "Encoders", "Explained variance", "95 % interval", "Noise ceiling", "Identified"]
    lines = []
    for person in people:
        for way, own in person["encoders"].items():
            low, high = own["ci95"]
            ceiling = "" if person["noise_ceiling"] is None else f"{person['noise_ceiling']:.3f}"
            line = [
                person["subject"],
                way,
                f"{own['explained_variance']:.3f}",
                f"{low:.3f} to {high:.3f}",
                ceiling,
            ]
            lines.append([*line, percent(own["identified_top1"]), share_interval(own["identified_ci95"])])
    blocks: list[Block] = [Note(text, kind="soft"), Table([*columns, "95 % interval"], lines)]
    way, prompts = next(iter(first.get("prompts", {}).items()), ("", {}))
    for prompt, own in prompts.items():
        if own["regions"]:
            region = max(own["regions"], key=own["regions"].get)
            blocks.append(
                Note(
                    f"“{prompt}”: of subject {first['subject']}, the {way} encoders expect the most of {region}, "
                    "compared with the other sentences.",
                    kind="soft",
                )
            )
    return Section(title="What the voxels foretell", blocks=blocks, charts=list(_regions(people)))


def _regions(people: list[dict[str, Any]]) -> Iterator[Chart]:
    people = [person for person in people if person.get("regions")]
    if not people:
        return
    explained, parts = [], []
    for person in people:
        for region, own in person["regions"].items():
            for way, scores in person["encoders"].items():
                explained.append({"region": region, "name": way, "value": scores["regions"][region]})
            if "noise_ceiling" in own:
                explained.append({"region": region, "name": "noise ceiling", "value": own["noise_ceiling"]})
            parts.append({"region": region, "name": "voxels", "value": own["n_voxels"] / person["n_voxels"]})
            if "attention" in own:
                parts.append({"region": region, "name": "attention", "value": own["attention"]})
    panels = {"explained variance": pd.DataFrame(explained), "share of the whole": pd.DataFrame(parts)}
    caption = (
        "Left the explained variance of each region's voxels, beside its ceiling. Right the share of the voxels that "
        "lie in a region, and, where a network inverts the encoders, the share of its attention that they get; what "
        "lies in no region is left out. Mean over subjects."
    )
    yield Chart("encoding", "Regions of the brain", caption, by_region(panels))


def hidden_patches_section(sections: Mapping[str, Any], kept: Kept, example: str) -> Section:
    """Return what to show of `HiddenPatches`; `example` is the file of a window that was filled in."""
    found = sections["hidden_patches"]
    n, n_left_out = found["n_recordings"], found["n_left_out"]
    left_out = (
        f" {n_left_out} windows of montages that were not trained on are left out." if n_left_out else ""
    )
    text = (
        f"In {found['n_windows']} windows of {n} {'recording' if n == 1 else 'recordings'} of people that nothing was "
        f"learned from, {percent(found['share'], 0)} of all seconds and channels were hidden and filled in again."
        f"{left_out} Errors are mean squares over hidden samples, in squared units of the recording; intervals are "
        "over recordings."
    )
    lines = []
    for own in found["errors"].values():
        low, high = own["ci95"]
        told = ""
        if less := own.get("system_minus_this"):
            told = f"{less['difference']:+.5f} ({less['ci95'][0]:+.5f} to {less['ci95'][1]:+.5f})"
        lines.append(
            [own["name"], f"{own['mse']:.5f}", f"{low:.5f} to {high:.5f}", percent(own["explained"]), told]
        )
    columns = ["Filled in by", "Error", "95 % interval", "Less than the mean's", "The model minus this"]
    charts = []
    files = [folder / example for folder in kept.folders if (folder / example).exists()]
    for file in files[:1]:
        with np.load(file) as content:
            figure = hidden_patches(**content)
        caption = (
            "A window of a person who was not learned from. Grey stretches were hidden from the model; there the "
            "coloured line is what it filled in, and the black one what was recorded."
        )
        charts.append(Chart("hidden-patches", "Hidden patches", caption, figure))
    return Section(
        title="Hidden patches",
        blocks=[Note(text, kind="soft"), Table(columns, lines)],
        charts=[*charts, *attention_chart(sections)],
    )
