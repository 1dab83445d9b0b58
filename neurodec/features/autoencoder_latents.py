"""Latents of a diffusion pipeline's autoencoder as targets: the layout of a picture, for a decoder to start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from neurodec.errors import NeurodecError, reading
from neurodec.features.cache import cached_rows
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.features.weights import ASSETS, EMBEDDED, weights_hash
from neurodec.files import key_of, sha256_of
from neurodec.picture_opening import RULES_VERSION, open_picture


@dataclass(frozen=True)
class AutoencoderLatents(Extractor):
    """The most probable latents of every picture, *not* multiplied by the autoencoder's scaling factor.

    Parameters
    ----------
    pipeline : str
        A diffusers folder, the hub id of one in the local cache, or ``neurodec/tiny-decoder``, which is packaged.
    subfolder : str
        The `AutoencoderKL` there.
    size : int
        Side of the picture in pixels.
    half : bool
        Keep the targets in half precision.
    batch_size : int
    device : str
        ``auto`` takes the GPU if there is one.
    """

    pipeline: str = "neurodec/tiny-decoder"
    subfolder: str = "vae"
    size: int = 64
    half: bool = False
    batch_size: int = 16
    device: str = "auto"

    @property
    def embedding_space(self) -> str:
        """Such as ``neurodec/tiny-decoder/vae``."""
        return f"{self.pipeline}/{self.subfolder}"

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Encode the pictures of a stimulus table; see `Extractor.extract`.

        Returns
        -------
        Features
            Values (n_stimuli, channels, h, w).
        """
        from diffusers import AutoencoderKL

        folder = (
            ASSETS / self.pipeline.removeprefix(EMBEDDED)
            if self.pipeline.startswith(EMBEDDED)
            else self.pipeline
        )
        with reading(
            f"The autoencoder of {self.pipeline}",
            "an AutoencoderKL",
            f"fetch it with  huggingface-cli download {self.pipeline} --include '{self.subfolder}/*'",
        ):
            network = AutoencoderKL.from_pretrained(
                folder, subfolder=self.subfolder, local_files_only=True, torch_dtype=torch.float32
            )
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        network = network.to(device).eval()
        files = [Path(root) / image for image in stimuli["image"]]
        for file, stimulus in zip(files, stimuli["stimulus"], strict=True):
            if not file.is_file():
                raise NeurodecError(
                    f"The picture of stimulus '{stimulus}' does not exist ({file}); correct the stimulus table."
                )
        contents = [sha256_of(file) for file in files]
        recipe: dict[str, Any] = {
            "kind": "latents",
            "weights": weights_hash(network),
            "size": self.size,
            "pictures": RULES_VERSION,
        }

        @torch.inference_mode()
        def compute(rows: list[int]) -> Iterator[np.ndarray]:
            for start in range(0, len(rows), self.batch_size):
                pixels = np.stack([self._pixels(files[row]) for row in rows[start : start + self.batch_size]])
                signed = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(device) / 127.5 - 1
                yield network.encode(signed).latent_dist.mode().float().cpu().numpy()

        values = cached_rows(contents, recipe, compute, "latents", half=self.half)
        info = {"embedding_space": self.embedding_space, "key": key_of([recipe, contents]), **recipe}
        return Features(values, stimuli["stimulus"].tolist(), {**info, "contents": contents})

    def _pixels(self, file: Path) -> np.ndarray:
        return np.asarray(open_picture(file).resize((self.size, self.size), Image.Resampling.LANCZOS))
