"""Joining the results of several evaluations, and of several seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

_HEADLINES = {
    "retrieval": ("top1", "top5", "median_rank"),
    "classification": ("accuracy", "balanced_accuracy", "auc"),
}


def merged(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the sections of the first evaluation, those of others by their names under `further`."""
    (_, first), *others = found.items()
    return {**first, "further": dict(others)} if others else first


def over_seeds(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the sections of the first seed, and with several seeds mean and standard deviation of the headlines.

    Parameters
    ----------
    found : dict
        Seed to the sections of its folds.
    """
    first = next(iter(found.values()))
    if len(found) == 1:
        return first
    spread = {}
    for section, names in _HEADLINES.items():
        for name in names:
            if name in first.get(section, {}):
                values = [float(sections[section][name]) for sections in found.values()]
                sd = float(np.std(values, ddof=1))
                spread[f"{section}.{name}"] = {"mean": float(np.mean(values)), "sd": sd, "values": values}
    return {**first, "over_seeds": {"seeds": list(found), **spread}}
