"""Reading whichever system a folder holds."""

from __future__ import annotations

from pathlib import Path

from neurodec.class_paths import resolve_class
from neurodec.errors import NeurodecError
from neurodec.files import read_json
from neurodec.systems.system import System


def load_system(folder: str | Path, allow: frozenset[str] | set[str] = frozenset()) -> System:
    """Read a folder that the `fit` of a system wrote.

    Parameters
    ----------
    folder : str or Path
    allow : set of str
        Further packages whose classes the folder may name; naming a class runs its code.

    Raises
    ------
    NeurodecError
        If a file is missing or damaged, or names a class that is not a system or not allowed.

    Examples
    --------
    >>> from neurodec import load_system
    >>> load_system("OUT/models/sub-01").predict(study).of("image")  # doctest: +SKIP
    """
    config = read_json(Path(folder) / "config.json")
    if not isinstance(config, dict) or "system" not in config:
        raise NeurodecError(f"{folder}/config.json names no system; give a folder made by `fit`.")
    return resolve_class(config["system"], System, allow, "system").from_pretrained(folder, allow)
