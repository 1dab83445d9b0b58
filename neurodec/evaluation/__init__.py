"""Honest scores: retrieval and classification with chance, intervals, controls and a linear baseline."""

from neurodec.evaluation.adaptation import Adaptation
from neurodec.evaluation.classification import Classification
from neurodec.evaluation.reconstruction_scores import ReconstructionScores, score_reconstructions
from neurodec.evaluation.retrieval import Retrieval
from neurodec.evaluation.scored import RetrievalRun
from neurodec.evaluation.section import Evaluation

__all__ = [
    "Adaptation",
    "Classification",
    "Evaluation",
    "ReconstructionScores",
    "Retrieval",
    "RetrievalRun",
    "score_reconstructions",
]
