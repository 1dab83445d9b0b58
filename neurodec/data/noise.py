"""What whitening was fitted to, by subject: kept beside the description of the trials and of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from neurodec.data.descriptions import check_described, require_arrays
from neurodec.errors import reading
from neurodec.files import atomic_path, read_json, write_json

_FILE = "noise.safetensors"
KEY = "noise"


def write_described(file: str | Path, content: dict[str, Any]) -> None:
    """Write a description as JSON, and what it holds under "noise" into ``noise.safetensors`` beside it.

    Parameters
    ----------
    file : str or Path
        Written last.
    content : dict
        `noise`, if there is any, maps subjects to arrays (n_chans, 1 + n_chans); see `whiten_by`.
    """
    file = Path(file)
    noise = content.get(KEY)
    if noise:
        with atomic_path(file.with_name(_FILE)) as partial:
            save_file({name: np.ascontiguousarray(own) for name, own in noise.items()}, partial)
    write_json(file, {name: value for name, value in content.items() if name != KEY})


def read_described(file: str | Path) -> Any:
    """Read what `write_described` wrote.

    Raises
    ------
    NeurodecError
        If a file is missing or damaged.
    """
    content, beside = read_json(file), Path(file).with_name(_FILE)
    if isinstance(content, dict) and beside.exists():
        with reading(beside, "the noise of channels", "delete the folder and make it again"):
            content[KEY] = load_file(beside)
            n_chans = len(content.get("ch_names") or ())
            wanted = (
                (n_chans, 1 + n_chans)
                if n_chans and not isinstance(content.get("spaces"), dict)
                else (None, None)
            )
            require_arrays(beside, {who: (own, wanted) for who, own in content[KEY].items()})
    check_described(content, file)
    return content


def mean_noise(parts: Sequence[tuple[dict[str, np.ndarray], np.ndarray]]) -> dict[str, np.ndarray]:
    """Average the noise of every subject over their parts.

    Parameters
    ----------
    parts : sequence of (noise, columns)
        Of every part, and which of its channels are kept, in this order.
    """
    found: dict[str, list[np.ndarray]] = {}
    for noise, columns in parts:
        for subject, own in noise.items():
            kept = np.concatenate([[0], 1 + columns])
            found.setdefault(subject, []).append(own[np.ix_(columns, kept)])
    return {subject: np.mean(several, axis=0) for subject, several in found.items()}
