"""A toy of whole-brain decoding in one file: parcels over five volumes, contrastive and masked at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.data import Dataset, Part, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.training import Batch, Objective, info_nce


@dataclass(frozen=True)
class Parcels(Dataset):
    """Trials of ``sub-<name>.npz``: `responses` (n_trials, n_parcels, 5), `stimulus` and `split`."""

    def parts(self, root: Path) -> list[Part]:
        files = sorted(root.glob("sub-*.npz"))
        return [Part(file.stem, file.stem.removeprefix("sub-"), (file,)) for file in files]

    def load(self, part: Part, root: Path) -> Trials:
        with np.load(part.files[0]) as content:
            responses, table = content["responses"], {name: content[name] for name in ("stimulus", "split")}
        info = {"modality": "fmri", "units": "a.u.", "sfreq": 0.5, "tmin": 4.0}
        info |= {
            "dims": ["trial", "parcel", "time"],
            "ch_names": [f"P{n}" for n in range(responses.shape[1])],
        }
        return Trials(responses, with_defaults(pd.DataFrame(table).assign(subject=part.subject)), info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        return pd.read_csv(root / "stimuli.csv", dtype=str)


class ParcelMixer(nn.Module):
    """Reads parcels over time, and gives an embedding and all volumes back."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.shape = (n_chans, n_times)
        self.body = nn.Sequential(nn.Linear(n_chans * n_times, 64), nn.GELU())
        self.embedding, self.volumes = nn.Linear(64, n_outputs), nn.Linear(64, n_chans * n_times)

    def forward(self, response: Tensor, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        seen = response if mask is None else response.masked_fill(mask, 0.0)
        hidden = self.body(seen.flatten(1))
        return {"image": self.embedding(hidden), "volumes": self.volumes(hidden).unflatten(1, self.shape)}


class ContrastAndMask(Objective):
    """InfoNCE with the picture, and the squared error over volumes of parcels that were hidden."""

    head, needs = "image", ("image",)

    def prepare(self, batch: Batch, progress: float) -> Batch:
        share = 0.2 if self.training else 0.0
        mask = {space: torch.rand_like(own) < share for space, own in batch.responses.items()}
        return replace(batch, mask=mask)

    def forward(self, found: dict[str, Tensor], batch: Batch, progress: float) -> dict[str, Tensor]:
        brain, image = F.normalize(found["image"], dim=1), F.normalize(batch["image"], dim=1)
        squared = sum(
            (torch.square(found["volumes"][rows] - batch.responses[space]) * batch.mask[space]).sum()
            for space, rows in batch.rows_of()
        )
        n_hidden = sum(own.sum() for own in batch.mask.values())
        contrast = info_nce(brain, image, torch.tensor(10.0), batch.stimulus)
        return {"contrast": contrast, "masked": squared / n_hidden.clamp(min=1)}
