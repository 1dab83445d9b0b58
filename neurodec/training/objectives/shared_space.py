"""NeuroBridge's objective: brain and picture meet in a space that both are projected into."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.encoders.neurobridge import ProjectorKind, shared_projector
from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.contrastive_losses import info_nce
from neurodec.training.objectives.objective import Objective


class SharedSpaceObjective(Objective):
    """InfoNCE between the brain's projection and the picture's, whose projector is the objective's own.

    Parameters
    ----------
    heads : dict of list of int, optional
        Target to its shape; filled in from the data.
    image : str
        Name of the target, and of the head.
    projector : {"linear", "mlp", "direct"}
        Of the picture's features.
    projector_dim : int
        Width of the shared space.
    projector_hidden : int, optional
        Width of the hidden layer of "mlp"; that of the features by default.
    normalize_brain : bool
        Normalise the brain's side too; published: the picture's alone.
    temperature : float
        The factor on similarities is ``softplus(ln(1 / temperature))``, fixed, as published.

    References
    ----------
    NeuroBridge (2026), AAAI.
    """

    def __init__(
        self,
        heads: dict[str, list[int]] | None = None,
        image: str = "image",
        projector: ProjectorKind = "linear",
        projector_dim: int = 512,
        projector_hidden: int | None = None,
        normalize_brain: bool = False,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.head, self.needs = image, (image,)
        self.normalize_brain = normalize_brain
        self.scale = F.softplus(torch.tensor(math.log(1 / temperature)))
        if heads is not None:
            self.projector = shared_projector(
                projector, math.prod(heads[image]), projector_dim, projector_hidden
            )

    def forward(self, found: Heads, batch: Batch, progress: float) -> Heads:
        """Return the term `loss`.

        Parameters
        ----------
        found : Heads
            Head to prediction, shape (B, ...).
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        brain, image = found[self.head], F.normalize(self.project(self.head, batch[self.head]), dim=-1)
        brain = F.normalize(brain, dim=-1) if self.normalize_brain else brain
        return {"loss": info_nce(brain, image, self.scale.to(brain.device))}

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return pictures' features (n, D) in the shared space, in the projector's own precision."""
        weight = next(self.projector.parameters(), targets)
        return self.projector(targets.flatten(1).to(weight.dtype)).float()
