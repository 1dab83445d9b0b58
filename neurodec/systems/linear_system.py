"""What closed-form systems share: one model per space and target, fitted at once and kept in a folder of arrays."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.noise import read_described, write_described
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError, reading
from neurodec.features import Features, as_targets
from neurodec.files import atomic_path, key_of, require_file_name
from neurodec.systems.system import RefitsApart, System, as_trained, facts_of, home_of, require_trials_to_fit
from neurodec.training.batches import TrainingData
from neurodec.training.fit_keys import content_key, is_fitted, written_files


class LinearSystem(RefitsApart, System):
    """Base of dataclasses that solve every space and target in closed form.

    Attributes
    ----------
    targets : list of str or None
        Names of the targets; all that the recipe has for None.
    data : TrainingData
        Its channels and window are used.
    """

    targets: list[str] | None
    data: TrainingData
    _class_path: ClassVar[str]
    _folder: Path
    _models: dict[str, dict[str, Any]]

    @abstractmethod
    def _fit_space(
        self, trials: Trials, stimuli: pd.DataFrame, targets: dict[str, Features], folder: Path
    ) -> dict[str, float | None]:
        """Solve the targets of one space, write arrays to `folder`, and return the penalty of every target."""

    @abstractmethod
    def _read_space(self, folder: Path) -> dict[str, Any]:
        """Return what `_fit_space` wrote, checked against `config`."""

    @abstractmethod
    def _predict(self, trials: Trials, model: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the predictions of every target for the trials of a space."""

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
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]

    def _parameters(self) -> dict[str, Any]:
        """Return what a fit follows from, as plain values."""
        own = {name: value for name, value in self.get_params().items() if name != "data"}
        data = {name: getattr(self.data, name) for name in ("ch_names", "tmin", "tmax")}
        by = {"held_out_by": self.data.held_out_by} if self.data.held_out_by else {}
        return {**own, "data": {**data, **by}}

    def _chosen(self, targets: dict[str, Features], fixed: Sequence[str] = ()) -> dict[str, Features]:
        """Return the targets that are fitted; those of a fixed penalty must be there as well."""
        names = list(targets) if self.targets is None else self.targets
        unknown = [name for name in [*names, *fixed] if name not in targets]
        if unknown or self.head not in names:
            raise NeurodecError(
                f"The ridge system needs the target {(unknown or [self.head])[0]}, and the recipe has "
                f"{', '.join(targets) or 'none'}; add it to `targets`, or correct `head`, `targets` and `alpha`."
            )
        return {name: targets[name] for name in names}

    def _fit(self, study: Study, targets: dict[str, Features], folder: Path, key: str) -> None:
        alphas: dict[str, float | None] = {}
        with atomic_path(folder) as partial:
            for space, trials in study.spaces.items():
                (partial / space).mkdir(parents=True)
                found = self._fit_space(trials, study.stimuli, targets, partial / space)
                alphas |= {f"{space}/{name}": penalty for name, penalty in found.items()}
            config = {
                "system": self._class_path,
                "init_args": self._parameters(),
                "key": key,
                "targets": {name: list(own.values.shape[1:]) for name, own in targets.items()},
                "embedding_spaces": {name: own.embedding_space for name, own in targets.items()},
                "alpha": alphas,
                "subjects": study.subjects,
                **facts_of(study),
            }
            write_described(partial / "config.json", {**config, "files": written_files(partial)})

    def _take(self, folder: str | Path) -> None:
        folder = self._folder = Path(folder)
        self.config = read_described(folder / "config.json")
        with reading(folder, "a ridge system", "delete it and fit again"):
            arguments = dict(self.config["init_args"])
            vars(self).update({**arguments, "data": TrainingData(**arguments.pop("data"))})
            self._models = {}
            for name in self.config["targets"]:
                require_file_name(name, "The target")
            for space in self.config.get("spaces") or [self.config["space"]]:
                self._models[space] = self._read_space(folder / require_file_name(space, "The space"))

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

    @property
    def spaces(self) -> list[str]:
        """Spaces that it was fitted to."""
        return list(self._models)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the folder that `fit` wrote."""
        if Path(folder).resolve() != self._folder.resolve():
            shutil.copytree(self._folder, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, allow: frozenset[str] | set[str] = frozenset()) -> Self:
        """Read a folder that `fit` wrote.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged.
        """
        system = cls()
        system._take(folder)
        return system
