"""Which file belongs to which in a BIDS folder: all entities count, the nearest file wins, a tie is a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nilearn.interfaces.bids import parse_bids_filename

from neurodec.data.tables import same_name
from neurodec.errors import NeurodecError
from neurodec.files import read_json

SAME_SCAN = ("rec", "echo", "part", "proc", "space", "res", "den", "desc", "hemi", "split", "recording")
"""Entities that name another file of one scan: an echo, a phase image, a resampled or processed copy."""

_DERIVED = "derivatives"


def entities(path: Path) -> dict[str, str]:
    """Return the entities in a file's name, such as ``{"sub": "01", "task": "view"}``."""
    if "." not in path.name.rsplit("_", 1)[-1]:
        return {}
    return {key: label for key, label in parse_bids_filename(path)["entities"].items() if label is not None}


def wanted(
    paths: Iterable[Path],
    subjects: Sequence[str] | None,
    sessions: Sequence[str] | None,
    tasks: Sequence[str] | None,
    chosen: dict[str, str | None] | None,
) -> list[Path]:
    """Keep the files of the named subjects, sessions and tasks, and those with the chosen entities.

    Parameters
    ----------
    paths : iterable of Path
    subjects, sessions, tasks : sequence of str, optional
        Labels, with or without ``sub-``; all by default.
    chosen : dict, optional
        Entity to label; None stands for files without this entity.
    """
    lists = {"sub": subjects, "ses": sessions, "task": tasks}

    def fits(path: Path) -> bool:
        own = entities(path)
        listed = all(
            labels is None or any(same_name(own.get(key, ""), str(label)) for label in labels)
            for key, labels in lists.items()
        )
        return listed and all(
            (key not in own) if label is None else same_name(own.get(key, ""), str(label))
            for key, label in (chosen or {}).items()
        )

    return [path for path in paths if fits(path)]


def require_one_each(paths: Sequence[Path], root: Path) -> None:
    """Refuse several files of one scan, which would count it several times.

    Raises
    ------
    NeurodecError
        Naming the files, and the entity by which to choose.
    """
    scans: dict[tuple, list[Path]] = {}
    for path in paths:
        kept = sorted((key, label) for key, label in entities(path).items() if key not in SAME_SCAN)
        scans.setdefault(tuple(kept), []).append(path)
    for files in scans.values():
        if len(files) > 1:
            named = [entities(path) for path in files]
            differ = [key for key in SAME_SCAN if len({found.get(key) for found in named}) > 1]
            names = ", ".join(str(path.relative_to(root)) for path in files[:4])
            values = (
                " or ".join(sorted({found.get(differ[0]) or "null" for found in named})) if differ else ""
            )
            way = f"choose by `entities: {{{differ[0]}: ...}}` ({values})" if differ else "keep one of them"
            raise NeurodecError(
                f"{len(files)} files hold one and the same scan ({names}); counted more than once it would leak "
                f"between training and test, so {way}."
            )


def folders_of(path: Path, root: Path) -> list[Path]:
    """Return where the companions of a file may lie, nearest first: its folder, those above, then the raw data set's.

    A file below ``derivatives`` belongs to a scan of the data set that holds that folder.
    """
    folders = [folder for folder in (path.parent, *path.parent.parents) if folder.is_relative_to(root)]
    parts = path.absolute().parts
    if _DERIVED in parts:
        raw = Path(*parts[: len(parts) - 1 - parts[::-1].index(_DERIVED)])
        own = entities(path)
        names = [f"{key}-{own[key]}" for key in ("sub", "ses") if key in own]
        inner = raw.joinpath(*names, path.parent.name)
        above = [inner, *inner.parents]
        folders += [folder for folder in above[: len(names) + 2] if folder.is_dir() and folder not in folders]
    return folders


def companions(path: Path, root: Path, ending: str, *, ignore: tuple[str, ...] = ()) -> list[Path]:
    """Find the files of a kind that belong to a scan, by the inheritance principle of BIDS.

    Parameters
    ----------
    path : Path
        Of the scan.
    root : Path
        The data root; files above it are not looked at.
    ending : str
        End of the file names, such as ``events.tsv``.
    ignore : tuple of str
        Entities that need not agree.

    Returns
    -------
    list of Path
        The nearest first, one for each folder: that with the most entities, all of which are the scan's.

    Raises
    ------
    NeurodecError
        If two files of a folder fit equally well.
    """
    own, found = entities(path), []
    for folder in folders_of(path, root):
        fitting: dict[int, list[Path]] = {}
        for file in sorted(folder.iterdir()):
            if file.name.endswith(ending) and file != path and (file.is_file() or file.is_symlink()):
                named = {key: label for key, label in entities(file).items() if key not in ignore}
                if all(own.get(key) == label for key, label in named.items()):
                    fitting.setdefault(len(named), []).append(file)
        if fitting:
            best = fitting[max(fitting)]
            if len(best) > 1:
                raise NeurodecError(
                    f"{' and '.join(file.name for file in best[:3])} (in {folder}) both belong to {path.name}; name "
                    "the right one in the recipe, or remove the other."
                )
            found.append(best[0])
    return found


def companion(path: Path, root: Path, ending: str, *, ignore: tuple[str, ...] = ()) -> Path | None:
    """Return the nearest of `companions`, or None."""
    return next(iter(companions(path, root, ending, ignore=ignore)), None)


def sidecar(path: Path, root: Path, ending: str) -> tuple[dict[str, Any], list[Path]]:
    """Return the metadata of a scan, from all JSON files that belong to it; the nearest has the last word.

    Returns
    -------
    content : dict
    files : list of Path
        Where it comes from.

    Raises
    ------
    NeurodecError
        If a file is not a JSON object.
    """
    files, content = companions(path, root, ending), {}
    for file in reversed(files):
        told = read_json(file)
        if not isinstance(told, dict):
            raise NeurodecError(f"{file} holds no JSON object with names and values; fetch it again.")
        content |= told
    return content, files
