"""What the report's tables and sentences say, from `results.json` and the table of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.report.grids import reconstructed, score_column

_SURE = 0.05
_SMALLEST = 1e-4  # that a p value of a formula is written as


def score_rows(results: dict[str, Any], decoder: str) -> list[dict[str, Any]]:
    """Flatten decoder, baselines and controls to rows of one table."""
    score, bounds, second = leading(results)
    parts = [("decoder", decoder, results.get("retrieval") or results.get("classification"))]
    linear = {"ridge": "ridge (linear)", "spectral": "band power, tangent space (linear)"}
    parts += [
        ("baseline", linear.get(name, name), part) for name, part in results.get("baselines", {}).items()
    ]
    controls = {"shuffled": "shuffled labels", "prestimulus": "before onset"}
    parts += [
        ("control", f"control: {controls.get(name, name)}", part)
        for name, part in results.get("controls", {}).items()
    ]
    return [
        {
            "kind": kind,
            "name": name,
            "value": part[score],
            "ci95": part.get(bounds),
            "second": part.get(second),
            "auc": part.get("auc"),
            "median_rank": part.get("median_rank"),
            "p": part.get("p_value_balanced_accuracy" if score == "balanced_accuracy" else "p_value"),
            "p_floor": part.get("p_floor", 0.0),
        }
        for kind, name, part in parts
        if part and score in part
    ]


def uncentred(results: dict[str, Any], decoder: str) -> dict[str, float]:
    """Return every decoder's top-1 where nothing is centred, by its name in the table."""
    parts = {decoder: results.get("retrieval", {}), **results.get("baselines", {})}
    return {name: part["uncentred_top1"] for name, part in parts.items() if "uncentred_top1" in part}


def leading(results: dict[str, Any]) -> tuple[str, str, str]:
    """Return the names of the score that leads, of its interval and of the score beside it.

    With unbalanced categories plain accuracy rewards naming the most frequent one, so it steps back.
    """
    if "retrieval" in results:
        return "top1", "ci95_top1", "top5"
    if results.get("classification", {}).get("unbalanced"):
        return "balanced_accuracy", "ci95_balanced_accuracy", "accuracy"
    return "accuracy", "ci95", "balanced_accuracy"


