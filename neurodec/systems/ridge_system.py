"""Ridge regression onto named targets, all from one decomposition: the closed-form system, and the linear baseline."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from neurodec.data import Study, Trials
from neurodec.data.descriptions import require_arrays
from neurodec.data.noise import read_described, write_described
from neurodec.data.predictions import Predictions
from neurodec.data.splits import column_of
from neurodec.errors import NeurodecError, reading
from neurodec.features import Features, as_targets
from neurodec.files import atomic_path, key_of, require_file_name
from neurodec.linear.features import linear_features
from neurodec.linear.ridge import Standardised, grouped_folds
from neurodec.linear.solvers import Factor, held_out_errors, held_out_predictions
from neurodec.systems.system import RefitsApart, System, as_trained, facts_of, home_of, require_trials_to_fit
from neurodec.training.batches import TrainingData
from neurodec.training.fit_keys import content_key, is_fitted, written_files

Renormalisation = Literal["none", "train", "test-batch"]
_TARGETS = 8192  # target values solved, and predicted, at once


@dataclass
class RidgeSystem(RefitsApart, System):
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
    data: TrainingData = field(default_factory=TrainingData)

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
        """Solve; see `System.fit`."""
        require_trials_to_fit(study)
        targets = as_targets(targets, study.stimuli)
        out, self._home = home_of(out)  # weights are memory-mapped
        folder = out / "models" / require_file_name(name, "The fit")
        cut, chosen = self.data.cut(study), self._chosen(targets)
        key = key_of([self._parameters(), content_key(cut, chosen)])
        if not is_fitted(folder, key):
            self._fit(cut, chosen, folder, key)
        self._take(folder)
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the fields; see `System.get_params`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def _parameters(self) -> dict[str, Any]:
        """Return what a fit follows from, as plain values."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "data"}
        data = {name: getattr(self.data, name) for name in ("ch_names", "tmin", "tmax")}
        by = {"held_out_by": self.data.held_out_by} if self.data.held_out_by else {}
        return {**own, "data": {**data, **by}}

    def _chosen(self, targets: dict[str, Features]) -> dict[str, Features]:
        names = list(targets) if self.targets is None else self.targets
        unknown = [name for name in [*names, *self.alpha] if name not in targets]
        if unknown or self.head not in names:
            raise NeurodecError(
                f"The ridge system needs the target {(unknown or [self.head])[0]}, and the recipe has "
                f"{', '.join(targets) or 'none'}; add it to `targets`, or correct `head`, `targets` and `alpha`."
            )
        return {name: targets[name] for name in names}

    def _fit(self, study: Study, targets: dict[str, Features], folder: Path, key: str) -> None:
        alphas = {}
        with atomic_path(folder) as partial:
            for space, trials in study.spaces.items():
                trials = trials.average() if self.average_repetitions else trials
                features = linear_features(trials)
                scaler = Standardised.of(features)
                (partial / space).mkdir(parents=True)
                np.savez(partial / space / "scaler.npz", centre=scaler.centre, scale=scaler.scale)
                factor = Factor.of(scaler.rows(features))
                groups = column_of(trials.table, self.data.held_out_by or "concept", study.stimuli)
                folds = grouped_folds(len(trials), groups.to_numpy(), self.n_folds)
                for name, own in targets.items():
                    rows = own.rows(trials.table["stimulus"])
                    alphas[f"{space}/{name}"] = self._solve(factor, own, rows, name, folds, partial / space)
            config = {
                "system": "neurodec.systems.RidgeSystem",
                "init_args": self._parameters(),
                "key": key,
                "targets": {name: list(own.values.shape[1:]) for name, own in targets.items()},
                "embedding_spaces": {name: own.embedding_space for name, own in targets.items()},
                "alpha": alphas,
                "subjects": study.subjects,
                **facts_of(study),
            }
            write_described(partial / "config.json", {**config, "files": written_files(partial)})

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

    def _take(self, folder: str | Path) -> None:
        folder = self._folder = Path(folder)
        self.config = read_described(folder / "config.json")
        with reading(folder, "a ridge system", "delete it and fit again"):
            arguments = dict(self.config["init_args"])
            vars(self).update({**arguments, "data": TrainingData(**arguments.pop("data"))})
            self._models: dict[str, dict[str, Any]] = {}
            for space in self.config.get("spaces") or [self.config["space"]]:
                require_file_name(space, "The space")
                with np.load(folder / space / "scaler.npz") as scaler:
                    model: dict[str, Any] = {"scaler": Standardised(scaler["centre"], scaler["scale"])}
                for name in self.config["targets"]:
                    require_file_name(name, "The target")
                    weights = np.load(folder / space / f"{name}_weights.npy", mmap_mode="r")
                    model[name] = weights, np.load(folder / space / f"{name}_statistics.npy")
                self._models[space] = model
                self._check(folder / space, model)

    def _check(self, folder: Path, model: dict[str, Any]) -> None:
        scaler, n_features = model["scaler"], model["scaler"].centre.size
        for name, shape in self.config["targets"].items():
            (weights, statistics), n_values = model[name], int(np.prod(shape))
            wanted = {"weights": (weights, (n_features, n_values)), "statistics": (statistics, (4, n_values))}
            require_arrays(folder, {f"{name}_{what}.npy": own for what, own in wanted.items()})
        arrays = {"centre": (scaler.centre, (n_features,)), "scale": (scaler.scale, (n_features,))}
        require_arrays(folder, arrays)

    def predict(self, study: Study) -> Predictions:
        """Predict every trial; see `System.predict`."""
        parts = []
        for space, trials in as_trained(study, self.config).spaces.items():
            if space not in self._models:
                raise NeurodecError(
                    f"The ridge system was not fitted to the space {space}, only to {', '.join(self._models)}; fit it "
                    "with that subject."
                )
            heads = self._predict(trials, self._models[space])
            parts.append(Predictions(heads, trials.table.assign(space=space)))
        return Predictions.concatenate(parts)

    def _predict(self, trials: Trials, model: dict[str, Any]) -> dict[str, np.ndarray]:
        rows = model["scaler"].rows(linear_features(trials))
        found = {}
        for name, shape in self.config["targets"].items():
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
    def spaces(self) -> list[str]:
        """Spaces that it was fitted to."""
        return list(self._models)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the folder that `fit` wrote."""
        if Path(folder).resolve() != self._folder.resolve():
            shutil.copytree(self._folder, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, allow: frozenset[str] | set[str] = frozenset()
    ) -> RidgeSystem:
        """Read a folder that `fit` wrote.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged.
        """
        system = cls()
        system._take(folder)
        return system

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(model[name][0].size for model in self._models.values() for name in self.config["targets"])


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
