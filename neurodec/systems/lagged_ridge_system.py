"""Ridge with lags onto targets that are series over time: the closed-form system, and the linear baseline of these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.descriptions import require_arrays
from neurodec.data.responses import blocks_of, select
from neurodec.data.splits import column_of
from neurodec.data.trial_tables import has_time
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.linear.lagged import LaggedRidge
from neurodec.systems.linear_system import LinearSystem
from neurodec.systems.system import as_trained
from neurodec.training.batches import TrainingData

_LAG_RATE = 30.0  # Hz


@dataclass
class LaggedRidgeSystem(LinearSystem):
    """Backward model: at every sample the target from the responses that follow it, one model per space.

    Parameters
    ----------
    head : str
        The target that is compared.
    targets : list of str, optional
        Names of the targets, shape (n_stimuli, n_features, n_times) at the samples of the responses; all that the
        recipe has by default.
    tmin, tmax : float
        First and last delay of the response after the stimulus (s).
    stride : int, optional
        Samples from delay to delay; by default as many as leave about 30 delays a second, since responses to speech
        lie below 10 Hz.
    alphas : list of float
        Penalties to choose from, relative to the number of training samples.
    n_folds : int
        Folds of the tuning; a concept (or value of `data.held_out_by`) is in one fold. Trials whose split is
        "validation" are the only fold where there are any, and where all trials are of one concept, folds are trials
        that follow each other.
    max_windows : int
        Training trials that are drawn in every space, where there are more.
    seed : int
        Of that draw.
    data : TrainingData
        Its channels and window are used.

    Notes
    -----
    See `LaggedRidge`: memory does not grow with the number of trials, time does. With 5,000 trials of 208 channels by
    343 samples, 8 delays and 1,024 features it is about 2e13 operations in float64, on a GPU if there is one.

    References
    ----------
    O'Sullivan et al. (2015), Attentional selection in a cocktail party environment can be decoded from single-trial
    EEG, Cerebral Cortex 25; Crosse et al. (2016), the mTRF toolbox.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Study
    >>> from neurodec.features import Features
    >>> from neurodec.systems import LaggedRidgeSystem
    >>> sound = np.random.default_rng(0).normal(size=(20, 1, 100))
    >>> names = [f"window-{number}" for number in range(20)]
    >>> study = Study.from_arrays(np.roll(sound, 3, axis=-1), names, sfreq=64.0, split="train")
    >>> info = {"embedding_space": "envelope", "dims": ["stimulus", "value", "time"]}
    >>> targets = {"image": Features(sound, names, info)}
    >>> LaggedRidgeSystem(stride=1).fit(study, targets).predict(study).of("image").shape
    (20, 1, 100)
    """

    head: str = "image"
    targets: list[str] | None = None
    tmin: float = 0.0
    tmax: float = 0.25
    stride: int | None = None
    alphas: list[float] = field(default_factory=lambda: np.logspace(-4, 4, 17).tolist())
    n_folds: int = 10
    max_windows: int = 5000
    seed: int = 0
    data: TrainingData = field(default_factory=TrainingData)
    _class_path: ClassVar[str] = "neurodec.systems.LaggedRidgeSystem"

    def _fit_space(
        self, trials: Trials, stimuli: pd.DataFrame, targets: dict[str, Features], folder: Path
    ) -> dict[str, float | None]:
        self._require_series(trials, targets)
        rows = np.random.default_rng(self.seed).permutation(len(trials))[: self.max_windows]
        drawn = trials.select(np.sort(rows))
        sfreq = float(trials.info["sfreq"])
        stride = self.stride or max(1, round(sfreq / _LAG_RATE))
        alphas: dict[str, float | None] = {}
        for name, own in targets.items():
            wanted = select(own.values, own.rows(drawn.table["stimulus"]))
            model = LaggedRidge(-self.tmax, -self.tmin, sfreq, self.alphas, stride, self.n_folds)
            model.fit(drawn.responses, wanted, **self._held_out(drawn.table, stimuli))
            alphas[name] = model.alpha_
            np.savez(
                folder / f"{name}_lagged.npz",
                coef=model.coef_.astype(np.float32),
                intercept=model.intercept_,
                centre=model.centre_,
                lags=model.lags_,
            )
        return alphas

    def _require_series(self, trials: Trials, targets: dict[str, Features]) -> None:
        if not has_time(trials.info) or trials.responses.ndim != 3:
            raise NeurodecError(
                "LaggedRidgeSystem reads responses over time, and these have none; take neurodec.systems.RidgeSystem."
            )
        n_times = trials.responses.shape[-1]
        for name, own in targets.items():
            if own.values.ndim != 3 or own.values.shape[-1] != n_times:
                raise NeurodecError(
                    f"The target {name} has the shape {tuple(own.values.shape[1:])} per stimulus, the responses "
                    f"{n_times} samples; give targets (n_features, {n_times}) at the rate and the window of the "
                    "responses, or take neurodec.systems.RidgeSystem."
                )

    def _held_out(self, table: pd.DataFrame, stimuli: pd.DataFrame) -> dict[str, Any]:
        """Return the groups or folds that the penalty is tuned on."""
        marked = (table["split"] == "validation").to_numpy()
        if marked.any() and not marked.all():
            return {"folds": [np.flatnonzero(marked)]}
        groups = column_of(table, self.data.held_out_by or "concept", stimuli)
        return {"groups": groups.to_numpy() if len(set(groups)) > 1 else None}

    def _read_space(self, folder: Path) -> dict[str, Any]:
        models: dict[str, Any] = {}
        for name, (n_features, _) in self.config["targets"].items():
            file, model = f"{name}_lagged.npz", LaggedRidge()
            with np.load(folder / file) as kept:
                model.coef_, model.intercept_ = kept["coef"], kept["intercept"]
                model.centre_, model.lags_ = kept["centre"], kept["lags"]
            sizes = len(model.centre_), len(model.lags_), n_features
            told = {"coef": (model.coef_, sizes), "intercept": (model.intercept_, (n_features,))}
            require_arrays(folder, {f"{file} ({what})": own for what, own in told.items()})
            models[name] = model
        return models

    def _predict(self, trials: Trials, model: dict[str, Any]) -> dict[str, np.ndarray]:
        found = {}
        for name, shape in self.config["targets"].items():
            found[name] = np.empty((len(trials), *shape), dtype=np.float32)
            for rows in blocks_of(len(trials)):
                found[name][rows] = model[name].predict(np.asarray(trials.responses[rows]))
        return found

    def without(self, kept: Study, targets: dict[str, Features]) -> LaggedRidgeSystem:
        """Return a system of the same kind, fitted to some of the training trials; see `RefitsApart`."""
        return replace(self, targets=[self.head]).fit(as_trained(kept, self.config), targets)

    def mean_target(self, name: str) -> np.ndarray:
        """Return the mean training target, the same at every sample; see `System.mean_target`."""
        means = np.mean([model[name].intercept_ for model in self._models.values()], axis=0)
        return np.broadcast_to(means[:, None], self.config["targets"][name])

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(own.coef_.size for model in self._models.values() for own in model.values())
