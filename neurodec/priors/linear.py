"""The linear-Gaussian prior: ridge from brain to image embedding, with noise as large as its held-out error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import reading
from neurodec.linear.ridge import Ridge, Standardised, grouped_folds
from neurodec.linear.solvers import Factor, held_out_predictions
from neurodec.priors.embedding_rows import (
    Generators,
    blocks,
    check_generators,
    checked_pairs,
    checked_rows,
    noise,
)
from neurodec.priors.prior import Prior
from neurodec.priors.saved_prior import read_prior_config, require_fitted, write_prior

_N_FOLDS = 5


class LinearPrior(Prior):
    """Gaussian over image embeddings whose mean is linear in the direction of the brain embedding.

    The baseline beside `DiffusionPrior`, called alike. It has no options: the penalty is tuned and the covariance of
    the residuals estimated on held-out groups.

    Notes
    -----
    The brain embedding's length is ignored, as in `DiffusionPrior`. The covariance is shrunk towards a multiple of the
    identity (Ledoit and Wolf 2004), so that it is invertible with fewer rows than dimensions. Cost: that of
    `neurodec.linear.Ridge`, plus O(n D'^2 + D'^3).
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding_space: str | None = None
        self._size(0, 0)

    def fit(
        self,
        z: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        embedding_space: str,
        checkpoints: str | Path | None = None,
    ) -> LinearPrior:
        """Fit pairs of brain and image embeddings; see `Prior.fit`. There is nothing to resume from `checkpoints`.

        Raises
        ------
        NeurodecError
            If rows do not pair up, hold NaN or infinity, or belong to one group only.
        """
        z, targets, groups = checked_pairs(z, targets, groups)
        directions, wanted = F.normalize(z, dim=1).numpy(), targets.numpy()
        ridge = Ridge(n_folds=_N_FOLDS).fit(directions, wanted, groups)
        residuals = held_out_residuals(directions, wanted, groups, ridge.alpha_ / len(z))
        covariance = ledoit_wolf(residuals, assume_centered=True)[0]
        covariance.flat[:: len(covariance) + 1] += np.finfo(np.float32).tiny  # constant targets leave none
        for name, value in (
            ("weight", ridge.coef_),
            ("intercept", ridge.intercept_),
            ("residual_factor", np.linalg.cholesky(covariance)),
        ):
            setattr(self, name, torch.as_tensor(value, dtype=torch.float32))
        self.embedding_space = embedding_space
        return self

    def mean(self, z: Tensor | np.ndarray) -> Tensor:
        """Return the expected image embedding (B, D') of brain embeddings (B, D), on the device of `z`.

        Parameters
        ----------
        z : Tensor or ndarray
            Predicted embeddings, shape (n, n_dims).

        Raises
        ------
        NeurodecError
            If `z` has another width or holds NaN or infinity, or the prior was never fitted.
        """
        require_fitted(self)
        rows = checked_rows(z, "brain embeddings", len(self.weight))
        directions = F.normalize(rows.to(self.weight.device), dim=1)
        return (_times(directions, self.weight) + self.intercept).to(rows.device)

    def sample(
        self,
        z: Tensor | np.ndarray,
        generator: Generators,
        n_steps: int = 50,
        guidance: float = 5.0,
    ) -> Tensor:
        """Draw the mean plus noise of the residual covariance; see `Prior.sample`. There is nothing to guide.

        Raises
        ------
        NeurodecError
            If `z` has another width or holds NaN or infinity, the generators are not one per row, or the prior was
            never fitted.
        """
        mean = self.mean(z)
        check_generators(generator, len(mean))
        drawn = noise(tuple(mean.shape), generator, self.residual_factor.device)
        return mean + _times(drawn, self.residual_factor.T).to(mean.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`.

        Raises
        ------
        NeurodecError
            If the prior was never fitted.
        """
        cond_dim, embed_dim = self.weight.shape
        write_prior(folder, self, {"init_args": {}, "embed_dim": embed_dim, "cond_dim": cond_dim})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LinearPrior:
        """Read a folder written by `save_pretrained`.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged, or any tensor does not fit (every one is named).
        """
        config = read_prior_config(folder, cls)
        with reading(Path(folder) / "config.json", "a prior", "fit it again"):
            prior = cls(**config["init_args"])
            prior._size(config["cond_dim"], config["embed_dim"])
        prior.embedding_space = config["embedding_space"]
        return take_exactly(prior, read_checkpoint(Path(folder) / "model.safetensors"), str(folder))

    def _size(self, cond_dim: int, embed_dim: int) -> None:
        """Make room for tensors of these widths."""
        self.register_buffer("weight", torch.zeros(cond_dim, embed_dim))
        self.register_buffer("intercept", torch.zeros(embed_dim))
        self.register_buffer("residual_factor", torch.zeros(embed_dim, embed_dim))


def held_out_residuals(
    features: np.ndarray, targets: np.ndarray, groups: np.ndarray, penalty_per_row: float
) -> np.ndarray:
    """Return the error of ridge on every row, fitted without the row's fold, shape of `targets`."""
    folds = grouped_folds(len(features), groups, _N_FOLDS)
    penalty = penalty_per_row * len(features) * (len(folds) - 1) / len(folds)
    factor = Factor.of(Standardised.of(features).rows(features))
    return targets - held_out_predictions(factor, targets, penalty, folds)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    return torch.cat([block @ matrix for block in blocks(rows)])[: len(rows)]
