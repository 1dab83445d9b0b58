"""A deep encoder as category decoder: responses are pulled to the embedding of their class, away from the others."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.class_paths import named_classes, resolve_class
from neurodec.encoders import ATM
from neurodec.errors import NeurodecError, reading
from neurodec.linear.classifier import Classifier
from neurodec.training.module import takes_subject


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
        self._spread = float(responses.std()) or 1.0
        self._trained = [self._train(responses, row, subjects) for row in labels]
        return self

    def scores(self, responses: np.ndarray, subjects: np.ndarray) -> np.ndarray:
        """Return the cosine with every class's target; see `Classifier.scores`."""
        inputs, ids = self._inputs(responses), torch.as_tensor(self._ids(subjects))
        found = [[_embed(model, *batch) for batch in _batches(inputs, ids)] for model in self._trained]
        rows = torch.stack([F.normalize(torch.cat(parts), dim=-1) for parts in found])
        return rows[..., : self._n_classes].numpy()

    def _inputs(self, responses: np.ndarray) -> Tensor:
        return torch.as_tensor(np.array(responses, dtype=np.float32)) / self._spread

    def _ids(self, subjects: np.ndarray) -> np.ndarray:
        """Return positions among the training subjects, -1 for unknown ones."""
        place = np.searchsorted(self._known, subjects).clip(max=len(self._known) - 1)
        return np.where(self.use_subject & (self._known[place] == subjects), place, -1)

    def _train(self, responses: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> nn.Module:
        """Train one encoder; classes weigh alike, however often each was shown."""
        inputs, ids = self._inputs(responses), torch.as_tensor(self._ids(subjects))
        classes, n_rows = torch.as_tensor(labels), len(labels)
        weight = n_rows / torch.bincount(classes, minlength=self._n_classes).clamp(min=1).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self._build(*responses.shape[1:], len(self._known)).train()
            n_steps = self.n_epochs * max(1, n_rows // self.batch_size)
            optimizer = torch.optim.AdamW(model.parameters(), self.lr, weight_decay=self.weight_decay)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=n_steps)
            order = torch.empty(0, dtype=torch.long)
            for _ in range(n_steps):
                if len(order) < min(self.batch_size, n_rows):
                    order = torch.randperm(n_rows)
                rows, order = order[: self.batch_size], order[self.batch_size :]
                noisy = inputs[rows] + self.noise * torch.randn_like(inputs[rows])
                cosines = F.normalize(_embed(model, noisy, ids[rows]), dim=-1)[:, : self._n_classes]
                loss = F.cross_entropy(self.scale * cosines, classes[rows], weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return model.eval()

    def _build(self, n_chans: int, n_times: int, n_subjects: int) -> nn.Module:
        build = self.encoder
        sizes = {
            "n_chans": n_chans,
            "n_times": n_times,
            "n_outputs": self.n_outputs,
            "n_subjects": n_subjects,
        }
        accepted = inspect.signature(build.__init__).parameters
        filled = {key: value for key, value in sizes.items() if key in accepted}
        with reading(
            f"The encoder {build.__name__}", "", "its arguments do not fit, so correct `encoder_args`"
        ):
            return build(**filled, **named_classes(build, self.encoder_args))


def _embed(model: nn.Module, inputs: Tensor, ids: Tensor) -> Tensor:
    with torch.set_grad_enabled(model.training):
        return model(inputs, ids) if takes_subject(model) else model(inputs)


def _batches(inputs: Tensor, ids: Tensor, size: int = 256) -> zip:
    return zip(inputs.split(size), ids.split(size), strict=True)
