"""Atomic writes, content hashes and progress bars: what every stage needs when it touches the disk."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError, reading

T = TypeVar("T")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)?", re.IGNORECASE)
_LONGEST_NAME = 100  # characters; file systems take 255 bytes, and what is being written has a longer name
_UMASK = os.umask(0o022)  # it can be read only by setting it
os.umask(_UMASK)
_STRETCH, _STRETCHES = 1 << 16, 17  # bytes, and how many of such stretches stand for a large file
_PROBE = 1 << 16  # bytes; a failed writer has left less than a block free


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling of `path` to write to, and rename it into place at the end.

    Parameters
    ----------
    path : str or Path
        Final file or folder. An existing one is replaced. Parents are made.

    Yields
    ------
    Path
        Where to write. It carries the final suffix, so writers that look at suffixes work.
        If the block raises, whatever was written is removed and `path` is left as it was.

    Raises
    ------
    OSError
        Naming `path`, with the number of the error, if it cannot be written, or if the disk or the quota is full,
        whatever the writer raised.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield partial
        if partial.is_file():
            with partial.open("rb+") as handle:
                os.fsync(handle.fileno())
            if not partial.stat().st_mode & 0o077:  # safetensors lets nobody else read
                partial.chmod(0o666 & ~_UMASK)
        _replace(partial, path)
    except Exception as error:
        number = _obstacle(partial, error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def _replace(partial: Path, path: Path) -> None:
    """Rename into place; a folder that is there steps aside first, and back if the new one cannot take its place."""
    if not (path.is_dir() and partial.is_dir()):
        os.replace(partial, path)
        return
    aside = path.with_name(f".{os.getpid()}.partial.former.{path.name}")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed process that had this number
    os.replace(path, aside)
    try:
        os.replace(partial, path)
    except OSError:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _obstacle(partial: Path, error: Exception) -> int | None:
    """Return the number of an error that names the temporary file, or of a full disk, which few writers pass on."""
    if isinstance(error, OSError) and error.errno is not None:
        named = partial.name in str(error.filename)
        return error.errno if named or error.errno in _FULL else None
    try:
        with (partial / "probe" if partial.is_dir() else partial).open("ab") as handle:
            handle.write(bytes(_PROBE))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as refused:
        return refused.errno if refused.errno in _FULL else None
    return None


def remove_partials(folder: str | Path, depth: int = 0) -> None:
    """Delete what killed writers left in `folder` (`atomic_path` cannot clean up after ``kill -9``), and below it."""
    below = [path for level in range(depth + 1) for path in Path(folder).glob("*/" * level + ".*.partial.*")]
    for leftover in below:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def file_name(name: str) -> str:
    """Turn any name into one part of a path; a plain name stays as it is.

    Separators, control characters, ``..``, a dot or blank at an end, names that Windows reserves and more than 100
    characters are replaced, and a hash of the name is added, so that different names stay different.
    """
    plain = re.sub(r"[^\w .,()=+~@#%-]", "_", unicodedata.normalize("NFC", str(name))).strip(" .")
    plain = plain[:_LONGEST_NAME]
    if plain == name and not _RESERVED.fullmatch(plain.partition(".")[0]):
        return plain
    return f"{plain[:60].strip(' .') or 'name'}-{_short_hash(name)}"


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Map names to `file_name`, apart also where a disk takes upper and lower case for the same."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        own = file_name(name)
        if own.casefold() in taken:
            own = f"{own}-{_short_hash(name)}"
        taken.add(own.casefold())
        found[name] = own
    return found


def _short_hash(name: str) -> str:
    return hashlib.sha256(str(name).encode("utf-8", "replace")).hexdigest()[:8]


def require_file_name(name: str, what: str) -> str:
    """Return a name that becomes a file or folder, or refuse it.

    Raises
    ------
    NeurodecError
        If it is more than one plain part of a path.
    """
    if not isinstance(name, str) or file_name(name) != name:
        raise NeurodecError(
            f"{what} {str(name)[:80]!r} becomes the name of a file or folder; give letters, digits, - and _, at most "
            f"{_LONGEST_NAME} of them."
        )
    return name


def require_apart(root: Path, out: Path) -> None:
    """Refuse an output folder within the data, or one whose entries are links to elsewhere.

    A reader could take what is written among the data for recordings, and links would have it written elsewhere.

    Raises
    ------
    NeurodecError
        Naming both.
    """
    if out.resolve().is_relative_to(root.resolve()):
        raise NeurodecError(
            f"The output folder {out} lies in the data folder {root}, whose files are read; name one outside of it."
        )
    for item in out.iterdir() if out.is_dir() else ():
        if item.is_symlink() and not item.resolve().is_relative_to(out.resolve()):
            raise NeurodecError(
                f"{item} is a link to {os.readlink(item)}, outside of the output folder; put a folder or file there, "
                "or make the whole output folder the link."
            )


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"{type(value).__name__} is not JSON")


def _describe(value: Any) -> Any:
    """Describe a configured object by its class and attributes."""
    if hasattr(value, "__dict__") and not isinstance(value, (Path, type)):
        return {"class": type(value).__qualname__, **vars(value)}
    return _jsonable(value)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NumPy numbers, arrays and paths are allowed."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1, default=_jsonable) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    NeurodecError
        If the file is missing or is not JSON.
    """
    path = Path(path)
    if not path.exists():
        raise NeurodecError(f"{path} does not exist; run the stage that writes it first.")
    with reading(path, "a JSON file", "delete it and run again"):
        return json.loads(path.read_text(encoding="utf-8"))


