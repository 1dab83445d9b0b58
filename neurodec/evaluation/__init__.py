"""Honest scores: retrieval and classification with chance, intervals, controls and a linear baseline."""

from neurodec.evaluation.classification import Classification
from neurodec.evaluation.reconstruction_scores import ReconstructionScores, score_reconstructions
from neurodec.evaluation.retrieval import Retrieval
from neurodec.evaluation.scored import RetrievalRun
from neurodec.evaluation.section import Evaluation

__all__ = [
    "Classification",
    "Evaluation",
    "ReconstructionScores",
    "Retrieval",
    "RetrievalRun",
    "score_reconstructions",
]
