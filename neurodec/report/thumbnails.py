"""Pictures and sounds within a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile

from neurodec.evaluation.presentation import Sound
from neurodec.features.audio import read_sound
from neurodec.picture_opening import open_picture
from neurodec.preprocessing.sinc import resample_sinc

SIDE = 96  # pixels
_RATE = 8000  # Hz of sounds, whose samples are a byte each: a page of them stays small


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
    return data_url(content.getvalue(), "image/jpeg")


def audible(sound: Sound) -> str:
    """Return a stretch of sound as a small WAV data URL.

    Parameters
    ----------
    sound : Sound
    """
    wave, rate = read_sound(sound.file, max(sound.start, 0.0))
    wave = resample_sinc(wave[: round((sound.stop - max(sound.start, 0.0)) * rate)], rate, _RATE)
    loudest = max(float(np.abs(wave).max(initial=0.0)), 1e-9)
    content = io.BytesIO()
    wavfile.write(content, _RATE, np.round(127 * wave / loudest + 128).astype(np.uint8))
    return data_url(content.getvalue(), "audio/wav")


def data_url(content: bytes, kind: str) -> str:
    """Return the bytes of a picture or sound as an URL that a page can hold."""
    return f"data:{kind};base64," + base64.b64encode(content).decode()
