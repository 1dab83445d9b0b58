"""What the report says of a run, whatever was evaluated."""

from __future__ import annotations

from typing import Any

from neurodec.evaluation.presentation import words
from neurodec.preprocessing.eeg import EEGPreprocessing


def over_seeds(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of every headline over the recipe's seeds."""
    found = results.get("over_seeds", {})
    return [
        {"name": name.split(".")[1], "n": len(found["seeds"]), **spread}
        for name, spread in found.items()
        if name != "seeds"
    ]


def preparation(info: dict[str, Any]) -> list[str]:
    """Tell in words what was done to the recordings before anything was learned from them."""
    if "preprocessing" in info:
        further = info.get("further_steps", [])
        steps = EEGPreprocessing(**info["preprocessing"]).in_words()
        return [step for step in steps if not further or step != "not whitened"] + further
    arguments = (info.get("provenance") or {}).get("parameters", {}).get("init_args", {})
    return [
        f"{words(name)}: {value}" for name, value in arguments.items() if value not in (None, [], {}, False)
    ] + info.get("further_steps", [])
