"""Reading a recipe: one YAML file, checked against the signatures of the classes that it names."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import Trainer
from torch import nn

import neurodec.encoders  # noqa: F401  short class names resolve among what is imported
from neurodec.class_paths import build, check_arguments, check_size, check_value, resolve_class
from neurodec.data import Dataset
from neurodec.decoders import Decoder, check_conditions
from neurodec.errors import NeurodecError, reading
from neurodec.evaluation.section import Evaluation
from neurodec.features import Extractor, FeatureFiles
from neurodec.priors import DiffusionPrior, IdentityPrior, LinearPrior
from neurodec.run.folds import Protocol
from neurodec.run.reconstruct import Reconstruction
from neurodec.training import LightningSystem, Objective, RidgeSystem, Stage, System, TrainingData
from neurodec.training.fit import Selection
from neurodec.training.module import LRSchedulerCallable, OptimizerCallable
from neurodec.training.trainer import check_packages

SECTIONS = (
    "dataset",
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
)
_NAMED = ("targets", "evaluation")  # hold several classes, by name
_TRAINING = ("objective", "optimizer", "lr_scheduler", "stages", "trainer")
_SIZES = {"n_chans", "n_times", "n_outputs", "n_subjects", "sfreq", "spaces", "heads"}
_PRIORS = DiffusionPrior | LinearPrior | IdentityPrior
_OPTIMIZER = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4}}
_FORMER = {"neurodec.alignment.": "neurodec.training."}


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
        `name`, `seeds`, `protocol`, `selection`, and the sections that the file has.

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
        check_sections(sections_of(recipe), path.parent, allowed)
    recipe = _plain(recipe)
    recipe.seeds = recipe.seeds or [recipe.seed]
    _check_together(recipe, path, allowed)
    return parser, recipe


def _plain(value: Any) -> Any:
    """Replace enumerated texts, which some defaults are (Timer's `interval`), by texts: YAML knows no others."""
    if isinstance(value, Namespace):
        for key, item in vars(value).items():
            vars(value)[key] = _plain(item)
    elif isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value.value) if isinstance(value, str) and isinstance(value, Enum) else value


def sections_of(recipe: Any) -> Any:
    """Return a recipe, or a part of it, as nested dicts and lists."""
    if isinstance(recipe, Namespace):
        recipe = vars(recipe)
    if isinstance(recipe, dict):
        return {name: sections_of(value) for name, value in recipe.items()}
    return [sections_of(value) for value in recipe] if isinstance(recipe, list) else recipe


def _check_together(recipe: Namespace, path: Path, allow: set[str]) -> None:
    """Refuse sections that do not go with each other."""
    trains = "encoder" in recipe or "system" in recipe
    objects = built_objects(recipe)
    if not objects.evaluation and "reconstruction" in recipe:
        raise NeurodecError(
            f"The recipe {path} draws pictures without an `evaluation`, which says how trials are averaged; add "
            "evaluation: {class_path: neurodec.evaluation.Retrieval}."
        )
    for evaluation in objects.evaluation.values():
        name = type(evaluation).__name__
        if trains and not evaluation.needs_system:
            raise NeurodecError(
                f"The recipe {path} trains an `encoder` or `system`, which {name} does not score, as it trains its own "
                "decoder; leave out these, `targets`, `data` and `trainer`, or take neurodec.evaluation.Retrieval."
            )
        if not trains and evaluation.needs_system:
            raise NeurodecError(
                f"The recipe {path} scores with {name}, which needs a trained system; add the sections `targets` and "
                "`encoder` or `system`, or take neurodec.evaluation.Classification."
            )
    if not trains:
        return
    sections = sections_of(recipe)
    head, needs = _head_of(sections, objects, allow)
    missing = [name for name in needs if name not in objects.targets]
    if missing:
        raise NeurodecError(
            f"The recipe {path} learns the target {missing[0]}, and `targets` has {', '.join(objects.targets)}; add it "
            "there, or name another in `objective` or `system`."
        )
    if "decoder" in sections:
        if objects.reconstruction.n_samples > 1 and isinstance(objects.targets[head], FeatureFiles):
            raise NeurodecError(
                "`reconstruction.n_samples` chooses among pictures by their own embeddings, which no file holds; set "
                f"it to 1, or let a network compute the target {head}."
            )
        conditions = objects.reconstruction.conditions
        unknown = [own for own in conditions.values() if own not in objects.targets]
        if unknown:
            raise NeurodecError(
                f"`reconstruction.conditions` names the target {unknown[0]}, and `targets` has "
                f"{', '.join(objects.targets)}; add it there."
            )
        drawn = {name: objects.targets[own].embedding_space for name, own in conditions.items()}
        _check_spaces(sections["decoder"], objects.targets[head].embedding_space, drawn, allow)


