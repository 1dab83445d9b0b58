"""One of several trainings that follow each other: on whom it is, what it starts from, and what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor, nn

from neurodec.data import Study
from neurodec.encoders.published import read_checkpoint
from neurodec.errors import NeurodecError
from neurodec.training.module import EncoderModule


@dataclass(frozen=True)
class Stage:
    """One of several trainings that follow each other: on whom, from where, and what is trained.

    Parameters
    ----------
    name : str
        Later stages start from it by this name.
    subjects : {"all", "others", "new"}
        Whose trials: of every subject, of those that the system is first trained on, or of the new ones.
    start : str, optional
        Name of an earlier stage, or a folder that a fit wrote.
    fresh : list of str
        Patterns (``encoder.embedder.*``) of parameters that `start` need not have, or that begin anew. ``{new}`` stands
        for every new subject's space.
    trained : list of str
        Patterns of parameters that are trained; all others are frozen. All are trained by default.
    max_epochs : int, optional
        In place of the trainer's.
    n_trials : int, optional
        The first so many training trials of every new subject, as if there were no more.
    """

    name: str
    subjects: Literal["all", "others", "new"] = "all"
    start: str | None = None
    fresh: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=lambda: ["*"])
    max_epochs: int | None = None
    n_trials: int | None = None


def subjects_of(stage: Stage, study: Study, new: list[str]) -> Study:
    """Return the trials that a stage is trained on."""
    others = [subject for subject in study.subjects if subject not in new]
    if not new and stage.subjects == "new":
        raise NeurodecError(
            f"Stage {stage.name} is for new subjects, and there are none; take protocol: new_subject."
        )
    if stage.n_trials is not None:
        rows = {}
        for space, trials in study.spaces.items():
            order = trials.table.groupby("subject").cumcount()
            keep = ~trials.table["subject"].isin(new) | (order < stage.n_trials)
            rows[space] = np.flatnonzero(keep)
        study = study.select(rows)
    return study.part(subjects={"all": None, "others": others, "new": new}[stage.subjects])


def filled_in(patterns: list[str], spaces: list[str]) -> list[str]:
    """Return patterns of parameters with every space in the place of ``{new}``."""
    return [
        pattern.replace("{new}", space)
        for pattern in patterns
        for space in (spaces if "{new}" in pattern else [""])
    ]


def start_from(module: EncoderModule, folder: Path, fresh: list[str], stage: str) -> None:
    """Take the weights of an earlier training; every one must fit, but for those that begin anew."""
    found: dict[str, Tensor] = {}
    for part, file in (("encoder", "model.safetensors"), ("objective", "objective.safetensors")):
        found |= {f"{part}.{name}": value for name, value in read_checkpoint(folder / file).items()}
    own = module.state_dict()
    anew = {name for name in own if any(fnmatch(name, pattern) for pattern in fresh)}
    unfit = [
        name
        for name in own
        if name not in anew and (name not in found or found[name].shape != own[name].shape)
    ]
    if unfit:
        raise NeurodecError(
            f"Stage {stage} starts from {folder}, which lacks {unfit[0]} or has it in another size ({len(unfit)} "
            "tensors in all); name what begins anew in `fresh`."
        )
    module.load_state_dict({name: found[name] for name in own if name not in anew}, strict=False)


def freeze(module: nn.Module, trained: list[str], stage: str) -> None:
    """Freeze all parameters that no pattern names; those that never train stay so."""
    n_trained = 0
    for name, parameter in module.named_parameters():
        if not any(fnmatch(name, pattern) for pattern in trained):
            parameter.requires_grad_(False)
        n_trained += parameter.requires_grad
    if not n_trained:
        names = [name for name, _ in module.named_parameters()][:3]
        raise NeurodecError(
            f"Stage {stage or 'one'} trains no parameter, since `trained` names none of {', '.join(names)}, ...; "
            "correct its patterns."
        )
