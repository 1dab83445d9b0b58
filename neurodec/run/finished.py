"""What finished stages have left in the output folder, read where it is of this recipe and these data."""

from __future__ import annotations

from functools import cached_property

from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.run.context import Context
from neurodec.run.folds import Fold
from neurodec.run.stage_keys import StageKeys
from neurodec.systems import System, load_system

_SYSTEMS = 4  # fitted systems that are kept in memory


class Finished(Context):
    """A context whose stages are partly done."""

    @cached_property
    def keys(self) -> StageKeys:
        """What stages are to be done with."""
        return StageKeys(self)

    def require(self, stage: str, stamp: str, key: str) -> None:
        """Refuse to go on from a stage that was not finished, or was done by another recipe or with other data."""
        if self.stamps[stamp] != key:
            raise NeurodecError(
                f"{self.out} does not hold the finished stage {stage} of this recipe with these data; run it first:  "
                f"neurodec {stage}, or neurodec run for all stages."
            )

    @cached_property
    def features(self) -> dict[str, Features]:
        """The targets, by name."""
        for name in self.extractors:
            self.require("targets", f"targets {name}", self.keys.targets[name])
        return {name: Features.load(self.out / "targets" / name) for name in self.extractors}

    def system(self, fold: Fold) -> System:
        """Return the fitted system of a fold, of a training that is finished."""
        self.require("fit", "fit", self.keys.fit)
        return self.fitted_system(fold)

    def fitted_system(self, fold: Fold) -> System:
        """Return a system, read once per command; only the latest stay in memory."""
        systems = self._systems
        if fold.name not in systems:
            systems[fold.name] = load_system(self.out / "models" / fold.name, self.allow)
        for name in [*systems][:-_SYSTEMS]:
            del systems[name]
        return systems[fold.name]

    @cached_property
    def _systems(self) -> dict[str, System]:
        return {}

    def predictions(self, fold: Fold) -> dict[str, Predictions]:
        """Return what the system of a fold predicts of its test trials, by what rows they are."""
        folder, found = self.out / "predictions" / fold.name, {}
        for evaluation in self.evaluations.values():
            for rows in evaluation.inputs(fold.testing(self.study)):
                self.require("predict", f"predict {fold.name} {rows}", self.keys.fit)
                found[rows] = Predictions.load(folder / rows)
        return found
