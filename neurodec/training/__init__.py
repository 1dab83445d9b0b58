"""Training an encoder against frozen embeddings."""

from neurodec.training.classifier import ContrastiveClassifier
from neurodec.training.datamodule import TrialsDataModule
from neurodec.training.fit import FitCLI, fit
from neurodec.training.losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.training.module import AlignmentModule
from neurodec.training.pretrained import embed, load_pretrained, save_pretrained

__all__ = [
    "AlignmentModule",
    "ContrastiveClassifier",
    "FitCLI",
    "TrialsDataModule",
    "embed",
    "fit",
    "info_nce",
    "load_pretrained",
    "reconstruction_loss",
    "retrieval_loss",
    "save_pretrained",
]
