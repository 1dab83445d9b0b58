"""WAVE's objective: the contrast with pictures and with texts, each at a temperature of its own."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.contrastive import LogitScale
from neurodec.training.objectives.contrastive_losses import info_nce
from neurodec.training.objectives.objective import Objective


class TwoTargetContrast(Objective):
    """Mean of the symmetric InfoNCE with two targets, with separate learned scales.

    Parameters
    ----------
    image, text : str
        Names of the targets, and of the heads that are compared with them; the first has the gallery.
    multi_positive : bool
        Trials of one stimulus in a batch are positives of each other; False as published.

    Notes
    -----
    As published both heads are one vector: `neurodec.encoders.WAVE(one_head=True)`.

    References
    ----------
    Wang et al. (2024), arXiv 2411.07121.
    """

    def __init__(self, image: str = "image", text: str = "text", multi_positive: bool = True) -> None:
        super().__init__()
        self.head, self.needs, self.multi_positive = image, (image, text), multi_positive
        self.image_scale, self.text_scale = LogitScale(), LogitScale()

    def forward(self, found: Heads, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the terms `image` and `text`.

        Parameters
        ----------
        found : Heads
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        groups = batch["stimulus"] if self.multi_positive else None
        terms = {}
        for name, scale in zip(self.needs, (self.image_scale, self.text_scale), strict=True):
            brain, target = F.normalize(found[name], dim=-1), F.normalize(batch[name], dim=-1)
            terms[name] = info_nce(brain, target, scale(), groups) / 2
        return terms
