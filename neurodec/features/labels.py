"""Targets that come with the data: the classes of trials, or numbers, read from the names of their stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.stimuli import BETWEEN
from neurodec.errors import NeurodecError
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.files import key_of


@dataclass(frozen=True)
class ClassLabels(Extractor):
    """The class of every trial, as one number per class: 1 for its own, else 0.

    The class is the concept, as readers of data sets of classes give it; a sequence of classes (``W|N1|N2``) has one
    row for each.
    """

    @property
    def embedding_space(self) -> str:
        """Name of the space of the targets."""
        return "classes"

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return targets (n_stimuli, n_classes), or (n_stimuli, length, n_classes) of sequences.

        ``info["classes"]`` are their names, sorted.

        Raises
        ------
        NeurodecError
            If there are fewer than two classes, or sequences differ in length.
        """
        sequences = [str(concept).split(BETWEEN) for concept in stimuli["concept"]]
        classes = sorted({name for sequence in sequences for name in sequence})
        lengths = {len(sequence) for sequence in sequences}
        if len(classes) < 2:
            raise NeurodecError(
                f"All trials are of the class {classes[0] if classes else 'none'}; learning classes needs at least two."
            )
        if len(lengths) > 1:
            raise NeurodecError(
                f"Sequences of {min(lengths)} and of {max(lengths)} classes do not go together; cut them alike."
            )
        places = np.array([[classes.index(name) for name in sequence] for sequence in sequences])
        values = np.eye(len(classes), dtype=np.float32)[places]
        info = {
            "embedding_space": self.embedding_space,
            "key": key_of(["classes", classes]),
            "classes": classes,
        }
        return Features(values[:, 0] if lengths == {1} else values, list(stimuli["stimulus"]), info)


@dataclass(frozen=True)
class Numbers(Extractor):
    """The number that is the name of every trial's stimulus, such as a measure of vigilance."""

    @property
    def embedding_space(self) -> str:
        """Name of the space of the targets."""
        return "numbers"

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return targets (n_stimuli, 1).

        Raises
        ------
        NeurodecError
            If a name is no finite number.
        """
        found = pd.to_numeric(stimuli["stimulus"], errors="coerce").to_numpy(dtype=np.float32)
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            raise NeurodecError(
                f"The stimulus {stimuli['stimulus'].iloc[wrong[0]]} is not a number, so it cannot be a target; take "
                "neurodec.features.ClassLabels, or correct the labels."
            )
        info = {"embedding_space": self.embedding_space, "key": key_of(["numbers"])}
        return Features(found[:, None], list(stimuli["stimulus"]), info)
