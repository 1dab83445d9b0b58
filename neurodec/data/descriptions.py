"""What a description of trials or of a trained system may hold: checked whenever one is read from a disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.errors import NeurodecError

_FURTHEST = 1e5  # s that an epoch may begin from its event, and Hz of a rate
_MOST = 10**9


def _is_number(value: Any, low: float, high: float) -> bool:
    return (
        not isinstance(value, bool)
        and isinstance(value, int | float)
        and math.isfinite(value)
        and low <= value <= high
    )


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _are_indices(value: Any) -> bool:
    return isinstance(value, list) and all(type(index) is int and 0 <= index < _MOST for index in value)


def _is_affine(value: Any) -> bool:
    try:
        found = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return found.shape == (4, 4) and bool(np.isfinite(found).all())


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ch_names": (_are_names, "names of channels, each once"),
    "subjects": (_are_names, "names of subjects, each once"),
    "sfreq": (lambda value: _is_number(value, 1e-6, _FURTHEST), "a rate in Hz"),
    "tmin": (lambda value: _is_number(value, -_FURTHEST, _FURTHEST), "seconds"),
    "n_times": (lambda value: type(value) is int and 0 < value < _MOST, "a number of samples"),
    "rms": (lambda value: _is_number(value, 0, 1e30), "a size"),
    "voxel_indices": (_are_indices, "whole numbers from 0"),
    "mask_shape": (lambda value: _are_indices(value) and len(value) == 3, "three lengths"),
    "affine": (_is_affine, "a matrix of 4 x 4 numbers"),
    "modality": (lambda value: isinstance(value, str), "a text"),
    "init_args": (lambda value: isinstance(value, dict), "names and values"),
    "files": (_are_names, "names of files, each once"),
    "targets": (lambda value: isinstance(value, dict | list), "names of targets"),
    "dims": (_are_names, "names of axes, each once"),
}


def check_described(content: Any, file: str | Path) -> None:
    """Refuse a description that is not an object, or one of whose facts is none.

    Parameters
    ----------
    content : object
        As it was read.
    file : str or Path
        Where from, for the message.

    Raises
    ------
    NeurodecError
        Naming the key.
    """
    if not isinstance(content, dict):
        raise NeurodecError(
            f"{file} holds no object with names and values; delete its folder and make it again."
        )
    spaces = content.get("spaces")
    for part in [content, *(spaces.values() if isinstance(spaces, dict) else ())]:
        _check_facts(part, file)
        if {"system", "encoder"} & set(content) and part.get("sfreq") is not None:
            missing = [name for name in ("tmin", "n_times") if part.get(name) is None]
            if missing:
                raise NeurodecError(f"{file} gives a rate but no {missing[0]}; make its folder again.")


def _check_facts(facts: Any, file: str | Path) -> None:
    if not isinstance(facts, Mapping):
        raise NeurodecError(f"{file} describes a space without names and values; make its folder again.")
    for name, (holds, what) in _RULES.items():
        if name in facts and facts[name] is not None and not holds(facts[name]):
            raise NeurodecError(
                f"{file} gives {str(facts[name])[:60]!r} as {name}, not {what}; make its folder again."
            )


def require_arrays(folder: Path, arrays: Mapping[str, tuple[np.ndarray, tuple[int | None, ...]]]) -> None:
    """Refuse arrays of another shape than they must have, or that hold no real numbers.

    Parameters
    ----------
    folder : Path
        Where they are from, for the message.
    arrays : mapping
        Name to the array and its shape; None is any length.

    Raises
    ------
    NeurodecError
        Naming the array.
    """
    for name, (values, shape) in arrays.items():
        fits = values.ndim == len(shape) and all(
            wanted in (None, own) for own, wanted in zip(values.shape, shape, strict=True)
        )
        if values.dtype.kind not in "fiu" or not fits:
            raise NeurodecError(
                f"{folder}: {name} is of shape {values.shape} ({values.dtype}), and numbers of shape "
                f"{tuple('any' if own is None else own for own in shape)} belong there; make the folder again."
            )
