"""A deep encoder as category decoder: responses are pulled to the embedding of their class, away from the others."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import Any, ClassVar, Self

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from neurodec.class_paths import named_classes, resolve_class, takes_argument
from neurodec.encoders import ATM
from neurodec.errors import NeurodecError, interruptible, reading
from neurodec.linear.classifier import Classifier
from neurodec.training.augmentations import Noise
from neurodec.training.gather import Gather, as_tensor
from neurodec.training.module import EncoderModule
from neurodec.training.objectives import ClassObjective
from neurodec.training.saved_encoder import channels_of, embed
from neurodec.training.steps import Steps
from neurodec.training.trainer import quiet

_PLAIN = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


class ContrastiveClassifier(Classifier):
    """Train an encoder with InfoNCE against one target per class; the nearest target wins.

    The targets are orthogonal unit vectors. Against them the contrastive loss is a cross-entropy over scaled cosines,
    with every trial of a class a positive.

    Parameters
    ----------
    encoder : type of nn.Module, or str
        Class of an encoder, or the import path of one of an allowed package; built anew for every fold.
    encoder_args : dict
        Its further arguments; `n_chans`, `n_times`, `n_outputs` and `n_subjects` are filled in where it has them.
    n_outputs : int
        Width of the embedding, at least the number of classes.
    n_epochs, batch_size : int
        Length of the training, the same for every fold: no epoch is picked by a score.
    lr, weight_decay : float
        Of AdamW; the rate rises and falls once (one-cycle).
    scale : float
        Factor on the cosines.
    noise : float
        Standard deviation of the noise added in training, in units of the responses' own.
    use_subject : bool
        Tell the encoder whose response it is. False where subjects are left out: a token that no test trial can have
        only teaches the training subjects by heart.
    seed : int
        Of weights, batches, dropout and noise.
    """

    n_shuffles: ClassVar[int] = 2  # each is a training per fold

    def __init__(
        self,
        encoder: type[nn.Module] | str = ATM,
        encoder_args: dict[str, Any] | None = None,
        n_outputs: int = 64,
        n_epochs: int = 30,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        scale: float = 10.0,
        noise: float = 0.2,
        use_subject: bool = True,
        seed: int = 0,
    ) -> None:
        self.encoder = (
            resolve_class(encoder, nn.Module, what="encoder") if isinstance(encoder, str) else encoder
        )
        self.encoder_args, self.n_outputs = encoder_args or {}, n_outputs
        self.n_epochs, self.batch_size, self.lr, self.weight_decay = n_epochs, batch_size, lr, weight_decay
        self.scale, self.noise, self.use_subject, self.seed = scale, noise, use_subject, seed

    def for_trials(self, info: dict[str, Any]) -> Self:
        """Return the decoder with rate and channels told to an encoder that asks; see `Classifier.for_trials`."""
        told = copy(self)
        told.encoder_args = {**asked_of(self.encoder, info), **self.encoder_args}
        return told

    def fit(
        self, responses: np.ndarray, labels: np.ndarray, groups: np.ndarray, subjects: np.ndarray
    ) -> ContrastiveClassifier:
        """Train one encoder per labelling; see `Classifier.fit`.

        Raises
        ------
        NeurodecError
            If there are more classes than `n_outputs`, or the encoder cannot take the responses.
        """
        self._n_classes = int(labels.max()) + 1
        if self._n_classes > self.n_outputs:
            raise NeurodecError(
                f"{self._n_classes} classes do not fit an embedding of {self.n_outputs}; raise `n_outputs`."
            )
        self._known = np.unique(subjects)
        if responses.ndim != 3:
            raise NeurodecError(
                f"{self.encoder.__name__} takes channels by samples; these trials are patterns, so use the linear "
                "decoder."
            )
        self._spread = float(np.std(responses)) or 1.0
        self._trained = [self._train(responses, row, subjects) for row in labels]
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the cosine with every class's target; see `Classifier.scores`."""
        inputs, ids = self._inputs(responses), self._ids(subjects)
        found = [embed(model, inputs, ids)["image"] for model in self._trained]
        rows = np.stack([z / np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-12) for z in found])
        return rows[..., : self._n_classes]

    def _ids(self, subjects: np.ndarray) -> np.ndarray:
        """Return positions among the training subjects, -1 for unknown ones."""
        place = np.searchsorted(self._known, subjects).clip(max=len(self._known) - 1)
        return np.where(self.use_subject & (self._known[place] == subjects), place, -1)

    def _inputs(self, responses: np.ndarray) -> np.ndarray:
        return np.asarray(responses, dtype=np.float32) / np.float32(self._spread)

    def _train(self, responses: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> nn.Module:
        """Train one encoder; classes weigh alike, however often each was shown."""
        n_rows = len(labels)
        shown = torch.bincount(torch.as_tensor(labels), minlength=self._n_classes)
        number = torch.arange(n_rows)
        rows = {"subject": torch.as_tensor(self._ids(subjects)), "stimulus": number, "space": 0 * number}
        targets = {"label": torch.as_tensor(labels)}
        gather = Gather(as_tensor(self._inputs(responses)), number, None, rows, targets)
        sizes = {
            "n_chans": responses.shape[1],
            "n_times": responses.shape[2],
            "n_outputs": self.n_outputs,
            "n_subjects": len(self._known),
        }
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(self.seed)
            encoder = built_encoder(self.encoder, self.encoder_args, sizes)
            steps = Steps(
                {"all": gather}, min(self.batch_size, n_rows), self.seed, lambda: trainer.current_epoch
            )
            module = EncoderModule(
                encoder,
                ClassObjective(n_rows / shown.clamp(min=1).float(), self.scale),
                partial(torch.optim.AdamW, lr=self.lr, weight_decay=self.weight_decay),
                partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=self.lr),
                [Noise(self.noise)],
                seed=self.seed,
            )
            trainer = L.Trainer(max_epochs=self.n_epochs, **_PLAIN)
            with interruptible():
                trainer.fit(module, DataLoader(steps, batch_size=None))
        return module.encoder.eval().cpu()


def asked_of(kind: type[nn.Module], info: dict[str, Any]) -> dict[str, Any]:
    """Return what an encoder's constructor asks for of rate and channels of trials."""
    known = {"sfreq": info.get("sfreq"), **channels_of(info)}
    return {name: value for name, value in known.items() if value is not None and takes_argument(kind, name)}


def built_encoder(kind: type[nn.Module], arguments: dict[str, Any], sizes: dict[str, int]) -> nn.Module:
    """Build an encoder, telling it those sizes that it asks for.

    Raises
    ------
    NeurodecError
        If the arguments do not fit.
    """
    accepted = {name: value for name, value in sizes.items() if takes_argument(kind, name)}
    with reading(f"The encoder {kind.__name__}", "", "its arguments do not fit, so correct `encoder_args`"):
        return kind(**accepted, **named_classes(kind, arguments))
