"""One of several trainings that follow each other: on whom it is, what it starts from, and what it leaves alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from neurodec.class_paths import resolve_class
from neurodec.data import Study
from neurodec.encoders.checkpoints import read_checkpoint
from neurodec.errors import NeurodecError
from neurodec.files import read_json, require_file_name, sha256_of
from neurodec.training.module import EncoderModule

_NOT_OF_WEIGHTS = {"regions", "head", "fill", "units", "initialisation", "start", "target"}


@dataclass(frozen=True)
class Stage:
    """One of several trainings that follow each other: on whom, from where, and what is trained.

    Parameters
    ----------
    name : str
        Later stages start from it by this name.
    recipe : str, optional
        Another recipe in the place of a training here: one of its own data, objective and encoder, such as a
        pre-training (protocol: joint). A file beside this recipe, or the name of one that is included; it runs first,
        in ``OUT/stages/<name>`` and on the same data root.
    subjects : {"all", "others", "new"}
        Whose trials: of every subject, of those that the system is first trained on, or of the new ones.
    start : str, optional
        Name of an earlier stage; a folder that a fit wrote, or the `save_pretrained` of a braindecode model; or a file
        that the encoder reads (`start_from`).
    fresh : list of str
        Patterns (``encoder.embedder.*``) of parameters that `start` need not have, or that begin anew. ``{new}`` stands
        for every new subject's space.
    trained : list of str
        Patterns of parameters that are trained; all others are frozen. All are trained by default.
    rates : dict of float
        Patterns of parameters to the factor on their learning rate; the first that fits counts.
    adapters : dict of int
        Patterns of weight matrices to ranks: these stay as they are, and low-rank adapters are trained beside them,
        which the finished weights contain. See `neurodec.training.adapters.adapt`.
    companion : bool
        The stage is no step towards the last one but stands beside it in evaluations, under its name: the same training
        from random weights, or of the head alone.
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
    recipe: str | None = None
    rates: dict[str, float] = field(default_factory=dict)
    adapters: dict[str, int] = field(default_factory=dict)
    companion: bool = False

    def __post_init__(self) -> None:
        if self.name:  # the one stage of a training without stages has none
            require_file_name(self.name, "The stage")


