"""Read pickled arrays without running what a pickle may ask to run.

Public EEG sets come as ``np.save`` of a dict, which only ``np.load(..., allow_pickle=True)`` opens, and that executes
any code in the file. Here a pickle may hold NumPy arrays and scalars, dicts, lists, tuples, strings and numbers: every
other class is refused by name before it is touched. Large arrays stay on disk, memory-mapped.
"""

from __future__ import annotations

import codecs
import io
import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from neurodec.errors import NeurodecError

LARGE = 1 << 20  # bytes that are mapped instead of copied


def load_pickled(path: str | Path) -> Any:
    """Return the content of a pickle, or of an ``.npy`` file, plain or with a pickled object inside.

    Parameters
    ----------
    path : str or Path
        The file. An object array of one item gives that item.

    Returns
    -------
    dict, list, str, number or ndarray
        Arrays above 1 MB are read-only views of the memory-mapped file.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, not a pickle, or holds another class.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            content = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise NeurodecError(f"{path} is missing; download it again or correct --data-root.") from None
    except ValueError:
        raise NeurodecError(f"{path} is empty; download it again.") from None
    source = _Source(content)
    try:
        if bytes(content[:6]) == b"\x93NUMPY":
            return _load_npy(source, path)
        return _unwrap(_Unpickler(source).load())
    except (NeurodecError, MemoryError):
        raise
    except EOFError:
        raise NeurodecError(f"{path} is cut short ({len(content)} bytes); download it again.") from None
    except _ForeignClass as error:
        raise NeurodecError(
            f"{path} holds the class {error}; only NumPy arrays, dicts, lists, strings and numbers are read from a "
            "pickle, because anything else could run code."
        ) from None
    except Exception as error:  # a damaged pickle can fail in any way; none of them is worth a traceback
        raise NeurodecError(
            f"{path} is not a readable pickle ({type(error).__name__}: {error}); download it again."
        ) from None


def _load_npy(source: _Source, path: Path) -> Any:
    version = np.lib.format.read_magic(source)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(source)
    if dtype.hasobject:
        return _unwrap(_Unpickler(source).load())
    n_items = int(np.prod(shape, dtype=np.int64))
    if source.left() < n_items * dtype.itemsize:
        raise EOFError
    flat = np.frombuffer(source.read(n_items * dtype.itemsize), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


class _ForeignClass(Exception):
    """A class that a pickle of arrays has no need of."""


class _Source(io.RawIOBase):
    """A file whose large reads are views of its memory map, and whose short reads fail."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._position = content, 0

    def left(self) -> int:
        return len(self._content) - self._position

    def read(self, size: int = -1) -> Any:
        size = self.left() if size < 0 else size
        if size > self.left():
            raise EOFError
        piece = self._content[self._position : self._position + size]
        self._position += size
        return piece if size >= LARGE else bytes(piece)

    def readinto(self, buffer: Any) -> int:
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        end = bytes(self._content[self._position : self._position + 4096]).find(b"\n")
        if end < 0:
            raise EOFError
        return self.read(end + 1)


class _Array:
    """Stands in for `numpy.ndarray` while the pickle is read; its data may be a view of the file."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        order = "F" if fortran else "C"
        if dtype.code.startswith("O"):
            self.value = np.empty(len(data), dtype=object)
            self.value[:] = data
        else:
            self.value = np.frombuffer(data, dtype.numpy())
        self.value = self.value.reshape(shape, order=order)


class _DType:
    """Stands in for `numpy.dtype`: plain kinds only, no fields, no metadata."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.byte_order = str(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = state[1]

    def numpy(self) -> np.dtype:
        if self.code[:1] not in "?bBiufcSU" or not self.code[1:].isdigit():
            raise _ForeignClass(f"numpy.dtype({self.code!r})")
        return np.dtype(self.code).newbyteorder(self.byte_order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: _DType, shape: tuple, order: str, *_: Any) -> _Array:
    array = _Array()
    array.value = np.frombuffer(data, dtype.numpy()).reshape(shape, order=order)
    return array


def _scalar(dtype: _DType, data: bytes) -> Any:
    return np.frombuffer(data, dtype.numpy())[0].item()


def _encode(text: str, encoding: str) -> bytes:
    return codecs.encode(text, "latin1" if encoding == "latin1" else "ascii")


_ALLOWED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,  # how protocol 2 spells bytes
    **{
        (f"numpy.{package}.{module}", name): stand_in
        for package in ("core", "_core")  # before and since NumPy 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle._Unpickler):
    """The pure-Python unpickler: it passes views of the file on, where the C one would copy them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForeignClass(f"{module}.{name}")
        return _ALLOWED[module, name]


def _unwrap(content: Any) -> Any:
    """Replace the stand-ins by their arrays."""
    if isinstance(content, _Array):
        value = content.value
        if value is None or value.dtype != object:
            return value
        items = [_unwrap(item) for item in value.ravel(order="K")]
        return items[0] if value.size == 1 else items
    if isinstance(content, dict):
        return {_unwrap(key): _unwrap(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_unwrap(item) for item in content)
    if isinstance(content, (_DType, type)) or callable(content):
        raise _ForeignClass(repr(content))
    return content
