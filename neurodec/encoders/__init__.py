"""Encoders: one file per published system."""

from neurodec.encoders.atm import ATM
from neurodec.encoders.atm_low_level import ATMLowLevel
from neurodec.linear import Ridge, RidgeClassifier

__all__ = ["ATM", "ATMLowLevel", "Ridge", "RidgeClassifier"]
