"""The contract of a system: what fits trials to targets, and predicts the targets of further trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from neurodec.data import Study, Trials
from neurodec.data.predictions import Predictions
from neurodec.data.responses import typical_rms
from neurodec.data.splits import column_of, validation_concepts
from neurodec.data.trial_tables import same_rate
from neurodec.errors import NeurodecError
from neurodec.features import Features

FACTS = (
    "modality",
    "units",
    "sfreq",
    "tmin",
    "ch_names",
    "ch_types",
    "ch_pos",
    "mask_shape",
    "voxel_indices",
    "affine",
    "preprocessing",
    "dims",
)
_NEAR_ONE = (0.1, 10.0)
_N_FOLDS = 5
_OTHER_SCALE = 300.0  # times larger or smaller than averages and hidden channels make responses: another unit


class System(ABC):
    """Fits, predicts, and is kept in a folder.

    Attributes
    ----------
    head : str
        The head that retrieval compares with the target of the same name.
    config : dict
        What a user must know to feed it: subjects, and per space channels, rate, window or voxels.
    reads_strangers : bool
        Whether it predicts for people whom it was neither fitted nor adapted to.
    """

    head: str
    config: dict[str, Any]
    reads_strangers = True
    _params: dict[str, Any]

    @abstractmethod
    def fit(
        self,
        study: Study,
        targets: dict[str, Features],
        *,
        out: str | Path | None = None,
        name: str = "all",
        new: Sequence[str] = (),
        selection_trials: Study | None = None,
    ) -> Self:
        """Fit training trials.

        Parameters
        ----------
        study : Study
            Training trials.
        targets : dict of Features
            By name; every stimulus has a row. Or whatever `neurodec.features.as_targets` takes.
        out : str or Path, optional
            Folder of a run: gets ``models/<name>/``, and ``checkpoints/<name>/`` that a broken fit goes on from. A
            finished fit of the same trials, targets and parameters is taken from there; another one is refused. By
            default nothing is kept on the disk, and every call fits anew.
        name : str
            Of the fit.
        new : sequence of str
            Subjects who are new to the system: their trials are there to adapt to.
        selection_trials : Study, optional
            Test trials that a published protocol selects on.

        Returns
        -------
        System
            Itself.

        Raises
        ------
        NeurodecError
            If the trials do not fit the system, or `out` holds another fit of that name.
        """

    def __repr__(self) -> str:
        told = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value not in (None, (), {}, [])
        ]
        return f"{type(self).__name__}({', '.join(told)[:300]})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, as scikit-learn's `clone` asks for them."""
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; what was fitted is forgotten."""
        unknown = set(params) - set(self.get_params())
        if unknown:
            raise NeurodecError(
                f"{type(self).__name__} has no parameter {min(unknown)}; it has {', '.join(self.get_params())}."
            )
        wanted = {**self.get_params(), **params}
        vars(self).clear()
        self.__init__(**wanted)  # type: ignore[misc]
        return self

    def check(self, study: Study) -> None:
        """Refuse training trials that it cannot be fitted to, before anything is computed."""
        return

    @abstractmethod
    def predict(self, study: Study) -> Predictions:
        """Predict every trial of a study, in its order; channels and window are cut as in training."""

    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return targets (n, ...) in the space in which the head of that name is compared with them."""
        return values

    def mean_target(self, name: str) -> np.ndarray | None:
        """Return the mean target of the training, to which predictions shrink, or None where they do not."""
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


class RefitsApart(ABC):
    """Mixin of systems that can be made anew without some training trials: see `neurodec.evaluation.Calibrates`."""

    calibration_note = ""

    @abstractmethod
    def without(self, kept: Study, targets: dict[str, Features]) -> System:
        """Return a system of the same kind that has learned from some of the training trials only."""

    def calibration_split(
        self, study: Study, targets: dict[str, Features], share: float, seed: int
    ) -> tuple[System, Study]:
        """Return a system without a share of the concepts, drawn, and their trials."""
        kept, out = drawn_split(study, share, seed)
        return self.without(kept, targets), out

    def unseen(self, study: Study, targets: dict[str, Features], seed: int) -> Predictions:
        """Return cross-fitted predictions: every concept (or `data.held_out_by`) left out once, with a fifth."""
        column = getattr(getattr(self, "data", None), "held_out_by", None) or "concept"
        groups = column_of(study.table, column, study.stimuli)
        names = np.random.default_rng(seed).permutation(groups.unique())
        parts = []
        for own in np.array_split(names, min(_N_FOLDS, len(names))):
            kept, out = study.parted(set(own.tolist()), column)
            parts.append(self.without(kept, targets).predict(out))
        return Predictions.concatenate(parts)


def home_of(out: str | Path | None) -> tuple[Path, TemporaryDirectory | None]:
    """Return the folder of a fit; without a name a temporary one, which goes with the object that keeps it."""
    if out is not None:
        return Path(out), None
    home = TemporaryDirectory(prefix="neurodec-")
    return Path(home.name), home


def drawn_split(study: Study, share: float, seed: int) -> tuple[Study, Study]:
    """Return a study without a share of its concepts, drawn, and the trials of these.

    Raises
    ------
    NeurodecError
        If nothing would be left.
    """
    kept, out = study.parted(validation_concepts(study.table["concept"], share, seed))
    if set(kept.spaces) != set(study.spaces) or set(out.spaces) != set(study.spaces):
        n_concepts = study.table["concept"].nunique()
        raise NeurodecError(
            f"The training trials show {n_concepts} concept(s), too few to keep some apart; leave out what needs it "
            "(evaluation of CandidateSets)."
        )
    return kept, out


