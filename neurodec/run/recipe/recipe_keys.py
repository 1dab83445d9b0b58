"""Every key of a recipe with its type, its default and its meaning, as the docstrings of the classes have them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from docstring_parser import parse
from jsonargparse import Namespace

from neurodec.class_paths import resolve_class
from neurodec.data.folding import CrossValidation
from neurodec.preprocessing import EEGPreprocessing, VoxelPreprocessing
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.run.recipe.recipe_parser import preprocessing_of, recipe_parser, sections_of
from neurodec.run.reconstruct import Reconstruction
from neurodec.training import Stage, TrainingData

_OWN = {"data": TrainingData, "reconstruction": Reconstruction, "cross_validation": CrossValidation}
_NAMED = ("targets", "evaluation")
_SECTIONS = {
    "dataset": "reader: `class_path` and `init_args`, such as `neurodec.data.Recordings`",
    "preprocessing": "what is done to prepared trials: keys of `EEGPreprocessing` (no filters: these belong into "
    "`dataset.init_args.preprocessing`), or of `VoxelPreprocessing`",
    "targets": "name to extractor, such as `image: {class_path: neurodec.features.OpenClip, init_args: {...}}`",
    "data": "what a step of training sees; see below",
    "encoder": "network: `class_path` and `init_args`; sizes of the data are filled in",
    "objective": "loss, `neurodec.training.RetrievalObjective` by default",
    "optimizer": "of PyTorch, AdamW with a rate of 3e-4 by default",
    "lr_scheduler": "of PyTorch, or `neurodec.training.CosineSchedule`; stepped after every batch",
    "stages": "trainings that follow each other; see below",
    "trainer": "arguments of `lightning.Trainer`, such as `max_epochs`, `devices`, `strategy`, `precision`",
    "system": "in place of `encoder`: `neurodec.systems.RidgeSystem`, `neurodec.systems.InContextSystem`, ...",
    "prior": "from predictions to embeddings, `neurodec.priors.DiffusionPrior` by default",
    "decoder": "from embeddings to pictures, such as `neurodec.decoders.GuidedDiffusion`",
    "reconstruction": "what is drawn; see below",
    "evaluation": "what is scored, one or several by name, such as `neurodec.evaluation.Retrieval`",
    "cross_validation": "folds of trials without a split; see below",
}
_TRAINER = (
    "every argument of lightning.Trainer, such as max_epochs, devices, strategy, precision, logger, callbacks"
)

Key = tuple[str, str, str, str]
"""Dotted name, type, default and meaning."""


def recipe_keys(
    path: str | Path, allow: frozenset[str] | set[str] = frozenset()
) -> Iterator[tuple[str, list[Key]]]:
    """Yield the sections of a recipe as titles with their keys.

    Parameters
    ----------
    path : str or Path
        A YAML file, or the name of a recipe that comes with the package.
    allow : set of str
        Further packages whose classes may be named.

    Raises
    ------
    NeurodecError
        If the recipe cannot be read.

    Examples
    --------
    >>> from neurodec.run.recipe.recipe_keys import recipe_keys
    >>> title, keys = list(recipe_keys("haxby/linear"))[1]
    >>> title, keys[0][0]
    ('dataset: neurodec.data.BidsFMRI', 'dataset.init_args.subjects')
    """
    _, recipe = load_recipe(path, allow=sorted(allow))
    yield "of the whole recipe", _of_recipe()
    for name, section in sections_of(recipe).items():
        if name in _NAMED and isinstance(section, dict) and "class_path" not in section:
            for own, member in section.items():
                yield from _of_class(f"{name}.{own}", member, allow)
        elif name == "preprocessing" and section is not None:
            yield name, list(_keys_of(preprocessing_of(section), name))
        elif name in _OWN and section is not None:
            yield name, list(_keys_of(_OWN[name], name))
        elif name == "trainer":
            yield "trainer: lightning.Trainer", [("trainer.<argument>", "", "", _TRAINER)]
        elif name == "stages" and section:
            yield "stages: a list of", list(_keys_of(Stage, "stages"))
        elif isinstance(section, Namespace | dict):
            yield from _of_class(name, section, allow)


def keys_text(path: str | Path, allow: frozenset[str] | set[str] = frozenset()) -> str:
    """Return all keys of a recipe as text for a terminal."""
    lines = []
    for title, keys in recipe_keys(path, allow):
        lines += [title] + [
            f"  {name}  ({', '.join(part for part in (kind, f'default {default}' if default else '') if part)})\n"
            f"      {meaning}"
            for name, kind, default, meaning in keys
        ]
    return "\n".join(lines)


def keys_page() -> str:
    """Return the page of the site that lists the keys which do not depend on a named class."""
    sections = [("Of the whole recipe", _of_recipe())]
    sections += [
        (f"`{name}`", list(_keys_of(kind, name))) for name, kind in {**_OWN, "stages": Stage}.items()
    ]
    lines = ["# Keys of a recipe", ""]
    lines += ["`neurodec recipe NAME --keys` prints those of the classes that a recipe names, too.", ""]
    for kind in (EEGPreprocessing, VoxelPreprocessing):
        sections.append((f"`preprocessing` ({kind.__name__})", list(_keys_of(kind, "preprocessing"))))
    lines += ["## Sections", "", "| section | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in _SECTIONS.items()] + [""]
    for title, keys in sections:
        lines += [f"## {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            "| " + " | ".join(_cell(part, code=place < 3) for place, part in enumerate(key)) + " |"
            for key in keys
        ]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str, *, code: bool) -> str:
    text = text.replace("|", r"\|")
    return f"`{text}`" if code and text else text


def _of_recipe() -> list[Key]:
    parser = recipe_parser({})
    known = {
        "name": "text",
        "seed": "int",
        "seeds": "list[int] | None",
        "protocol": "text",
        "selection": "text",
    }
    helps = {action.dest: action.help for action in parser._actions}
    return [(name, kind, str(parser.get_defaults().get(name)), helps[name]) for name, kind in known.items()]


def _of_class(
    section: str, content: Any, allow: frozenset[str] | set[str]
) -> Iterator[tuple[str, list[Key]]]:
    path = content.get("class_path")
    if path:
        kind = resolve_class(path, object, allow, section)
        yield f"{section}: {path}", list(_keys_of(kind, f"{section}.init_args"))


def _default_of(field: Field | None, argument: inspect.Parameter) -> Any:
    """Return the default of an argument, made where it is made anew for every object.

    Parameters
    ----------
    field : Field, optional
        Of a dataclass.
    argument : inspect.Parameter
    """
    if field is not None and field.default_factory is not MISSING:
        return field.default_factory()
    return argument.default


def _keys_of(kind: type, prefix: str) -> Iterator[Key]:
    meanings = {
        name.strip(): " ".join((one.description or "").split())
        for base in reversed(kind.__mro__[:-1])  # a subclass says anew what it means otherwise
        for one in parse(base.__doc__ or "").params
        if one.args[0] == "param"
        for name in one.arg_name.split(",")
    }
    known: dict[str, Field] = {one.name: one for one in fields(kind)} if is_dataclass(kind) else {}
    for name, argument in inspect.signature(kind).parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        nested = _default_of(known.get(name), argument)
        default = "" if nested is argument.empty else repr(nested)
        if is_dataclass(nested) and not isinstance(nested, type):
            for key, kind_of, default, meaning in _keys_of(type(nested), f"{prefix}.{name}"):
                own = getattr(nested, key.rpartition(".")[2], default)  # as this class sets it
                yield key, kind_of, default if is_dataclass(own) else repr(own), meaning
            continue
        annotation = argument.annotation
        kind_of = (
            annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
        )
        yield f"{prefix}.{name}", kind_of, default, meanings.get(name, "")
