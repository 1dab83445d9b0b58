"""Files of arrays (NumPy, MATLAB, 7.3 too, HDF5, NIfTI, PyTorch, safetensors), read without trust and without code."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.numpy import load_file
from scipy.io import loadmat

from neurodec.data.readers.hdf5 import check_own
from neurodec.data.readers.matlab import check_mat
from neurodec.data.readers.nifti import open_image, voxels_of
from neurodec.data.unpickle import load_pickled
from neurodec.errors import NeurodecError, reading

HDF5 = (".h5", ".hdf5", ".hdf")
_KINDS = {".mat": "a MATLAB file of arrays", **dict.fromkeys(HDF5, "an HDF5 file of arrays")}
KNOWN = ("betasmd", "betas")
"""What GLMsingle and the Natural Scenes Dataset call single-trial responses."""

_DEFAULT = "responses"
_COMPRESSION = 1100  # neither gzip nor HDF5's deflate shrinks anything further


@dataclass(frozen=True)
class ArrayContent:
    """The arrays of one file by their keys.

    Parameters
    ----------
    path : Path
    arrays : dict
        Nested groups and structs have dotted keys, such as ``results.betasmd``.
    affine : ndarray, shape (4, 4), optional
        Of an image.
    """

    path: Path
    arrays: dict[str, Any] = field(repr=False)
    affine: np.ndarray | None = None

    @classmethod
    def read(cls, path: Path) -> ArrayContent:
        """Read a file by its suffix.

        Raises
        ------
        NeurodecError
            If it is damaged, of another kind, or holds objects that could run code.
        """
        name = path.name.lower()
        kind = next((kind for end, kind in _KINDS.items() if name.endswith(end)), "a file of arrays")
        with reading(path, kind, "copy it again, or save plain arrays"):
            if name.endswith((".nii", ".nii.gz")):
                image = open_image(path)
                return cls(path, {_DEFAULT: voxels_of(image, path)}, np.asarray(image.affine))
            if name.endswith(".mat"):
                return cls(path, _read_mat(path))
            if name.endswith(HDF5):
                return cls(path, _read_hdf5(path, matlab=False))
            if name.endswith((".pt", ".pth")):
                return cls(path, _flat(_plain(torch.load(path, "cpu", weights_only=True))))
            if name.endswith(".safetensors"):
                return cls(path, load_file(path))
            return cls(path, _read_numpy(path))

    def value(self, key: str) -> Any:
        """Return an array; a name that GLMsingle or NSD use stands in for the default one.

        Raises
        ------
        NeurodecError
            If there is no such key, or several are meant.
        """
        if key in self.arrays:
            return self.arrays[key]
        inner = [name for name in self.arrays if name.startswith(f"{key}.")]
        if len(inner) == 1:
            return self.arrays[inner[0]]
        if key == _DEFAULT:
            known = [name for name in self.arrays if name.rsplit(".", 1)[-1] in KNOWN]
            if len(known) == 1:
                return self.arrays[known[0]]
        listed = ", ".join(sorted(map(str, self.arrays))[:20])
        raise NeurodecError(f"{self.path} has no key {key}; it has {listed or 'none'}.")

    def texts(self, key: str) -> list[str]:
        """Return labels as text; MATLAB pads them, or wraps each in an array of its own."""
        return [_text(value) for value in np.ravel(np.asarray(self.value(key)))]


def _text(value: Any) -> str:
    while isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[:-2] if isinstance(value, (float, np.floating)) and text.endswith(".0") else text.strip()


def _read_numpy(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        magic = handle.read(6)
    if magic[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            held = path.stat().st_size * _COMPRESSION
            for member in archive.infolist():
                with archive.open(member) as handle:
                    _require_room(handle, min(member.file_size, held), f"{path} ({member.filename})")
        with np.load(path, allow_pickle=False) as archive:
            objects = [name for name in archive.files if _holds_objects(archive, name)]
            return {name: archive[name] for name in archive.files if name not in objects} | {
                name: _Refused(path, name) for name in objects
            }
    if magic == b"\x93NUMPY":
        with path.open("rb") as handle:
            if not _require_room(handle, path.stat().st_size, str(path)):
                return {_DEFAULT: np.load(path, allow_pickle=False)}
        return _flat(load_pickled(path))  # a dict of arrays, as GLMsingle saves it
    raise NeurodecError(
        f"{path} is not a readable array file (it is no .npy, .npz, .mat, .h5, .hdf5, .nii, .nii.gz, .pt or "
        ".safetensors); copy it again, or save plain arrays."
    )


class _Refused:
    """Stands for an array of pickled objects in an ``.npz``: only a recipe that asks for it has a problem."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise NeurodecError(
            f"{self.path} is not a readable array file: {self.name} holds pickled objects, which are refused; save "
            "plain arrays."
        )


