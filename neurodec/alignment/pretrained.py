"""A trained encoder on disk: `config.json` and `model.safetensors`, no pickle."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from neurodec.alignment.datamodule import as_tensor
from neurodec.alignment.module import takes_subject
from neurodec.encoders.published import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, read_json, track, write_json

ALLOWED = frozenset({"neurodec", "torch", "lightning", "braindecode", "sklearn"})


def check_class_path(path: str, allow: frozenset[str] | set[str] = frozenset()) -> None:
    """Refuse to import a class of a package that nobody vouched for.

    Raises
    ------
    NeurodecError
        Naming the package and how to allow it.
    """
    package = path.split(".")[0]
    if package not in ALLOWED | set(allow):
        raise NeurodecError(
            f"The class {path} is outside the allowed packages ({', '.join(sorted(ALLOWED))}); naming it runs its "
            f"code, so allow it with --allow {package} if you trust it."
        )


def save_pretrained(
    folder: str | Path, encoder: nn.Module, encoder_config: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Write an encoder so that `load_pretrained` rebuilds it.

    Parameters
    ----------
    folder : str or Path
    encoder : nn.Module
    encoder_config : dict
        `class_path` and `init_args` that build it.
    facts : dict
        What a user must know to feed it: channels, rate, window, subjects, embedding space.
    """
    folder = Path(folder)
    with atomic_path(folder / "model.safetensors") as partial:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}, partial
        )
    write_json(folder / "config.json", {"encoder": encoder_config, **facts})


def load_pretrained(
    folder: str | Path, allow: frozenset[str] | set[str] = frozenset()
) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild an encoder written by `save_pretrained`.

    Parameters
    ----------
    folder : str or Path
    allow : set of str
        Further packages whose classes the folder may name.

    Returns
    -------
    encoder : nn.Module
        In evaluation mode.
    config : dict

    Raises
    ------
    NeurodecError
        If a file is missing, the class is not allowed, or any tensor does not fit (every one is named).
    """
    config = read_json(Path(folder) / "config.json")
    try:
        path, arguments = config["encoder"]["class_path"], config["encoder"].get("init_args") or {}
    except (KeyError, TypeError):
        raise NeurodecError(f"{folder}/config.json names no encoder; give a folder made by `fit`.") from None
    check_class_path(path, allow)
    encoder = encoder_class(path)(**arguments)
    state = read_checkpoint(Path(folder) / "model.safetensors")
    return take_exactly(encoder, state, str(folder)).eval(), config


def encoder_class(path: str) -> type[nn.Module]:
    """Import a network's class, and nothing else: calling a function such as ``torch.load`` could run a file's code.

    Raises
    ------
    NeurodecError
        If there is no such class.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NeurodecError(f"The encoder class {path} cannot be imported ({error}); install it.") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise NeurodecError(f"{path} is not a torch.nn.Module class; an encoder must be one.")
    return found


@torch.no_grad()
def embed(
    encoder: nn.Module,
    responses: np.ndarray,
    subject: np.ndarray,
    batch_size: int = 256,
    device: str = "auto",
) -> np.ndarray:
    """Embed responses in batches.

    Parameters
    ----------
    encoder : nn.Module
    responses : ndarray, shape (n_trials, n_chans, n_times)
        May be memory-mapped.
    subject : ndarray of int, shape (n_trials,)
        Subject ids; -1 is unknown.
    batch_size : int
        Does not change the result.
    device : str
        A torch device, or "auto": the first GPU if there is one.

    Returns
    -------
    ndarray, shape (n_trials, D), float32
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = encoder.to(device).eval()
    with_subject = takes_subject(encoder)
    values = []
    for start in track(range(0, len(responses), batch_size), "embedding"):
        batch = as_tensor(np.ascontiguousarray(responses[start : start + batch_size])).to(device)
        ids = torch.as_tensor(subject[start : start + batch_size], device=device)
        values.append((encoder(batch, ids) if with_subject else encoder(batch)).float().cpu())
    return torch.cat(values).numpy()
