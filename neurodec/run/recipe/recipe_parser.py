"""The parser of a recipe: its sections, and what each may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning import Trainer
from torch import nn

import neurodec.encoders  # noqa: F401  short class names resolve among what is imported
from neurodec.data import Dataset
from neurodec.data.folding import CrossValidation
from neurodec.decoders import Decoder
from neurodec.evaluation.section import Evaluation
from neurodec.features import Extractor
from neurodec.preprocessing import EEGPreprocessing, Preprocessing, VoxelPreprocessing
from neurodec.priors import Prior
from neurodec.run.folds import Protocol
from neurodec.run.reconstruct import Reconstruction
from neurodec.systems import System
from neurodec.training import Objective, Stage, TrainingData
from neurodec.training.fit import Selection
from neurodec.training.module import LRSchedulerCallable, OptimizerCallable

SECTIONS = (
    "dataset",
    "preprocessing",
    "targets",
    "data",
    "encoder",
    "objective",
    "optimizer",
    "lr_scheduler",
    "stages",
    "system",
    "trainer",
    "prior",
    "decoder",
    "reconstruction",
    "evaluation",
    "cross_validation",
)
_SIZES = {
    "n_chans",
    "n_times",
    "n_outputs",
    "n_subjects",
    "sfreq",
    "spaces",
    "heads",
    "mask_shape",
    "voxel_indices",
    "ch_names",
    "montages",
    "chs_info",
    "units",
}
_OPTIMIZER = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4}}


def recipe_parser(content: Mapping[str, Any]) -> ArgumentParser:
    """Return the parser of a recipe with the sections of `content`."""
    parser = ArgumentParser(prog="recipe", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--name", type=str, required=True, help="shown in the report")
    parser.add_argument("--seed", type=int, default=42, help="of weights, batches and splits")
    parser.add_argument(
        "--seeds", type=list[int] | None, help="fit once with each, and report mean and deviation"
    )
    parser.add_argument(
        "--protocol",
        type=Protocol,
        default="within_subject",
        help="one fit per subject, one per left-out subject, one for all, or one adapted to each new subject",
    )
    parser.add_argument(
        "--selection",
        type=Selection,
        default="validation",
        help="which epoch is scored: lowest validation loss, the last, or as published (best on the test data)",
    )
    parser.add_subclass_arguments(Dataset, "dataset", required=True)
    if "preprocessing" in content:
        parser.add_class_arguments(preprocessing_of(content["preprocessing"]), "preprocessing")
    for name in content.get("targets") or {}:
        parser.add_subclass_arguments(Extractor, f"targets.{name}")
    if "system" in content:
        parser.add_subclass_arguments(System, "system", skip={"data"})
    if "data" in content or "encoder" in content:
        parser.add_class_arguments(TrainingData, "data")
    if "encoder" in content:
        parser.add_subclass_arguments(nn.Module, "encoder", skip=_SIZES, instantiate=False)
        parser.add_subclass_arguments(Objective, "objective", required=False, skip={"heads"})
        parser.add_argument("--optimizer", type=OptimizerCallable, default=_OPTIMIZER)
        parser.add_argument("--lr_scheduler", type=LRSchedulerCallable | None)
        parser.add_argument("--stages", type=list[Stage] | None)
        parser.add_class_arguments(Trainer, "trainer", instantiate=False)
    if "cross_validation" in content:
        parser.add_class_arguments(CrossValidation, "cross_validation")
    if "decoder" in content:
        parser.add_subclass_arguments(Prior, "prior", required=False)
        parser.add_subclass_arguments(Decoder, "decoder")
    if "reconstruction" in content:
        parser.add_class_arguments(Reconstruction, "reconstruction")
    evaluation = content.get("evaluation") or {}
    if evaluation and "class_path" not in evaluation:
        for name in evaluation:
            parser.add_subclass_arguments(Evaluation, f"evaluation.{name}")
    else:
        parser.add_subclass_arguments(Evaluation, "evaluation", required=False)
    return parser


def preprocessing_of(section: Any) -> type[Preprocessing]:
    """Return the settings that the section `preprocessing` has: of voxels if it names any of theirs."""
    own = {field.name for field in fields(VoxelPreprocessing)}
    of_voxels = isinstance(section, Mapping) and own & set(section)
    return VoxelPreprocessing if of_voxels else EEGPreprocessing


def sections_of(recipe: Any) -> Any:
    """Return a recipe, or a part of it, as nested dicts and lists."""
    if isinstance(recipe, Namespace):
        recipe = vars(recipe)
    if isinstance(recipe, dict):
        return {name: sections_of(value) for name, value in recipe.items()}
    return [sections_of(value) for value in recipe] if isinstance(recipe, list) else recipe
