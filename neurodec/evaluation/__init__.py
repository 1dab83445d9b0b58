"""Honest scores: retrieval and classification with chance, intervals, controls and a linear baseline."""

from neurodec.evaluation.adaptation import Adaptation
from neurodec.evaluation.classification.categories import Classification
from neurodec.evaluation.classification.predicted_labels import PredictedClasses, PredictedNumbers
from neurodec.evaluation.encoding import VoxelEncoding
from neurodec.evaluation.hidden_patches import HiddenPatches
from neurodec.evaluation.identification import PersonIdentification
from neurodec.evaluation.imagination import CueMatch
from neurodec.evaluation.networks import NetworkAblation
from neurodec.evaluation.next_volume import NextVolume
from neurodec.evaluation.presentation import (
    Chart,
    Kept,
    Note,
    Panel,
    Picture,
    Row,
    Section,
    Sound,
    Sounds,
    Table,
)
from neurodec.evaluation.reconstruction.picture_scores import ReconstructionScores, score_reconstructions
from neurodec.evaluation.retrieval.candidate_sets import CandidateSets
from neurodec.evaluation.retrieval.scored import RetrievalRun
from neurodec.evaluation.retrieval.zero_shot import Retrieval
from neurodec.evaluation.section import Evaluation
from neurodec.evaluation.segments.segments import Segments
from neurodec.evaluation.streams import Streams

__all__ = [
    "Adaptation",
    "CandidateSets",
    "Chart",
    "Classification",
    "CueMatch",
    "Evaluation",
    "HiddenPatches",
    "Kept",
    "NetworkAblation",
    "NextVolume",
    "Note",
    "Panel",
    "PersonIdentification",
    "Picture",
    "PredictedClasses",
    "PredictedNumbers",
    "ReconstructionScores",
    "Retrieval",
    "RetrievalRun",
    "Row",
    "Section",
    "Segments",
    "Sound",
    "Sounds",
    "Streams",
    "Table",
    "VoxelEncoding",
    "score_reconstructions",
]
