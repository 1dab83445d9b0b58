"""Recipes that come with the package, by name. Imports nothing heavy: ``neurodec --help`` lists them."""

from __future__ import annotations

from pathlib import Path


def _folder() -> Path:
    """Return ``configs/``, in an installed package or a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def shipped() -> list[str]:
    """Name all recipes that are included, such as ``demo/eeg``."""
    folder = _folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe: itself where it exists, else that of the shipped recipe of this name.

    ``configs/demo/eeg.yaml`` names the same as ``demo/eeg``, from whatever folder.
    """
    path = Path(name)
    plain = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    return path if path.exists() or plain not in shipped() else _folder() / f"{plain}.yaml"
