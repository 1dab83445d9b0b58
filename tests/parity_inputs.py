"""Inputs of the golden cases, drawn as `fill.py` beside them says."""

from __future__ import annotations

from types import ModuleType

import numpy as np


def input_of(case: dict, fill: ModuleType, name: str) -> np.ndarray:
    """Draw the named input of a case."""
    source = case["inputs"][name]
    return fill.input_array(source["seed"], tuple(source["shape"]))
