"""What all settings of preprocessing have in common, and those of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from neurodec.errors import NeurodecError

_GROUPS = ("none", "run", "session", "subject")


@dataclass(frozen=True)
class Preprocessing:
    """Settings of one modality, which `neurodec.preprocess` and the section `preprocessing` of a recipe apply."""

    def check(self) -> None:
        """Refuse settings that no recording can satisfy, before any work."""
        raise NotImplementedError

    def in_words(self) -> list[str]:
        """Tell what is done, step by step, for a report."""
        raise NotImplementedError


@dataclass(frozen=True)
class VoxelPreprocessing(Preprocessing):
    """What is done to responses of voxels or parcels once they are estimated.

    Parameters
    ----------
    standardise : "none", "run", "session" or "subject"
        Z-score every voxel within each of these, with mean and deviation of its training trials, or of all its trials
        (without their labels) where it has none for training.
    regions : list of str, optional
        Keep the voxels of these regions (``info["roi"]``); all by default.
    regions_left_out : list of str, optional
        Leave out the voxels of these, or the parcels of these networks.

    Examples
    --------
    >>> from neurodec.preprocessing import VoxelPreprocessing
    >>> VoxelPreprocessing("session", ["V1", "V2"]).in_words()
    ['voxels of V1, V2 kept', 'voxels z-scored within each session']
    """

    standardise: Literal["none", "run", "session", "subject"] = "none"
    regions: list[str] | None = None
    regions_left_out: list[str] | None = None

    def check(self) -> None:
        """Refuse an unknown group.

        Raises
        ------
        NeurodecError
            Naming those that there are.
        """
        if self.standardise not in _GROUPS:
            raise NeurodecError(f"`standardise` is {self.standardise}; choose {', '.join(_GROUPS)}.")

    def in_words(self) -> list[str]:
        """Tell what is done, step by step, for a report."""
        told = [] if self.regions is None else [f"voxels of {', '.join(self.regions)} kept"]
        told += [] if not self.regions_left_out else [f"without {', '.join(self.regions_left_out)}"]
        if self.standardise != "none":
            told.append(f"voxels z-scored within each {self.standardise}")
        return told
