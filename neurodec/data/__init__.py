"""Trials, the prepared store, splits and the readers."""

from neurodec.data.dataset import Dataset, Part, stimuli_of
from neurodec.data.splits import check_leakage, leave_one_group_out, validation_concepts
from neurodec.data.store import load_stimuli, prepare
from neurodec.data.trials import Trials, with_defaults

__all__ = [
    "Dataset",
    "Part",
    "Trials",
    "check_leakage",
    "leave_one_group_out",
    "load_stimuli",
    "prepare",
    "stimuli_of",
    "validation_concepts",
    "with_defaults",
]
