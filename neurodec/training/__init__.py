"""What training needs: batches, objectives, stages, and Lightning underneath.

Systems, which once were here, are in `neurodec.systems`; their former paths still lead there.
"""

from importlib import import_module
from typing import Any

from neurodec.training.augmentations import (
    Augmentation,
    DropChannels,
    Mixture,
    Noise,
    ShuffledTime,
    Smooth,
    SparseInput,
)
from neurodec.training.batch import Batch
from neurodec.training.batches import TrainingData, TrialBatches
from neurodec.training.module import EncoderModule
from neurodec.training.objectives import (
    ClassObjective,
    HiddenPatchesObjective,
    HiddenVolumeObjective,
    Objective,
    ReconstructionObjective,
    RetrievalObjective,
    SquaredError,
    SumObjective,
)
from neurodec.training.objectives.bridge import BridgeObjective
from neurodec.training.objectives.contrastive_losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.training.objectives.deep_sequence_contrast import DeepSequenceContrast
from neurodec.training.objectives.label_objectives import LabelObjective, NumberObjective
from neurodec.training.objectives.sequence_contrast import SequenceContrast
from neurodec.training.objectives.shared_space import SharedSpaceObjective
from neurodec.training.objectives.two_target_contrast import TwoTargetContrast
from neurodec.training.saved_encoder import embed, load_pretrained, save_pretrained
from neurodec.training.schedules import CosineSchedule
from neurodec.training.staging import Stage

__all__ = [
    "Augmentation",
    "Batch",
    "BridgeObjective",
    "ClassObjective",
    "CosineSchedule",
    "DeepSequenceContrast",
    "DropChannels",
    "EncoderModule",
    "HiddenPatchesObjective",
    "HiddenVolumeObjective",
    "LabelObjective",
    "Mixture",
    "Noise",
    "NumberObjective",
    "Objective",
    "ReconstructionObjective",
    "RetrievalObjective",
    "SequenceContrast",
    "SharedSpaceObjective",
    "ShuffledTime",
    "Smooth",
    "SparseInput",
    "SquaredError",
    "Stage",
    "SumObjective",
    "TrainingData",
    "TrialBatches",
    "TwoTargetContrast",
    "embed",
    "info_nce",
    "load_pretrained",
    "reconstruction_loss",
    "retrieval_loss",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    systems = import_module("neurodec.systems")  # not at the top: systems are made of what is here
    if name in systems.__all__:
        return getattr(systems, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
