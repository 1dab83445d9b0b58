"""Trials and studies, the prepared store, splits and the readers."""

from neurodec.data.account import Account, summary
from neurodec.data.dataset import Dataset, Part
from neurodec.data.preprocessed import preprocess
from neurodec.data.readers.array_pictures import ArrayPictures
from neurodec.data.readers.arrays import ArrayFile
from neurodec.data.readers.atlases import Atlas
from neurodec.data.readers.bids_fmri import BidsFMRI
from neurodec.data.readers.bids_meeg import BidsEEG
from neurodec.data.readers.datasets.brennan2019 import Brennan2019
from neurodec.data.readers.datasets.broderick2019 import Broderick2019
from neurodec.data.readers.datasets.broderick2019_mat import Broderick2019Mat
from neurodec.data.readers.datasets.cocktail import CocktailParty
from neurodec.data.readers.datasets.gwilliams2022 import Gwilliams2022
from neurodec.data.readers.datasets.libribrain import LibriBrain
from neurodec.data.readers.datasets.muse import MuseCSV
from neurodec.data.readers.datasets.nsd import NSD
from neurodec.data.readers.datasets.schoffelen2019 import Schoffelen2019
from neurodec.data.readers.datasets.things_eeg2 import ThingsEEG2
from neurodec.data.readers.datasets.things_meg import ThingsMEG
from neurodec.data.readers.epochs_files import EpochsFiles
from neurodec.data.readers.labelled import (
    BCIC2020,
    CHBMIT,
    FACED,
    HMC,
    ISRUC,
    SEEDV,
    SEEDVIG,
    SHUMI,
    TUAB,
    TUEV,
    TUSL,
    AnnotatedWindows,
    BCICIV2a,
    LabelledEEG,
    MentalArithmetic,
    Mumtaz2016,
    PhysioNetMI,
    Siena,
)
from neurodec.data.readers.parcels import ParcelSeries
from neurodec.data.readers.recordings import Recording, Recordings
from neurodec.data.readers.speech.bids_speech import BidsSpeech
from neurodec.data.readers.windows import EEGWindows
from neurodec.data.splits import check_leakage, validation_concepts
from neurodec.data.stimuli import stimuli_of_trials
from neurodec.data.store import prepare
from neurodec.data.study import Study, load_stimuli
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials

__all__ = [
    "BCIC2020",
    "CHBMIT",
    "FACED",
    "HMC",
    "ISRUC",
    "NSD",
    "SEEDV",
    "SEEDVIG",
    "SHUMI",
    "TUAB",
    "TUEV",
    "TUSL",
    "Account",
    "AnnotatedWindows",
    "ArrayFile",
    "ArrayPictures",
    "Atlas",
    "BCICIV2a",
    "BidsEEG",
    "BidsFMRI",
    "BidsSpeech",
    "Brennan2019",
    "Broderick2019",
    "Broderick2019Mat",
    "CocktailParty",
    "Dataset",
    "EEGWindows",
    "EpochsFiles",
    "Gwilliams2022",
    "LabelledEEG",
    "LibriBrain",
    "MentalArithmetic",
    "Mumtaz2016",
    "MuseCSV",
    "ParcelSeries",
    "Part",
    "PhysioNetMI",
    "Recording",
    "Recordings",
    "Schoffelen2019",
    "Siena",
    "Study",
    "ThingsEEG2",
    "ThingsMEG",
    "Trials",
    "check_leakage",
    "load_stimuli",
    "prepare",
    "preprocess",
    "stimuli_of_trials",
    "summary",
    "validation_concepts",
    "with_defaults",
]