def claim(folder: str | Path, key: str, what: str) -> None:
    """Mark a folder as belonging to what is about to be written there, or recognise it.

    Parameters
    ----------
    folder : str or Path
        Gets ``made_with.json``.
    key : str
        Of inputs and parameters.
    what : str
        What the folder holds, such as "pictures".

    Raises
    ------
    NeurodecError
        If it belongs to something else.
    """
    mark = Path(folder) / "made_with.json"
    if mark.exists() and read_json(mark)["key"] != key:
        raise NeurodecError(
            f"{folder} holds {what} of another configuration or of other data; delete it or choose another folder."
        )
    if not mark.exists():
        write_json(mark, {"key": key})


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically, so that no spreadsheet takes a name for a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, after any apostrophes, gets one
    apostrophe in front; `read_own_table` takes it off again. Numbers stay numbers.
    """
    safe = _with_texts(table, lambda text: f"'{text}" if _FORMULA.match(text) else text)
    broken = any("\r" in str(cell) for row in safe.select_dtypes(exclude="number").to_numpy() for cell in row)
    quoting = (
        csv.QUOTE_NONNUMERIC if broken else csv.QUOTE_MINIMAL
    )  # which would leave a carriage return bare
    with atomic_path(path) as partial:
        safe.to_csv(partial, index=False, quoting=quoting)


def read_own_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_table` wrote; `options` are those of `pandas.read_csv`.

    Raises
    ------
    NeurodecError
        If the file is missing or damaged.
    """
    with reading(path, "a table", "delete it and run again"):
        table = pd.read_csv(path, **{"keep_default_na": False, **options})
        return _with_texts(table, lambda text: text[1:] if text[:1] == "'" and _FORMULA.match(text) else text)


def _with_texts(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with every text in it, names of columns included, changed."""
    table = table.rename(columns=lambda name: change(str(name)))
    for name in table.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        table[name] = table[name].map(lambda cell: change(cell) if isinstance(cell, str) else cell)
    return table


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content. Cost: one read of the file."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sampled_sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a large file's size and of 17 stretches of it, the first and the last included.

    Cost: 1 MB read, whatever the size.
    """
    size = Path(path).stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as handle:
        for number in range(_STRETCHES):
            handle.seek(max(0, number * (size - _STRETCH) // (_STRETCHES - 1)))
            digest.update(handle.read(_STRETCH))
    return digest.hexdigest()


def key_of(content: Any) -> str:
    """Return the SHA-256 of JSON-like values and plain objects; the order of dicts does not matter."""
    text = json.dumps(content, sort_keys=True, default=_describe)
    return hashlib.sha256(text.encode()).hexdigest()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on standard error; silent when that is not a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    return iter(
        rich_track(
            items, description, total=total, console=console, transient=True, disable=not console.is_terminal
        )
    )
