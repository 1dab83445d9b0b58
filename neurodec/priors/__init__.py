"""From brain embeddings to image embeddings."""

from neurodec.priors.diffusion import DiffusionPrior
from neurodec.priors.identity import IdentityPrior
from neurodec.priors.linear import LinearPrior
from neurodec.priors.load import load_prior
from neurodec.priors.network import DiffusionPriorUNet
from neurodec.priors.picture_posterior import PicturePosterior
from neurodec.priors.prior import Prior

__all__ = [
    "DiffusionPrior",
    "DiffusionPriorUNet",
    "IdentityPrior",
    "LinearPrior",
    "PicturePosterior",
    "Prior",
    "load_prior",
]
