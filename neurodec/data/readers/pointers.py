"""Headers that name the file of their samples: one that was copied or renamed may name another recording's."""

from __future__ import annotations

import re
from pathlib import Path

from neurodec.errors import NeurodecError

_NAMED = re.compile(r"^\s*(DataFile|MarkerFile|File)\s*=\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_HEADERS = {".vhdr", ".lay"}  # BrainVision, Persyst: texts that name files beside them
_SPLIT = re.compile(r"_split-\d+(?=_|$)")  # of FIF files beyond 2 GB, by BIDS; MNE's own name is `...-1.fif`


def check_named(path: Path) -> None:
    """Refuse a text header that names a file of another recording, or one outside its folder.

    Parameters
    ----------
    path : Path
        Of a BrainVision (``.vhdr``) or Persyst (``.lay``) header; other files pass.

    Raises
    ------
    NeurodecError
        Naming the header and the file.
    """
    if path.suffix.lower() not in _HEADERS:
        return
    head = path.read_bytes()[: 1 << 16].decode("latin-1").partition("[Channel Infos]")[0]
    for key, name in _NAMED.findall(head):
        if path.suffix.lower() == ".lay":  # MNE takes the name alone
            name = re.split(r"[\\/]", name)[-1]
        name = name.replace("$b", path.stem)
        if re.search(r"[\\/:]", name) or name == "..":
            raise NeurodecError(
                f"{path} names {name} as its {key}, which is not a file beside it; copy that file there and write its "
                "name alone."
            )
        require_own(path, path.with_name(name), key)


def require_own(path: Path, named: Path, what: str) -> None:
    """Refuse `named` as a part of the recording `path` if it is the part of another one.

    Parameters
    ----------
    path : Path
        The header.
    named : Path
        What it names; a file of another name passes if nothing speaks against it.
    what : str
        What the file is named as.

    Raises
    ------
    NeurodecError
        If the header has a file of its own name, or another header of the name of `named` lies there.
    """
    if named.stem == path.stem or not named.is_file():
        return
    mine, theirs = named.with_name(path.stem + named.suffix), path.with_name(named.stem + path.suffix)
    if mine.is_file() or theirs.is_file():
        whose = f"{mine.name} lies beside it" if mine.is_file() else f"that belongs to {theirs.name}"
        raise NeurodecError(
            f"{path} names {named.name} as its {what}, though {whose}: it was copied or renamed without its header. "
            "Correct the name in the header (mne_bids.copyfiles renames such files with their headers)."
        )


def require_next(path: Path, following: Path) -> None:
    """Refuse the piece in which a FIF file says that it goes on, if that is a piece of another recording.

    Raises
    ------
    NeurodecError
        Naming both files.
    """
    own, other = (
        _SPLIT.sub("", file.name.removesuffix(".gz").removesuffix(".fif")) for file in (path, following)
    )
    if own != other and not re.fullmatch(re.escape(own) + r"-\d+", other) and following.is_file():
        raise NeurodecError(
            f"{path} says that it goes on in {following.name}, a piece of another recording: it was renamed once it "
            "was saved. Give all pieces their former names, open the first with MNE, and save it anew."
        )
