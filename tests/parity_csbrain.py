"""Golden cases of CSBrain: reconstruction with and without hidden patches, both losses, and the published heads."""

from __future__ import annotations

import re
from types import ModuleType

import numpy as np
import torch
from parity_inputs import DEVICE, arrays_of, tensor_of
from torch import Tensor, nn

from neurodec.encoders.checkpoints import take_exactly
from neurodec.encoders.csbrain.backbone import CSBrainBackbone, load_backbone
from neurodec.encoders.csbrain.brain_regions import Montage
from neurodec.encoders.csbrain.output_heads import SequenceHead, hidden_errors, published_head

Outputs = dict[str, np.ndarray]


def _loaded(case: dict, fill: ModuleType) -> tuple[CSBrainBackbone, dict[str, Tensor]]:
    drawn = fill.filled_state(case["published"])
    state = {f"module.{name}": torch.from_numpy(np.asarray(value)) for name, value in drawn.items()}
    options = case["constructor"]
    montage = Montage(tuple(options["brain_regions"]), tuple(options["sorted_indices"]))
    model, heads = load_backbone(state, montage, "case", options["nhead"])
    return model.to(DEVICE), {name: values.to(DEVICE) for name, values in heads.items()}


def _traced(model: CSBrainBackbone, x: Tensor, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the tokens in order of regions, and what inner modules gave."""
    found: dict[str, Tensor] = {}
    handles = []

    def keep(name: str):
        counter = iter(range(100))
        return lambda module, inputs, output: found.__setitem__(f"{name}{next(counter)}", output)

    for name, module in {
        "patch_embedding": model.patch_embedding,
        "tem_embed_": model.temporal,
        "brain_embed_": model.regional,
    }.items():
        handles.append(module.register_forward_hook(keep(name)))
    handles.append(model.layers[0].register_forward_hook(keep("encoder_layer_")))
    tokens = model.in_order(x, mask)
    for handle in handles:
        handle.remove()
    found["patch_embedding"] = found.pop("patch_embedding0")
    return tokens, found


@torch.no_grad()
def pretrain(case: dict, fill: ModuleType) -> Outputs:
    """Reconstruct patches, compare with both targets."""
    model, heads = _loaded(case, fill)
    out = take_exactly(
        nn.Linear(model.patch_size, len(heads["proj_out.0.bias"])).to(DEVICE),
        {name.removeprefix("proj_out.0."): values for name, values in heads.items()},
        "case",
    )
    x = tensor_of(case, fill, "x")
    hidden = torch.tensor(case["inputs"]["mask"]["values"], device=DEVICE).bool()
    mask = hidden[:, model.layout.back]  # the case speaks of channels in order of regions
    plain, traces = _traced(model, x, None)
    masked, masked_traces = _traced(model, x, mask)
    found = out(masked)
    step = 8 if case["constructor"]["in_dim"] == 200 else 1
    outputs = {"unmasked": out(plain)[..., ::step], "masked": found[..., ::step]}
    users = found[:, model.layout.back]
    for name, order in (("loss_reordered", None), ("loss_published", model.layout.order)):
        squared, n_samples = hidden_errors(users, x, mask, order)
        outputs[name] = (squared.sum() / n_samples.sum()).reshape(1)
    outputs |= {f"trace_{name}": values for name, values in traces.items()}
    outputs["trace_masked_patch_embedding"] = masked_traces["patch_embedding"]
    return arrays_of({name: values for name, values in outputs.items() if name in case["outputs"]})


@torch.no_grad()
def finetune(case: dict, fill: ModuleType) -> Outputs:
    """Classify trials by the flatten head, or a sequence of epochs by the head of sleep."""
    model, state = _loaded(case, fill)
    x, width = tensor_of(case, fill, "x"), model.patch_size
    activation = "gelu" if re.search("arithmetic|stress", case["model"].lower()) else "elu"
    head, _ = published_head(state, len(case["constructor"]["brain_regions"]), width, "case", activation)
    head = head.eval().to(DEVICE)
    if isinstance(head, SequenceHead):
        n_batch, length, n_chans, n_times = x.shape
        tokens = model.in_order(x.reshape(n_batch * length, n_chans, n_times // width, width))
        logits = head(tokens.unflatten(0, (n_batch, length)))
    else:
        tokens = model.in_order(x)
        logits = head(tokens)
    return arrays_of({"logits": logits, "features": tokens[..., ::20]})


FAMILIES = {"csbrain-pretrain": pretrain, "csbrain-finetune": finetune}