def against_ridge(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the paired comparison with ridge: `difference`, `ci95`, `p_value`."""
    ridge = results.get("baselines", {}).get("ridge", {})
    return ridge.get("encoder_minus_ridge_top1") or ridge.get("difference_to_decoder")


def further(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the headline of every further evaluation of the recipe."""
    lines = []
    for name, sections in results.get("further", {}).items():
        score, bounds, _ = leading(sections)
        found = sections.get("retrieval") or sections.get("classification") or {}
        if score in found:
            chance = found.get("chance_top1", found.get("chance"))
            lines.append(
                {"name": name, "score": words(score), "value": found[score], "ci95": found.get(bounds)}
                | {"chance": chance, "n_candidates": found.get("n_candidates", len(found.get("classes", [])))}
            )
    return lines


_LABEL_MEASURES = {
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "weighted_f1": "Weighted F1",
    "auc": "AUROC",
    "auc_pr": "AUC-PR",
    "pearson_r": "Pearson's r",
    "r2": "R²",
    "rmse": "Root mean squared error",
}


def label_rows(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table of predicted classes or numbers: `columns`, and `lines` of all ways; None without any."""
    own = section_of(results, "regression") or section_of(results, "classification")
    if "kappa" not in own and "r2" not in own:
        return None
    sections = next(one for one in (results, *results.get("further", {}).values()) if own in one.values())
    parts = {"the model": own, **sections["controls"], **sections["baselines"]}
    columns = {name: title for name, title in _LABEL_MEASURES.items() if name in own}
    lines = [
        {
            "name": {"spectral": "band power and tangent space (linear)"}.get(name, words(name)),
            "values": [(part[column], part[f"ci95_{column}"]) for column in columns],
            "difference": part.get("difference_to_decoder"),
        }
        for name, part in parts.items()
    ]
    return {"columns": list(columns.values()), "lines": lines, "own": own}


def section_of(results: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section of the first evaluation that has it, the further ones among them; empty where none has."""
    sections = [results, *results.get("further", {}).values()]
    return next((section[name] for section in sections if name in section), {})


def candidate_sets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what every decoder's candidate sets and answers were worth."""
    return [{"name": name, **own} for name, own in found.items()]


def preferred_regions(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for every sentence the region that the first subject's encoders expect the most of."""
    person = (found.get("per_subject") or [{}])[0]
    way, prompts = next(iter(person.get("prompts", {}).items()), ("", {}))
    return [
        {
            "prompt": prompt,
            "subject": person["subject"],
            "way": way,
            "region": max(own["regions"], key=own["regions"].get),
        }
        for prompt, own in prompts.items()
        if own["regions"]
    ]


def over_seeds(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of every headline over the recipe's seeds."""
    found = results.get("over_seeds", {})
    return [
        {"name": name.split(".")[1], "n": len(found["seeds"]), **spread}
        for name, spread in found.items()
        if name != "seeds"
    ]


def picture_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten the scores of pictures: the brain's, its controls, and the ceilings."""
    names = {
        "shuffled": "control: shuffled brain",
        "mean_embedding": "control: mean embedding",
        "nearest_training": "control: nearest training picture",
        "true_through_prior": "true embedding, prior and decoder",
        "true_through_decoder": "ceiling: true embedding, decoder alone",
        "autoencoder": "ceiling: autoencoder alone",
    }
    parts = {**found.get("controls", {}), **found.get("ceilings", {})}
    rows = [{"kind": "decoder", "name": "from the brain", **found}] if found else []
    return rows + [{"kind": "control", "name": names[name], **part} for name, part in parts.items()]


def per_picture(out: Path) -> list[dict[str, Any]]:
    """Return concept, pixel correlation and identification of every picture, best first."""
    table = reconstructed(out)
    if table is None:
        return []
    column = score_column(table)
    ranked = table.sort_values([column, "pixcorr"], ascending=False, kind="stable")
    return [
        {"concept": concept, "pixcorr": pixcorr, "score": score}
        for concept, pixcorr, score in zip(ranked["concept"], ranked["pixcorr"], ranked[column], strict=True)
    ]


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f} %"


def p_value(p: float, floor: float = 0.0) -> str:
    """Write a p value with its sign: where no draw was as extreme, the draws bound it by `floor` alone."""
    floor = floor or _SMALLEST
    if p > floor * (1 + 1e-9):
        return f"= {p:.4f}" if p >= 1e-4 else f"= {p:.0e}"
    digit = 10.0 ** np.floor(np.log10(floor))
    return f"< {np.ceil(floor / digit - 1e-9) * digit:.10g}"


def beyond_chance(rows: list[dict[str, Any]]) -> bool:
    """Tell whether the decoder's score is above chance (p < 0.05; without one, by its interval)."""
    first = rows[0]
    return first["p"] is None or first["p"] < _SURE


def undrawable_in_words(found: dict[str, Any]) -> str | None:
    """Say that a decoder cannot draw such pictures, where those of the true embedding are identified at chance."""
    ceiling = found.get("ceilings", {}).get("true_through_decoder", {})
    named = ceiling.get("two_way") or {}
    if not named or any(ceiling["ci95"]["two_way"][network][0] > 0.5 for network in named):
        return None
    return (
        "This decoder cannot draw such pictures: even from the true embedding they are identified no better than by "
        "chance, so what follows says nothing about the brain. Take a decoder that was trained on such pictures."
    )


def nearest_in_words(found: dict[str, Any]) -> str | None:
    """Compare the drawn pictures with the training picture whose embedding is nearest to the brain's."""
    nearest = found.get("controls", {}).get("nearest_training")
    if nearest is None or not found.get("two_way"):
        return None
    network = next(iter(found["two_way"]))
    drawn, other = found["two_way"][network], nearest["two_way"][network]
    low, high = found["ci95"]["two_way"][network]
    verdict = "more often" if other < low else "less often" if other > high else "no more often"
    return (
        f"A picture drawn from the brain is identified {verdict} than the training picture whose embedding is nearest "
        f"to the brain's ({percent(drawn)} and {percent(other)} by {words(network)}; pixel correlation "
        f"{found['pixcorr']:.2f} and {nearest['pixcorr']:.2f})"
        + (
            "."
            if verdict == "more often"
            else ": what was drawn shows no more than a search would have found."
        )
    )


def preparation(info: dict[str, Any]) -> list[str]:
    """Tell in words what was done to the recordings before anything was learnt from them."""
    if "preprocessing" in info:
        return EEGPreprocessing(**info["preprocessing"]).in_words()
    arguments = (info.get("provenance") or {}).get("parameters", {}).get("init_args", {})
    return [
        f"{words(name)}: {value}" for name, value in arguments.items() if value not in (None, [], {}, False)
    ]


def words(name: str) -> str:
    """Write a name of a file or key as words."""
    return str(name).replace("_", " ")
