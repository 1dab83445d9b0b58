"""Pictures within a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from neurodec.picture_opening import open_picture

SIDE = 96  # pixels


def thumbnail(file: str | Path, side: int = SIDE) -> str:
    """Return a picture as a small JPEG data URL.

    Parameters
    ----------
    file : str or Path
    side : int
        Pixels.
    """
    small = open_picture(file).resize((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=88)
    return data_url(content.getvalue(), "jpeg")


def data_url(content: bytes, kind: str) -> str:
    """Return the bytes of a picture as an URL that a page can hold."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
