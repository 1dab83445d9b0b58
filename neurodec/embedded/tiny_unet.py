"""Train the embedded diffusion decoder: an SDXL pipeline with IP-Adapter, small enough to ship, for rendered scenes.

The folder has the layout that users have of the published weights: a diffusers pipeline, and beside it the adapter that
feeds an image embedding into every cross-attention. Only the sizes differ.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from neurodec.decoders.guided import GuidedDiffusion
from neurodec.embedded import tiny_autoencoder
from neurodec.embedded.tiny_clip import normalised
from neurodec.features import load_clip
from neurodec.files import atomic_path, track, write_json
from neurodec.simulate.scenes import all_scenes, draw_scenes, scene_pixels

EMBEDDING_SPACE = "neurodec/tiny-clip"
SIZE, LATENT_SIZE = 64, 8
WIDTHS, CONTEXT_WIDTH, N_TOKENS = (96, 160), 128, 4
N_GROUPS = 8  # as many channels in a group as in SDXL
TIME_WIDTH, POOLED_WIDTH = 8, 16
BATCH_SIZE = 48
LEARNING_RATE = 6e-4
WARMUP_STEPS = 100
VARIANTS_PER_CONCEPT = 2
DROPPED = 0.1  # share of rows that are trained without their embedding, for guidance
MOST_SNR = 5.0
N_SAMPLING_STEPS, GUIDANCE = 20, 2.0  # chosen on renderings of scenes that are not reserved


def new_scheduler() -> DDIMScheduler:
    """Return the noise schedule of training and sampling: cosine, velocities, ends in pure noise."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )


def new_unet() -> UNet2DConditionModel:
    """Return the untrained network without its adapter: SDXL's conditioning on text and picture size, made small."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=tiny_autoencoder.LATENT_CHANNELS,
        out_channels=tiny_autoencoder.LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * len(WIDTHS),
        up_block_types=("CrossAttnUpBlock2D",) * len(WIDTHS),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=tuple(width // 32 for width in WIDTHS),  # diffusers' name for the number of heads
        norm_num_groups=N_GROUPS,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=6 * TIME_WIDTH + POOLED_WIDTH,
    )


def new_adapter(unet: UNet2DConditionModel, width: int) -> dict[str, dict[str, Tensor]]:
    """Draw an IP-Adapter for embeddings of `width`, in the layout of the published files."""
    projection = nn.Linear(width, N_TOKENS * CONTEXT_WIDTH)
    image_proj = {"proj.weight": projection.weight, "proj.bias": projection.bias}
    image_proj |= {"norm.weight": torch.ones(CONTEXT_WIDTH), "norm.bias": torch.zeros(CONTEXT_WIDTH)}
    attention = {}
    for place, (_, processor) in enumerate(_cross_attentions(unet)):
        inner = unet.get_submodule(processor).to_k.out_features
        for name in ("to_k_ip", "to_v_ip"):
            attention[f"{2 * place + 1}.{name}.weight"] = nn.Linear(CONTEXT_WIDTH, inner, bias=False).weight
    return {
        "image_proj": {name: value.detach() for name, value in image_proj.items()},
        "ip_adapter": {name: value.detach() for name, value in attention.items()},
    }


def _cross_attentions(unet: UNet2DConditionModel) -> list[tuple[str, str]]:
    """Name every cross-attention's processor and module in the order in which adapters number them."""
    names = [name for name in unet.attn_processors if "attn2" in name]
    return [(name, name.removesuffix(".processor")) for name in names]


