"""The contract of what gives targets: a network that sees the stimuli, or a file of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pandas as pd

from neurodec.features.table import Features


class Extractor(ABC):
    """Gives one target per stimulus. Subclasses are dataclasses whose arguments come from ``features:``."""

    @abstractmethod
    def image_features(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return the targets of a stimulus table, in its order.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus` and `image` (path below `root`).
        root : str or Path
            The data root.

        Raises
        ------
        NeurodecError
            If a stimulus has no target.
        """

    def caption_features(self, stimuli: pd.DataFrame, root: str | Path) -> Features | None:
        """Return the targets of the captions of a stimulus table, or None if there are none.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus` and `caption`.
        root : str or Path
            The data root.
        """
        return None

    def sources(self, root: str | Path) -> list[str]:
        """Return the hashes of the files below the data root, besides pictures, that the targets follow from."""
        return []
