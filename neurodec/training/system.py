"""The contract of a system: what fits trials to targets, and predicts the targets of further trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.data.responses import typical_rms
from neurodec.features import Features

FACTS = (
    "modality",
    "units",
    "sfreq",
    "tmin",
    "ch_names",
    "ch_types",
    "mask_shape",
    "voxel_indices",
    "affine",
    "preprocessing",
)
_NEAR_ONE = (0.1, 10.0)


class System(ABC):
    """Fits, predicts, and is kept in a folder.

    Attributes
    ----------
    head : str
        The head that retrieval compares with the target of the same name.
    config : dict
        What a user must know to feed it: subjects, and per space channels, rate, window or voxels.
    """

    head: str
    config: dict[str, Any]

    @abstractmethod
    def fit(
        self,
        study: Study,
        targets: dict[str, Features],
        out: Path,
        name: str,
        *,
        new: Sequence[str] = (),
        judged: Study | None = None,
    ) -> None:
        """Fit training trials, and write ``out/models/<name>/``.

        Parameters
        ----------
        study : Study
            Training trials.
        targets : dict of Features
            By name; every stimulus has a row.
        out : Path
            Folder of the run; what resumes a broken fit is below ``out/checkpoints/<name>/``.
        name : str
            Of the fold.
        new : sequence of str
            Subjects who are new to the system: their trials are there to adapt to.
        judged : Study, optional
            Test trials that a published protocol selects on.
        """

    def check(self, study: Study) -> None:
        """Refuse training trials that it cannot be fitted to, before anything is computed."""
        return

    @abstractmethod
    def predict(self, study: Study) -> Predictions:
        """Predict every trial of a study, in its order; channels and window are cut as in training."""

    def adapt(self, support: Study, targets: dict[str, Features]) -> System:
        """Return a system that knows the subjects of `support` without training; itself where that is no question."""
        return self

    def companions(self) -> dict[str, System]:
        """Return other ways to the same predictions, by name: simpler ones that stand beside it in an evaluation."""
        return {}

    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return targets (n, ...) in the space in which the head of that name is compared with them."""
        return values

    def centre(self, name: str) -> np.ndarray | None:
        """Return the point from which directions of predictions and candidates are compared, or None for the origin."""
        return None

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `from_pretrained` reads."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path, allow: frozenset[str] | set[str] = frozenset()) -> System:
        """Read a folder that `fit` wrote."""

    @property
    def n_parameters(self) -> int:
        """Number of fitted values."""
        return 0


def facts_of(study: Study) -> dict[str, Any]:
    """Return what a user must know to feed a system: of the first space, and of every one if there are several."""
    spaces = {name: _facts(study, name) for name in study.spaces}
    first = next(iter(spaces.values()))
    named = {"spaces": spaces} if len(spaces) > 1 else {"space": next(iter(spaces))}
    noise = {
        who: own for trials in study.spaces.values() for who, own in trials.info.get("noise", {}).items()
    }
    return {**first, **named, **({"noise": noise} if noise else {})}


def _facts(study: Study, space: str) -> dict[str, Any]:
    trials = study.spaces[space]
    found = {name: trials.info.get(name) for name in FACTS}
    return {**found, "n_times": trials.responses.shape[-1], "rms": typical_rms(trials.responses)}


def scales_of(config: dict[str, Any]) -> dict[str, float]:
    """Return what an encoder's inputs are divided by, per space: their typical size, unless that is near 1.

    Networks are made for inputs of size 1. Volts (1e-5) leave batch normalisation nothing but its epsilon, and every
    response gives the same embedding.
    """
    spaces = config.get("spaces") or {config.get("space", "all"): config}
    sizes = {name: facts.get("rms") or 1.0 for name, facts in spaces.items()}
    return {name: 1.0 if _NEAR_ONE[0] <= size <= _NEAR_ONE[1] else size for name, size in sizes.items()}


def as_trained(study: Study, config: dict[str, Any]) -> Study:
    """Return a view of the channels and the window of training, in every space."""
    spaces = {}
    for name, trials in study.spaces.items():
        facts = config.get("spaces", {}).get(name, config)
        names = facts.get("ch_names")
        if names is not None and trials.ch_names != list(names):
            trials = trials.pick(names)
        if facts.get("sfreq") is not None and trials.responses.shape[-1] != facts["n_times"]:
            trials = trials.crop(facts["tmin"], facts["tmin"] + facts["n_times"] / facts["sfreq"])
        spaces[name] = trials
    return Study(spaces, study.stimuli)
