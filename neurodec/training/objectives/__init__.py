"""What training minimises: the contract, and the losses of published systems."""

from neurodec.training.objectives.bridge import BridgeObjective
from neurodec.training.objectives.contrastive import (
    ClassObjective,
    LogitScale,
    ReconstructionObjective,
    RetrievalObjective,
)
from neurodec.training.objectives.contrastive_losses import info_nce, reconstruction_loss, retrieval_loss
from neurodec.training.objectives.deep_sequence_contrast import DeepSequenceContrast
from neurodec.training.objectives.hidden_patches_objective import HiddenPatchesObjective
from neurodec.training.objectives.hidden_volume_objective import HiddenVolumeObjective
from neurodec.training.objectives.label_objectives import LabelObjective, NumberObjective
from neurodec.training.objectives.objective import Objective, SquaredError, SumObjective
from neurodec.training.objectives.sequence_contrast import SequenceContrast
from neurodec.training.objectives.shared_space import SharedSpaceObjective
from neurodec.training.objectives.two_target_contrast import TwoTargetContrast

__all__ = [
    "BridgeObjective",
    "ClassObjective",
    "DeepSequenceContrast",
    "HiddenPatchesObjective",
    "HiddenVolumeObjective",
    "LabelObjective",
    "LogitScale",
    "NumberObjective",
    "Objective",
    "ReconstructionObjective",
    "RetrievalObjective",
    "SequenceContrast",
    "SharedSpaceObjective",
    "SquaredError",
    "SumObjective",
    "TwoTargetContrast",
    "info_nce",
    "reconstruction_loss",
    "retrieval_loss",
]
