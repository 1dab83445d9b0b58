"""Functions from recorded signals to responses."""

from neurodec.preprocessing.channels import check_channels
from neurodec.preprocessing.eeg import EEGPreprocessing, clean_raw, whiten
from neurodec.preprocessing.epoching import cut_epochs
from neurodec.preprocessing.settings import Preprocessing, VoxelPreprocessing
from neurodec.preprocessing.whitening import (
    apply_whitener,
    inverse_square_root,
    mvnn_covariance,
    standardise,
    standardise_groups,
)

__all__ = [
    "EEGPreprocessing",
    "Preprocessing",
    "VoxelPreprocessing",
    "apply_whitener",
    "check_channels",
    "clean_raw",
    "cut_epochs",
    "inverse_square_root",
    "mvnn_covariance",
    "standardise",
    "standardise_groups",
    "whiten",
]