def _head_of(sections: dict[str, Any], objects: Namespace, allow: set[str]) -> tuple[str, tuple[str, ...]]:
    """Return the head that is compared with candidates, and the targets that are learnt."""
    if "system" in sections:
        system = system_of(sections, objects, sections["seed"], allow)
        named = getattr(system, "targets", None)
        return system.head, tuple(named or [system.head])
    objective = sections.get("objective") or {"class_path": "neurodec.training.RetrievalObjective"}
    built = build(Objective, objective, "objective", allow)
    return built.head, built.needs


def _check_spaces(section: dict[str, Any], image: str, others: dict[str, str], allow: set[str]) -> None:
    """Refuse a decoder that reads other embeddings than those that are learnt, without loading its weights."""
    kind = resolve_class(section["class_path"], Decoder, allow, "decoder")
    reads = kind.spaces(section.get("init_args") or {})
    if reads is not None:
        check_conditions(kind, reads, {next(iter(reads)): image, **others})


def built_objects(recipe: Namespace) -> Namespace:
    """Build what a recipe's sections describe, but for systems, priors and decoders, which folds need anew.

    Returns
    -------
    Namespace
        `dataset`, `targets` (by name), `data` (or None), `evaluation` (by name) and `reconstruction` (or None).
    """
    kept = recipe.clone()
    for name in SECTIONS:
        if name not in ("dataset", "targets", "data", "evaluation", "reconstruction"):
            kept.pop(name, None)
    with reading("The recipe", "", "correct the arguments of its classes"):
        found = recipe_parser(kept.as_dict()).instantiate_classes(kept)
    evaluation = found.get("evaluation")
    several = isinstance(evaluation, Namespace)
    return Namespace(
        dataset=found.dataset,
        targets=dict(vars(found.get("targets") or Namespace())),
        data=found.get("data"),
        evaluation={} if evaluation is None else dict(vars(evaluation)) if several else {"main": evaluation},
        reconstruction=found.get("reconstruction"),
    )


def system_of(
    sections: dict[str, Any], objects: Namespace, seed: int, allow: frozenset[str] | set[str]
) -> System:
    """Return a new system as a recipe describes it.

    Parameters
    ----------
    sections : dict
        The recipe.
    objects : Namespace
        From `built_objects`.
    seed : int
    allow : set of str
        Further packages whose classes may be named.
    """
    if "system" in sections:
        system = build(System, sections["system"], "system", allow)
        if objects.data is not None and isinstance(system, RidgeSystem):
            system.data = objects.data
        return system
    return LightningSystem(
        sections["encoder"],
        sections.get("objective"),
        sections.get("optimizer"),
        sections.get("lr_scheduler"),
        objects.data,
        sections.get("trainer"),
        [Stage(**stage) for stage in sections.get("stages") or []],
        sections["selection"],
        seed,
        allow,
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
    slots = {"dataset": Dataset, "prior": _PRIORS, "decoder": Decoder, "encoder": nn.Module, "system": System}
    slots |= {"objective": Objective, "optimizer": OptimizerCallable, "lr_scheduler": LRSchedulerCallable}
    slots |= {"stages": list[Stage]}
    arguments = {"data": TrainingData, "trainer": Trainer, "reconstruction": Reconstruction}
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
            f"The recipe {path} has the key {unknown[0]}, which does not exist; correct or remove it."
        )
    encoder = content.get("encoder")
    named = encoder.get("class_path") if isinstance(encoder, dict) else encoder
    if isinstance(named, str) and named.rpartition(".")[2] in ("Ridge", "RidgeClassifier"):
        raise NeurodecError(
            f"The recipe {path} names {named} as its encoder, but ridge is not trained in batches; write  system: "
            "{class_path: neurodec.training.RidgeSystem}  in place of `encoder`."
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
    if trains and not content.get("targets"):
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
    if {*drawing, "prior"} & set(content) and not (drawing <= set(content) and trains):
        raise NeurodecError(
            f"The recipe {path} reconstructs pictures only with `encoder` or `system`, `decoder` and `reconstruction` "
            "together; add those that are missing or remove the others."
        )


def _renamed(content: Any) -> Any:
    """Return a recipe whose classes of former versions have their names of today."""
    if isinstance(content, dict):
        return {key: _renamed(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value) for value in content]
    if isinstance(content, str):
        for former, now in _FORMER.items():
            content = now + content.removeprefix(former) if content.startswith(former) else content
    return content


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
    if "decoder" in content:
        parser.add_subclass_arguments(_PRIORS.__args__, "prior", required=False)
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
