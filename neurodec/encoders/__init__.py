"""Encoders: one file per published network."""

from neurodec.encoders.atm import ATM
from neurodec.encoders.atm_low_level import ATMLowLevel
from neurodec.encoders.mindbridge import MindBridge
from neurodec.encoders.neurobridge import NeuroBridge
from neurodec.encoders.nice import NICE
from neurodec.encoders.together import Together
from neurodec.linear import RidgeClassifier

__all__ = ["ATM", "NICE", "ATMLowLevel", "MindBridge", "NeuroBridge", "RidgeClassifier", "Together"]
