"""A small autoencoder of a study's own simple pictures: what it decodes looks like them, whatever the latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError, reading
from neurodec.features.moved_pictures import moved_copies

_LEVELS = 3  # of resolution; a side is halved twice
_STRIDE = 2 ** (_LEVELS - 1)
_BATCH, _LR, _KL = 32, 2e-3, 1e-3
_AT_ONCE = 256


@dataclass(frozen=True)
class PictureAutoencoder:
    """A trained diffusers `AutoencoderKL` of grey pictures of one size.

    Parameters
    ----------
    network : AutoencoderKL
    height, width : int
        Of the pictures; they are filled up to whole latents and cut again.
    """

    network: AutoencoderKL
    height: int
    width: int

    @classmethod
    def fit(
        cls,
        pictures: np.ndarray,
        *,
        latent_channels: int = 2,
        widths: tuple[int, ...] = (16, 32, 32),
        n_steps: int = 400,
        n_copies: int = 20,
        seed: int = 0,
    ) -> PictureAutoencoder:
        """Train on pictures and moved copies of them.

        Parameters
        ----------
        pictures : ndarray, shape (n, h, w)
            Brightness, 0 to 1.
        latent_channels : int
            Values per 4 x 4 pixels.
        widths : tuple of int
            Channels of the network, from fine to coarse; multiples of 4.
        n_steps : int
            Of Adam, on batches of 32.
        n_copies : int
            See `moved_copies`.
        seed : int
            On a CPU, the same seed and pictures give the same network.

        Raises
        ------
        NeurodecError
            If training diverges.
        """
        known = np.concatenate([pictures, np.clip(moved_copies(pictures, n_copies, seed), 0, 1)])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = AutoencoderKL(
                in_channels=1,
                out_channels=1,
                down_block_types=("DownEncoderBlock2D",) * _LEVELS,
                up_block_types=("UpDecoderBlock2D",) * _LEVELS,
                block_out_channels=tuple(widths),
                layers_per_block=1,
                latent_channels=latent_channels,
                norm_num_groups=4,
                sample_size=max(pictures.shape[1:]),
            ).to(device)
            found = cls(network, *pictures.shape[1:])
            rows, chosen = found._padded(known).to(device), torch.Generator().manual_seed(seed)
            optimizer = torch.optim.Adam(network.parameters(), _LR)
            for _ in range(n_steps):
                batch = rows[torch.randint(len(rows), (_BATCH,), generator=chosen)]
                latents = network.encode(batch).latent_dist
                error = F.mse_loss(network.decode(latents.sample()).sample, batch)
                loss = error + _KL * latents.kl().mean() / latents.mean[0].numel()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        if not torch.isfinite(loss):
            raise NeurodecError(
                f"The autoencoder of {len(pictures)} pictures diverged; check that they go from 0 to 1."
            )
        return cls(network.cpu().eval(), found.height, found.width)

    @torch.inference_mode()
    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return the most probable latents (n, channels, h', w') of pictures (n, h, w)."""
        parts = self._padded(pictures).split(_AT_ONCE)
        return torch.cat([self.network.encode(part).latent_dist.mode() for part in parts]).numpy()

    @torch.inference_mode()
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Return the pictures (n, h, w), 0 to 1, of latents (n, channels, h', w')."""
        parts = torch.as_tensor(np.asarray(latents), dtype=torch.float32).split(_AT_ONCE)
        signed = torch.cat([self.network.decode(part).sample for part in parts])[:, 0]
        return (signed[:, : self.height, : self.width] / 2 + 0.5).clamp(0, 1).numpy()

    def save(self, folder: str | Path) -> None:
        """Write the network as diffusers does; the size of the pictures is not among it."""
        self.network.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path, height: int, width: int) -> PictureAutoencoder:
        """Read a folder that `save` wrote.

        Raises
        ------
        NeurodecError
            If it is missing or damaged.
        """
        with reading(folder, "an autoencoder of pictures", "fit the system again"):
            network = AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        return cls(network.eval(), height, width)

    def _padded(self, pictures: np.ndarray) -> Tensor:
        """Return pictures as the network reads them, (n, 1, h, w), -1 to 1."""
        rows = torch.as_tensor(np.asarray(pictures), dtype=torch.float32)[:, None] * 2 - 1
        extra = (0, -self.width % _STRIDE, 0, -self.height % _STRIDE)
        return F.pad(rows, extra, mode="replicate")


def latent_shape(height: int, width: int, channels: int) -> tuple[int, int, int]:
    """Return the shape of the latents of a picture.

    Parameters
    ----------
    height, width : int
        Of the picture.
    channels : int
    """
    return channels, -(-height // _STRIDE), -(-width // _STRIDE)
