"""The contract of what gives targets: a network that sees the stimuli, or a file of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pandas as pd

from neurodec.features.table import Features


class Extractor(ABC):
    """Gives one frozen target per stimulus. Subclasses are dataclasses whose arguments come from ``targets:``."""

    embedding_space: str
    """Name of the space that the targets live in, normalisation included; priors and decoders check it."""

    @abstractmethod
    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return the targets of a stimulus table, in its order.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus`, `image` (path below `root`), `caption`, and all further ones, as text.
        root : str or Path
            The data root.

        Raises
        ------
        NeurodecError
            If a stimulus has no target.
        """

    def sources(self, root: str | Path) -> list[str]:
        """Return the hashes of the files below the data root that the targets follow from (see `files.sha256_of`).

        A run computes targets again where these change. Override it where files are read that may change: nothing, as
        here, says that there are none. (Pictures are not looked at again.)

        Parameters
        ----------
        root : str or Path
            Folder of the raw data.
        """
        return []
