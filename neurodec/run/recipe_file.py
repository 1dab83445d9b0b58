"""Reading a recipe: one YAML file, checked against the signatures of the classes that it names."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import Trainer

import neurodec.encoders  # noqa: F401  short class names resolve among what is imported
from neurodec.class_paths import check_arguments, check_size, check_value, resolve_class
from neurodec.data import Dataset
from neurodec.decoders import GuidedDiffusion, Kandinsky
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation import Evaluation, Retrieval
from neurodec.features import Extractor, OpenClip
from neurodec.priors import DiffusionPrior, LinearPrior
from neurodec.run.reconstruct import Reconstruction
from neurodec.training import AlignmentModule, TrialsDataModule
from neurodec.training.fit import Selection, link_sizes
from neurodec.training.trainer import check_packages

SECTIONS = (
    "dataset",
    "features",
    "data",
    "model",
    "trainer",
    "prior",
    "decoder",
    "reconstruction",
    "evaluation",
)
_DRAWING = {"prior", "decoder", "reconstruction"}


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), allow: Sequence[str] = ()
) -> tuple[ArgumentParser, Namespace]:
    """Read a recipe and its overrides.

    Parameters
    ----------
    path : str or Path
        The YAML file. It may name classes of the allowed packages only.
    overrides : sequence of str
        Such as ``["--trainer.max_epochs", "20"]``.
    allow : sequence of str
        Further packages whose classes may be named.

    Returns
    -------
    parser : ArgumentParser
        Can write the configuration back.
    recipe : Namespace
        `name`, `seed`, `protocol`, `selection`, and the sections that the file has.

    Raises
    ------
    NeurodecError
        Naming the key that does not exist or whose value does not fit, or the class that is not allowed.
    """
    path, allowed = Path(path), set(allow)
    content = _read_yaml(path)
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
            recipe = parser.parse_args(["--config", str(path), *overrides])
        except (ArgumentError, ValueError, TypeError) as error:
            check_packages(
                whole_content.get("trainer")
            )  # a class without its package may not tell its arguments
            raise NeurodecError(
                f"The recipe {path} does not fit: {_reason(error)[:400]}; the docstring of the class lists its keys."
            ) from error
        check_sections(recipe.as_dict(), path.parent, allowed)
    _check_evaluation(recipe, path, allowed)
    return parser, _plain(recipe)


def _plain(value: Any) -> Any:
    """Replace enumerated texts, which some defaults are (Timer's `interval`), by texts: YAML knows no others."""
    if isinstance(value, Namespace):
        for key, item in vars(value).items():
            vars(value)[key] = _plain(item)
    elif isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value.value) if isinstance(value, str) and isinstance(value, Enum) else value


def _check_evaluation(recipe: Namespace, path: Path, allow: set[str]) -> None:
    """Refuse an evaluation that does not go with the other sections."""
    evaluation = recipe.get("evaluation")
    if evaluation is None:
        if "reconstruction" in recipe:
            raise NeurodecError(
                f"The recipe {path} draws pictures without an `evaluation`, which says how trials are averaged; add "
                "evaluation: {class_path: neurodec.evaluation.Retrieval}."
            )
        return
    retrieves = issubclass(resolve_class(evaluation.class_path, Evaluation, allow), Retrieval)
    name = evaluation.class_path.rpartition(".")[2]
    if "model" in recipe and not retrieves:
        raise NeurodecError(
            f"The recipe {path} trains a `model`, which {name} does not score, as it trains its own decoder; leave out "
            "`model`, `features`, `data` and `trainer`, or take neurodec.evaluation.Retrieval."
        )
    if "model" not in recipe and retrieves:
        raise NeurodecError(
            f"The recipe {path} scores with {name}, which needs a trained `model`; add the sections `features`, `data` "
            "and `model`, or take neurodec.evaluation.Classification."
        )


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
    slots = {"dataset": Dataset, "evaluation": Evaluation, "prior": DiffusionPrior | LinearPrior}
    slots |= {"decoder": GuidedDiffusion | Kandinsky, "features": Extractor}
    arguments = {"data": TrialsDataModule, "model": AlignmentModule, "trainer": Trainer}
    arguments |= {"reconstruction": Reconstruction, "features": OpenClip}
    for name in SECTIONS:
        section = content.get(name)
        if section is None:
            continue
        if name in slots and not (name in arguments and "class_path" not in section):
            check_value(slots[name], section, name, folder, allow)
        else:
            check_arguments(arguments[name], section, name, folder, allow)


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


def _reason(error: Exception) -> str:
    """Return what jsonargparse found wrong, without its account of the alternatives."""
    text = " ".join(str(error).split())
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: ", "", text)
    text = re.sub(r" - Expected a <class 'NoneType'> Given value type: <class 'dict'>.*", "", text)
    return re.sub(
        r" - Expected a <class 'NoneType'> Given value type: \S+ \S+ Given value: ", ", given ", text
    ).rstrip(".")


