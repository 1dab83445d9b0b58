"""Inputs of the golden cases, drawn as `fill.py` beside them says."""

from __future__ import annotations

import os
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

DEVICE = torch.device(os.environ.get("NEURODEC_PARITY_DEVICE", "cpu"))


def input_of(case: dict, fill: ModuleType, name: str) -> np.ndarray:
    """Draw the named input of a case."""
    source = case["inputs"][name]
    return fill.input_array(source["seed"], tuple(source["shape"]))


def tensor_of(case: dict, fill: ModuleType, name: str) -> Tensor:
    """Draw the named input of a case, where networks are run."""
    return torch.from_numpy(input_of(case, fill, name)).to(DEVICE)


def arrays_of(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return a case's outputs as arrays."""
    return {name: value.detach().cpu().numpy() for name, value in outputs.items()}
