"""What a recipe's sections describe, built, and whether these go with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from neurodec.class_paths import build, resolve_class
from neurodec.decoders import Decoder, check_conditions
from neurodec.errors import NeurodecError, reading
from neurodec.features import FeatureFiles
from neurodec.files import require_file_name
from neurodec.run.recipe.recipe_parser import SECTIONS, recipe_parser, sections_of
from neurodec.systems import LightningSystem, System
from neurodec.training import Objective, Stage

_BUILT = ("dataset", "preprocessing", "targets", "data", "evaluation", "reconstruction", "cross_validation")


def built_objects(recipe: Namespace) -> Namespace:
    """Build what a recipe's sections describe, but for systems, priors and decoders, which folds need anew.

    Returns
    -------
    Namespace
        `dataset`, `targets` and `evaluation` (by name), and `preprocessing`, `data`, `reconstruction`,
        `cross_validation` (or None).
    """
    kept = recipe.clone()
    for name in SECTIONS:
        if name not in _BUILT:
            kept.pop(name, None)
    with reading("The recipe", "", "correct the arguments of its classes"):
        found = recipe_parser(kept.as_dict()).instantiate_classes(kept)
    evaluation = found.get("evaluation")
    several = isinstance(evaluation, Namespace)
    return Namespace(
        dataset=found.dataset,
        preprocessing=found.get("preprocessing"),
        targets=dict(vars(found.get("targets") or Namespace())),
        data=found.get("data"),
        evaluation={} if evaluation is None else dict(vars(evaluation)) if several else {"main": evaluation},
        reconstruction=found.get("reconstruction"),
        cross_validation=found.get("cross_validation"),
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
        if objects.data is not None and hasattr(system, "data"):
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


def check_together(recipe: Namespace, path: Path, allow: set[str]) -> None:
    """Refuse sections that do not go with each other."""
    trains = "encoder" in recipe or "system" in recipe
    objects = built_objects(recipe)
    if not objects.evaluation and "reconstruction" in recipe:
        raise NeurodecError(
            f"The recipe {path} draws pictures without an `evaluation`, which says how trials are averaged; add "
            "evaluation: {class_path: neurodec.evaluation.Retrieval}."
        )
    for own in (*objects.targets, *objects.evaluation):
        require_file_name(own, "The target or evaluation")
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
            f"The recipe {path} learns the target {missing[0]}, and `targets` has "
            f"{', '.join(objects.targets) or 'none'}; add it there, or name another in `objective` or `system`."
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
    """Return the head that is compared with candidates, and the targets that are learned."""
    if "system" in sections:
        system = system_of(sections, objects, sections["seed"], allow)
        named = getattr(system, "targets", None)
        return system.head, tuple(named or [system.head])
    objective = sections.get("objective") or {"class_path": "neurodec.training.RetrievalObjective"}
    built = build(Objective, objective, "objective", allow)
    return built.head, built.needs


def _check_spaces(section: dict[str, Any], image: str, others: dict[str, str], allow: set[str]) -> None:
    """Refuse a decoder that reads other embeddings than those that are learned, without loading its weights."""
    kind = resolve_class(section["class_path"], Decoder, allow, "decoder")
    reads = kind.spaces(section.get("init_args") or {})
    if reads is not None:
        check_conditions(kind, reads, {next(iter(reads)): image, **others})
