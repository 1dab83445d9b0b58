"""A network from responses to embeddings as scikit-learn has estimators: arrays in, arrays out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurodec.data import Study
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.systems.lightning_system import LightningSystem
from neurodec.training import TrainingData


class EmbeddingDecoder(BaseEstimator):
    """Any encoder, trained by contrast with embeddings, in pipelines, grids and cross-validations.

    Parameters
    ----------
    encoder : type, nn.Module, str or dict, optional
        See `LightningSystem`; `neurodec.encoders.NICE` by default.
    objective : type, str or dict, optional
        See `LightningSystem`; InfoNCE by default.
    sfreq, tmin : float, optional
        Rate (Hz) and first time (s) of the responses.
    max_epochs : int
    batch_size : int, optional
        By default 64, or half of the training trials where these are fewer than 128.
    validation_fraction : float
        Share of the groups, held out of training, that chooses the epoch; 0 takes the last one.
    lr : float
        Of AdamW.
    seed : int

    Attributes
    ----------
    system_ : LightningSystem
        What was fitted.

    Examples
    --------
    >>> from neurodec import EmbeddingDecoder
    >>> EmbeddingDecoder(max_epochs=20, sfreq=250.0).get_params()["max_epochs"]
    20
    """

    def __init__(
        self,
        encoder: type[nn.Module] | nn.Module | str | dict[str, Any] = "neurodec.encoders.NICE",
        objective: type | str | dict[str, Any] | None = None,
        sfreq: float | None = None,
        tmin: float = 0.0,
        max_epochs: int = 40,
        batch_size: int | None = None,
        validation_fraction: float = 0.1,
        lr: float = 3e-4,
        seed: int = 42,
    ) -> None:
        self.encoder, self.objective, self.sfreq, self.tmin = encoder, objective, sfreq, tmin
        self.max_epochs, self.batch_size, self.validation_fraction = (
            max_epochs,
            batch_size,
            validation_fraction,
        )
        self.lr, self.seed = lr, seed

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        subjects: np.ndarray | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : ndarray, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels)
        y : ndarray, shape (n_trials, ...)
            The embedding of what was shown; trials of one stimulus have the same.
        groups : ndarray, shape (n_trials,), optional
            Such as concepts, of which whole ones are held out; by default every stimulus is one.
        subjects : ndarray, shape (n_trials,), optional
            Whose trials; of one person by default.

        Raises
        ------
        NeurodecError
            If lengths differ, a value is not finite, or the encoder cannot read such responses.
        """
        y = np.asarray(y)
        if y.ndim < 2 or len(y) != len(X):
            raise NeurodecError(
                f"{len(X)} responses and embeddings of shape {y.shape}; give one embedding, shape (n_trials, ...), per "
                "response."
            )
        embeddings, shown = np.unique(y.reshape(len(y), -1), axis=0, return_inverse=True)
        names = [f"stimulus-{number}" for number in shown.reshape(-1)]
        concepts = names if groups is None else [str(group) for group in groups]
        targets = Features.given(
            embeddings.reshape(-1, *y.shape[1:]), [f"stimulus-{number}" for number in range(len(embeddings))]
        )
        self.system_ = LightningSystem(
            self.encoder,
            self.objective,
            {"class_path": "torch.optim.AdamW", "init_args": {"lr": self.lr}},
            data=TrainingData(batch_size=self.batch_size, validation_fraction=self.validation_fraction),
            selection="validation" if self.validation_fraction else "last",
            seed=self.seed,
            max_epochs=self.max_epochs,
        ).fit(self._study(X, names, subjects, concept=concepts, split="train"), {"image": targets})
        return self

    def predict(self, X: np.ndarray, subjects: np.ndarray | None = None) -> np.ndarray:
        """Return predicted embeddings, shape (n_trials, ...).

        Parameters
        ----------
        X : ndarray
            Shape (n_trials, n_chans, n_times) or (n_trials, n_features).
        subjects : ndarray, optional
            Labels of subjects; all by default.
        """
        check_is_fitted(self)
        found = self.system_.predict(self._study(X, "unknown", subjects))
        return found.of(self.system_.head)

    def score(self, X: np.ndarray, y: np.ndarray, subjects: np.ndarray | None = None) -> float:
        """Return how often the right one of the embeddings in `y` has the largest cosine; chance is 1 / their number.

        For intervals, p values and controls see `neurodec.evaluate`.

        Parameters
        ----------
        X : ndarray
            Shape (n_trials, n_chans, n_times) or (n_trials, n_features).
        y : ndarray
            Shape (n_trials, n_dims), or labels.
        subjects : ndarray, optional
            Labels of subjects; all by default.
        """
        y, found = np.asarray(y), self.predict(X, subjects)
        gallery, true = np.unique(y.reshape(len(y), -1), axis=0, return_inverse=True)
        cosines = normalize(found.reshape(len(found), -1)) @ normalize(gallery).T
        return float((cosines.argmax(axis=1) == true.reshape(-1)).mean())

    def _study(
        self, X: np.ndarray, names: str | list[str], subjects: np.ndarray | None, **columns: Any
    ) -> Study:
        who = "01" if subjects is None else [str(subject) for subject in subjects]
        return Study.from_arrays(X, names, sfreq=self.sfreq, tmin=self.tmin, subject=who, **columns)
