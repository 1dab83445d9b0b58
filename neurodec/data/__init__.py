"""Trials, the prepared store, splits and the readers."""

from neurodec.data.arrays import ArrayFile
from neurodec.data.bids import BidsEEG
from neurodec.data.bids_fmri import BidsFMRI
from neurodec.data.dataset import Dataset, Part, stimuli_of
from neurodec.data.generic import EpochsFiles, Recordings
from neurodec.data.muse import MuseCSV
from neurodec.data.splits import check_leakage, leave_one_group_out, validation_concepts
from neurodec.data.store import load_stimuli, prepare
from neurodec.data.things_eeg2 import ThingsEEG2
from neurodec.data.trials import Trials, with_defaults

__all__ = [
    "ArrayFile",
    "BidsEEG",
    "BidsFMRI",
    "Dataset",
    "EpochsFiles",
    "MuseCSV",
    "Part",
    "Recordings",
    "ThingsEEG2",
    "Trials",
    "check_leakage",
    "leave_one_group_out",
    "load_stimuli",
    "prepare",
    "stimuli_of",
    "validation_concepts",
    "with_defaults",
]
