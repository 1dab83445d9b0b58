"""Fitting systems: batches, objectives, Lightning, and the systems themselves."""

from neurodec.training.augmentations import Augmentation, DropChannels, Noise, Smooth
from neurodec.training.batch import Batch
from neurodec.training.batches import TrainingData, TrialBatches
from neurodec.training.bridge import BridgeObjective
from neurodec.training.contrastive_classifier import ContrastiveClassifier
from neurodec.training.in_context_classifier import InContextClassifier
from neurodec.training.in_context_system import InContextSystem
from neurodec.training.in_context_tasks import MetaStage
from neurodec.training.label_objectives import LabelObjective, NumberObjective
from neurodec.training.lightning_system import LightningSystem
from neurodec.training.losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.training.module import EncoderModule
from neurodec.training.objectives import (
    ClassObjective,
    HiddenPatchesObjective,
    Objective,
    ReconstructionObjective,
    RetrievalObjective,
    SquaredError,
    SumObjective,
)
from neurodec.training.probe import ProbeClassifier
from neurodec.training.ridge_system import RidgeSystem
from neurodec.training.saved_encoder import embed, load_pretrained, save_pretrained
from neurodec.training.schedules import CosineSchedule
from neurodec.training.shared_space import SharedSpaceObjective
from neurodec.training.staging import Stage
from neurodec.training.system import System
from neurodec.training.systems import load_system

__all__ = [
    "Augmentation",
    "Batch",
    "BridgeObjective",
    "ClassObjective",
    "ContrastiveClassifier",
    "CosineSchedule",
    "DropChannels",
    "EncoderModule",
    "HiddenPatchesObjective",
    "InContextClassifier",
    "InContextSystem",
    "LabelObjective",
    "LightningSystem",
    "MetaStage",
    "Noise",
    "NumberObjective",
    "Objective",
    "ProbeClassifier",
    "ReconstructionObjective",
    "RetrievalObjective",
    "RidgeSystem",
    "SharedSpaceObjective",
    "Smooth",
    "SquaredError",
    "Stage",
    "SumObjective",
    "System",
    "TrainingData",
    "TrialBatches",
    "embed",
    "info_nce",
    "load_pretrained",
    "load_system",
    "reconstruction_loss",
    "retrieval_loss",
    "save_pretrained",
]
