"""Mel spectrograms of what was heard."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from neurodec.features.audio import RATE, at_rate, standardised
from neurodec.features.clips import SoundFeatures


@dataclass(frozen=True)
class Mel(SoundFeatures):
    """Logarithm of the power in mel bands, the simplest target of the speech decoder.

    Parameters
    ----------
    n_bands : int
        From 0 to 8 kHz, of HTK's scale, without area normalisation.
    n_fft, hop : int
        Samples at 16 kHz.
    sfreq : float
        Hertz, that of the responses.
    delay : float
        How much later the brain is, as the reader has it (s).
    scale : bool
        Take off the mean and divide by the deviation of the training windows where words are spoken.
    half : bool
        Keep clips in half precision.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, Methods.
    """

    n_bands: int = 120
    n_fft: int = 512
    hop: int = 128
    sfreq: float = 120.0
    delay: float = 0.15
    scale: bool = True
    half: bool = False

    @property
    def embedding_space(self) -> str:
        """Such as ``mel-120``."""
        return f"mel-{self.n_bands}"

    def recipe(self) -> dict[str, Any]:
        """Return the parameters of the spectrogram."""
        return {"kind": "mel", "n_bands": self.n_bands, "n_fft": self.n_fft, "hop": self.hop}

    def of_sound(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """Return log10 power, shape (n_bands, n_frames); see `SoundFeatures.of_sound`."""
        wave = torch.from_numpy(at_rate(standardised(sound), rate))
        if len(wave) < self.n_fft:
            wave = torch.nn.functional.pad(wave, (0, self.n_fft - len(wave)))
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(wave, self.n_fft, self.hop, window=window, return_complex=True)
        power = spectrum.abs().square() / window.square().sum()
        return torch.log10(self._filters.T @ power + 1e-5).numpy()

    @cached_property
    def _filters(self) -> torch.Tensor:
        """Triangles (n_frequencies, n_bands)."""
        from transformers.audio_utils import mel_filter_bank  # not at the top: seconds

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filter")  # 120 bands are that many
            filters = mel_filter_bank(
                self.n_fft // 2 + 1, self.n_bands, 0.0, RATE / 2, RATE, norm=None, mel_scale="htk"
            )
        return torch.from_numpy(filters).float()
