"""File names with fields, such as ``sub-{subject}/run-{run}.edf``: how a recipe says which recording is whose."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from neurodec.errors import NeurodecError

FIELDS = ("subject", "session", "run")
_FIELD = re.compile(r"\{(\w+)\}")
_NOT_BIDS = ("sourcedata", "code")  # BIDS leaves open what lies there
_MOST_DEEP = 3  # `**` of one pattern


def files_below(root: Path, pattern: str = "**", leave_out: tuple[str, ...] = ()) -> list[Path]:
    """List files below a folder, in linked folders too.

    Parameters
    ----------
    root : Path
    pattern : str
        Relative to `root`; ``*`` and ``?`` stand for what is within a name, ``**`` for any number of folders. Brackets
        stand for themselves.
    leave_out : tuple of str
        Names of folders that are not entered.

    Returns
    -------
    list of Path
        Sorted. Also folders that the whole pattern names (CTF, MFF), and links whose target is missing, so that
        whoever opens them can say so. Hidden files and folders are left out (git-annex keeps its objects there, macOS
        its resource forks), and so is a folder that was entered under another name above itself.

    Raises
    ------
    NeurodecError
        If the pattern has too many ``**``.
    """
    pieces = [piece for piece in pattern.split("/") if piece not in ("", ".")]
    pieces = [
        piece for place, piece in enumerate(pieces) if piece != "**" or pieces[place - 1 : place] != ["**"]
    ]
    if pieces.count("**") > _MOST_DEEP:
        raise NeurodecError(
            f"The pattern {pattern} has more than {_MOST_DEEP} times **, each of which tries every folder; name the "
            "folders, or put * for one of them."
        )
    if pieces and pieces[-1] == "**":
        pieces.append("*")
    if not root.is_dir():
        return []
    return sorted(_walk(root, {tuple(pieces)}, leave_out, (os.path.realpath(root),)))


def _walk(
    folder: Path, rests: set[tuple[str, ...]], leave_out: tuple[str, ...], above: tuple[str, ...]
) -> Iterator[Path]:
    """Yield the files of a folder that fit what is left of a pattern, in any of the ways to read it."""
    with os.scandir(folder) as entries:
        listed = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
    for name, is_folder, is_link in listed:
        left = {rest for pieces in rests for rest in _after(name, pieces)}
        if () in left:
            yield folder / name
            left.discard(())
        if not is_folder:
            continue
        real = os.path.realpath(folder / name) if is_link else os.path.join(above[-1], name)
        if left and name not in leave_out and real not in above:
            yield from _walk(folder / name, left, leave_out, (*above, real))


def _after(name: str, pieces: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what is left of a pattern once `name` has taken its first piece; nothing where it does not fit."""
    if not pieces:
        return []
    first, rest = pieces[0], pieces[1:]
    hidden = name.startswith(".") and not first.startswith(".")
    if first == "**":
        return [] if hidden else [pieces, *_after(name, rest)]
    return [rest] if not hidden and fnmatchcase(name, first.replace("[", "[[]")) else []


def bids_files(root: Path, pattern: str) -> list[Path]:
    """List files of a BIDS data set, without what lies in ``sourcedata/`` and ``code/``."""
    return files_below(root, pattern, _NOT_BIDS)


def find_files(root: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Find the files below `root` that fit a pattern, and what its fields stand for in each.

    Parameters
    ----------
    root : Path
        Folder that the pattern is relative to.
    pattern : str
        With the fields ``{subject}``, ``{session}``, ``{run}`` and the wildcards ``*``, and ``**`` for any number of
        folders. A field is as short as the rest of the pattern allows and does not span folders; written twice, it
        must be the same both times.

    Returns
    -------
    list of (Path, dict)
        Sorted by path.

    Raises
    ------
    NeurodecError
        If no file fits, or the pattern has another field.
    """
    unknown = set(_FIELD.findall(pattern)) - set(FIELDS)
    if unknown:
        raise NeurodecError(
            f"The pattern {pattern} has the field {{{min(unknown)}}}; use {{subject}}, {{session}} and {{run}}."
        )
    expression = re.compile(_to_regex(pattern))
    found = []
    for path in files_below(root, _FIELD.sub("*", pattern)):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match:
            fields = {name: unicodedata.normalize("NFC", told) for name, told in match.groupdict().items()}
            found.append((path, fields))
    if not found:
        raise NeurodecError(f"No file below {root} fits {pattern}; correct --data-root or the pattern.")
    return found


def _to_regex(pattern: str) -> str:
    seen: set[str] = set()
    expression = ""
    for piece in re.split(r"(\{\w+\}|\*\*/|\*|\?)", pattern):
        name = piece[1:-1]
        if piece == "**/":
            expression += "(?:[^/]+/)*"
        elif piece in ("*", "?"):
            expression += "[^/]*" if piece == "*" else "[^/]"
        elif not _FIELD.fullmatch(piece):
            expression += re.escape(piece)
        elif name in seen:
            expression += f"(?P={name})"
        else:
            seen.add(name)
            expression += f"(?P<{name}>[^/]+?)"
    return expression


def fill_pattern(root: Path, pattern: str, fields: dict[str, str]) -> Path:
    """Return the file that `pattern` names for one recording.

    Raises
    ------
    NeurodecError
        If the pattern has a field that the recording does not, or the file is missing.
    """
    absent = set(_FIELD.findall(pattern)) - set(fields)
    if absent:
        raise NeurodecError(
            f"The pattern {pattern} has the field {{{min(absent)}}}, which the pattern of the recordings has not; "
            "add it there."
        )
    path = root / pattern.format(**fields)
    if not path.is_file():
        raise NeurodecError(f"{path} is missing; every recording needs its table.")
    return path


def all_fields(fields: dict[str, str]) -> dict[str, str]:
    """Return subject, session and run, "01" where the name of a file does not tell."""
    return {name: fields.get(name, "01") for name in FIELDS}


def part_name(fields: dict[str, str]) -> str:
    """Return ``sub-01_ses-01_run-01``."""
    return f"sub-{fields['subject']}_ses-{fields['session']}_run-{fields['run']}".replace("/", "-")
