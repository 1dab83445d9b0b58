"""Degraded views of a picture: what a glance may leave of it, as targets that forgive missing detail.

NeuroBridge (AAAI 2026) averages the features of four views, 224 pixels wide, in place of those of the clean picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

_SIZE = 224
_KERNEL = 15  # pixels; its standard deviation follows as in OpenCV
_SIGMA = 0.3 * ((_KERNEL - 1) / 2 - 1) + 0.8
_NOISE = 25.0  # of 255
_LOW, _MOSAIC = 22, 44  # pixels


def blur(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian of 15 pixels."""
    return gaussian_filter(pixels, (_SIGMA, _SIGMA, 0), mode="mirror", radius=(_KERNEL // 2, _KERNEL // 2, 0))


def noise(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise with a standard deviation of 25 of 255."""
    return pixels + rng.normal(scale=_NOISE, size=pixels.shape)


def low_resolution(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink to 22 pixels and enlarge again, bilinear."""
    return _resized(_resized(pixels, _LOW, "bilinear"), _SIZE, "bilinear")


def mosaic(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink to 44 pixels, then enlarge every pixel to a tile."""
    return _resized(_resized(pixels, _MOSAIC, "bilinear"), _SIZE, "nearest")


VIEWS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "blur": blur,
    "noise": noise,
    "low_resolution": low_resolution,
    "mosaic": mosaic,
}


def degraded(picture: Image.Image, view: str, seed: int) -> Image.Image:
    """Return a view of an RGB picture, 224 x 224.

    Parameters
    ----------
    picture : PIL.Image.Image
    view : str
        One of `VIEWS`.
    seed : int
        Of the noise.
    """
    pixels = np.asarray(picture.resize((_SIZE, _SIZE)), dtype=np.float64)
    seen = VIEWS[view](pixels, np.random.default_rng(seed))
    return Image.fromarray(np.clip(np.round(seen), 0, 255).astype(np.uint8))


def _resized(pixels: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Resize without antialiasing, pixel centres aligned, as OpenCV does."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    options = {} if mode == "nearest" else {"align_corners": False, "antialias": False}
    return F.interpolate(tensor, size=(size, size), mode=mode, **options)[0].permute(1, 2, 0).numpy()
