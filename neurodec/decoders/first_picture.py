"""Between pictures and an autoencoder's latents, for low-level starts and for the ceiling that the autoencoder sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neurodec.decoders.checked_rows import in_batches
from neurodec.errors import NeurodecError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


@torch.inference_mode()
def latents_to_images(
    autoencoder: AutoencoderKL | VQModel, latents: Tensor, device: torch.device, batch_size: int = 8
) -> list[Image.Image]:
    """Decode latents as the autoencoder gives them, *not* multiplied by its scaling factor.

    Parameters
    ----------
    autoencoder : AutoencoderKL or VQModel
        ``vae`` or ``movq`` of a pipeline.
    latents : Tensor, shape (B, channels, h, w)
        For instance the low-level latents of ATM, (B, 4, 64, 64).
    device : torch.device
        Where the autoencoder runs.
    batch_size : int
        Does not change the pictures by more than rounding.

    Returns
    -------
    list of PIL.Image.Image

    Raises
    ------
    NeurodecError
        If the shape does not fit, or a value is not finite.
    """
    wanted = autoencoder.config.latent_channels
    if latents.ndim != 4 or latents.shape[1] != wanted or len(latents) == 0:
        raise NeurodecError(
            f"The latents have shape {tuple(latents.shape)}, the autoencoder reads (B, {wanted}, h, w); give it those."
        )
    bad = torch.nonzero(~latents.flatten(1).isfinite().all(dim=1)).flatten()
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} latent(s), first row {int(bad[0])}, hold NaN or infinity; drop them."
        )

    def draw(part: slice) -> list[Image.Image]:
        z = latents[part].to(device, autoencoder.dtype)
        options = {} if _is_continuous(autoencoder) else {"force_not_quantize": True}
        return _as_pictures(autoencoder.decode(z, **options).sample)

    with _exact(autoencoder):
        return in_batches(len(latents), batch_size, draw, "decoding latents")


@torch.inference_mode()
def images_to_latents(
    autoencoder: AutoencoderKL | VQModel,
    pictures: Sequence[Image.Image],
    device: torch.device,
    batch_size: int = 8,
) -> Tensor:
    """Encode pictures of one size: the most probable latents, *not* multiplied by the scaling factor.

    These are what ATM's low-level branch learns.

    Parameters
    ----------
    autoencoder, device, batch_size
        As for `latents_to_images`.
    pictures : sequence of PIL.Image.Image
        RGB, all of one size.

    Returns
    -------
    Tensor, shape (B, channels, h, w), float32, on the CPU
    """

    def draw(part: slice) -> list[Tensor]:
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures[part]]))
        signed = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        found = autoencoder.encode(signed.to(device, autoencoder.dtype))
        return list(
            (found.latent_dist.mode() if _is_continuous(autoencoder) else found.latents).float().cpu()
        )

    with _exact(autoencoder):
        return torch.stack(in_batches(len(pictures), batch_size, draw, "encoding pictures"))


def _is_continuous(autoencoder: AutoencoderKL | VQModel) -> bool:
    return not hasattr(autoencoder, "quantize")


def _as_pictures(signed: Tensor) -> list[Image.Image]:
    """Turn (B, 3, size, size) of -1 ... 1 into pictures, rounded as diffusers rounds."""
    unit = (signed.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return [Image.fromarray(pixels) for pixels in (unit * 255).round().byte().cpu().numpy()]


@contextmanager
def _exact(autoencoder: AutoencoderKL | VQModel) -> Iterator[None]:
    """Run SDXL's autoencoder in float32, as its pipeline does: it overflows in float16."""
    upcast = autoencoder.dtype == torch.float16 and getattr(autoencoder.config, "force_upcast", False)
    if upcast:
        autoencoder.to(torch.float32)
    try:
        yield
    finally:
        if upcast:
            autoencoder.to(torch.float16)
