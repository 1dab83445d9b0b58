"""Reading whichever prior a folder holds."""

from __future__ import annotations

from pathlib import Path

from neurodec.class_paths import resolve_class
from neurodec.errors import NeurodecError
from neurodec.files import read_json
from neurodec.priors.prior import Prior


def load_prior(folder: str | Path, allow: frozenset[str] | set[str] = frozenset()) -> Prior:
    """Read a folder written by `save_pretrained` of any prior.

    Parameters
    ----------
    folder : str or Path
    allow : set of str
        Further packages whose classes may be named.

    Raises
    ------
    NeurodecError
        If a file is missing or damaged, does not fit, or names a class that is not a prior or of another package.
    """
    config = read_json(Path(folder) / "config.json")
    found = config.get("class_path") if isinstance(config, dict) else None
    if found is None:
        raise NeurodecError(f"{folder}/config.json names no class; fit a prior.")
    return resolve_class(found, Prior, allow, "prior").from_pretrained(folder)
