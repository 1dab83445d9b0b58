"""FIF files are chains of tags; one that runs in a circle would keep MNE reading for ever."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import BinaryIO

from mne.io.constants import FIFF

from neurodec.data.readers.pointers import require_next
from neurodec.errors import NeurodecError

_COMPRESSION = 1100  # gzip shrinks nothing further than 1,032-fold
_TAG = struct.Struct(">iIii")  # kind, type, size, next


def check_fif(path: Path) -> None:
    """Refuse a FIF file whose tags, or whose parts, lead back to where they came from.

    Parameters
    ----------
    path : Path
        The first file; the further ones of a split recording are followed as MNE does.

    Raises
    ------
    NeurodecError
        Naming the file.
    """
    seen: list[Path] = []
    following: Path | None = path
    while following is not None and following.is_file():
        if following in seen:
            raise NeurodecError(
                f"{path} is continued in {following.name}, which leads back to it; split it anew."
            )
        seen.append(following)
        following = _check_tags(following)
        if following is not None:
            require_next(path, following)


def _check_tags(path: Path) -> Path | None:
    """Walk through all tags of one file; return the file that it is continued in."""
    role, name = 0, None
    held = path.stat().st_size * (_COMPRESSION if path.suffix == ".gz" else 1)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        place = 0
        while (tag := _read_tag(handle, place)) is not None:
            kind, size, following = tag
            if not 0 <= size <= held:
                raise NeurodecError(
                    f"{path} cannot be read: its tag at byte {place} has {size} bytes, more than the file can hold; "
                    "fetch it again."
                )
            if kind == FIFF.FIFF_REF_ROLE and size == 4:
                role = struct.unpack(">i", handle.read(4))[0]
            elif kind == FIFF.FIFF_REF_FILE_NAME and size < 4096:
                name = handle.read(size).decode("utf-8", "replace").strip("\0")
            if following < 0:
                break
            following = following or place + _TAG.size + size
            if following <= place:
                raise NeurodecError(
                    f"{path} has a tag at byte {place} that points backwards to byte {following}; it is damaged, so "
                    "fetch it again."
                )
            place = following
    return path.with_name(Path(name).name) if role == FIFF.FIFFV_ROLE_NEXT_FILE and name else None


def _read_tag(handle: BinaryIO, place: int) -> tuple[int, int, int] | None:
    handle.seek(place)
    header = handle.read(_TAG.size)
    if len(header) < _TAG.size:
        return None
    kind, _, size, following = _TAG.unpack(header)
    return kind, size, following
