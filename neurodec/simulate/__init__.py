"""Simulated recordings and the pictures that they respond to."""

from neurodec.simulate.simulation import SIZES, Size, command_of, simulate, simulate_demo

__all__ = ["SIZES", "Size", "command_of", "simulate", "simulate_demo"]
