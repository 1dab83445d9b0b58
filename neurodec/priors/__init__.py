"""From brain embeddings to image embeddings."""

from neurodec.priors.diffusion import DiffusionPrior
from neurodec.priors.identity import IdentityPrior
from neurodec.priors.linear import LinearPrior
from neurodec.priors.load import load_prior
from neurodec.priors.network import DiffusionPriorUNet

__all__ = ["DiffusionPrior", "DiffusionPriorUNet", "IdentityPrior", "LinearPrior", "load_prior"]
