"""HDF5 files may point to other files on the machine; what a reader opens holds its own numbers, or is refused."""

from __future__ import annotations

from pathlib import Path

import h5py

from neurodec.errors import NeurodecError


def check_own(file: h5py.File | h5py.Group, path: Path) -> None:
    """Refuse an HDF5 file that takes numbers from elsewhere: external links or storage, virtual datasets.

    Parameters
    ----------
    file : h5py.File
        Open.
    path : Path
        Names it in the message.

    Raises
    ------
    NeurodecError
        Naming the item.
    """
    waiting, seen = [file], set()
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:  # links may lead in a circle
            continue
        seen.add(address)
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise NeurodecError(
                    f"{path}: {name} is a link to another file; copy its content into this one."
                )
            item = group.get(name)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise NeurodecError(
                    f"{path}: {name} keeps its numbers in another file; copy them into this one."
                )
