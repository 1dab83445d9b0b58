"""Training an encoder against frozen embeddings."""

from neurodec.alignment.classifier import ContrastiveClassifier
from neurodec.alignment.datamodule import TrialsDataModule
from neurodec.alignment.fit import FitCLI, fit
from neurodec.alignment.losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.alignment.module import AlignmentModule
from neurodec.alignment.pretrained import embed, load_pretrained, save_pretrained

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
