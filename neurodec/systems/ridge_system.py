"""Ridge regression onto named targets, all from one decomposition: the closed-form system, and the linear baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from neurodec.data import Study, Trials
from neurodec.data.descriptions import require_arrays
from neurodec.data.splits import column_of
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.linear.features import linear_features
from neurodec.linear.ridge import Standardised, grouped_folds
from neurodec.linear.solvers import Factor, held_out_errors, held_out_predictions
from neurodec.linear.voxel_ridge import solve_left_out
from neurodec.systems.linear_system import LinearSystem
from neurodec.systems.system import as_trained
from neurodec.training.batches import TrainingData

Renormalisation = Literal["none", "train", "test-batch"]
_TARGETS = 8192  # target values solved, and predicted, at once
_EXPLAINING = np.logspace(-1, 2.5, 8).tolist()  # penalties of a voxel's own ridge; see `solve_left_out`


@dataclass
class RidgeSystem(LinearSystem):
    """Ridge from responses to any number of targets, one model per space.

    Parameters
    ----------
    head : str
        The target that retrieval compares.
    targets : list of str, optional
        Names of the targets; all that the recipe has by default.
    alphas : list of float
        Penalties to choose from by grouped cross-validation, relative to the number of training rows.
    alpha : dict of float
        Fixed penalty of a target, as scikit-learn's; targets that are not named are tuned.
    n_folds : int
        Folds of the tuning; a concept (or value of `data.held_out_by`) is in one fold.
    per_value : bool
        Tune a penalty for every value of a target instead of one for all.
    average_repetitions : bool
        Fit the mean over repetitions of a stimulus.
    renormalise : {"none", "train", "test-batch"}
        Bring predictions to mean and standard deviation of the training targets, value by value: from those of
        cross-validated training predictions ("train"), or of the very predictions of the test set ("test-batch", as
        Brain-Diffuser does, which needs all of it and so is transductive).
    weigh_voxels : bool
        Weigh every feature by the root of the share of its variance that the head's target explains, left out trial by
        trial, among training trials; those of which it explains nothing are left out. Of thousands of voxels few see.
    data : TrainingData
        Its channels and window are used.

    Notes
    -----
    EEG and MEG are read in bins of 20 ms (see `linear_features`). One decomposition of the features serves all targets:
    334 tokens cost little more than one. Weights take 4 bytes times features times target values on the disk.

    References
    ----------
    Ozcelik and VanRullen (2023), Natural scene reconstruction from fMRI signals using generative latent diffusion.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Features, RidgeSystem, Study
    >>> rng = np.random.default_rng(0)
    >>> names = [f"picture-{number}" for number in range(40)]
    >>> study = Study.from_arrays(rng.normal(size=(40, 20)), names, split="train")
    >>> targets = {"image": Features(rng.normal(size=(40, 8)), names, {"embedding_space": "my-clip"})}
    >>> RidgeSystem().fit(study, targets).predict(study).of("image").shape
    (40, 8)
    """

    head: str = "image"
    targets: list[str] | None = None
    alphas: list[float] = field(default_factory=lambda: np.logspace(-2, 6, 17).tolist())
    alpha: dict[str, float] = field(default_factory=dict)
    n_folds: int = 5
    per_value: bool = False
    average_repetitions: bool = True
    renormalise: Renormalisation = "none"
    weigh_voxels: bool = False
    data: TrainingData = field(default_factory=TrainingData)

    _class_path: ClassVar[str] = "neurodec.systems.RidgeSystem"

    def _parameters(self) -> dict[str, Any]:
        own = super()._parameters()
        return own if self.weigh_voxels else {k: v for k, v in own.items() if k != "weigh_voxels"}

    def _chosen(self, targets: dict[str, Features], fixed: Sequence[str] = ()) -> dict[str, Features]:
        return super()._chosen(targets, [*fixed, *self.alpha])

    def _fit_space(
        self, trials: Trials, stimuli: pd.DataFrame, targets: dict[str, Features], folder: Path
    ) -> dict[str, float | None]:
        trials = trials.average() if self.average_repetitions else trials
        features = linear_features(trials)
        scaler = Standardised.of(features)
        if self.weigh_voxels:
            seen = np.asarray(targets[self.head].of(trials.table["stimulus"])).reshape(len(trials), -1)
            scaler = weighted(scaler, features, seen)
        np.savez(folder / "scaler.npz", centre=scaler.centre, scale=scaler.scale)
        factor = Factor.of(scaler.rows(features))
        groups = column_of(trials.table, self.data.held_out_by or "concept", stimuli)
        folds = grouped_folds(len(trials), groups.to_numpy(), self.n_folds)
        alphas = {}
        for name, own in targets.items():
            rows = own.rows(trials.table["stimulus"])
            alphas[name] = self._solve(factor, own, rows, name, folds, folder)
        return alphas

    def _solve(
        self,
        factor: Factor,
        own: Features,
        rows: np.ndarray,
        name: str,
        folds: list[np.ndarray],
        folder: Path,
    ) -> float | None:
        """Solve one target in stretches of its values, and write weights and statistics; return the penalty."""
        n_values = int(np.prod(own.values.shape[1:]))
        penalties = np.asarray(self.alphas) * len(rows)
        stretches = [slice(start, min(start + _TARGETS, n_values)) for start in range(0, n_values, _TARGETS)]

        def of(columns: slice) -> np.ndarray:
            return np.asarray(own.values[rows]).reshape(len(rows), -1)[:, columns].astype(np.float64)

        chosen: np.ndarray | None = None
        if name in self.alpha:
            chosen = np.array([self.alpha[name]])
        elif not self.per_value:
            errors = sum(
                held_out_errors(factor, of(part), penalties, folds).sum(axis=1) for part in stretches
            )
            chosen = np.array([penalties[errors.argmin()]])
        weights = np.lib.format.open_memmap(
            folder / f"{name}_weights.npy", "w+", np.float32, (factor.features.shape[1], n_values)
        )
        shared = n_values >= len(rows)
        operator = factor.operator(float(chosen[0])) if chosen is not None and shared else None
        statistics = np.zeros((4, n_values))  # mean and spread of targets, and of cross-validated predictions
        for part in stretches:
            values = of(part)
            own_penalty = chosen
            if own_penalty is None:
                own_penalty = penalties[held_out_errors(factor, values, penalties, folds).argmin(axis=0)]
            statistics[:2, part] = values.mean(axis=0), values.std(axis=0)
            centred = values - values.mean(axis=0)
            if operator is None:
                weights[:, part] = factor.solve(centred, own_penalty)
            else:
                centred = torch.as_tensor(centred, dtype=torch.float32, device=operator.device)
                weights[:, part] = (operator @ centred).cpu().numpy()
            if self.renormalise == "train":
                seen = held_out_predictions(factor, values, float(np.median(own_penalty)), folds)
                statistics[2:, part] = seen.mean(axis=0), seen.std(axis=0)
        weights.flush()
        np.save(folder / f"{name}_statistics.npy", statistics)
        return None if chosen is None else float(chosen[0])

    def _read_space(self, folder: Path) -> dict[str, Any]:
        with np.load(folder / "scaler.npz") as scaler:
            model: dict[str, Any] = {"scaler": Standardised(scaler["centre"], scaler["scale"])}
        for name in self.config["targets"]:
            weights = np.load(folder / f"{name}_weights.npy", mmap_mode="r")
            model[name] = weights, np.load(folder / f"{name}_statistics.npy")
        self._check(folder, model)
        return model

    def _check(self, folder: Path, model: dict[str, Any]) -> None:
        scaler, n_features = model["scaler"], model["scaler"].centre.size
        for name, shape in self._solved_shapes(model).items():
            (weights, statistics), n_values = model[name], int(np.prod(shape))
            wanted = {"weights": (weights, (n_features, n_values)), "statistics": (statistics, (4, n_values))}
            require_arrays(folder, {f"{name}_{what}.npy": own for what, own in wanted.items()})
        arrays = {"centre": (scaler.centre, (n_features,)), "scale": (scaler.scale, (n_features,))}
        require_arrays(folder, arrays)

    def _solved_shapes(self, model: dict[str, Any]) -> dict[str, list[int]]:
        """Return the shape of what is solved for, by target."""
        return self.config["targets"]

    def _predict(self, trials: Trials, model: dict[str, Any]) -> dict[str, np.ndarray]:
        rows = model["scaler"].rows(linear_features(trials))
        found = {}
        for name, shape in self._solved_shapes(model).items():
            weights, statistics = model[name]
            values = np.empty((len(rows), weights.shape[1]), dtype=np.float32)
            for start in range(0, weights.shape[1], _TARGETS):
                part = slice(start, start + _TARGETS)
                values[:, part] = rows @ np.asarray(weights[:, part]) + statistics[0, part]
            if self.renormalise != "none":
                own = (
                    statistics[2:]
                    if self.renormalise == "train"
                    else (values.mean(axis=0), values.std(axis=0))
                )
                values = renormalised(values, *own, *statistics[:2])
            found[name] = values.reshape(len(rows), *shape)
        return found

    def without(self, kept: Study, targets: dict[str, Features]) -> RidgeSystem:
        """Return ridge of the same kind, fitted to some of the training trials; see `RefitsApart`."""
        alpha = {name: value for name, value in self.alpha.items() if name == self.head}
        fewer = replace(self, targets=[self.head], alpha=alpha)
        return fewer.fit(as_trained(kept, self.config), targets)

    def mean_target(self, name: str) -> np.ndarray | None:
        """Return the mean training target; see `System.mean_target`."""
        statistics = [model[name][1][0] for model in self._models.values()]
        return np.mean(statistics, axis=0).reshape(self.config["targets"][name])

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(model[name][0].size for model in self._models.values() for name in self.config["targets"])


def weighted(scaler: Standardised, features: np.ndarray, targets: np.ndarray) -> Standardised:
    """Return a scaler that also weighs every feature by how well targets explain it.

    Parameters
    ----------
    scaler : Standardised
    features : ndarray, shape (n, ...)
    targets : ndarray, shape (n, t)

    Raises
    ------
    NeurodecError
        If they explain none.
    """
    rows = scaler.rows(features).astype(np.float64)
    residuals = solve_left_out(targets, rows, _EXPLAINING)[2]
    explained = 1 - np.square(residuals).mean(axis=0) / np.maximum(rows.var(axis=0), 1e-12)
    if not (explained > 0).any():
        raise NeurodecError(
            f"The target explains none of {len(explained)} voxels or channels of {len(rows)} training rows, so there "
            "is nothing to weigh them by; set `weigh_voxels: false`, or check which stimulus belongs to which trial."
        )
    with np.errstate(divide="ignore"):
        return Standardised(scaler.centre, scaler.scale / np.sqrt(np.clip(explained, 0, None)))


def roi_pattern(pattern: np.ndarray, weights: np.ndarray, mean: np.ndarray, norm: float) -> np.ndarray:
    """Return what synthetic responses evoke in a linear decoder, its answer scaled to a norm before the mean is added.

    Parameters
    ----------
    pattern : ndarray, shape (n, p)
        Such as 1 within a region and 0 elsewhere.
    weights, mean : ndarray, shape (p, t) and (t,)
        Of the decoder.
    norm : float

    References
    ----------
    Ozcelik and VanRullen (2023), section "ROI analysis".
    """
    answer = pattern @ weights
    return norm * answer / np.linalg.norm(answer, axis=1, keepdims=True) + mean


def renormalised(
    values: np.ndarray, centre: np.ndarray, spread: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> np.ndarray:
    """Return values (n, t) with `centre` and `spread` (t,) brought to `mean` and `sd` (t,), value by value."""
    scale = np.divide(
        sd, spread, out=np.zeros_like(np.asarray(sd, dtype=np.float64)), where=np.asarray(spread) > 0
    )
    return ((values - centre) * scale + mean).astype(np.float32)
