"""The protocol "native": small pictures scored at their own size, pixel by pixel, without any network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.measures import grey
from neurodec.evaluation.reconstruction.picture_sets import Pictures, as_unit
from neurodec.features.pixel_similarity import (
    GAUSSIAN_WINDOW,
    WINDOW,
    gaussian_ssim,
    pixel_correlation,
    squared_error,
    windowed_ssim,
)

PIXELS = "pixels"
"""What identification by the pixels themselves is called, where other columns name a network."""
_LARGEST = 512


def native_size(pictures: Pictures) -> tuple[int, int]:
    """Return height and width of pictures of one size.

    Raises
    ------
    NeurodecError
        If sizes differ, or are too small or too large for these scores.
    """
    sizes = sorted({tuple(_values_of(pictures, row).shape[-2:]) for row in range(len(pictures))})
    if len(sizes) > 1:
        raise NeurodecError(
            f"The protocol native scores pictures at their own size, and those seen have {len(sizes)} sizes, "
            f"{sizes[0]} and {sizes[1]}; take another protocol, or pictures of one size."
        )
    height, width = sizes[0]
    if min(height, width) < WINDOW or max(height, width) > _LARGEST:
        raise NeurodecError(
            f"The pictures have {height} x {width} pixels, and the protocol native is for {WINDOW} to {_LARGEST} a "
            "side; take another protocol."
        )
    return height, width


def native_pixels(pictures: Pictures, size: tuple[int, int]) -> np.ndarray:
    """Return grey pictures (n, h, w), 0 to 1, of a size; what has another one is resized (bilinear, antialias).

    Parameters
    ----------
    pictures : Pictures
    size : tuple of int
        Height and width.
    """
    found = []
    for row in range(len(pictures)):
        values = as_unit(_values_of(pictures, row))
        if tuple(values.shape[-2:]) != size:
            values = F.interpolate(values, size=size, mode="bilinear", antialias=True)
        found.append(grey(values).clamp(0, 1))
    return torch.cat(found).numpy()


def native_scores(seen: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of every pair of grey pictures.

    Parameters
    ----------
    seen, shown : ndarray, shape (n, h, w)
        From `native_pixels`.

    Returns
    -------
    dict of ndarray, shape (n,)
        `pixcorr` (tables of small pictures call it PCC), `mse`, `ssim` (see `windowed_ssim`) and `ssim_gaussian`,
        where its window of 11 pixels fits.
    """
    found = {
        "pixcorr": pixel_correlation(seen, shown),
        "mse": squared_error(seen, shown),
        "ssim": windowed_ssim(seen, shown),
    }
    if min(seen.shape[1:]) >= GAUSSIAN_WINDOW:
        found["ssim_gaussian"] = gaussian_ssim(seen, shown)
    return found


def _values_of(pictures: Pictures, row: int) -> Tensor:
    """Return one picture as it is, (1, 3, h, w)."""
    return pictures.resized([row], ())
