"""What an encoder's weights are worth as they are: ridge classification of its features, nothing of it trained."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from neurodec.class_paths import resolve_class
from neurodec.errors import NeurodecError
from neurodec.files import track
from neurodec.linear.classifier import Classifier, RidgeClassifier
from neurodec.systems.contrastive_classifier import asked_of, built_encoder
from neurodec.training.gather import as_tensor

_AT_ONCE = 64  # trials


class ProbeClassifier(Classifier):
    """Ridge classification from the mean token of a frozen encoder.

    Parameters
    ----------
    encoder : type of nn.Module, or str
        Class of an encoder that has `tokens` (CSBrain), or the import path of one of an allowed package.
    encoder_args : dict
        Its further arguments, among them `start`, the weights; sizes and channels are filled in.
    per_channel : bool
        Keep the mean over time of every channel apart, in place of one mean over all.
    seed : int
        Of the weights that `start` does not give.

    Notes
    -----
    The penalty is tuned as `RidgeClassifier` does; features are standardised by the training trials. Responses are
    divided by their standard deviation over the training, as `ContrastiveClassifier` does.
    """

    def __init__(
        self,
        encoder: type[nn.Module] | str = "neurodec.encoders.CSBrain",
        encoder_args: dict[str, Any] | None = None,
        per_channel: bool = True,
        seed: int = 0,
    ) -> None:
        self.encoder = (
            resolve_class(encoder, nn.Module, what="encoder") if isinstance(encoder, str) else encoder
        )
        if not hasattr(self.encoder, "tokens"):
            raise NeurodecError(
                f"{self.encoder.__name__} has no tokens to be read by a probe; take neurodec.encoders.CSBrain."
            )
        self.encoder_args, self.per_channel, self.seed = encoder_args or {}, per_channel, seed

    def for_trials(self, info: dict[str, Any]) -> Self:
        """Return the probe with rate and channels told to the encoder; see `Classifier.for_trials`."""
        told = copy(self)
        told.encoder_args = {**asked_of(self.encoder, info), **self.encoder_args}
        return told

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> ProbeClassifier:
        """Build the encoder, and fit ridge to its features; see `Classifier.fit`."""
        sizes = {"n_chans": responses.shape[1], "n_times": responses.shape[2], "n_outputs": 2}
        self._spread = float(np.std(np.asarray(responses))) or 1.0
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self._built = built_encoder(self.encoder, self.encoder_args, sizes).eval()
        features = self._features(responses)
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        self._ridge = RidgeClassifier().fit((features - self._mean) / self._scale, labels, groups, subjects)
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the ridge classifier's scores; see `Classifier.scores`."""
        return self._ridge.scores((self._features(responses) - self._mean) / self._scale, subjects)

    @torch.no_grad()
    def _features(self, responses: np.ndarray) -> np.ndarray:
        """Return features (n_trials, n_features)."""
        found = []
        starts = range(0, len(responses), _AT_ONCE)
        for start in track(starts, "reading", total=len(starts)):
            block = np.asarray(responses[start : start + _AT_ONCE], dtype=np.float32) / self._spread
            tokens = self._built.tokens(as_tensor(block.astype(np.float32)))  # (B, C, P, D)
            found.append(tokens.mean(dim=2 if self.per_channel else (1, 2)).flatten(1).numpy())
        return np.concatenate(found)
