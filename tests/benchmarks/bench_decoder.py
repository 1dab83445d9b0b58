"""Decoding with the embedded decoder: how much of the time is spent outside the diffusion network.

That is the autoencoder's last step, and then checks, noise, the scheduler, guidance, progress and pictures. Timed on
one thread, with the settings of a recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps

import torch

from neurodec.decoders import GuidedDiffusion

N_PICTURES, N_STEPS, GUIDANCE, N_ROUNDS = 32, 20, 2.0, 3


def timed(function: Callable, spent: list[float]) -> Callable:
    """Return the function, adding to `spent` how long each call took."""

    @wraps(function)
    def run(*inputs: object, **options: object) -> object:
        started = time.perf_counter()
        found = function(*inputs, **options)
        spent.append(time.perf_counter() - started)
        return found

    return run


def main() -> None:
    """Print the shares of the fastest round, because other programs only ever slow one down."""
    torch.set_num_threads(1)
    decoder = GuidedDiffusion(device="cpu", batch_size=16)
    rows = torch.randn(N_PICTURES, decoder.width, generator=torch.Generator().manual_seed(0))
    diffusion, autoencoder, total = [], [], []
    pipeline = decoder._pipeline
    pipeline.unet.forward = timed(pipeline.unet.forward, diffusion)
    pipeline.vae.decode = timed(pipeline.vae.decode, autoencoder)
    draw = timed(decoder.draw, total)
    rounds = []
    for _ in range(N_ROUNDS):
        for spent in (diffusion, autoencoder, total):
            spent.clear()
        seeds = [torch.Generator().manual_seed(seed) for seed in range(N_PICTURES)]
        draw(rows, generator=seeds, n_steps=N_STEPS, guidance=GUIDANCE)
        rounds.append((total[0], sum(diffusion) / total[0], sum(autoencoder) / total[0]))
    seconds, in_diffusion, in_autoencoder = min(rounds)
    print(
        f"decoding, {N_STEPS} steps with guidance: {seconds / N_PICTURES:.3f} s per picture, outside the diffusion "
        f"network {1 - in_diffusion:.1%} (target 10 %), of it {in_autoencoder:.1%} in the autoencoder"
    )


if __name__ == "__main__":
    main()
