"""Golden cases of WAVE's encoder."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from parity_inputs import DEVICE, arrays_of, tensor_of

from neurodec.encoders.wave import ParcelTransformer

Outputs = dict[str, np.ndarray]


@torch.no_grad()
def encoder(case: dict, fill: ModuleType) -> Outputs:
    """Read volumes of several lengths."""
    drawn = fill.filled_state(case["published"])
    state = {
        name: torch.from_numpy(np.asarray(own)) for name, own in drawn.items() if name not in case["kept"]
    }
    n_heads = case["constructor"]["num_attention_heads"]
    model = ParcelTransformer.from_published(state, "case", n_heads=n_heads).eval().to(DEVICE)
    volumes = tensor_of(case, fill, "x")
    lengths = torch.tensor(case["inputs"]["lengths"]["values"], device=DEVICE)
    seconds = torch.arange(volumes.shape[1], device=DEVICE) * case["inputs"]["tr"]["values"][0]
    valid = torch.arange(volumes.shape[1], device=DEVICE) < lengths[:, None]
    states = model(volumes, seconds, valid)
    outputs = {
        "pooler": model.pooled(states, lengths),
        "last_hidden": states,
        "unembedded": model.unembed(states),
    }
    return arrays_of(
        {name: outputs[name][..., : case["output_shapes"][name][-1]] for name in case["outputs"]}
    )


FAMILIES = {"wave-encoder": encoder}
