"""Encoders: one file per published system, and the linear baseline."""

from neurodec.encoders.atm import ATM

__all__ = ["ATM"]
