"""Reading a recipe: one YAML file, checked against the signatures of the classes that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    for class_path in _class_paths(content):
        check_class_path(class_path, set(allow))
    parser = recipe_parser([name for name in SECTIONS if name in content])
    try:
        recipe = parser.parse_args(["--config", str(path), *overrides])
    except (ArgumentError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise NeurodecError(f"The recipe {path} does not fit: {reason}") from None
    return parser, recipe


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


def _class_paths(content: Any) -> Iterator[str]:
    """Yield every string that jsonargparse could import as a class."""
    if isinstance(content, dict):
        for value in content.values():
            yield from _class_paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from _class_paths(value)
    elif isinstance(content, str):
        names = content.split(".")
        if len(names) > 1 and all(name.isidentifier() for name in names) and names[-1][0].isupper():
            yield content


def recipe_parser(sections: list[str]) -> ArgumentParser:
    """Return the parser of a recipe with these sections."""
    parser = ArgumentParser(prog="recipe", exit_on_error=False)
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
