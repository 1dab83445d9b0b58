"""What every stage of a run follows from, each as one key: sections of the recipe, data, and earlier stages."""

from __future__ import annotations

from functools import cached_property

from neurodec.class_descriptions import own_code
from neurodec.data import load_stimuli
from neurodec.files import key_of, read_json, sampled_sha256_of
from neurodec.run.context import Context
from neurodec.run.folds import Fold
from neurodec.run.recipe.recipe_parser import sections_of
from neurodec.systems import LightningSystem
from neurodec.training.trainer import telling

_OF_TRAINING = (
    *("encoder", "objective", "optimizer", "lr_scheduler", "stages", "system", "data", "trainer"),
    *("protocol", "selection", "seeds", "cross_validation"),
)


class StageKeys:
    """Keys of a run, made from what is in its recipe and in ``OUT/prepared`` now.

    Parameters
    ----------
    run : Context
    """

    def __init__(self, run: Context) -> None:
        self.run, self.sections = run, sections_of(run.recipe)

    @cached_property
    def prepared(self) -> str:
        """Of the dataset, its source files and what is done to its trials."""
        told = read_json(self.run.out / "prepared" / "study.json")["provenance"]
        further = self.sections.get("preprocessing")
        return key_of(told if further is None else [told, further])

    @cached_property
    def targets(self) -> dict[str, str]:
        """Of every target, by name."""
        return {
            name: key_of(
                [
                    self.sections["targets"][name],
                    self.prepared,
                    extractor.sources(self.run.root),
                    *self._named_files,
                    *own_code(self.sections["targets"][name]),
                ]
            )
            for name, extractor in self.run.extractors.items()
        }

    @cached_property
    def _named_files(self) -> list[str]:
        """Hashes of the sounds and arrays that stimuli name; thousands of pictures are not looked at again."""
        stimuli = load_stimuli(self.run.out / "prepared")
        columns = [stimuli[name] for name in ("audio", "array") if name in stimuli]
        files = sorted({self.run.root / name for own in columns for name in own.unique() if name})
        return [sampled_sha256_of(file) for file in files if file.is_file()]

    @cached_property
    def training(self) -> str:
        """Of all that a training follows from, but for the number of epochs where it can be extended."""
        sections = dict(self.sections)
        trainer = sections.pop("trainer", None) or {}
        system = self.run.new_system(self.run.folds[0])
        if isinstance(system, LightningSystem):
            epochs = None if system.extends else trainer.get("max_epochs")
            sections["trainer"] = telling({**trainer, "max_epochs": epochs})
        own = [sections.get(name) for name in _OF_TRAINING]
        return key_of([own, self.targets, self.prepared, *own_code(own)])

    @cached_property
    def fit(self) -> str:
        """Of all that a training follows from."""
        return key_of([self.training, (self.sections.get("trainer") or {}).get("max_epochs")])

    def prior(self, prior_from: str) -> str:
        """Of a prior and what it is fitted on."""
        return key_of([self.sections.get("prior"), prior_from, self.fit])

    def pictures(self, fold: Fold) -> str:
        """Of the pictures of a fold."""
        return key_of([self.drawing(fold), self.fit])

    def drawing(self, fold: Fold) -> str:
        """Of what the pictures of a fold follow from, but for the number of epochs, which may be raised."""
        names = ("prior", "decoder", "reconstruction", "evaluation")
        own = [self.sections.get(name) for name in names]
        return key_of([own, self.training, fold.name, *own_code(own)])

    def evaluation(self, name: str) -> str:
        """Of one evaluation."""
        section = self.sections["evaluation"]
        own = section if "class_path" in section else section[name]
        return key_of([own, self.fit if self.run.trains else None, self.prepared, *own_code(own)])

    @property
    def results(self) -> str:
        """Of ``OUT/results.json``."""
        drawn = [self.sections.get(name) for name in ("prior", "decoder", "reconstruction")]
        return key_of([[self.evaluation(name) for name in self.run.evaluations], drawn])