def require_trials_to_fit(study: Study) -> None:
    """Refuse a study without a trial: what `part` returns of a split that no trial has.

    Raises
    ------
    NeurodecError
        With the ways out.
    """
    if not len(study):
        raise NeurodecError(
            'There is no trial to fit. If `study.part("train")` was given, no trial has the split "train": give '
            "`split` when the study is made, or take cross_validate."
        )


def facts_of(study: Study) -> dict[str, Any]:
    """Return what a user must know to feed a system: of the first space, and of every one if there are several."""
    spaces = {name: _facts(study, name) for name in study.spaces}
    first = next(iter(spaces.values()))
    named = {"spaces": spaces} if len(spaces) > 1 else {"space": next(iter(spaces))}
    noise = {
        who: own for trials in study.spaces.values() for who, own in trials.info.get("noise", {}).items()
    }
    read = next(iter(study.spaces.values())).info.get("provenance", {}).get("parameters")
    further = next(iter(study.spaces.values())).info.get("preprocessed_by")
    told = {
        "noise": noise,
        "dataset": read,
        "preprocessed_by": further,
    }  # how the recordings were read, for those of another day
    return {**first, **named, **{name: value for name, value in told.items() if value}}


def facts_joined(known: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a user must know of the spaces of two configurations; the second has the last word.

    Parameters
    ----------
    known, facts : dict
        As `facts_of` makes them; the first may know of no space yet.
    """
    before = known.get("spaces") or ({known["space"]: known} if "space" in known else {})
    spaces = {**before, **(facts.get("spaces") or {facts["space"]: facts})}
    spaces = {
        name: {key: one[key] for key in one if key not in ("noise", "space")} for name, one in spaces.items()
    }
    first = next(iter(spaces.values()))
    named = {"spaces": spaces} if len(spaces) > 1 else {"space": next(iter(spaces))}
    noise = {**known.get("noise", {}), **facts.get("noise", {})}
    told = {
        "noise": noise,
        **{name: facts.get(name) or known.get(name) for name in ("dataset", "preprocessed_by")},
    }
    return {**first, **named, **{name: value for name, value in told.items() if value}}


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
    if config.get("own_scale"):
        return dict.fromkeys(spaces, 1.0)
    sizes = {name: facts.get("rms") or 1.0 for name, facts in spaces.items()}
    return {name: 1.0 if _NEAR_ONE[0] <= size <= _NEAR_ONE[1] else size for name, size in sizes.items()}


def as_trained(study: Study, config: dict[str, Any]) -> Study:
    """Return a view of the channels and the window of training, in every space.

    All predictions pass here, so trials that were measured or cut otherwise are refused here.

    Raises
    ------
    NeurodecError
        If the rate, the window, the channels, the unit or the size of the responses are not those of the training.
    """
    spaces = {}
    for name, trials in study.spaces.items():
        facts = config.get("spaces", {}).get(name, config)
        names = facts.get("ch_names")
        if names is not None and trials.ch_names != list(names):
            trials = trials.pick(names)
        in_time = facts.get("sfreq") is not None and trials.responses.ndim == 3
        spaces[name] = _in_window(trials, facts) if in_time else trials
        _require_alike(spaces[name], facts)
    return Study(spaces, study.stimuli)


def _in_window(trials: Trials, facts: dict[str, Any]) -> Trials:
    """Return the samples of the training's window."""
    rate, begin = facts["sfreq"], facts["tmin"]
    end = begin + facts["n_times"] / rate
    own = trials.info.get("sfreq")
    if own is None or not same_rate(own, rate):
        had = "no times" if own is None else f"{own:.9g} Hz"
        raise NeurodecError(
            f"The trials have {had}, the system was fitted at {rate:.9g} Hz; resample them as in training."
        )
    if trials.responses.shape[-1] != facts["n_times"] or abs(trials.info["tmin"] - begin) > 0.5 / rate:
        first, last = trials.times[0], trials.times[-1] + 1 / rate
        if first > begin + 0.5 / rate or last < end - 0.5 / rate:
            raise NeurodecError(
                f"The trials run from {first:g} to {last:g} s, the system was fitted to {begin:g} to {end:g} s; cut "
                "them as in training."
            )
        trials = trials.crop(begin, end)
    return trials


def _require_alike(trials: Trials, facts: dict[str, Any]) -> None:
    """Refuse trials of another width, unit or size than those of the training."""
    units = facts.get("units"), trials.info.get("units")
    if None not in units and units[0] != units[1]:
        raise NeurodecError(
            f"The trials are in {units[1]}, the system was fitted to {units[0]}; preprocess them as in training, or "
            "give the recording to NeuralDecoder, which does."
        )
    wanted = float(facts.get("rms") or 0.0)
    size = typical_rms(trials.responses) if wanted and len(trials) else 0.0
    # Parts may be hidden, so zeros pass.
    if size > 0 and not wanted / _OTHER_SCALE <= size <= wanted * _OTHER_SCALE:
        raise NeurodecError(
            f"The responses are of size {size:.2g}, those of the training {wanted:.2g}, so they are in another unit or "
            "were whitened otherwise; preprocess them as in training."
        )
