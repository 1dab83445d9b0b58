"""Structs and cells of MATLAB files, of version 7.3 too, as nested dicts and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat

from neurodec.data.readers.hdf5 import check_own
from neurodec.data.readers.matlab import check_mat
from neurodec.errors import NeurodecError, reading


def read_struct(path: Path, name: str) -> Any:
    """Return one variable of a MATLAB file: structs as dicts, cells as lists or arrays.

    Parameters
    ----------
    path : Path
    name : str
        Of the variable. Arrays of version 7.3 have their axes in the reverse order, as HDF5 has them.

    Raises
    ------
    NeurodecError
        If the file is damaged or has no such variable.
    """
    with reading(path, "a MATLAB file", "copy it again"):
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                check_own(file, path)
                found = _plain(file[name]) if name in file else None
        else:
            check_mat(path)
            found = loadmat(path, variable_names=[name], simplify_cells=True).get(name)
    if found is None:
        raise NeurodecError(f"{path} holds no variable {name}; it is not of this data set, or was changed.")
    return found


def field(struct: Any, name: str, path: Path) -> Any:
    """Return one field of a struct.

    Raises
    ------
    NeurodecError
        If it has none of that name.
    """
    if not isinstance(struct, dict) or name not in struct:
        raise NeurodecError(f"{path} has no field {name} where one is expected; it is not of this data set.")
    return struct[name]


def numbers(values: Any, n_axes: int, path: Path, what: str) -> np.ndarray:
    """Return an array of numbers.

    Raises
    ------
    NeurodecError
        If it holds anything else, or has another number of axes.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "fiu" or found.ndim != n_axes:
        raise NeurodecError(
            f"{path}: {what} should be numbers with {n_axes} axes, and are {found.dtype} of shape {found.shape}; it is "
            "not of this data set."
        )
    return found


def _plain(item: h5py.Dataset | h5py.Group) -> Any:
    if isinstance(item, h5py.Group):
        return {name: _plain(own) for name, own in item.items()}
    if item.dtype == h5py.ref_dtype:
        return [_plain(item.file[reference]) for reference in item[()].ravel()]
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, item[()].ravel()))
    return item[()]
