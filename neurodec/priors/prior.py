"""The contract of a prior: from what a system predicts of a target to what the decoder draws from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from torch import Tensor, nn

from neurodec.priors.embedding_rows import Generators


class Prior(nn.Module, ABC):
    """Samples embeddings, vectors or tokens, given predictions of them.

    It is fitted after a system, to predictions of trials that the system has not learned from; or it is trained within
    one: the `prior` of an objective, which then is taken as it is.

    Attributes
    ----------
    embedding_space : str or None
        Of what it samples; None before it is fitted.
    learns : bool
        Whether it learns anything from the pairs that it is fitted to.
    """

    embedding_space: str | None = None
    learns: ClassVar[bool] = True

    @abstractmethod
    def fit(
        self,
        z: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        embedding_space: str,
        checkpoints: str | Path | None = None,
    ) -> Self:
        """Fit pairs of predictions and embeddings.

        Parameters
        ----------
        z, targets : Tensor or ndarray, shape (n, ...)
            What was predicted of training trials, and the embedding of what was seen in each.
        groups : sequence, shape (n,), optional
            Concept of each; whole concepts are held out where something is chosen.
        embedding_space : str
            Where `targets` live; a decoder checks it.
        checkpoints : str or Path, optional
            Where a broken fit goes on from.
        """

    @abstractmethod
    def sample(
        self, z: Tensor | np.ndarray, generator: Generators, n_steps: int = 50, guidance: float = 1.0
    ) -> Tensor:
        """Draw one embedding (n, ...) per prediction (n, ...).

        Parameters
        ----------
        z : Tensor or ndarray, shape (n, ...)
        generator : torch.Generator or list of torch.Generator
            One for the whole batch, or one per row: then a row's sample has the same bits in whatever batch it is.
        n_steps, guidance
            Of a diffusion; without effect elsewhere.
        """

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`, with the `class_path`, and `model.safetensors`.

        Parameters
        ----------
        folder : str or Path
        """

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a folder written by `save_pretrained`.

        Parameters
        ----------
        folder : str or Path
        """
