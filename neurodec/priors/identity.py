"""No prior: what the system predicts is the embedding itself, as in Brain-Diffuser's linear decoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.priors.embedding_rows import Generators, check_generators, checked_pairs, checked_rows
from neurodec.priors.prior import Prior
from neurodec.priors.saved_prior import read_prior_config, require_fitted, write_prior


class IdentityPrior(Prior):
    """Takes predictions, vectors or tokens, as they are, called like any prior."""

    learns = False

    def __init__(self) -> None:
        super().__init__()
        self.embedding_space: str | None = None
        self.register_buffer("width", torch.zeros((), dtype=torch.int64))

    def fit(
        self,
        z: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        embedding_space: str,
        checkpoints: str | Path | None = None,
    ) -> IdentityPrior:
        """Remember the width and the space of the targets; see `DiffusionPrior.fit`.

        Raises
        ------
        NeurodecError
            If rows do not pair up, or hold NaN or infinity.
        """
        z, targets = torch.as_tensor(z), torch.as_tensor(targets)
        rows, _, _ = checked_pairs(z.flatten(1), targets.flatten(1), groups)
        self.width.fill_(rows.shape[1])
        self.embedding_space = embedding_space
        return self

    def sample(
        self, z: Tensor | np.ndarray, generator: Generators, n_steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """Return `z` (n, ...); nothing is drawn, so that the other arguments have no effect."""
        require_fitted(self)
        z = torch.as_tensor(z)
        rows = checked_rows(z.flatten(1), "brain embeddings", int(self.width))
        check_generators(generator, len(rows))
        return rows.reshape(z.shape)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        require_fitted(self)
        sizes = {"embed_dim": int(self.width), "cond_dim": int(self.width)}
        write_prior(folder, self, {"init_args": {}, **sizes})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> IdentityPrior:
        """Read a folder written by `save_pretrained`."""
        config, prior = read_prior_config(folder, cls), cls()
        prior.embedding_space = config["embedding_space"]
        return take_exactly(prior, read_checkpoint(Path(folder) / "model.safetensors"), str(folder)).eval()
