"""A toy of fMRI to image in one file: mixed voxels (BiMixCo), tokens as targets, a prior of tokens trained within."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.decoders import Decoder
from neurodec.files import read_json, write_json
from neurodec.priors import Prior
from neurodec.training import Batch, Objective

_TOKENS, _WIDTH = 3, 8


class VoxelTokens(nn.Module):
    """One linear layer per person's voxels, and a body that all share, to tokens."""

    def __init__(self, spaces: dict[str, int], heads: dict[str, list[int]]) -> None:
        super().__init__()
        self.shape = heads["tokens"]
        self.people = nn.ModuleDict({name: nn.Linear(n_voxels, 48) for name, n_voxels in spaces.items()})
        self.body = nn.Linear(48, int(np.prod(self.shape)))

    def forward(self, response: Tensor, *, space: str) -> dict[str, Tensor]:
        return {"tokens": self.body(self.people[space](response)).unflatten(1, self.shape)}


class TokenPrior(Prior):
    """A linear layer from predicted tokens to tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding_space: str | None = None
        self.layer = nn.Linear(_TOKENS * _WIDTH, _TOKENS * _WIDTH)

    def fit(self, z, targets, groups=None, *, embedding_space, checkpoints=None):
        raise AssertionError("it is trained within the system")

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z.flatten(1)).view_as(z)

    @torch.no_grad()
    def sample(self, z, generator, n_steps: int = 50, guidance: float = 1.0) -> Tensor:
        return self(torch.as_tensor(z))

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), Path(folder) / "model.safetensors")
        told = {"class_path": "toy_mixing.TokenPrior", "embedding_space": self.embedding_space}
        write_json(Path(folder) / "config.json", told)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TokenPrior:
        prior = cls()
        prior.embedding_space = read_json(Path(folder) / "config.json")["embedding_space"]
        prior.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return prior.eval()


class MixedContrast(Objective):
    """BiMixCo (Scotti et al. 2023, eq. 2) in the first half of training, and the error of the prior."""

    head, needs = "tokens", ("tokens",)

    def __init__(self) -> None:
        super().__init__()
        self.prior = TokenPrior()

    def prepare(self, batch: Batch, progress: float) -> Batch:
        if not self.training or progress > 0.5:
            return batch
        responses, partner, share = {}, batch.row.clone(), torch.ones(len(batch), device=batch.row.device)
        for space, rows in batch.rows_of():
            own = batch.responses[space]
            turned = torch.randperm(len(own), device=own.device)
            kept = torch.distributions.Beta(0.15, 0.15).sample((len(own),)).to(own.device)
            responses[space] = kept[:, None] * own + (1 - kept[:, None]) * own[turned]
            partner[rows], share[rows] = batch.row[rows][turned], kept
        return replace(batch, responses=responses, extra={"partner": partner, "share": share})

    def forward(self, found: dict[str, Tensor], batch: Batch, progress: float) -> dict[str, Tensor]:
        brain = F.normalize(found["tokens"].flatten(1), dim=1)
        image = F.normalize(batch["tokens"].flatten(1), dim=1)
        scores = 10 * brain @ image.T
        share = batch.extra.get("share", torch.ones(len(batch), device=scores.device))[:, None]
        partner = batch.extra.get("partner", batch.row)
        own = torch.eye(len(batch), device=scores.device)
        wanted = share * own + (1 - share) * (partner[:, None] == batch.row).float()
        contrast = (
            -(wanted * scores.log_softmax(1)).sum(1).mean()
            - (wanted * scores.T.log_softmax(1).T).sum(0).mean()
        )
        return {"mixed": contrast / 2, "prior": F.mse_loss(self.prior(found["tokens"]), batch["tokens"])}


class Colours(Decoder):
    """Paints the first three values of the first token."""

    reads = {"tokens": "precomputed"}  # noqa: RUF012

    def decode(
        self,
        conditions: dict[str, Tensor],
        *,
        generator: Sequence[torch.Generator],
        n_steps: int,
        guidance: float,
        strength: float = 0.5,
    ) -> list[Image.Image]:
        colours = np.clip(128 + 40 * np.asarray(conditions["tokens"])[:, 0, :3], 0, 255).astype(np.uint8)
        return [Image.new("RGB", (16, 16), tuple(int(value) for value in row)) for row in colours]
