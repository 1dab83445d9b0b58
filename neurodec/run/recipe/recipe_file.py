"""Reading a recipe: one YAML file, checked against the signatures of the classes that it names."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import Trainer
from torch import nn

from neurodec.class_paths import check_arguments, check_size, check_value
from neurodec.data import Dataset
from neurodec.data.folding import CrossValidation
from neurodec.decoders import Decoder
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.section import Evaluation
from neurodec.features import Extractor
from neurodec.priors import Prior
from neurodec.run.recipe.recipe_objects import check_together
from neurodec.run.recipe.recipe_parser import SECTIONS, preprocessing_of, recipe_parser, sections_of
from neurodec.run.reconstruct import Reconstruction
from neurodec.shipped import recipe_path, shipped
from neurodec.systems import System
from neurodec.training import Objective, Stage, TrainingData
from neurodec.training.module import LRSchedulerCallable, OptimizerCallable
from neurodec.training.trainer import check_packages

_NAMED = ("targets", "evaluation")  # hold several classes, by name
_TRAINING = ("objective", "optimizer", "lr_scheduler", "stages", "trainer")
_FORMER = {"neurodec.alignment.": "neurodec.training."}
_ARGUMENTS = {"decoder": "classifier"}  # of Classification; a decoder draws pictures
_FORMER_OVERRIDE = re.compile(r"^(--evaluation\b[^=]*\.init_args\.)decoder\b(?=$|[.=])")
_RETIRED = {"n_bootstrap": "intervals follow from the scores themselves"}


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), allow: Sequence[str] = ()
) -> tuple[ArgumentParser, Namespace]:
    """Read a recipe and its overrides.

    Parameters
    ----------
    path : str or Path
        The YAML file, or the name of one that is included, such as ``demo/eeg``. It may name classes of the
        allowed packages only.
    overrides : sequence of str
        Such as ``["--trainer.max_epochs", "20"]``.
    allow : sequence of str
        Further packages whose classes may be named.

    Returns
    -------
    parser : ArgumentParser
        Can write the configuration back.
    recipe : Namespace
        `name`, `seeds`, `protocol`, `selection`, and the sections that the file has.

    Raises
    ------
    NeurodecError
        Naming the key that does not exist or whose value does not fit, or the class that is not allowed.
    """
    path, allowed = recipe_path(path), set(allow)
    content = _read_yaml(path)
    overrides = [_FORMER_OVERRIDE.sub(r"\1classifier", text) for text in overrides]
    whole = [text for text in overrides if text.removeprefix("--").partition("=")[0] in {*SECTIONS, "config"}]
    if whole:  # a path here would be read unchecked
        raise NeurodecError(
            f"{whole[0]} replaces a whole section; override single keys, such as --trainer.max_epochs."
        )
    unread = "", "the docstring of the class lists its keys"
    # Before the parser sees it, because it imports what a text names; and after, because it knows short names.
    with reading(f"The recipe {path}", *unread):
        whole_content = _with_overrides(content, overrides)
        check_sections(whole_content, path.parent, allowed)
    parser = recipe_parser(content)
    with reading(f"The recipe {path}", *unread):
        try:
            recipe = parser.parse_args(["--config", yaml.safe_dump(content), *overrides])
        except (ArgumentError, ValueError, TypeError) as error:
            check_packages(
                whole_content.get("trainer")
            )  # a class without its package may not tell its arguments
            raise NeurodecError(
                f"The recipe {path} does not fit: {_reason(error)[:400]}; `neurodec recipe NAME --keys` lists "
                "those of a recipe that fits."
            ) from error
        check_sections(sections_of(recipe), path.parent, allowed)
    recipe = _plain(recipe)
    for stage in recipe.get("stages") or []:
        if stage.recipe is not None and recipe_path(stage.recipe) == Path(
            stage.recipe
        ):  # none that is included
            stage.recipe = str((path.parent / stage.recipe).resolve())
        if stage.recipe is not None:
            _require_end(recipe_path(stage.recipe), (path.resolve(),))
    recipe.seeds = recipe.seeds or [recipe.seed]
    check_together(recipe, path, allowed)
    return parser, recipe


def _require_end(path: Path, above: tuple[Path, ...]) -> None:
    """Refuse stages whose recipes lead back to themselves: each would begin anew inside the other.

    Raises
    ------
    NeurodecError
        Naming the recipe.
    """
    path = path.resolve()
    if path in above:
        raise NeurodecError(
            f"The recipe {above[0]} names, through the `recipe` of its stages, {path} again; name one that ends."
        )
    for stage in _read_yaml(path).get("stages") or []:
        named = stage.get("recipe") if isinstance(stage, dict) else None
        if isinstance(named, str):
            inner = recipe_path(named)
            _require_end(path.parent / named if inner == Path(named) else inner, (*above, path))


def _plain(value: Any) -> Any:
    """Replace enumerated texts, which some defaults are (Timer's `interval`), by texts: YAML knows no others."""
    if isinstance(value, Namespace):
        for key, item in vars(value).items():
            vars(value)[key] = _plain(item)
    elif isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value.value) if isinstance(value, str) and isinstance(value, Enum) else value