def adapter_of(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Take the trained adapter out of a network, as the flat file that ``load_ip_adapter`` reads."""
    layer = unet.encoder_hid_proj.image_projection_layers[0]
    flat = {f"image_proj.proj.{name}": value for name, value in layer.image_embeds.named_parameters()}
    flat |= {f"image_proj.norm.{name}": value for name, value in layer.norm.named_parameters()}
    for place, (name, _) in enumerate(_cross_attentions(unet)):
        processor = unet.attn_processors[name]
        for part in ("to_k_ip", "to_v_ip"):
            flat[f"ip_adapter.{2 * place + 1}.{part}.weight"] = getattr(processor, part)[0].weight
    return {name: value.detach().half().contiguous() for name, value in flat.items()}


def constant_inputs(n_rows: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what the pipeline passes besides latents and embedding: no text, and the picture's size."""
    times = torch.tensor([SIZE, SIZE, 0, 0, SIZE, SIZE], dtype=torch.float32).expand(n_rows, -1)
    added = {"text_embeds": torch.zeros(n_rows, POOLED_WIDTH), "time_ids": times}
    return torch.zeros(n_rows, 1, CONTEXT_WIDTH), added


def _optimise(
    unet: UNet2DConditionModel,
    latents: Tensor,
    embeddings: Tensor,
    n_steps: int,
    generator: torch.Generator,
) -> None:
    """Denoise scaled `latents` (n, 8, 8, 8) given `embeddings` (n, D); loss weights as in Hang et al. (2023)."""
    optimizer = torch.optim.AdamW(unet.parameters(), LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    warmup = min(WARMUP_STEPS, n_steps) / (n_steps + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps + 1, pct_start=warmup, cycle_momentum=False
    )
    noising = new_scheduler()
    text, added = constant_inputs(BATCH_SIZE)
    unet.train()
    for _ in track(range(n_steps), "Training the diffusion network"):
        rows = torch.randint(len(latents), (BATCH_SIZE,), generator=generator)
        noise = torch.randn(latents[rows].shape, generator=generator)
        steps = torch.randint(noising.config.num_train_timesteps, (BATCH_SIZE,), generator=generator)
        kept = torch.rand(BATCH_SIZE, 1, generator=generator) >= DROPPED
        noisy = noising.add_noise(latents[rows], noise, steps)
        found = unet(
            noisy,
            steps,
            encoder_hidden_states=text,
            added_cond_kwargs={**added, "image_embeds": [(embeddings[rows] * kept)[:, None]]},
        ).sample
        error = (found - noising.get_velocity(latents[rows], noise, steps)).square().mean(dim=(1, 2, 3))
        alphas = noising.alphas_cumprod[steps]
        snr = alphas / (1 - alphas)
        loss = (error * snr.clamp(max=MOST_SNR) / (snr + 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    unet.eval()


@torch.inference_mode()
def embed_pixels(pixels: Tensor) -> Tensor:
    """Return the unnormalised embeddings of uint8 pictures in `EMBEDDING_SPACE`."""
    network, _ = load_clip(EMBEDDING_SPACE)
    return torch.cat(
        [network.encode_image(normalised(part)) for part in track(pixels.split(64), "Embedding")]
    )


CARD = """# tiny-decoder

A picture decoder for rendered scenes (`neurodec.simulate.scenes`): a diffusers `StableDiffusionXLPipeline` without text
encoders, and an IP-Adapter that reads `neurodec/tiny-clip`. Same classes and folder layout as SDXL-Turbo with
IP-Adapter, {n_parameters:,} parameters in the diffusion network, half precision. It exists so that the package draws
pictures with nothing downloaded. It knows nothing about photographs.

| fact | value |
|---|---|
| made by | `python -m neurodec.embedded.tiny_autoencoder vae`, then |
| | `python -m neurodec.embedded.tiny_unet tiny-decoder vae --seed {seed} --n_steps {n_steps}` |
| training data | rendered scenes of `all_scenes(False)`; the reserved combinations are left out |
| time | {minutes} minutes on {n_threads} CPU thread(s), after half an hour for the autoencoder |
| autoencoder alone, 200 reserved scenes | pixel correlation {autoencoder} |
| from the true embedding of 200 reserved scenes ({sampling}) | pixel correlation {pixcorr} |
| scene found among 200 by the drawn picture's embedding | {top1:.1%} (two-way {two_way:.1%}) |

Licence: that of neurodec, which draws the training pictures itself.
"""


@torch.inference_mode()
def held_out_scores(folder: str | Path, n_scenes: int = 200) -> dict[str, float]:
    """Draw reserved scenes from their true embeddings, and compare with the scenes.

    Parameters
    ----------
    folder : str or Path
        Written by `train_tiny_decoder`.
    n_scenes : int
        Reserved scenes, also the number of candidates.

    Returns
    -------
    dict
        ``pixcorr``: mean correlation of pixels; ``top1``: drawn pictures whose embedding is most similar to that of
        their own scene; ``two_way``: the share of other scenes that are less similar; ``autoencoder``: `pixcorr` of the
        autoencoder alone.
    """
    decoder = GuidedDiffusion(str(folder), str(folder), embedding_space=EMBEDDING_SPACE, batch_size=32)
    pixels = scene_pixels(draw_scenes(16, 1, n_scenes, 0, seed=0)[1])
    true = embed_pixels(pixels)
    generator = [torch.Generator().manual_seed(row) for row in range(n_scenes)]
    pictures = decoder.draw(true, generator=generator, n_steps=N_SAMPLING_STEPS, guidance=GUIDANCE)
    drawn = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    similarity = nn.functional.normalize(embed_pixels(drawn), dim=1) @ nn.functional.normalize(true, dim=1).T
    own = similarity.diagonal()[:, None]
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").float()
    return {
        "n_scenes": n_scenes,
        "pixcorr": round(tiny_autoencoder.mean_correlation(pixels, drawn), 4),
        "top1": float((similarity.argmax(dim=1) == torch.arange(n_scenes)).float().mean()),
        "two_way": float((similarity < own).float().sum() / (n_scenes * (n_scenes - 1))),
        "autoencoder": tiny_autoencoder.held_out_scores(vae, n_scenes)["pixcorr"],
    }


def train_tiny_decoder(
    out: str | Path, autoencoder: str | Path, seed: int = 0, n_steps: int = 9000
) -> dict[str, Any]:
    """Train the diffusion network and write the folder of the whole decoder.

    Parameters
    ----------
    out : str or Path
        Folder to write (replaced when it exists): a diffusers pipeline and ``ip_adapter/ip-adapter.safetensors``, in
        half precision.
    autoencoder : str or Path
        Folder written by `neurodec.embedded.tiny_autoencoder`.
    seed : int
        Of weights, batches and noise.
    n_steps : int
        Optimiser steps of 48 latents; 9,000 take about 70 minutes on two cores.

    Returns
    -------
    dict
        `held_out_scores` of what was written, and what the training took.
    """
    started = time.monotonic()
    vae = AutoencoderKL.from_pretrained(autoencoder).float().eval()
    vae.register_to_config(_name_or_path="")  # where it lay is of no use to others
    pixels = scene_pixels(all_scenes(False), VARIANTS_PER_CONCEPT)
    latents = tiny_autoencoder.encode(vae, pixels).clone() * vae.config.scaling_factor
    embeddings = embed_pixels(pixels).clone()
    torch.manual_seed(seed)
    unet = new_unet()
    unet._load_ip_adapter_weights([new_adapter(unet, embeddings.shape[1])], low_cpu_mem_usage=False)
    _optimise(unet, latents, embeddings, n_steps, torch.Generator().manual_seed(seed))
    minutes = round((time.monotonic() - started) / 60, 1)
    made = {"seed": seed, "n_steps": n_steps, "minutes": minutes, "n_threads": torch.get_num_threads()}
    sampling = f"{N_SAMPLING_STEPS} steps, guidance {GUIDANCE:g}"
    made["n_parameters"] = sum(parameter.numel() for parameter in unet.parameters())
    with atomic_path(out) as folder:
        _write(folder, vae, unet)
        scores = held_out_scores(folder)
        write_json(folder / "scores.json", {**scores, **made})
        (folder / "README.md").write_text(CARD.format(sampling=sampling, **scores, **made), encoding="utf-8")
    return {**scores, **made}


def _write(folder: Path, vae: AutoencoderKL, unet: UNet2DConditionModel) -> None:
    plain = new_unet()  # diffusers saves a pipeline and its adapter apart
    own = plain.state_dict()
    plain.load_state_dict({name: value for name, value in unet.state_dict().items() if name in own})
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=plain,
        scheduler=new_scheduler(),
        add_watermarker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder)
    (folder / "ip_adapter").mkdir()
    save_file(adapter_of(unet), folder / "ip_adapter" / "ip-adapter.safetensors")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(train_tiny_decoder)