def of_recipes(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that other recipes train.

    Raises
    ------
    NeurodecError
        If the stages do not go together.
    """
    names = [stage.name for stage in stages]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise NeurodecError(f"Two stages are named {twice[0]}; give each a name of its own.")
    if stages and (stages[-1].companion or stages[-1].recipe):
        raise NeurodecError(
            f"The last stage, {names[-1]}, is the one that is scored, so it can be neither a companion nor a recipe; "
            "put it before the one that is to be scored."
        )
    return [stage for stage in stages if stage.recipe is not None]


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


def found_start(start: str, earlier: Path, out: Path) -> Path:
    """Return the folder of weights that a stage starts from: of an earlier stage, of a recipe's, or as it is named.

    Parameters
    ----------
    start : str
        Name of a stage, or a folder.
    earlier : Path
        Where a stage of that name is kept.
    out : Path
        Folder of the run; recipes of stages are below ``stages``.
    """
    of_recipe = out / "stages" / start / "models" / "joint"
    return next((one for one in (earlier, of_recipe) if (one / "config.json").exists()), Path(start))


def start_key(start: str | None) -> str | None:
    """Return a key of the weights that a stage starts from, where `start` is a file or a folder; else None."""
    place = Path(start or "")
    file = place / "model.safetensors" if place.is_dir() else place
    return sha256_of(file) if start and file.is_file() else None


def begin(
    module: EncoderModule,
    stage: Stage,
    start: Path,
    new: list[str],
    encoder: dict[str, Any],
    allow: frozenset[str] | set[str],
) -> dict[str, Any]:
    """Take the weights that a stage starts from.

    Parameters
    ----------
    module : EncoderModule
    stage : Stage
    start : Path
        A folder that a fit wrote, or a file that the encoder's method `start_from` reads, such as authors' weights.
    new : list of str
        Spaces of new subjects.
    encoder : dict
        `class_path` and `init_args`.
    allow : set of str
        Further packages whose classes may be named.

    Returns
    -------
    dict
        The configuration of the earlier training; empty of a file.
    """
    if start.is_file():
        if not hasattr(module.encoder, "start_from"):
            raise NeurodecError(
                f"Stage {stage.name} starts from the file {start}, which {type(module.encoder).__name__} cannot read; "
                "give a folder that a fit wrote."
            )
        module.encoder.start_from(str(start))
        return {}
    before = read_json(start / "config.json") if (start / "config.json").exists() else {}
    require_alike(before.get("encoder", {}), encoder, start, stage.name, allow)
    start_from(module, start, filled_in(stage.fresh, new), stage.name)
    return before


def require_alike(
    before: dict[str, Any], now: dict[str, Any], start: Path, stage: str, allow: frozenset[str] | set[str]
) -> None:
    """Refuse to start from an encoder whose weights mean something else than in this one, where that can be told.

    Arguments that both constructors have and that are texts are compared, such as CSBrain's `temporal_layout`; numbers
    show in the shapes of the weights.

    Parameters
    ----------
    before, now : dict
        `class_path` and `init_args` of both encoders.
    start : Path
    stage : str
        For messages.
    allow : set of str
        Further packages whose classes may be named.
    """
    if "class_path" not in before:
        return
    other, own = (_arguments(one, allow) for one in (before, now))
    rates = [one.get("sfreq") for one in (other, own)]
    if None not in rates and abs(rates[0] - rates[1]) > 0.01 * rates[1]:
        raise NeurodecError(
            f"Stage {stage} starts from {start}, which was trained at {rates[0]:g} samples per second, and these "
            f"recordings have {rates[1]:g}; bring both to one rate."
        )
    for name in sorted((set(own) & set(other)) - _NOT_OF_WEIGHTS):
        if isinstance(own[name], str) and own[name] != other[name]:
            raise NeurodecError(
                f"Stage {stage} starts from {start}, whose encoder has {name}: {other[name]}, and this one has "
                f"{own[name]}; give both the same."
            )


def _arguments(config: dict[str, Any], allow: frozenset[str] | set[str]) -> dict[str, Any]:
    """Return an encoder's arguments, those by default among them."""
    kind = resolve_class(config["class_path"], nn.Module, allow, "encoder")
    parameters = inspect.signature(kind.__init__).parameters.values()
    usual = {one.name: one.default for one in parameters if one.default is not one.empty}
    return {**usual, **(config.get("init_args") or {})}


def start_from(module: EncoderModule, folder: Path, fresh: list[str], stage: str) -> None:
    """Take the weights of an earlier training; every one must fit, but for those that begin anew."""
    found: dict[str, Tensor] = {}
    for part, file in (("encoder", "model.safetensors"), ("objective", "objective.safetensors")):
        if part == "encoder" or (folder / file).exists():  # other libraries' folders hold no objective
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


def freeze(module: EncoderModule, trained: list[str], stage: str, *, adapted: bool = False) -> None:
    """Freeze all parameters that no pattern names; those that never train stay so.

    What is frozen gives the same output as before: its normalisation statistics stay, and its dropout is off. Where
    weights are `adapted`, nothing else needs to train.
    """
    n_trained, frozen = 0, set()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and not any(fnmatch(name, pattern) for pattern in trained):
            parameter.requires_grad_(False)
            frozen.add(parameter)
        n_trained += parameter.requires_grad
    if not n_trained and not adapted:
        names = [name for name, _ in module.named_parameters()][:3]
        raise NeurodecError(
            f"Stage {stage or 'one'} trains no parameter, since `trained` names none of {', '.join(names)}, ...; "
            "correct its patterns."
        )
    module.held = _held(module, frozen)


def _held(module: nn.Module, frozen: set[nn.Parameter]) -> list[nn.Module]:
    """Return the submodules all of whose parameters a stage froze; one without any goes with the one before it."""
    found: list[nn.Module] = []
    children = list(module.children())
    kinds: list[bool | None] = []  # all frozen, not all, or no parameter
    for child in children:
        own = list(child.parameters())
        kinds.append(all(one in frozen for one in own) if own else None)
    known = [kind for kind in kinds if kind is not None]
    last = known[0] if known else False
    for child, kind in zip(children, kinds, strict=True):
        last = last if kind is None else kind
        if last:
            found.append(child)
        else:
            found += _held(child, frozen)
    return found
