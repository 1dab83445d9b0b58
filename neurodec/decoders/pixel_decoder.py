"""The decoder of pictures that are predicted as pixels: nothing is generated, numbers become brightness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from neurodec.decoders.contract import Decoder
from neurodec.errors import NeurodecError
from neurodec.features.pixels import GREY


class PixelDecoder(Decoder):
    """Shows predicted pixels (`neurodec.features.Pixels`) as a grey picture of their own size; nothing is trained.

    What a picture shows beyond ridge is the prior's, such as `neurodec.priors.PicturePosterior`. The true target gives
    the true picture.
    """

    def __init__(self) -> None:
        self.reads = {"pixels": GREY}

    @classmethod
    def spaces(cls, arguments: dict[str, Any]) -> dict[str, str] | None:
        """Return `reads` for constructor arguments; see `Decoder.spaces`."""
        return cls(**arguments).reads

    def decode(
        self,
        conditions: dict[str, Any],
        *,
        generator: Sequence[torch.Generator],
        n_steps: int = 1,
        guidance: float = 1.0,
        strength: float = 0.5,
    ) -> list[Image.Image]:
        """Return one picture per row; numbers below 0 are black, above 1 white. Nothing is drawn at random.

        Parameters
        ----------
        conditions : dict
            `pixels`: Tensor, shape (n, height, width).
        generator, n_steps, guidance, strength
            See `Decoder.decode`; without effect.

        Raises
        ------
        NeurodecError
            If rows are no pictures, or are not finite.
        """
        rows = torch.as_tensor(conditions["pixels"]).detach().to("cpu", torch.float32)
        if rows.ndim != 3 or not rows.numel():
            raise NeurodecError(
                f"The pixels have shape {tuple(rows.shape)}, the decoder reads (n, height, width); give it the target "
                "neurodec.features.Pixels."
            )
        bad = torch.nonzero(~rows.flatten(1).isfinite().all(dim=1)).flatten()
        if len(bad):
            raise NeurodecError(
                f"Row {int(bad[0])} of the pixels holds NaN or infinity; check the responses."
            )
        levels = np.round(rows.clamp(0, 1).numpy() * 255).astype(np.uint8)
        return [Image.fromarray(row).convert("RGB") for row in levels]
