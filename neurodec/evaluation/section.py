"""What a recipe's `evaluation:` section may name, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.splits import Level
from neurodec.errors import NeurodecError
from neurodec.evaluation.presentation import Kept, Section, general_section, words
from neurodec.features import Features


class Predictor(Protocol):
    """What every evaluation asks of a system; what only some ask is in `neurodec.evaluation.capabilities`."""

    head: str

    def predict(self, study: Study) -> Predictions:
        """Predict every trial."""
        ...

    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return targets in the space in which the head of that name is compared with them."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A system of one fold, and what it was fitted to.

    Parameters
    ----------
    name : str
        Of the system, in figures and tables.
    system : Predictor
    train : Study
        Its training trials.
    targets : dict of Features
        By name.
    baseline : callable
        Fits (once) the linear baseline to the same trials and a named target.
    """

    name: str
    system: Predictor
    train: Study
    targets: dict[str, Features]
    baseline: Any = None


def required(fitted: Fitted | None, name: str) -> Fitted:
    """Return what was fitted, or refuse to score nothing.

    Raises
    ------
    NeurodecError
        Naming the evaluation.
    """
    if fitted is None:
        raise NeurodecError(
            f"{name} scores a system; give `fitted` (neurodec.evaluation.Fitted: its name, the system, its training "
            "trials and targets)."
        )
    return fitted


class Evaluation(ABC):
    """Base of what scores a system, or trials with decoders of its own.

    Attributes
    ----------
    needs_system : bool
        Whether it scores the predictions of a system that the recipe trains.
    """

    needs_system: bool

    @property
    def level(self) -> Level:
        """What training and test trials must not share."""
        return "concept"

    def check(self, study: Study) -> None:
        """Refuse trials and stimuli that it cannot score, before anything is computed.

        Parameters
        ----------
        study : Study
        """
        return

    def inputs(self, test: Study) -> dict[str, Study]:
        """Return the trials to predict beforehand, single or averaged, by a name that tells which.

        Parameters
        ----------
        test : Study
            Test trials.
        """
        return {}

    def compared_heads(self, head: str) -> list[str]:
        """Return the heads for which a linear baseline is wanted, given the one that the system compares.

        Parameters
        ----------
        head : str
            Name of the prediction.
        """
        return []

    @abstractmethod
    def run(self, predictions: dict[str, Predictions], study: Study, fitted: Fitted | None) -> Any:
        """Evaluate one fold.

        Parameters
        ----------
        predictions : dict of Predictions
            Of `inputs`, by their names.
        study : Study
            Single test trials of the fold; all trials where there is no system.
        fitted : Fitted, optional
            The system, for what needs further predictions or fits.
        """

    @abstractmethod
    def results(self, runs: Sequence[Any]) -> dict[str, Any]:
        """Return the sections of `results.json` from the runs of all folds.

        Parameters
        ----------
        runs : sequence
            What `run` returned for every fold.
        """

    headlines: ClassVar[tuple[str, ...]] = ()
    """Scores of the results, such as ``retrieval.top1``, of which several seeds give mean and deviation."""

    def section(
        self, sections: Mapping[str, Any], name: str = "decoder", kept: Kept | None = None
    ) -> Section:
        """Return what a report or a notebook shows of the results: by default all their numbers in a table.

        Parameters
        ----------
        sections : dict
            From `results`.
        name : str
            Of the system.
        kept : Kept, optional
            What the run keeps on the disk beside them; nothing in a notebook.
        """
        return general_section(sections, words(type(self).__name__))

    @abstractmethod
    def save(self, run: Any, folder: Path) -> None:
        """Write what `run` returned.

        Parameters
        ----------
        run : Any
            What `run` returned.
        folder : Path
        """

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : Path
        """
