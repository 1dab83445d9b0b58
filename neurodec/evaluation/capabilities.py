"""What only some systems can do: small protocols, each asked for by the evaluation that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.linear.voxel_encoders import EncodedTrials

if TYPE_CHECKING:
    from neurodec.evaluation.section import Predictor

Capability = TypeVar("Capability")  # one of the protocols below


@runtime_checkable
class Adapts(Protocol):
    """Knows new people by pairs of stimuli and responses, without training."""

    def adapt(self, support: Study, targets: dict[str, Features]) -> Predictor:
        """Return a system that knows the subjects of `support`."""
        ...

    def known_stimuli(self, subject: str) -> set[str]:
        """Return the stimuli that a person was adapted with, which must not be decoded."""
        ...


@runtime_checkable
class Calibrates(Protocol):
    """Tells how sure it is, by training trials that it has not learned from."""

    calibration_note: str
    """What a reader must know of these trials; may be empty."""

    def calibration_split(
        self, study: Study, targets: dict[str, Features], share: float, seed: int
    ) -> tuple[Predictor, Study]:
        """Return a system, and training trials that it has not learned from.

        Parameters
        ----------
        study : Study
            Training trials of some of its people.
        targets : dict of Features
        share : float
            Of the concepts, which a system that can be fitted anew without them leaves out.
        seed : int
            Of that draw.
        """
        ...

    def unseen(self, study: Study, targets: dict[str, Features], seed: int) -> Predictions:
        """Return predictions of training trials by systems that have not learned from them; a prior is fitted on these.

        Parameters
        ----------
        study : Study
            Training trials.
        targets : dict of Features
        seed : int
            Of the folds.
        """
        ...


@runtime_checkable
class Encodes(Protocol):
    """Predicts responses from stimuli too."""

    def encoded(self, study: Study) -> list[EncodedTrials]:
        """Return everybody's responses on the scale of the encoders of their voxels."""
        ...


@runtime_checkable
class FillsIn(Protocol):
    """Restores what is hidden from it."""

    def restored(self, trials: Trials, hidden: np.ndarray, space: str) -> np.ndarray:
        """Return responses (n, n_chans, n_times); `hidden` is bool, shape (n, n_chans, n_patches)."""
        ...


@runtime_checkable
class Attends(Protocol):
    """Has attention between regions of the head."""

    def region_attention(self, trials: Trials, space: str) -> dict[str, Any]:
        """Return `regions` (names) and `values` (one list of shares per attending region), or {} if it has none."""
        ...


@runtime_checkable
class Summarises(Protocol):
    """Makes one vector of every window of a recording."""

    def summaries(self, trials: Trials, space: str) -> np.ndarray | None:
        """Return the vectors (n_trials, width), float32; None where the encoder gives none."""
        ...


@runtime_checkable
class HasCompanions(Protocol):
    """Has simpler ways to the same predictions, which stand beside it."""

    def companions(self) -> dict[str, Predictor]:
        """Return them by name."""
        ...


def require(system: Any, capability: type[Capability], what: str) -> Capability:
    """Return the system as one that can do something, or refuse.

    Parameters
    ----------
    system : object
    capability : type
        One of the protocols here.
    what : str
        Completes "<system> ...".

    Raises
    ------
    NeurodecError
        If the system lacks a method.
    """
    if not isinstance(system, capability):
        raise NeurodecError(
            f"{type(system).__name__} {what}; leave out what needs it, or take another system."
        )
    return system


def companions_of(system: Predictor) -> dict[str, Predictor]:
    """Return a system's companions, if it has any."""
    return system.companions() if isinstance(system, HasCompanions) else {}


def attention_of(system: Predictor, trials: Trials, space: str) -> dict[str, Any]:
    """Return a system's attention between regions, if it has any."""
    return system.region_attention(trials, space) if isinstance(system, Attends) else {}


def summaries_of(system: Predictor, trials: Trials, space: str) -> np.ndarray | None:
    """Return a system's vectors of windows (n_trials, width), if it makes any."""
    return system.summaries(trials, space) if isinstance(system, Summarises) else None
