"""Reading a recipe: one YAML file, checked against the signatures of the classes that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning import Trainer

import neurodec.encoders  # noqa: F401  short class names resolve among what is imported
from neurodec.alignment import AlignmentModule, TrialsDataModule
from neurodec.alignment.fit import Selection, link_sizes
from neurodec.alignment.pretrained import check_class_path
from neurodec.data import Dataset
from neurodec.decoders import GuidedDiffusion, Kandinsky
from neurodec.errors import NeurodecError
from neurodec.evaluation import Evaluation
from neurodec.features import OpenClip
from neurodec.priors import DiffusionPrior, LinearPrior
from neurodec.reconstruct import Reconstruction

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
    content = _read_yaml(Path(path))
    values = [text.partition("=")[2] if text.startswith("--") else text for text in overrides]
    for class_path in _class_paths([content, values], Path(path).parent):
        check_class_path(class_path, set(allow))
    whole = [text for text in overrides if text.removeprefix("--").partition("=")[0] in {*SECTIONS, "config"}]
    if whole:  # a path here would be read unchecked
        raise NeurodecError(
            f"{whole[0]} replaces a whole section; override single keys, such as --trainer.max_epochs."
        )
    parser = recipe_parser([name for name in SECTIONS if name in content])
    try:
        recipe = parser.parse_args(["--config", str(path), *overrides])
    except (ArgumentError, ValueError, TypeError) as error:
        raise NeurodecError(
            f"The recipe {path} does not fit: {_reason(error)[:400]}; the docstring of the class lists its keys."
        ) from None
    return parser, recipe


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
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return (installed if installed.is_dir() else package.parent / "configs") / f"{name}.yaml"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NeurodecError(f"The recipe {path} does not exist; configs/ holds some to start from.") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        reason = " ".join(str(error).split())
        raise NeurodecError(f"The recipe {path} is not a YAML file ({reason}); correct it.") from None
    if not isinstance(content, dict) or "dataset" not in content:
        raise NeurodecError(f"The recipe {path} has no `dataset` section, which names the reader; add it.")
    unknown = sorted(set(content) - {*SECTIONS, "name", "seed", "protocol", "selection"})
    if unknown:  # the parser would let an empty section pass
        raise NeurodecError(
            f"The recipe {path} has the key {unknown[0]}, which does not exist; correct or remove it."
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
    if _DRAWING & set(content) and not {*_DRAWING, "model"} <= set(content):
        raise NeurodecError(
            f"The recipe {path} reconstructs pictures only with the sections `model`, `prior`, `decoder` and "
            "`reconstruction` together; add those that are missing or remove the others."
        )
    return content


def _class_paths(content: Any, folder: Path) -> Iterator[str]:
    """Yield every string that jsonargparse could import: importing alone runs a module's code."""
    if isinstance(content, str):
        content = _as_read(content, folder)
    if isinstance(content, dict):
        if "class_path" in content:
            yield str(content["class_path"])
        for value in content.values():
            yield from _class_paths(value, folder)
    elif isinstance(content, list):
        for value in content:
            yield from _class_paths(value, folder)
    elif isinstance(content, str):
        names = content.split(".")
        dotted = len(names) > 1 and all(name.isidentifier() for name in names)
        if dotted and (names[-1][0].isupper() or find_spec(names[0])):
            yield content


def _as_read(text: str, folder: Path) -> Any:
    """Return what jsonargparse makes of a text: it also reads JSON in it, or the file that it names."""
    for file in (Path(text), folder / text):
        with suppress(OSError, ValueError):
            text = file.read_text(encoding="utf-8") if file.is_file() else text
    with suppress(yaml.YAMLError):
        parsed = yaml.safe_load(text)
        return parsed if isinstance(parsed, (dict, list)) else text
    return text


def recipe_parser(sections: list[str]) -> ArgumentParser:
    """Return the parser of a recipe with these sections."""
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
    if "features" in sections:
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