def packaged_recipe(name: str) -> Path:
    """Return the file of a recipe of ``configs/``, such as ``demo/eeg``, in a checkout or an installed package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return (installed if installed.is_dir() else package.parent / "configs") / f"{name}.yaml"


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise NeurodecError(f"The recipe {path} does not exist; configs/ holds some to start from.")
    with reading(f"The recipe {path}", "a YAML file", "correct it"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        check_size(content, f"The recipe {path}")
    if not isinstance(content, dict) or "dataset" not in content:
        raise NeurodecError(f"The recipe {path} has no `dataset` section, which names the reader; add it.")
    unknown = sorted(set(content) - {*SECTIONS, "name", "seed", "protocol", "selection"})
    if unknown:  # the parser would let an empty section pass
        raise NeurodecError(
            f"The recipe {path} has the key {unknown[0]}, which does not exist; correct or remove it."
        )
    model = content.get("model")
    named = model if isinstance(model, str) else model.get("encoder") if isinstance(model, dict) else None
    named = named.get("class_path") if isinstance(named, dict) else named
    if isinstance(named, str) and named.rpartition(".")[2] in ("Ridge", "RidgeClassifier"):
        raise NeurodecError(
            f"The recipe {path} names {named} as its model, but ridge is not trained in batches: it runs beside "
            "every encoder as the baseline, and `evaluation: {class_path: neurodec.evaluation.Classification}` fits it "
            "alone; write  model: {encoder: {class_path: neurodec.encoders.ATM}}, or leave `model` out."
        )
    if isinstance(model, str):
        raise NeurodecError(
            f"The section model of the recipe {path} holds the single word {model}; write  model: {{encoder: "
            f"{{class_path: neurodec.encoders.{model.rpartition('.')[2]}}}}}."
        )
    empty = [name for name in SECTIONS if name in content and not isinstance(content[name], dict)]
    if empty:
        raise NeurodecError(
            f"The section {empty[0]} of the recipe {path} holds no keys; write them there, or remove it."
        )
    if "model" in content and not {"features", "data"} <= set(content):
        raise NeurodecError(
            f"The recipe {path} has a `model` but lacks `features` or `data`; add both sections."
        )
    features = content.get("features") or {}
    if _DRAWING & set(content) and str(features.get("class_path", "")).endswith("FeatureFiles"):
        raise NeurodecError(
            f"The recipe {path} reconstructs pictures from precomputed features, but the controls and ceilings need "
            "the network that made them; name an open_clip model in `features`, or leave the pictures out."
        )
    if _DRAWING & set(content) and not {*_DRAWING, "model"} <= set(content):
        raise NeurodecError(
            f"The recipe {path} reconstructs pictures only with the sections `model`, `prior`, `decoder` and "
            "`reconstruction` together; add those that are missing or remove the others."
        )
    return content


def recipe_parser(content: Mapping[str, Any]) -> ArgumentParser:
    """Return the parser of a recipe with the sections of `content`."""
    sections = [name for name in SECTIONS if name in content]
    parser = ArgumentParser(prog="recipe", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--name", type=str, required=True, help="shown in the report")
    parser.add_argument("--seed", type=int, default=42, help="of weights, batches and splits")
    parser.add_argument(
        "--protocol",
        type=Literal["within_subject", "leave_one_subject_out", "joint"],
        default="within_subject",
        help="one encoder per subject, one per left-out subject, or one for all",
    )
    parser.add_argument(
        "--selection",
        type=Selection,
        default="validation",
        help="which epoch is scored: lowest validation loss, the last, or as published (best on the test data)",
    )
    parser.add_subclass_arguments(Dataset, "dataset", required=True)
    if "features" in sections and "class_path" in content["features"]:
        parser.add_subclass_arguments(Extractor, "features")
    elif "features" in sections:
        parser.add_class_arguments(OpenClip, "features")
    if "model" in sections:
        parser.add_class_arguments(
            TrialsDataModule,
            "data",
            skip={"prepared", "features", "text_features", "subjects", "seed", "validate_on_test"},
        )
        parser.add_class_arguments(AlignmentModule, "model", skip={"seed"})
        parser.add_class_arguments(Trainer, "trainer", instantiate=False)
        link_sizes(parser)
    if "prior" in sections:
        parser.add_subclass_arguments((DiffusionPrior, LinearPrior), "prior")
        parser.add_subclass_arguments((GuidedDiffusion, Kandinsky), "decoder")
    if "reconstruction" in sections:
        parser.add_class_arguments(Reconstruction, "reconstruction")
    parser.add_subclass_arguments(Evaluation, "evaluation", required=False)
    return parser
