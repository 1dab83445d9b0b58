"""What there is to show of segments of speech: scores beside noise, words, people, and the sentences found."""

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
    Row,
    Section,
    Sound,
    Sounds,
    against_in_words,
    p_value,
    percent,
    score_table,
    share_interval,
)
from neurodec.files import read_own_table

_SHOWN = 3  # windows of a kind
_FOUND = 3  # candidates beside each


def segment_section(sections: Mapping[str, Any], name: str, kept: Kept) -> Section:
    """Return what to show of the results of `Segments`.

    Parameters
    ----------
    sections : dict
        With `segments`, `controls` and perhaps `baselines`.
    name : str
        Of the decoder.
    kept : Kept
    """
    found = sections["segments"]
    pairs = score_table(sections, "segments", "top10", "ci95_top10", name)
    rows = [Row(**{**vars(row), "more": _more(part)}) for row, part in pairs]
    against = sections.get("baselines", {}).get("ridge", {}).get("encoder_minus_ridge_top10")
    section = Section(
        score="top10",
        label="Top-10",
        rows=rows,
        chance=found["chance_top10"],
        more=("Top-1", "Top-1 with neighbours", "Median rank"),
        chance_more=(percent(found["chance_top1"], 2), "", f"{(found['n_candidates'] + 1) / 2:g}"),
        against=against,
        tested="texts",
    )
    n, share = found["n_candidates"], percent(found["top10"])
    strong = (
        f"{name} has the segment that was heard among its ten best of {n} in {share} of windows"
        if section.beyond_chance
        else f"{name} does not find the segment that was heard more often than chance: among its ten best of {n} in "
        f"{share} of windows"
    )
    headline = (
        f" (95 % interval {share_interval(found['ci95_top10'])}; chance {percent(found['chance_top10'], 2)}; p "
        f"{p_value(found['p_value'], found['p_floor'])}), over {found['n_windows']} windows of {found['n_texts']} "
        "texts." + against_in_words(against)
    )
    blocks = [*_notes(sections, found), *_heard(kept)]
    charts = list(_charts(found))
    return Section(
        **{**vars(section), "strong": strong, "headline": headline, "blocks": blocks, "charts": charts}
    )


def _more(part: Mapping[str, Any]) -> tuple[str, ...]:
    context = part.get("context")
    return (
        f"{percent(part['top1'])} ({share_interval(part['ci95_top1'])})" if "top1" in part else "",
        percent(context["top1"]) if context else "",
        f"{part['median_rank']:g}" if "median_rank" in part else "",
    )


def _notes(sections: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Note]:
    noise = sections["controls"]["noise"]
    if noise["p_value_top10"] < 0.01:
        yield Note(
            f" Noise in place of the brain reaches {percent(noise['top10'])} among the ten best (chance "
            f"{percent(found['chance_top10'], 2)}), so candidates can be told apart by something else than the brain; "
            "see that all windows have one length and that no text is in training and test.",
            "The noise control is above chance.",
            "loud",
        )
    words, frequent = found["words"], found["frequent_words"]
    shares = ", ".join(
        f"top-{k} {percent(words[f'top{k}'])} ({share_interval(words[f'ci95_top{k}'])}; chance "
        f"{percent(words[f'chance_top{k}'])})"
        for k in (1, 10)
    )
    yield Note(
        f"Asked for the word at the beginning, of which there are {words['n_candidates']}: {shares}; p "
        f"{p_value(words['p_value_top1'], found['p_floor'])}. Probabilities of all segments that begin with a word are "
        "added; chance is that of exchanged texts, with this decoder's preference for some words."
    )
    if frequent["n_candidates"] < words["n_candidates"]:
        yield Note(
            f"Among the {frequent['n_candidates']} most frequent words alone, each counted alike: top-1 "
            f"{percent(frequent['balanced_top1'])} (chance {percent(frequent['chance_balanced_top1'])}), top-10 "
            f"{percent(frequent['balanced_top10'])} (chance {percent(frequent['chance_balanced_top10'])})."
        )
    if context := found.get("context"):
        yield Note(
            f"With the windows of {context['n_neighbours']} words before and after, of the same text, scored together: "
            f"top-1 {percent(context['top1'])} ({share_interval(context['ci95_top1'])}), top-10 "
            f"{percent(context['top10'])}. That is another task: it knows which windows belong together. Noise in the "
            f"same way: top-10 {percent(noise['context']['top10'])}."
        )
    yield Note(
        f"Candidates are all segments of the test, {found['n_candidates']} of one length, each around the onset of a "
        "word; all decoders are ranked by the cosine of a prediction with a candidate, each less its mean over "
        f"training windows. Without that, as the paper compares, top-10 is {percent(found['uncentred_top10'])}. "
        "Intervals are over texts, since windows at successive words overlap; p counts exchanges of whole texts that "
        "score as well.",
        kind="soft",
    )


def _charts(found: Mapping[str, Any]) -> Iterator[Chart]:
    people = [
        Row(f"subject {subject}", part["top10"], part["ci95_top10"], kind="subject")
        for subject, part in found["per_subject"].items()
    ]
    if len(people) > 1:
        caption = "The same score for every subject on their own; the dashed line is chance."
        figure = intervals(people, found["chance_top10"], "top-10 accuracy")
        yield Chart("subjects", "Subjects", caption, figure)


def _heard(kept: Kept) -> Iterator[Note | Sounds]:
    """Yield windows that were found, drawn and missed, each with its sentence, its sound, and those of the best."""
    folder = next((own for own in kept.folders if (own / "cosine0.npy").exists()), None)
    if folder is None or not kept.sounds:
        return
    candidates = read_own_table(folder / "candidates.csv", dtype=str)
    cosine = np.load(folder / "cosine0.npy", mmap_mode="r")
    windows = read_own_table(folder / "windows0.csv", dtype={"subject": str})
    true = windows["true"].to_numpy(dtype=int)
    rank = 1 + np.array([(own > own[place]).sum() for own, place in zip(cosine, true, strict=True)])
    once = pd.Series(rank).groupby(true).idxmin().to_numpy()  # a segment is shown once
    order = once[np.argsort(rank[once], kind="stable")]
    drawn = np.sort(np.random.default_rng(0).permutation(len(order))[:_SHOWN])
    groups = {"Best": order[:_SHOWN], "Drawn at random": order[drawn], "Worst": order[-_SHOWN:]}

    def sound(place: int, mark: str) -> Sound:
        row = candidates.iloc[place]
        file, start, stop = kept.sounds[row["stimulus"]]
        return Sound(file, start, stop, f"{row['word']} … in: {row['sentence']}", mark)

    shown = []
    for title, rows in groups.items():
        lines = []
        for row in rows:
            best = np.argsort(-np.asarray(cosine[row]), kind="stable")[:_FOUND]
            found = [sound(int(place), "right" if place == true[row] else "") for place in best]
            lines.append(([sound(int(true[row]), "heard"), *found], f"rank {rank[row]}"))
        shown.append(Sounds(title, lines))
    if not all(one.file.is_file() for own in shown for line, _ in own.lines for one in line):
        return  # the sounds are elsewhere by now
    yield Note(
        "On the left the segment that was heard, then the three candidates found, best first: the word at its "
        "beginning, and the sentence that it is from. The right one is framed.",
        "What was heard, and what was found.",
        "soft",
    )
    yield from shown
