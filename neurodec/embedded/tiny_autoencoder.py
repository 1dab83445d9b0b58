"""Train the embedded autoencoder: diffusers' own `AutoencoderKL`, small enough to ship, for rendered scenes.

Pictures of 64 px become latents of 8 x 8 x 8, in which the embedded diffusion network works.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.files import atomic_path, track, write_json
from neurodec.simulate.scenes import all_scenes, draw_scenes, scene_pixels

WIDTHS = (32, 64, 96, 128)
LATENT_CHANNELS = 8
N_GROUPS = 2  # with diffusers' 32 the finest level's channels have a group each, and lose their brightness
BATCH_SIZE = 8  # halves the error after the same time as 16
LEARNING_RATE = 8e-4
WARMUP_STEPS = 100
VARIANTS_PER_CONCEPT = 2
MSE_WEIGHT, L1_WEIGHT, KL_WEIGHT = 8.0, 0.1, 1e-6
"""With the absolute error as the main term small objects were painted over with the backdrop."""


def new_autoencoder() -> AutoencoderKL:
    """Return the untrained network: 64 px to 8 channels of 8 x 8."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(WIDTHS),
        up_block_types=("UpDecoderBlock2D",) * len(WIDTHS),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=N_GROUPS,
        sample_size=64,
    )


def signed(pixels: Tensor) -> Tensor:
    """Scale uint8 pixels to -1 ... 1, which diffusers' autoencoders want."""
    return pixels.float() / 127.5 - 1


def _optimise(model: AutoencoderKL, pixels: Tensor, n_steps: int, generator: torch.Generator) -> None:
    """Fit to `pixels` (n, 3, size, size), uint8, in random batches."""
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(WARMUP_STEPS, n_steps) / (n_steps + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps + 1, pct_start=warmup, cycle_momentum=False
    )
    model.train()
    for _ in track(range(n_steps), "Training the autoencoder"):
        rows = torch.randint(len(pixels), (BATCH_SIZE,), generator=generator)
        pictures = signed(pixels[rows])
        posterior = model.encode(pictures).latent_dist
        decoded = model.decode(posterior.sample(generator)).sample
        loss = MSE_WEIGHT * F.mse_loss(decoded, pictures) + L1_WEIGHT * F.l1_loss(decoded, pictures)
        loss = loss + KL_WEIGHT * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@torch.inference_mode()
def encode(model: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Return the unscaled latent means of uint8 pictures."""
    parts = track(pixels.split(64), "Encoding")
    return torch.cat([model.encode(signed(part)).latent_dist.mode() for part in parts])


@torch.inference_mode()
def held_out_scores(model: AutoencoderKL, n_scenes: int = 200) -> dict[str, float]:
    """Return the mean correlation of reserved scenes with themselves, encoded and decoded."""
    pixels = scene_pixels(draw_scenes(16, 1, n_scenes, 0, seed=0)[1])
    decoded = torch.cat([model.decode(part).sample for part in encode(model, pixels).split(64)])
    return {"n_scenes": n_scenes, "pixcorr": round(mean_correlation(pixels, decoded.clamp(-1, 1)), 4)}


def mean_correlation(a: Tensor, b: Tensor) -> float:
    """Return the mean over pictures of the correlation of their pixels; each (n, 3, size, size), any scale."""
    pairs = zip(a.flatten(1).double().numpy(), b.flatten(1).double().numpy(), strict=True)
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs]))


def train_tiny_autoencoder(out: str | Path, seed: int = 0, n_steps: int = 5000) -> dict[str, Any]:
    """Train on rendered scenes and write a folder that `AutoencoderKL.from_pretrained` loads.

    Parameters
    ----------
    out : str or Path
        Folder to write (replaced when it exists): ``config.json``, with the scaling factor that gives latents unit
        variance, the weights in half precision, and ``scores.json``.
    seed : int
        Of weights, batches and posterior samples.
    n_steps : int
        Optimiser steps of 8 pictures; 5,000 take about half an hour on two cores.

    Returns
    -------
    dict
        `held_out_scores` of the network as stored, and what the training took.
    """
    started = time.monotonic()
    torch.manual_seed(seed)
    model = new_autoencoder()
    pixels = scene_pixels(all_scenes(False), VARIANTS_PER_CONCEPT)
    _optimise(model, pixels, n_steps, torch.Generator().manual_seed(seed))
    latents = encode(model, pixels[::29])
    model.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    model.half().float()  # the scores are those of the rounded weights
    minutes = round((time.monotonic() - started) / 60, 1)
    made = {"seed": seed, "n_steps": n_steps, "minutes": minutes, "n_threads": torch.get_num_threads()}
    scores = {**held_out_scores(model), **made}
    with atomic_path(out) as folder:
        model.half().save_pretrained(folder)
        write_json(folder / "scores.json", scores)
    return scores


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(train_tiny_autoencoder)
