"""Systems: what is fitted to trials and predicts targets."""

from neurodec.systems.contrastive_classifier import ContrastiveClassifier
from neurodec.systems.embedding_decoder import EmbeddingDecoder
from neurodec.systems.in_context.in_context_classifier import InContextClassifier
from neurodec.systems.in_context.in_context_system import InContextSystem
from neurodec.systems.in_context.tasks import MetaStage
from neurodec.systems.lagged_ridge_system import LaggedRidgeSystem
from neurodec.systems.lightning_system import LightningSystem
from neurodec.systems.linear_baseline import linear_baseline
from neurodec.systems.linear_system import LinearSystem
from neurodec.systems.loading_systems import load_system
from neurodec.systems.picture_latent_ridge import PictureLatentRidge
from neurodec.systems.probe import ProbeClassifier
from neurodec.systems.ridge_system import RidgeSystem
from neurodec.systems.system import System

__all__ = [
    "ContrastiveClassifier",
    "EmbeddingDecoder",
    "InContextClassifier",
    "InContextSystem",
    "LaggedRidgeSystem",
    "LightningSystem",
    "LinearSystem",
    "MetaStage",
    "PictureLatentRidge",
    "ProbeClassifier",
    "RidgeSystem",
    "System",
    "linear_baseline",
    "load_system",
]
