"""Honest scores: retrieval and classification with chance, intervals, controls and a linear baseline."""

from neurodec.evaluation.adaptation import Adaptation
from neurodec.evaluation.classification import Classification
from neurodec.evaluation.conformal import CandidateSets
from neurodec.evaluation.encoding import VoxelEncoding
from neurodec.evaluation.hidden_patches import HiddenPatches
from neurodec.evaluation.predicted_labels import PredictedClasses, PredictedNumbers
from neurodec.evaluation.reconstruction_scores import ReconstructionScores, score_reconstructions
from neurodec.evaluation.retrieval import Retrieval
from neurodec.evaluation.scored import RetrievalRun
from neurodec.evaluation.section import Evaluation

__all__ = [
    "Adaptation",
    "CandidateSets",
    "Classification",
    "Evaluation",
    "HiddenPatches",
    "PredictedClasses",
    "PredictedNumbers",
    "ReconstructionScores",
    "Retrieval",
    "RetrievalRun",
    "VoxelEncoding",
    "score_reconstructions",
]