def check_sections(content: dict[str, Any], folder: Path, allow: set[str]) -> None:
    """Refuse classes in a recipe where none is expected, and those that may not be built.

    Parameters
    ----------
    content : dict
        The recipe, as written or as parsed.
    folder : Path
        Of the recipe.
    allow : set of str
        Further packages whose classes may be named.

    Raises
    ------
    NeurodecError
        Naming the key.
    """
    slots = {
        "dataset": Dataset,
        "prior": Prior,
        "decoder": Decoder,
        "encoder": nn.Module,
        "system": System,
    }
    slots |= {"objective": Objective, "optimizer": OptimizerCallable, "lr_scheduler": LRSchedulerCallable}
    slots |= {"stages": list[Stage]}
    arguments = {"data": TrainingData, "trainer": Trainer, "reconstruction": Reconstruction}
    arguments |= {"cross_validation": CrossValidation}
    arguments |= {"preprocessing": preprocessing_of(content.get("preprocessing"))}
    members = {"targets": Extractor, "evaluation": Evaluation}
    for name in SECTIONS:
        section = content.get(name)
        if section is None:
            continue
        if name in arguments:
            check_arguments(arguments[name], section, name, folder, allow)
        elif name in slots:
            check_value(slots[name], section, name, folder, allow)
        elif isinstance(section, dict) and "class_path" not in section:
            for own, member in section.items():
                check_value(members[name], member, f"{name}.{own}", folder, allow)
        else:
            check_value(members[name], section, name, folder, allow)


