"""ATM's low-level encoder: from EEG to the latent of a blurry picture that image-to-image generation starts from.

Li, Wei, Li, Zou and Liu (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion, NeurIPS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, pairwise, takewhile
from pathlib import Path

from torch import Tensor, nn

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError

_MIX_WIDTH = 16
# Tensors of the authors' files that no published forward pass reads.
_UNUSED = re.compile(r"logit_scale$|subject_wise_linear\.[1-9]")


class ATMLowLevel(nn.Module):
    """A linear layer on the time axis of every channel, then transposed convolutions from 1 to 64 pixels.

    Parameters
    ----------
    n_chans, n_times : int
        Size of a response.
    n_features : int
        Values per channel after the linear layer.
    widths : sequence of int
        Maps after every transposed convolution; each doubles the side of the picture.
    latent_channels : int
        Of the autoencoder's latents: 4 of SDXL's.

    Notes
    -----
    Tensors have the authors' names. The first transposed convolution (kernel 4, stride 2, padding 1) meets a single
    pixel, of which only the middle 2 × 2 of the kernel reach the output. Only that part is kept here: the same output
    and gradients, and at the published sizes 44 million parameters to hold and train instead of 143 million.

    The authors train it with an L1 loss on the SDXL autoencoder's latent of the seen picture (512 px, mode, without
    scaling factor).
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_features: int = 128,
        widths: Sequence[int] = (1024, 512, 256, 128, 64, 32),
        latent_channels: int = 4,
    ) -> None:
        super().__init__()
        self.subject_wise_linear = nn.ModuleList([nn.Linear(n_times, n_features)])
        convolutions = [
            nn.ConvTranspose2d(n_chans * n_features, widths[0], kernel_size=2, stride=2),
            *(nn.ConvTranspose2d(*pair, kernel_size=4, stride=2, padding=1) for pair in pairwise(widths)),
            nn.ConvTranspose2d(widths[-1], _MIX_WIDTH, kernel_size=1),
        ]
        stages = [(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()) for layer in convolutions]
        last = nn.ConvTranspose2d(_MIX_WIDTH, latent_channels, kernel_size=1)
        self.upsampler = nn.Sequential(*(layer for stage in stages for layer in stage), last)

    def forward(self, response: Tensor) -> Tensor:
        """Return latents.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)

        Returns
        -------
        Tensor, shape (B, latent_channels, 2 ** len(widths), 2 ** len(widths))
            With the published widths (B, 4, 64, 64).
        """
        features = self.subject_wise_linear[0](response)  # (B, C, 128)
        return self.upsampler(features.flatten(1)[:, :, None, None])

    @classmethod
    def load_published(cls, path: str | Path) -> ATMLowLevel:
        """Read a checkpoint of the authors' `encoder_low_level`; every size follows from the tensors.

        Parameters
        ----------
        path : str or Path
            ``.pth`` (read with ``weights_only=True``) or ``.safetensors``.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        return cls.from_published(read_checkpoint(path), str(path))

    @classmethod
    def from_published(cls, state: dict[str, Tensor], source: str = "The state dict") -> ATMLowLevel:
        """Build the encoder from the authors' state dict; see `load_published`."""
        ours = {name: value for name, value in state.items() if not _UNUSED.match(name)}
        try:
            kernels = (ours[f"upsampler.{3 * stage}.weight"] for stage in count())
            widths = [kernel.shape[1] for kernel in takewhile(lambda kernel: kernel.shape[-1] > 1, kernels)]
            n_features, n_times = ours["subject_wise_linear.0.weight"].shape
            first = ours["upsampler.0.weight"]  # (n_chans n_features, width, 4, 4)
        except KeyError as error:
            raise NeurodecError(
                f"{source} is not a low-level ATM checkpoint: it lacks {error}; give the authors' file."
            ) from error
        ours["upsampler.0.weight"] = first[:, :, 1:3, 1:3]
        return take_exactly(cls(len(first) // n_features, n_times, n_features, widths), ours, source)
