"""Reading whichever prior a folder holds."""

from __future__ import annotations

from pathlib import Path

from neurodec.errors import NeurodecError
from neurodec.files import read_json
from neurodec.priors.diffusion import DiffusionPrior
from neurodec.priors.identity import IdentityPrior
from neurodec.priors.linear import LinearPrior
from neurodec.priors.saved_prior import class_path


def load_prior(folder: str | Path) -> DiffusionPrior | LinearPrior | IdentityPrior:
    """Read a folder written by `save_pretrained` of any prior.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    NeurodecError
        If a file is missing or damaged, does not fit, or names any other class: none but these is ever built.
    """
    kinds = {class_path(kind): kind for kind in (DiffusionPrior, LinearPrior, IdentityPrior)}
    config = read_json(Path(folder) / "config.json")
    found = config.get("class_path") if isinstance(config, dict) else None
    if found not in kinds:
        raise NeurodecError(
            f"{folder}/config.json names {found}, which is none of {', '.join(kinds)}; fit a prior."
        )
    return kinds[found].from_pretrained(folder)
