"""Golden cases of ATM's diffusion prior and low-level encoder."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from diffusers import DDPMScheduler
from parity_inputs import input_of

from neurodec.encoders import ATMLowLevel
from neurodec.priors import DiffusionPriorUNet
from neurodec.priors.diffusion import guided_sample

Outputs = dict[str, np.ndarray]


@torch.no_grad()
def atm_prior(case: dict, fill: ModuleType) -> Outputs:
    """Predict the noise of a few rows; without `c` the unconditional way."""
    network = prior_network(case, fill)
    x, *c = (torch.from_numpy(input_of(case, fill, name)) for name in ("x", "c") if name in case["inputs"])
    t = torch.tensor(case["inputs"]["t"]["values"])
    return {"noise": network(x, t, *c).numpy()}


def atm_prior_sample(case: dict, fill: ModuleType) -> Outputs:
    """Sample with guidance from a seeded generator."""
    steps, guidance, seed = (
        case["inputs"][name]["values"][0]
        for name in ("num_inference_steps", "guidance_scale", "torch_generator_seed")
    )
    drawn = guided_sample(
        prior_network(case, fill),
        DDPMScheduler(**case["constructor"]["scheduler"]),
        torch.from_numpy(input_of(case, fill, "c")),
        torch.Generator().manual_seed(seed),
        steps,
        guidance,
    )
    return {"h": drawn.numpy()}


@torch.no_grad()
def atm_lowlevel(case: dict, fill: ModuleType) -> Outputs:
    """Map responses to latents."""
    encoder = ATMLowLevel.from_published(published_state(case, fill), case["family"]).eval()
    return {"latent": encoder(torch.from_numpy(input_of(case, fill, "x"))).numpy()}


def published_state(case: dict, fill: ModuleType) -> dict[str, torch.Tensor]:
    """Fill the tensors as the authors' checkpoint has them; step counters stay the module's own."""
    shapes = {
        name: shape
        for name, shape in case["published"].items()
        if name not in case["kept"] and not name.endswith("num_batches_tracked")
    }
    return {
        name: torch.from_numpy(np.asarray(fill.fill_array(name, tuple(shape))))
        for name, shape in shapes.items()
    }


def prior_network(case: dict, fill: ModuleType) -> DiffusionPriorUNet:
    """Import the filled tensors; they do not tell the activation."""
    act_fn = case["constructor"].get("act_fn", "SiLU")
    return DiffusionPriorUNet.from_published(published_state(case, fill), case["family"], act_fn).eval()


FAMILIES: dict[str, Callable[[dict, ModuleType], Outputs]] = {
    "atm-prior": atm_prior,
    "atm-prior-sample": atm_prior_sample,
    "atm-lowlevel": atm_lowlevel,
}
