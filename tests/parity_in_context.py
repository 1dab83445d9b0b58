"""Golden cases of the in-context encoder and inverter: one network, several context lengths, batched and padded."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from parity_inputs import DEVICE, arrays_of, tensor_of
from torch import Tensor
from torch.nn import functional as F

from neurodec.encoders import InContextEncoder, InContextInverter

Outputs = dict[str, np.ndarray]


def _state(case: dict, fill: ModuleType) -> dict[str, Tensor]:
    drawn = fill.filled_state(case["published"])
    return {name: torch.from_numpy(np.asarray(value)) for name, value in drawn.items()}


def _images(case: dict, fill: ModuleType, name: str) -> Tensor:
    drawn = tensor_of(case, fill, name)
    return F.normalize(drawn, dim=-1) if "divide" in case["inputs"][name]["then"] else drawn


def _padded(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return rows (B, N, ...) whose places from n on hold nonsense, and the mask that says so."""
    mask = torch.zeros(rows.shape[:2], dtype=torch.bool, device=DEVICE)
    mask[:, :n] = True
    return torch.where(mask.view(*mask.shape, *[1] * (rows.ndim - 2)), rows, 1e3), mask


@torch.no_grad()
def encoder(case: dict, fill: ModuleType) -> Outputs:
    """Read encoders off contexts of several lengths, the shorter ones padded to the longest."""
    model = InContextEncoder.from_published(_state(case, fill), "case", case["constructor"]["num_heads"])
    model.to(DEVICE)
    images, queries = (_images(case, fill, f"{name}_images") for name in ("context", "query"))
    responses = tensor_of(case, fill, "context_responses")
    outputs: dict[str, Tensor] = {}
    for n in case["inputs"]["context_lengths"]["values"]:
        found = model(*_padded_pair(images, responses, n))
        outputs[f"weights_{n}"] = found
        outputs[f"pred_{n}"] = found[:, :-1] @ queries.T + found[:, -1:]
    return arrays_of(outputs)


def _padded_pair(images: Tensor, responses: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    own, mask = _padded(images.expand(len(responses), -1, -1), n)
    return own, _padded(responses, n)[0], mask


@torch.no_grad()
def inverter(case: dict, fill: ModuleType) -> Outputs:
    """Decode trials from several numbers of voxels, the smaller ones padded to the largest."""
    model = InContextInverter.from_published(_state(case, fill), "case", case["constructor"]["num_heads"])
    model.to(DEVICE)
    weights, bias, responses = (tensor_of(case, fill, name) for name in ("weights", "bias", "beta"))
    outputs: dict[str, Tensor] = {}
    for n in case["inputs"]["voxel_counts"]["values"]:
        own, mask = _padded(weights, n)
        pair = (_padded(part.squeeze(-1), n)[0] for part in (bias, responses))
        outputs[f"embedding_{n}"] = model(own, *pair, mask)
    return arrays_of(outputs)


FAMILIES = {"incontext-stage1": encoder, "incontext-stage2": inverter}
