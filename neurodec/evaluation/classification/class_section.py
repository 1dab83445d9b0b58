"""What there is to show of classes and numbers: scores, confusions, left-out groups, measures of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neurodec.evaluation.classification import class_figures as figures
from neurodec.evaluation.figures import intervals
from neurodec.evaluation.presentation import (
    Block,
    Chart,
    Note,
    Row,
    Section,
    Table,
    against_in_words,
    against_ridge,
    bracketed,
    p_value,
    percent,
    score_table,
    share_interval,
    words,
)
from neurodec.evaluation.reading_figures import attention

_MEASURES = {
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "weighted_f1": "Weighted F1",
    "auc": "AUROC",
    "auc_pr": "AUC-PR",
    "pearson_r": "Pearson's r",
    "r2": "R²",
    "rmse": "Root mean squared error",
}


def leading_score(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the score that leads, its interval, and the score beside it.

    With unbalanced categories plain accuracy rewards naming the most frequent one, so it steps back.
    """
    if found.get("unbalanced"):
        return "balanced_accuracy", "ci95_balanced_accuracy", "accuracy"
    return "accuracy", "ci95", "balanced_accuracy"


def class_section(sections: Mapping[str, Any], name: str) -> Section:
    """Return what to show of classes that were decoded: `classification`, and perhaps `baselines` and `controls`."""
    found = sections["classification"]
    score, bounds, second = leading_score(found)
    titles = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
    pairs = score_table(sections, "classification", score, bounds, name)
    auc = "auc" in found
    rows = [
        replace(
            row,
            more=[
                percent(part[second]) if second in part else "",
                *([f"{part['auc']:.3f}" if "auc" in part else ""] if auc else []),
            ],
        )
        for row, part in pairs
    ]
    beside = f"{percent(found['majority'], 2)} (most frequent)" if found.get("unbalanced") else ""
    section = Section(
        score=score,
        label=titles[score],
        rows=rows,
        chance=found["chance"],
        more=(titles[second], *(("AUC",) if auc else ())),
        chance_more=(beside or percent(found["chance"], 2), *(("0.500",) if auc else ())),
        against=against_ridge(sections),
        tested="runs or participants",
    )
    return replace(
        section,
        strong=_strong(section, found, name),
        headline=_headline(section, found),
        charts=list(_charts(sections, found)),
    )


def _strong(section: Section, found: Mapping[str, Any], name: str) -> str:
    n, share = len(found["classes"]), percent(section.rows[0].value)
    of = " of a category, on average over categories" if found.get("unbalanced") else ""
    if section.beyond_chance:
        return f"The {name} names the right one of {n} categories in {share} of trials{of}"
    return f"The {name} does not tell {n} categories apart better than chance: right in {share} of trials{of}"


def _headline(section: Section, found: Mapping[str, Any]) -> str:
    first = section.rows[0]
    p = "" if first.p is None else f"; p {p_value(first.p, first.p_floor)}"
    ci95 = share_interval(first.ci95)
    text = f" (95 % interval {ci95}; chance {percent(found['chance'])}{p}), {words(found['scheme'])}"
    if found.get("n_repeats"):
        spread = percent(found["sd_over_repeats"][section.score])
        text += f" ({found['n_repeats']} divisions, standard deviation {spread})"
    text += f", {found['n_trials']} trials." if found.get("n_trials") else "."
    if found.get("unbalanced"):
        text += (
            " Categories are unbalanced: always naming the most frequent one would be right in "
            f"{percent(found['majority'])} of trials, so the balanced accuracy leads."
        )
    text += f" {found['note']}" if found.get("note") else ""
    if chosen := found.get("chosen"):
        counts = ", ".join(f"{words(own)} in {count:g}" for own, count in chosen.items())
        text += f" In every fold the classifier was chosen within the training trials: {counts}."
    measure = ", in plain accuracy" if found.get("unbalanced") else ""
    return text + against_in_words(section.against, measure)


def _charts(sections: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Chart]:
    score, bounds, _ = leading_score(found)
    people = [
        Row(f"subject {subject}", part[score], part.get(bounds), kind="subject")
        for subject, part in found.get("per_subject", {}).items()
        if score in part
    ]
    if len(people) > 1:
        caption = "The same score for every subject on their own; the dashed line is chance."
        yield Chart("subjects", "Subjects", caption, intervals(people, found["chance"], words(score)))
    if found.get("per_fold"):
        unbalanced = found.get("unbalanced", False)
        line = "what always naming the most frequent category would reach" if unbalanced else "chance"
        caption = (
            f"Accuracy in every left-out group, which the decoder had not seen; the dashed line is {line}."
        )
        figure = figures.per_fold(found["per_fold"], found["majority"] if unbalanced else found["chance"])
        yield Chart("folds", "Left-out groups", caption, figure)
    if found.get("confusion"):
        caption = "Trials by what was shown (rows) and what was decoded (columns). Right answers are on the diagonal."
        figure = figures.confusion(np.array(found["confusion"]), found["classes"])
        yield Chart("confusion", "Confusions", caption, figure, lines=False)
    yield from attention_chart(sections)


def attention_chart(sections: Mapping[str, Any]) -> Iterator[Chart]:
    """Yield the figure of attention between regions, where a system has any."""
    if found := sections.get("attention"):
        caption = (
            "How the attention of the electrodes of a region (rows) is shared among regions (columns), mean over "
            "trials, seconds, layers and heads. The mask of allowed pairs alone makes large regions draw more of it."
        )
        figure = attention(np.array(found["values"]), found["regions"])
        yield Chart("attention", "Attention between regions", caption, figure, lines=False)


def label_blocks(sections: Mapping[str, Any], found: Mapping[str, Any], unit: str) -> list[Block]:
    """Return the table of predicted classes or numbers, all ways beside each other.

    Parameters
    ----------
    sections : dict
        With `baselines` and `controls`.
    found : dict
        Of the system.
    unit : str
        What differences are of.
    """
    parts = {"the model": found, **sections.get("controls", {}), **sections.get("baselines", {})}
    columns = {name: title for name, title in _MEASURES.items() if name in found}
    lines = []
    for name, part in parts.items():
        difference = part.get("difference_to_decoder")
        told = "" if difference is None else f"{difference['difference']:+.3f} {_signed(difference['ci95'])}"
        name = "band power and tangent space (linear)" if name == "spectral" else words(name)
        lines.append([name, *(bracketed(part[own], part[f"ci95_{own}"]) for own in columns), told])
    note = (
        "Brackets are 95 % intervals, the wider of resampling people and trials. p counts rotations of the labels "
        f"within people that score as well. The last column is the model minus the line, in {unit}."
    )
    table = Table(["By", *columns.values(), "The model minus this"], lines, bold=[0])
    return [Note(note, kind="soft"), table]


def number_section(sections: Mapping[str, Any]) -> Section:
    """Return what to show of numbers that were predicted: `regression`, `baselines` and `controls`."""
    found = sections["regression"]
    verdict = "are predicted" if found["p_value"] < 0.05 else "are not predicted better than chance"
    p = p_value(found["p_value"], found.get("p_floor", 0.0))
    note = f" {found['note']}" if found.get("note") else ""
    text = f": r {found['pearson_r']:.3f} (p {p}), {found['n_trials']} trials.{note}"
    first = Note(text, f"The numbers of people who were not learned from {verdict}")
    return Section(
        title="Predicted numbers",
        blocks=[first, *label_blocks(sections, found, "squared error (less is positive)")],
        charts=list(attention_chart(sections)),
    )


def _signed(bounds: list[float]) -> str:
    return f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
