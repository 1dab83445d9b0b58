"""A trained encoder on disk: `config.json` and `model.safetensors`, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from neurodec.class_paths import named_classes, resolve_class
from neurodec.encoders.published import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, track, write_json
from neurodec.training.datamodule import as_tensor
from neurodec.training.module import takes_subject


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
        save_file({name: _stored(value) for name, value in encoder.state_dict().items()}, partial)
    write_json(folder / "config.json", {"encoder": encoder_config, **facts})


def _stored(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is written: in single precision, whatever it was trained in."""
    value = value.detach().cpu().contiguous()
    return value.float() if value.is_floating_point() else value


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
    except (KeyError, TypeError, AttributeError) as error:
        raise NeurodecError(f"{folder}/config.json names no encoder; give a folder made by `fit`.") from error
    kind = resolve_class(path, nn.Module, allow, "encoder")
    with reading(
        Path(folder) / "config.json", "an encoder", "its arguments do not fit the class, so fit again"
    ):
        encoder = kind(**named_classes(kind, arguments, allow))
    state = read_checkpoint(Path(folder) / "model.safetensors")
    return take_exactly(encoder, state, str(folder)).eval(), config


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
