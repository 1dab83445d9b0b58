"""The contract of a reader: list the parts, load one part, list the stimuli."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.trials import Trials
from neurodec.files import file_name


@dataclass(frozen=True)
class Part:
    """One resumable unit of preparation, normally one session or run of a subject.

    Parameters
    ----------
    name : str
        Unique, such as ``sub-01_ses-02``; what is not safe as a file name is replaced.
    subject : str
        Whose it is.
    files : tuple of Path
        The source files, hashed for provenance, tables of events and stimuli among them; a change of any of them means
        preparing the part again, and a change of any other file goes unseen.
    n_recordings : int
        How many of the first files are recordings, no two of which may be the same; the others are headers, tables
        and masks, which may.
    """

    name: str
    subject: str
    files: tuple[Path, ...]
    n_recordings: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", file_name(self.name))


class Dataset(ABC):
    """A reader. Subclasses are dataclasses whose arguments come from the recipe's ``dataset:`` section.

    Attributes
    ----------
    skips_damaged : bool
        Whether a part that cannot be read is left out and listed, among thousands, where others end with its error.
    """

    skips_damaged = False

    @abstractmethod
    def parts(self, root: Path) -> list[Part]:
        """List the parts below `root` without reading them.

        Parameters
        ----------
        root : Path
            Folder of the raw data.

        Raises
        ------
        NeurodecError
            If expected files are missing.
        """

    @abstractmethod
    def load(self, part: Part, root: Path) -> Trials:
        """Read and preprocess one part; memory is bounded by the part.

        The table of the trials needs `stimulus`, and what `neurodec.data.with_defaults` completes; concept and split
        come from the table of stimuli where that tells them. `info` needs `modality`, `units`, and of channels over
        time `sfreq`, `tmin` and `ch_names`; see `Trials`.

        Parameters
        ----------
        part : Part
            One of `parts`.
        root : Path
            Folder of the raw data.
        """

    @abstractmethod
    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the stimuli: unique `stimulus`, `concept`, `split`, `image` (path below root or ""), `caption`, ...

        What targets read is free: a file below the root (`image`, `audio`, `array`), the stretch of it (`offset`,
        `duration`; s), a text (`caption`, `word`, `sentence`, ...). All but the first may be left out: what the table
        does not say, the trials do. Rows with ``split="gallery"`` are further images of test concepts that nobody was
        shown; they make the concept-centre gallery.

        Parameters
        ----------
        root : Path
            Folder of the raw data.
        """

    def pictures_in_files(self, root: Path) -> dict[str, np.ndarray]:
        """Return pictures that lie as arrays in the source files, by stimulus; none by default.

        Preparing writes them as PNG, so that they are stimuli like any other.

        Parameters
        ----------
        root : Path
            Folder of the raw data.

        Returns
        -------
        dict of ndarray, shape (h, w) or (h, w, 3), uint8
        """
        return {}
