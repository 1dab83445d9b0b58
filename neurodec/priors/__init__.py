"""From brain embeddings to image embeddings."""

from neurodec.priors.diffusion import DiffusionPrior
from neurodec.priors.linear import LinearPrior
from neurodec.priors.load import load_prior
from neurodec.priors.network import DiffusionPriorUNet

__all__ = ["DiffusionPrior", "DiffusionPriorUNet", "LinearPrior", "load_prior"]