def _with_overrides(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the recipe with its overrides in place, as far as the check of classes needs them."""
    content = copy.deepcopy(content)
    words = list(overrides)
    while words:
        word = words.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("--") else ""
        place: Any = content
        *above, last = key.rstrip("+").split(".")
        for name in above:
            if isinstance(place, list):  # `callbacks.patience` speaks of the last one
                place.append({})
                place = place[-1]
            inner = place.get(name)
            if not isinstance(inner, (dict, list)):
                inner = place[name] = {"class_path": inner} if isinstance(inner, str) else {}
            place = inner
        if isinstance(place, list):
            place.append({last: value})
        elif key.endswith("+") and isinstance(place.get(last), list):
            place[last].append(value)
        elif isinstance(place.get(last), dict) and isinstance(value, str) and last != "init_args":
            place[last] = [place[last], value]
        else:
            place[last] = value
    return content


def _hint(key: str) -> str:
    near = get_close_matches(key, [*SECTIONS, "name", "seed", "seeds", "protocol", "selection"], 1)
    return f"do you mean {near[0]}? Otherwise " if near else ""


def _reason(error: Exception) -> str:
    """Return what jsonargparse found wrong, without its account of the alternatives."""
    text = " ".join(str(error).split())
    text = re.sub(r", given NestedArg\(.*?\)", "", text)
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: ", "", text)
    text = re.sub(r" - Expected a <class 'NoneType'> Given value type: <class 'dict'>.*", "", text)
    return re.sub(
        r" - Expected a <class 'NoneType'> Given value type: \S+ \S+ Given value: ", ", given ", text
    ).rstrip(".")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise NeurodecError(
            f"The recipe {path} does not exist; name a file, or one that is included: {', '.join(shipped())}."
        )
    with reading(f"The recipe {path}", "a YAML file", "correct it"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        check_size(content, f"The recipe {path}")
    if not isinstance(content, dict) or "dataset" not in content:
        raise NeurodecError(f"The recipe {path} has no `dataset` section, which names the reader; add it.")
    content = _moved(_first_sections(content))
    if "model" in content or "features" in content:
        raise NeurodecError(
            f"The recipe {path} has a section `{'model' if 'model' in content else 'features'}` of former versions; "
            "write  targets: {image: {class_path: neurodec.features.OpenClip}}, encoder: {class_path: "
            "neurodec.encoders.ATM}, objective: {class_path: neurodec.training.RetrievalObjective} and optimizer: "
            "{class_path: torch.optim.AdamW} in its place (configs/ holds examples)."
        )
    unknown = sorted(set(content) - {*SECTIONS, "name", "seed", "seeds", "protocol", "selection"})
    if unknown:  # the parser would let an empty section pass
        raise NeurodecError(
            f"The recipe {path} has the key {unknown[0]}, which does not exist; {_hint(unknown[0])}correct or remove "
            "it."
        )
    encoder = content.get("encoder")
    named = encoder.get("class_path") if isinstance(encoder, dict) else encoder
    if isinstance(named, str) and named.rpartition(".")[2] in ("Ridge", "RidgeClassifier"):
        raise NeurodecError(
            f"The recipe {path} names {named} as its encoder, but ridge is not trained in batches; write  system: "
            "{class_path: neurodec.systems.RidgeSystem}  in place of `encoder`."
        )
    if "encoder" in content and (not isinstance(encoder, dict) or "class_path" not in encoder):
        raise NeurodecError(
            f"The section encoder of the recipe {path} names no class; write  encoder: {{class_path: "
            f"neurodec.encoders.{encoder if isinstance(encoder, str) and encoder.isidentifier() else 'ATM'}}}."
        )
    kinds = {"stages": list}
    empty = [
        name for name in SECTIONS if name in content and not isinstance(content[name], kinds.get(name, dict))
    ]
    if empty:
        raise NeurodecError(
            f"The section {empty[0]} of the recipe {path} holds no keys; write them there, or remove it."
        )
    _check_sections_together(content, path)
    return _renamed(content)


def _check_sections_together(content: dict[str, Any], path: Path) -> None:
    """Refuse sections that lack others."""
    trains = {"encoder", "system"} & set(content)
    if len(trains) > 1:
        raise NeurodecError(f"The recipe {path} has both `encoder` and `system`; keep one.")
    if trains and not content.get("targets") and "objective" not in content:  # which may need none
        raise NeurodecError(
            f"The recipe {path} trains without `targets`; add  targets: {{image: {{class_path: "
            "neurodec.features.OpenClip}}}}.".replace("}}}}", "}}")
        )
    alone = [name for name in (*_TRAINING, "targets") if name in content and not trains]
    if "system" in trains:
        alone += [name for name in _TRAINING if name in content]
    if alone:
        raise NeurodecError(
            f"The section {alone[0]} of the recipe {path} belongs to an `encoder`, and there is none; add it or remove "
            "the section."
        )
    if "class_path" in (content.get("targets") or {}):
        raise NeurodecError(
            f"The section targets of the recipe {path} has no names; write  targets: {{image: {{class_path: ...}}}}."
        )
    drawing = {"decoder", "reconstruction"}
    if "cross_validation" in content:
        apart = content.get("protocol", "within_subject") not in ("within_subject", "joint")
        if not trains or apart:
            clash = "beside a protocol that leaves out subjects" if apart else ""
            raise NeurodecError(
                f"The recipe {path} has `cross_validation` "
                + (clash or "and nothing to train (`encoder` or `system`)")
                + "; remove one of them (Classification divides trials by its `scheme`)."
            )
    if {*drawing, "prior"} & set(content) and not (drawing <= set(content) and trains):
        raise NeurodecError(
            f"The recipe {path} reconstructs pictures only with `encoder` or `system`, `decoder` and `reconstruction` "
            "together; add those that are missing or remove the others."
        )


def _first_sections(content: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of the first version, which had `features` and `model`, with the sections of today."""
    model, features = content.get("model"), content.get("features", {})
    first = isinstance(model, dict) and "encoder" in model and set(model) <= {"encoder", "lr"}
    if not first or not isinstance(features, dict) or {"encoder", "targets", "optimizer"} & set(content):
        return content
    warnings.warn(
        "The sections `features` and `model` are read as `targets`, `encoder` and `optimizer`.", stacklevel=2
    )
    kept = {name: section for name, section in content.items() if name not in ("model", "features")}
    kept["targets"] = {"image": {"class_path": "neurodec.features.OpenClip", "init_args": features}}
    kept["encoder"] = model["encoder"]
    if "lr" in model:
        kept["optimizer"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": model["lr"]}}
    return kept


def _moved(content: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe whose CSBrainPretraining hides patches itself with that left to the objective, as of today."""
    encoder, objective = content.get("encoder"), content.get("objective")
    own = encoder.get("init_args") if isinstance(encoder, dict) else None
    moved = {"hidden_share", "target"} & set(own) if isinstance(own, dict) else set()
    if not moved or not str(encoder["class_path"]).endswith("CSBrainPretraining"):
        return content
    warnings.warn(f"`encoder.{min(moved)}` is read as `objective.{min(moved)}`.", stacklevel=2)
    kept = {name: value for name, value in own.items() if name not in moved}
    arguments = {name: own[name] for name in moved} | (objective.get("init_args") or {})
    return {
        **content,
        "encoder": {**encoder, "init_args": kept},
        "objective": {**objective, "init_args": arguments},
    }


def _renamed(content: Any) -> Any:
    """Return a recipe of former versions with the names of today, and without keys that nothing reads any more."""
    if isinstance(content, dict):
        for key in _RETIRED.keys() & content.keys():
            warnings.warn(f"`{key}` of the recipe is ignored: {_RETIRED[key]}.", stacklevel=2)
        kept = {key: _renamed(value) for key, value in content.items() if key not in _RETIRED}
        arguments = kept.get("init_args")
        if str(kept.get("class_path")).endswith(".Classification") and isinstance(arguments, dict):
            kept["init_args"] = {_ARGUMENTS.get(name, name): value for name, value in arguments.items()}
        return kept
    if isinstance(content, list):
        return [_renamed(value) for value in content]
    if isinstance(content, str):
        for former, now in _FORMER.items():
            content = now + content.removeprefix(former) if content.startswith(former) else content
    return content
