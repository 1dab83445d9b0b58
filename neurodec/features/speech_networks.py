"""Frozen networks of speech as targets: wav2vec 2.0, HuBERT, WavLM and the encoder of Whisper."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neurodec.errors import NeurodecError
from neurodec.features.audio import RATE, at_rate, standardised
from neurodec.features.clips import SoundFeatures
from neurodec.features.downloads import find_folder, remedy
from neurodec.features.weights import EMBEDDED, weights_hash
from neurodec.foreign_code import quiet, refuse_code

_LONGEST = 60.0  # s; longer clips are read piece by piece, to bound memory
_WHISPER = 30.0  # s that Whisper always reads
_STRIDE = 320  # samples per frame
_SHORTEST = 400  # samples that the first frame sees
_KINDS = ("wav2vec2", "hubert", "wavlm", "whisper")


@dataclass(frozen=True)
class SpeechNetwork(SoundFeatures):
    """The mean of some layers of a network of speech, frame by frame.

    Parameters
    ----------
    model : str
        A hub id whose files are on this machine (``facebook/wav2vec2-large-xlsr-53``), a folder as transformers saves
        it, or ``neurodec/tiny-speech``, a packaged wav2vec 2.0 of random weights.
    layers : list of int
        Hidden states whose mean is taken; 0 is the input of the first transformer layer, negative ones count from the
        end. Défossez et al. (2023) take 14 to 18 of 24, their later benchmark the last four.
    sfreq : float
        Hertz, that of the responses.
    delay : float
        How much later the brain is, as the reader has it (s).
    scale : bool
        Take off the mean and divide by the deviation of the training windows where words are spoken.
    half : bool
        Keep clips in half precision.
    device : str
        ``auto`` takes the GPU if there is one.

    Notes
    -----
    Sound is brought to 16 kHz, mean 0 and variance 1, clip by clip. A random network tells sounds apart, as a filter
    bank does, but not words from what they mean.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, Methods; Baevski et al. (2020), wav2vec 2.0.
    """

    model: str = "facebook/wav2vec2-large-xlsr-53"
    layers: list[int] = field(default_factory=lambda: [14, 15, 16, 17, 18])
    sfreq: float = 120.0
    delay: float = 0.15
    scale: bool = True
    half: bool = True
    device: str = "auto"

    @property
    def embedding_space(self) -> str:
        """Such as ``facebook/wav2vec2-large-xlsr-53/layers-14-15-16-17-18``; a folder is named without its path."""
        named = self.model.startswith(EMBEDDED) or not Path(self.model).is_dir()
        name = self.model if named else Path(self.model).name
        return f"{name}/layers-{'-'.join(map(str, self.layers))}"

    def recipe(self) -> dict[str, Any]:
        """Return the network, its weights and layers."""
        precision = "autocast" if self._device.startswith("cuda") else "float32"
        own = {"kind": "speech", "model": self.model, "weights": self._weights_hash, "precision": precision}
        return {**own, "layers": self.layers}

    @torch.inference_mode()
    def of_sound(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """Return the mean hidden state of every frame, shape (n_features, n_frames)."""
        wave = standardised(at_rate(sound, rate))
        longest = int((_WHISPER if self._kind == "whisper" else _LONGEST) * RATE)
        pieces = [wave[start : start + longest] for start in range(0, max(len(wave), 1), longest)]
        return np.concatenate([self._of_piece(piece) for piece in pieces], axis=1)

    def _of_piece(self, wave: np.ndarray) -> np.ndarray:
        if len(wave) < _SHORTEST:
            wave = np.pad(wave, (0, _SHORTEST - len(wave)))
        with torch.autocast("cuda", enabled=self._device.startswith("cuda")):
            if self._kind == "whisper":
                states = self._network.encoder(self._spectrum(wave), output_hidden_states=True).hidden_states
                states = [state[:, : -(-len(wave) // _STRIDE)] for state in states]
            else:
                given = torch.from_numpy(wave).float()[None].to(self._device)
                states = self._network(given, output_hidden_states=True).hidden_states
        wrong = [layer for layer in self.layers if not -len(states) <= layer < len(states)]
        if wrong:
            raise NeurodecError(
                f"{self.model} has the hidden states 0 to {len(states) - 1}, and `layers` names {wrong[0]}; correct it."
            )
        chosen = torch.stack([states[layer][0].float() for layer in self.layers])
        return chosen.mean(dim=0).T.cpu().numpy()  # (n_features, n_frames)

    def _spectrum(self, wave: np.ndarray) -> torch.Tensor:
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=self._network.config.num_mel_bins)
        return extractor(wave, sampling_rate=RATE, return_tensors="pt").input_features.to(self._device)

    @cached_property
    def _device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    @property
    def _kind(self) -> str:
        return str(self._network.config.model_type)

    @cached_property
    def _network(self) -> nn.Module:
        return load_speech_network(self.model).to(self._device)

    @cached_property
    def _weights_hash(self) -> str:
        return weights_hash(self._network)


def load_speech_network(name: str) -> nn.Module:
    """Load a network of speech from this machine, in evaluation mode, without gradients.

    Parameters
    ----------
    name : str
        As for `SpeechNetwork`.

    Raises
    ------
    NeurodecError
        If it is not here, damaged, or another kind of network.
    """
    import transformers  # not at the top: seconds

    folder = find_folder(name)
    refuse_code(folder, name)
    with quiet("transformers"):
        try:
            network = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # transformers raises a dozen kinds for the same plain fact
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
            raise NeurodecError(f"{name} cannot be loaded ({line}); {remedy(name)}.") from error
    kind = str(network.config.model_type)
    if kind not in _KINDS:
        raise NeurodecError(f"{name} is a {kind}, which reads no sound; name one of {', '.join(_KINDS)}.")
    return network.eval().requires_grad_(False)
