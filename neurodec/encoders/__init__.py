"""Encoders: one file per published system, and the linear baseline."""

from neurodec.encoders.atm import ATM
from neurodec.encoders.linear import Ridge

__all__ = ["ATM", "Ridge"]
