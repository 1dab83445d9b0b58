"""Opening pictures, for targets, latents, metrics and the report alike: as a person would see them, in eight bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from neurodec.errors import NeurodecError, reading

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Suffixes of files that count as pictures where a folder is searched for them."""

RULES_VERSION = 2
"""Number of the rules below; it is part of the key of cached features."""

_MOST = 89_000_000  # pixels; beyond, Pillow suspects an attack
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")


def open_picture(file: str | Path) -> Image.Image:
    """Read a picture as RGB, eight bits each.

    A camera's turn (EXIF) is applied, transparent parts show a white page, sixteen bits of grey are scaled to eight,
    and an animation is its first frame.

    Parameters
    ----------
    file : str or Path

    Raises
    ------
    NeurodecError
        If it is missing, damaged, of more than 89 million pixels, or holds numbers that are no brightness.
    """
    file = Path(file)
    with reading(file, "a picture", "replace it"), Image.open(file) as picture:
        width, height = picture.size
        if width * height > _MOST:
            raise NeurodecError(
                f"The picture {file} has {width} x {height} pixels, more than {_MOST // 1_000_000} million; scale it "
                "down."
            )
        return _in_colour(ImageOps.exif_transpose(picture), file)


def _in_colour(picture: Image.Image, file: Path) -> Image.Image:
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise NeurodecError(f"The picture {file} has more than 16 bits of grey; save it with 8 or 16.")
        picture = Image.fromarray(np.round(values / 257.0).astype(np.uint8))
    if picture.mode == "F":
        raise NeurodecError(f"The picture {file} holds fractions, not brightness; save it with 8 or 16 bits.")
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return picture.convert("RGB")
