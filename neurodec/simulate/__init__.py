"""Simulated recordings and the pictures that they respond to."""

from neurodec.simulate.simulation import SIZES, Size, simulate, simulate_demo

__all__ = ["SIZES", "Size", "simulate", "simulate_demo"]
