"""A fitted prior on disk: `config.json` and `model.safetensors`, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, read_json, write_json

_NEEDED = ("init_args", "embedding_space", "embed_dim", "cond_dim")


def write_prior(folder: str | Path, prior: nn.Module, facts: dict[str, Any]) -> None:
    """Write the tensors of a fitted prior and what rebuilds it.

    Parameters
    ----------
    folder : str or Path
    prior : Prior
    facts : dict
        JSON-able. The class path is added.

    Raises
    ------
    NeurodecError
        If the prior was never fitted.
    """
    require_fitted(prior)
    tensors = {name: value.detach().cpu().contiguous() for name, value in prior.state_dict().items()}
    with atomic_path(Path(folder) / "model.safetensors") as partial:
        save_file(tensors, partial)
    config = {"class_path": class_path(type(prior)), "embedding_space": prior.embedding_space, **facts}
    write_json(Path(folder) / "config.json", config)


def read_prior_config(folder: str | Path, kind: type[nn.Module]) -> dict[str, Any]:
    """Read the `config.json` of a prior of the given class.

    Raises
    ------
    NeurodecError
        If the file is missing, or describes something else.
    """
    config = read_json(Path(folder) / "config.json")
    found = config.get("class_path") if isinstance(config, dict) else None
    if found != class_path(kind):
        raise NeurodecError(
            f"{folder}/config.json describes {found or 'no prior'}, not {class_path(kind)}; use `load_prior`, or give "
            "a folder written by `save_pretrained`."
        )
    lacking = [name for name in _NEEDED if name not in config]
    if lacking:
        raise NeurodecError(f"{folder}/config.json lacks {', '.join(lacking)}; fit and save the prior again.")
    return config


def require_fitted(prior: nn.Module) -> None:
    """Refuse a prior that knows no embedding space yet.

    Raises
    ------
    NeurodecError
    """
    if prior.embedding_space is None:
        raise NeurodecError(
            f"This {type(prior).__name__} was never fitted; call `fit` or `from_pretrained` first."
        )


def class_path(kind: type) -> str:
    """Return the public import path of a prior."""
    own = kind.__module__.startswith("neurodec.priors.")
    return f"{'neurodec.priors' if own else kind.__module__}.{kind.__qualname__}"
