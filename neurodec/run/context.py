"""A recipe bound to its folders: what every stage works with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from neurodec.data import Study, preprocess
from neurodec.data.splits import Level
from neurodec.data.stimuli import OWN
from neurodec.data.store import parameters_key, parameters_of
from neurodec.errors import NeurodecError
from neurodec.evaluation.section import Evaluation
from neurodec.features import Extractor
from neurodec.files import read_json
from neurodec.run.folds import Fold, cross_validated, folds_of
from neurodec.run.recipe.recipe_objects import built_objects, system_of
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.run.stamps import Stamps
from neurodec.systems import System
from neurodec.training import Stage, TrainingData
from neurodec.training.staging import of_recipes
from neurodec.training.trainer import below_out


@dataclass(frozen=True)
class Context:
    """A recipe, where its data are, and where its results go."""

    parser: ArgumentParser
    recipe: Namespace
    root: Path
    out: Path
    allow: frozenset[str]
    allow_outside: bool = False
    whole_hashes: bool = False

    @cached_property
    def stamps(self) -> Stamps:
        """What stages were done with."""
        return Stamps(self.out)

    @property
    def trains(self) -> bool:
        """Whether the recipe has a system of its own."""
        return "encoder" in self.recipe or "system" in self.recipe

    @cached_property
    def _of_recipes(self) -> list[Stage]:
        return of_recipes([Stage(**stage) for stage in sections_of(self.recipe).get("stages") or []])

    def _of_stage(self, stage: Stage) -> Path:
        return self.out / "stages" / stage.name

    @cached_property
    def objects(self) -> Namespace:
        """The dataset, targets, data and evaluations; systems are built fold by fold."""
        return built_objects(self.recipe)

    @property
    def extractors(self) -> dict[str, Extractor]:
        """What gives the targets, by name."""
        return self.objects.targets if self.trains else {}

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """What scores, by name."""
        return self.objects.evaluation

    @cached_property
    def study(self) -> Study:
        """All trials and stimuli, preprocessed as the recipe says."""
        study = Study.load(self.out / "prepared")
        about = read_json(self.out / "prepared" / "study.json")["provenance"]
        if parameters_key(about["parameters"]) != parameters_key(parameters_of(self.objects.dataset)):
            raise NeurodecError(
                f"{self.out / 'prepared'} was prepared with another section `dataset`; choose another --out or delete "
                "it."
            )
        further = self.objects.preprocessing
        return study if further is None else preprocess(study, further)

    @cached_property
    def folds(self) -> list[Fold]:
        """All fits."""
        found = folds_of(self.recipe.protocol, self.study.subjects, self.recipe.seeds)
        return cross_validated(found, self.study, self.objects.cross_validation, self._levels)

    @property
    def _levels(self) -> set[Level]:
        """What training and test must not share, for any evaluation."""
        return {evaluation.level for evaluation in self.evaluations.values()} or {"concept"}

    def new_system(self, fold: Fold) -> System:
        """Return the system of a fold, not fitted."""
        sections = sections_of(self.recipe)
        if "trainer" in sections:
            sections["trainer"] = below_out(sections["trainer"], self.out, allow_outside=self.allow_outside)
        objects = Namespace(**{**vars(self.objects), "data": self._held_out_by(self.objects.data)})
        return system_of(sections, objects, fold.seed, self.allow)

    def _held_out_by(self, data: TrainingData | None) -> TrainingData | None:
        """Let validation hold out what an evaluation generalises over, where that is a column of the stimuli."""
        free = sorted(level for level in self._levels if level in self.study.stimuli and level not in OWN)
        if not free or (data is not None and data.held_out_by is not None):
            return data
        return replace(data or TrainingData(), held_out_by=free[0])
