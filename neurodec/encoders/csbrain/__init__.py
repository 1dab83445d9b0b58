"""CSBrain: backbone, heads, pre-training, and how electrodes become regions."""

from neurodec.encoders.csbrain.csbrain import CSBrain

__all__ = ["CSBrain"]
