"""File names with fields, such as ``sub-{subject}/run-{run}.edf``: how a recipe says which recording is whose."""

from __future__ import annotations

import re
from pathlib import Path

from neurodec.errors import NeurodecError

FIELDS = ("subject", "session", "run")
_FIELD = re.compile(r"\{(\w+)\}")


def find_files(root: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Find the files below `root` that fit a pattern, and what its fields stand for in each.

    Parameters
    ----------
    root : Path
        Folder that the pattern is relative to.
    pattern : str
        With the fields ``{subject}``, ``{session}``, ``{run}`` and the wildcard ``*``. A field is as short as the
        rest of the pattern allows and does not span folders; written twice, it must be the same both times.

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
    for path in sorted(root.glob(_FIELD.sub("*", pattern))):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match:
            found.append((path, match.groupdict()))
    if not found:
        raise NeurodecError(f"No file below {root} fits {pattern}; correct --data-root or the pattern.")
    return found


def _to_regex(pattern: str) -> str:
    seen: set[str] = set()
    expression = ""
    for piece in re.split(r"(\{\w+\}|\*)", pattern):
        name = piece[1:-1]
        if piece == "*":
            expression += "[^/]*"
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
