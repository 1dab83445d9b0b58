"""Sounds from files: one channel, at the rate that networks of speech read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from neurodec.errors import NeurodecError, reading, require_fetched
from neurodec.preprocessing.sinc import resample_sinc

RATE = 16_000
"""Hertz of all sounds here."""
_SHORTER = 0.1  # s by which a file may end before its events say
_WAV = (".wav", ".wave")


def read_sound(path: Path, start: float = 0.0, stop: float | None = None) -> tuple[np.ndarray, int]:
    """Read a stretch of a sound file.

    Parameters
    ----------
    path : Path
        WAV of any rate and depth; FLAC, OGG and MP3 with the extra `speech` (soundfile).
    start, stop : float
        Seconds; the whole file by default.

    Returns
    -------
    sound : ndarray, shape (n_samples,), float32
        Mean over channels, between -1 and 1.
    rate : int
        Hertz.

    Raises
    ------
    NeurodecError
        If the file is missing, is no sound, or ends before the stretch does.
    """
    require_sound(path)
    with reading(path, "a sound", "copy it again, or export it as WAV (PCM)"):
        samples, rate = _wav(path) if path.suffix.lower() in _WAV else _other(path)
    n_seconds = len(samples) / rate
    if stop is not None and stop > n_seconds + _SHORTER:
        raise NeurodecError(
            f"{path} lasts {n_seconds:.2f} s, and the events say that it was heard up to {stop:.2f} s; see whether it "
            "is the right file, and correct onset, duration or offset of the sound."
        )
    part = samples[round(start * rate) : None if stop is None else round(stop * rate)]
    return scaled(part), rate


def require_sound(path: Path) -> Path:
    """Return the path of a sound that is there.

    Raises
    ------
    NeurodecError
        If it is missing, or was not fetched.
    """
    require_fetched(path)
    if not path.is_file():
        raise NeurodecError(f"The sound {path} is missing; put it there, or correct the events.")
    return path


def _wav(path: Path) -> tuple[np.ndarray, int]:
    rate, samples = wavfile.read(path, mmap=_plain(path))
    return samples, int(rate)


def _plain(path: Path) -> bool:
    """Return whether a file can be memory-mapped, which those of 24 bits cannot."""
    with path.open("rb") as handle:
        head = handle.read(64)
    return head[:4] == b"RIFF" and int.from_bytes(head[34:36], "little") in (8, 16, 32, 64)


def _other(path: Path) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError as error:
        raise NeurodecError(
            f"{path} is not WAV, which needs soundfile: pip install 'neurodec[speech]', or export it as WAV."
        ) from error
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, int(rate)


def scaled(samples: np.ndarray) -> np.ndarray:
    """Return samples as one channel between -1 and 1; integers are divided by their largest value."""
    kind = samples.dtype
    values = samples.astype(np.float32)
    if kind == np.uint8:
        values = (values - 128) / 128
    elif kind.kind == "i":
        values /= -float(np.iinfo(kind).min)
    return values.mean(axis=1) if values.ndim == 2 else values


def at_rate(sound: np.ndarray, rate: int) -> np.ndarray:
    """Return a sound at 16 kHz."""
    return resample_sinc(sound, rate, RATE)


def standardised(sound: np.ndarray) -> np.ndarray:
    """Return a sound with mean 0 and variance 1, as feature extractors of speech networks do."""
    return (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