def _holds_objects(archive: Any, name: str) -> bool:
    with archive.zip.open(f"{name}.npy" if f"{name}.npy" in archive.zip.namelist() else name) as handle:
        return _header(handle)[2].hasobject


def _header(handle: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(handle)


def _require_room(handle: Any, held: int, where: str) -> bool:
    """Refuse an array that is longer than what holds it, before memory is asked for; tell if it holds objects."""
    shape, _, dtype = _header(handle)
    needed = float(dtype.itemsize) * float(np.prod([float(length) for length in shape]))
    if min(shape, default=0) < 0 or (needed > held and not dtype.hasobject):
        raise NeurodecError(
            f"{where} promises an array of shape {shape}, more than the file can hold; copy it again."
        )
    return dtype.hasobject


def _read_mat(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        start = handle.read(520)
    if b"MATLAB 7.3" in start[:64] or start[512:516] == b"\x89HDF" or start[:4] == b"\x89HDF":
        return _read_hdf5(path, matlab=True)
    check_mat(path)
    content = loadmat(path, simplify_cells=False)
    return _flat({key: _struct(value) for key, value in content.items() if not key.startswith("__")})


def _struct(value: Any) -> Any:
    """Turn a 1 x 1 MATLAB struct into a dict; everything else stays."""
    if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:
        item = value.ravel()[0]
        return {name: _struct(item[name]) for name in value.dtype.names}
    return value


def _read_hdf5(path: Path, *, matlab: bool) -> dict[str, Any]:
    """Read every array of an HDF5 file; MATLAB's are stored with their axes reversed, texts as numbers."""
    arrays: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        check_own(file, path)
        held = path.stat().st_size * _COMPRESSION

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("#"):
                if float(item.size or 0) * item.dtype.itemsize > held:
                    raise NeurodecError(f"{path} promises more of {name} than it can hold; copy it again.")
                arrays[name.replace("/", ".")] = _matlab_value(file, item) if matlab else _hdf5_value(item)

        file.visititems(take)
    return arrays


def _hdf5_value(item: Any) -> Any:
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.array(item.asstr()[()], dtype=object) if item.shape else np.array([item.asstr()[()]])
    return item[()]


def _matlab_value(file: Any, item: Any) -> Any:
    kind = item.attrs.get("MATLAB_class", b"")
    if kind == b"cell" and item.dtype == h5py.ref_dtype:
        return np.array([_matlab_text(file[reference]) for reference in item[()].ravel("F")], dtype=object)
    return np.array([_matlab_text(item)]) if kind == b"char" else item[()].T


def _matlab_text(item: Any) -> Any:
    value = item[()]
    if item.attrs.get("MATLAB_class", b"") == b"char":
        return "".join(map(chr, value.ravel("F" if value.ndim < 2 else "C")))
    return value.ravel()[0] if value.size else ""


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return np.array(value, dtype=object) if isinstance(value, (list, tuple)) else value


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Give the arrays of nested dicts dotted keys; a single array has the default one."""
    if not isinstance(content, dict):
        return {
            prefix or _DEFAULT: content
            if isinstance(content, np.ndarray)
            else np.array(content, dtype=object)
        }
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
