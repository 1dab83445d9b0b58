"""EEG with classes: the data sets that foundation models are fine-tuned on, one file per family."""

from neurodec.data.readers.labelled.annotated import AnnotatedWindows
from neurodec.data.readers.labelled.emotion import FACED, SEEDV
from neurodec.data.readers.labelled.imagined_speech import BCIC2020
from neurodec.data.readers.labelled.labelled_eeg import LabelledEEG
from neurodec.data.readers.labelled.mental_state import SEEDVIG, MentalArithmetic, Mumtaz2016
from neurodec.data.readers.labelled.motor_imagery import SHUMI, BCICIV2a, PhysioNetMI
from neurodec.data.readers.labelled.seizures import CHBMIT, Siena
from neurodec.data.readers.labelled.sleep import HMC, ISRUC
from neurodec.data.readers.labelled.tuh import TUAB, TUEV, TUSL

__all__ = [
    "BCIC2020",
    "CHBMIT",
    "FACED",
    "HMC",
    "ISRUC",
    "SEEDV",
    "SEEDVIG",
    "SHUMI",
    "TUAB",
    "TUEV",
    "TUSL",
    "AnnotatedWindows",
    "BCICIV2a",
    "LabelledEEG",
    "MentalArithmetic",
    "Mumtaz2016",
    "PhysioNetMI",
    "Siena",
]
