"""What there is to show of a retrieval: scores beside chance and controls, curves, maps, and the pictures found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from neurodec.evaluation.figures import intervals
from neurodec.evaluation.presentation import (
    Chart,
    Kept,
    Note,
    Panel,
    Picture,
    Row,
    Section,
    against_in_words,
    against_ridge,
    p_value,
    percent,
    repetitions_in_words,
    score_table,
    share_interval,
    words,
)
from neurodec.evaluation.retrieval import retrieval_figures as figures
from neurodec.evaluation.retrieval.kept_folds import KeptFolds

_PANEL_ROWS = 5


def retrieval_section(sections: Mapping[str, Any], name: str, kept: Kept) -> Section:
    """Return what to show of the results of `Retrieval`.

    Parameters
    ----------
    sections : dict
        With `retrieval`, and perhaps `baselines` and `controls`.
    name : str
        Of the decoder.
    kept : Kept
    """
    found = sections["retrieval"]
    pairs = score_table(sections, "retrieval", "top1", "ci95_top1", name)
    rows = [
        Row(**{**vars(row), "more": (percent(part["top5"]) if "top5" in part else "", _rank(part))})
        for row, part in pairs
    ]
    n_candidates, against = found["n_candidates"], against_ridge(sections)
    section = Section(
        score="top1",
        label="Top-1",
        rows=rows,
        chance=found["chance_top1"],
        more=("Top-5", "Median rank"),
        chance_more=(
            percent(found["chance_top5"], 2) if "chance_top5" in found else "",
            f"{(n_candidates + 1) / 2:g}",
        ),
        against=against,
        tested="stimuli",
    )
    share = percent(found["top1"])
    strong = (
        f"{name} finds what was seen among {n_candidates} candidates in {share} of cases"
        if section.beyond_chance
        else f"{name} does not find the seen stimulus more often than chance: in {share} of cases among {n_candidates} "
        "candidates"
    )
    headline = (
        f" (95 % interval {share_interval(found['ci95_top1'])}; chance {percent(found['chance_top1'], 2)}"
        + (f"; p {p_value(found['p_value'], found.get('p_floor', 0))})" if "p_value" in found else ")")
        + (f", from {repetitions_in_words(found['n_repetitions'])}." if "n_repetitions" in found else ".")
        + against_in_words(against)
    )
    folds = KeptFolds(kept.folders)
    return Section(
        **{
            **vars(section),
            "strong": strong,
            "headline": headline,
            "blocks": [*_notes(sections, found, name, section.beyond_chance), *_panels(folds, kept)],
            "charts": list(_charts(sections, found, name, folds, kept)),
        }
    )


def _rank(part: Mapping[str, Any]) -> str:
    return f"{part['median_rank']:g}" if "median_rank" in part else ""


def _notes(
    sections: Mapping[str, Any], found: Mapping[str, Any], name: str, beyond_chance: bool
) -> Iterator[Note]:
    if found.get("collapsed") and not beyond_chance:
        yield Note(
            " The encoder's output hardly depends on its input, so nothing can be read from it: check the unit and the "
            "scaling of the responses, and whether the training went below the loss of the mean predictor.",
            "Every response gives the same answer.",
            "loud",
        )
    if pooled := found.get("pooled"):
        yield Note(
            f"Within {pooled['n_pools']} pools of {pooled['pool_size']} (chance {percent(pooled['chance'], 2)}): the "
            f"right image of a response {percent(pooled['image_retrieval']['mean'])}, the right response of an image "
            f"{percent(pooled['brain_retrieval']['mean'])}."
        )
    if answers := found.get("answers"):
        shares = ", ".join(
            f"top-{m} {percent(answers[f'top{m}'])} ({share_interval(answers[f'ci95_top{m}'])}; chance "
            f"{percent(answers[f'chance_top{m}'])})"
            for m in (1, 5, 10)
        )
        yield Note(
            f"Asked for the {words(answers['column'])}, of which there are {answers['n_candidates']}: {shares}; p "
            f"{p_value(answers['p_value_top1'])}. Each is as similar as the best of its stimuli, and chance is that of "
            "exchanged responses."
        )
    if found.get("chance_top1_by_concept", 1.0) < 1.0:  # where concepts have several candidates
        yield Note(
            "Knowing the concept of the seen stimulus and nothing else gives "
            f"{percent(found['chance_top1_by_concept'])}; only what lies above that tells the stimuli of a concept "
            "apart."
        )
    candidates = (
        "Candidates are concepts: each one the mean of its other pictures, none of which was shown."
        if found.get("gallery") == "concept_centre"
        else "Candidates are the test stimuli (in a cross-validation, those of the same fold)."
    )
    parts = {name: found, **sections.get("baselines", {})}
    plain = [
        f"{percent(part['uncentred_top1'])} ({own})"
        for own, part in parts.items()
        if "uncentred_top1" in part
    ]
    without = f"; without that, as many papers compare, top-1 is {', '.join(plain)}" if plain else ""
    yield Note(
        f"{candidates} All decoders are ranked by the cosine of a prediction with a candidate, each less its mean over "
        f"the training trials{without}. Intervals are over stimuli; p counts label permutations that score as well.",
        kind="soft",
    )


def _charts(
    sections: Mapping[str, Any], found: Mapping[str, Any], name: str, folds: KeptFolds, kept: Kept
) -> Iterator[Chart]:
    chance = found["chance_top1"]
    people = [
        Row(f"subject {subject}", part["top1"], part.get("ci95_top1"), kind="subject")
        for subject, part in found.get("per_subject", {}).items()
    ]
    if len(people) > 1:
        caption = "The same score for every subject on their own; the dashed line is chance."
        yield Chart("subjects", "Subjects", caption, intervals(people, chance, "top-1 accuracy"))
    zeros = "" if name == "ridge" else "; the encoder is not, and sees zeros elsewhere"
    spread = " Thin lines are single folds." if len(folds.folders) > 1 else " Bands are 95 % intervals."
    parts = {name: found, **sections.get("baselines", {})}
    k_way = [{"decoder": own, **point} for own, part in parts.items() for point in part.get("k_way") or []]
    if k_way:
        caption = "Accuracy expected among fewer candidates, drawn at random. Bands are 95 % intervals."
        yield Chart("k-way", "Number of candidates", caption, figures.k_way(pd.DataFrame(k_way)))
    if len(points := folds.points("repetitions")):
        caption = "Accuracy when fewer repetitions of the same stimulus are averaged." + spread
        yield Chart("repetitions", "Repetitions", caption, figures.repetitions(points, chance))
    if len(points := folds.points("windows")):
        caption = (
            f"Accuracy from part of the time. Ridge is refitted to each window{zeros}. "
            "For speed the refitted ridge reads coarser bins and tries fewer penalties than that of the "
            "table, so that the whole window need not give the same score."
        )
        if (points["tmin"] < 0).any():
            caption += " Before onset (ridge alone), anything above chance is a warning sign."
        yield Chart("windows", "Time", caption + spread, figures.windows(points, chance))
    titles = {"regions": "this region alone", "regions_left_out": "all but this region"}
    panels = {title: folds.points(own) for own, title in titles.items()}
    panels = {title: points for title, points in panels.items() if len(points)}
    if panels:
        caption = (
            "Accuracy from one region, or without it; in brackets its number of channels or voxels. Ridge is "
            f"refitted{zeros}."
        )
        yield Chart("regions", "Regions", caption, figures.regions(panels, chance))
    channels = folds.points("channels")
    if len(channels) and kept.info.get("ch_pos"):
        importance = channels.groupby("ch_name", sort=False)["importance"].mean().to_dict()
        positions = dict(zip(kept.info["ch_names"], kept.info["ch_pos"], strict=True))
        figure = figures.topography(importance, positions)
        if figure is not None:
            caption = (
                "How much of the true candidate's lead in similarity is lost when a channel is set to zero, seen "
                "from above, nose up. Red channels help, blue ones hurt."
            )
            yield Chart("topography", "Channels", caption, figure, lines=False)
    if (similarity := folds.similarity()) is not None:
        caption = (
            "Similarity of what was decoded with every candidate, both sorted by concept. A bright diagonal means "
            "that the right one stands out."
        )
        yield Chart("similarity", "Similarity", caption, figures.similarity(*similarity), lines=False)


def _panels(folds: KeptFolds, kept: Kept) -> Iterator[Note | Panel]:
    """Yield the best, random (fixed seed) and worst rows, each with the picture that was seen and those found."""
    ranks = folds.ranks() if kept.pictures else pd.DataFrame()
    if ranks.empty:
        return
    drawn = np.sort(np.random.default_rng(0).permutation(len(ranks))[:_PANEL_ROWS])
    groups = {
        "Best": ranks[:_PANEL_ROWS],
        "Drawn at random": ranks.iloc[drawn],
        "Worst": ranks[-_PANEL_ROWS:],
    }
    places = [name for name in (f"top{place}" for place in range(1, 6)) if name in ranks]
    several, panels = len(set(ranks["subject"])) > 1, []
    for title, rows in groups.items():
        lines = []
        for row in rows.to_dict("records"):
            names = [row["stimulus"], *map(row.get, places)]
            files = {own: kept.pictures.get(own) for own in names}
            if not all(file is not None and file.is_file() for file in files.values()):
                return  # the pictures are elsewhere by now, or were never there
            found = [Picture(files[row["stimulus"]], f"seen: {words(row['concept'])}", "seen")]
            for place, own in enumerate(places, start=1):
                right = row[own] == row["stimulus"]
                alt = f"found, place {place}: {words(row[own])}{' (right)' if right else ''}"
                found.append(Picture(files[row[own]], alt, "right" if right else ""))
            who = f", subject {row['subject']}" if several else ""
            lines.append((found, f"rank {row['rank']:g}{who}"))
        panels.append(Panel(title, lines))
    yield Note(
        "On the left the picture that was seen, then the five candidates found, best first. The right one is framed.",
        "What was seen, and what was found.",
        "soft",
    )
    yield from panels
