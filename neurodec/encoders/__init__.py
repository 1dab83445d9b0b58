"""Encoders: one file per published system, and the linear baselines."""

from neurodec.encoders.atm import ATM
from neurodec.encoders.atm_low_level import ATMLowLevel
from neurodec.encoders.classifier import RidgeClassifier
from neurodec.encoders.linear import Ridge

__all__ = ["ATM", "ATMLowLevel", "Ridge", "RidgeClassifier"]
