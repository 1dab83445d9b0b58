"""MATLAB 5 files are nested elements with sizes; SciPy trusts these, and a damaged one can end the process."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from neurodec.errors import NeurodecError

_HEADER = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 2,
    5: 4,
    6: 4,
    7: 4,
    9: 8,
    12: 8,
    13: 8,
    16: 1,
    17: 2,
    18: 4,
}  # bytes by data type
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMERIC = range(6, 16)
_DEEPEST = 64
_LARGEST = 1100  # how far deflate can shrink


def check_mat(path: Path) -> None:
    """Refuse a MATLAB file (versions 5 to 7) whose elements do not fit into each other.

    Cost: one read of the file, decompressed element by element.

    Raises
    ------
    NeurodecError
        Naming the file. Files of other versions are left to their readers.
    """
    content = path.read_bytes()
    mark = content[126:128]
    if mark not in (b"IM", b"MI") or content[124:126] in (b"\x00\x02", b"\x02\x00"):
        return
    walker = _Walker("<" if mark == b"IM" else ">")
    try:
        place = _HEADER
        while place < len(content):
            kind, body, place = walker.element(content, place, padded=False)
            if kind == _COMPRESSED:
                unpacked = _unpack(bytes(body))
                kind, body, _ = walker.element(unpacked, 0, padded=False)
            if kind == _MATRIX:
                walker.matrix(body, 0)
    except (_Misfit, struct.error, zlib.error) as error:
        raise NeurodecError(
            f"{path} is damaged: an element of the MATLAB file does not fit ({error}); copy it again, or save it anew."
        ) from error


class _Misfit(Exception):
    """An element that does not fit where it stands."""


def _unpack(packed: bytes) -> bytes:
    room = _LARGEST * max(len(packed), 64)
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(packed, room)
    if not unpacker.eof:
        raise _Misfit("a compressed element does not end")
    return unpacked


class _Walker:
    """Walks through elements of one byte order."""

    def __init__(self, order: str) -> None:
        self.order = order

    def element(
        self, content: bytes | memoryview, place: int, *, padded: bool = True
    ) -> tuple[int, memoryview, int]:
        """Return the type and the body of the element at `place`, and where the next one begins."""
        view = memoryview(content)
        if place + 8 > len(view):
            raise _Misfit("it is cut short")
        first, size = struct.unpack_from(f"{self.order}II", view, place)
        if first >> 16:  # four bytes or less, kept in the tag
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise _Misfit("a short element is too long")
            return kind, view[place + 4 : place + 4 + size], place + 8
        begin = place + 8
        if begin + size > len(view):
            raise _Misfit("it is longer than what holds it")
        after = begin + size
        return first, view[begin:after], min(after + (-size % 8), len(view)) if padded else after

    def matrix(self, body: memoryview, depth: int) -> None:
        """Check an array: its flags, dimensions, name, and what its class must hold."""
        if depth > _DEEPEST:
            raise _Misfit("it is nested too deeply")
        if not len(body):
            return None
        kind, flags, place = self.element(body, 0)
        if kind != _UINT32 or len(flags) != 8:
            raise _Misfit("an array has no flags")
        word = struct.unpack_from(f"{self.order}I", flags)[0]
        mx_class, is_complex = word & 0xFF, bool(word & 0x800)
        if mx_class == _OPAQUE:
            return self._rest(body, place)
        kind, dims, place = self.element(body, place)
        if kind != _INT32 or len(dims) < 8 or len(dims) % 4:
            raise _Misfit("an array has no dimensions")
        lengths = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        n_items = float(np.prod([float(length) for length in lengths]))
        if min(lengths) < 0:
            raise _Misfit("an array has a negative length")
        kind, _, place = self.element(body, place)
        if kind != _INT8:
            raise _Misfit("an array has no name")
        if mx_class in _NUMERIC or mx_class == _CHAR:
            for _ in range(2 if is_complex else 1):
                place = self._numbers(body, place, n_items, exact=mx_class != _CHAR)
        elif mx_class == _SPARSE:
            self._sparse(body, place, lengths, is_complex)
        elif mx_class in (_CELL, _STRUCT, _OBJECT):
            self._nested(body, place, n_items, mx_class, depth)
        elif mx_class != _FUNCTION:
            raise _Misfit(f"an array is of the unknown class {mx_class}")
        return None

    def _rest(self, body: memoryview, place: int) -> None:
        while place < len(body):
            _, _, place = self.element(body, place)

    def _numbers(self, body: memoryview, place: int, n_items: float, *, exact: bool) -> int:
        kind, numbers, place = self.element(body, place)
        if kind not in _SIZES:
            raise _Misfit(f"numbers are of the unknown type {kind}")
        n_told = len(numbers) / _SIZES[kind]
        if exact and n_told != n_items:
            raise _Misfit(f"{n_told:g} numbers stand for {n_items:g}")
        if n_items > max(8, 8 * len(numbers)):
            raise _Misfit(f"{len(numbers)} bytes stand for a text of {n_items:g}")
        return place

    def _sparse(self, body: memoryview, place: int, lengths: tuple[int, ...], is_complex: bool) -> None:
        parts = []
        for _ in range(4 if is_complex else 3):
            kind, numbers, place = self.element(body, place)
            if kind not in _SIZES:
                raise _Misfit("a sparse array is incomplete")
            parts.append((kind, numbers))
        if len(lengths) != 2 or any(kind != _INT32 for kind, _ in parts[:2]):
            raise _Misfit("a sparse array has no two dimensions")
        rows, columns = (np.frombuffer(numbers, f"{self.order}i4") for _, numbers in parts[:2])
        n_values = len(parts[2][1]) // _SIZES[parts[2][0]]
        fits = len(columns) == lengths[1] + 1 and (np.diff(columns) >= 0).all() and columns[0] == 0
        if (
            not fits
            or columns[-1] > min(len(rows), n_values)
            or ((rows < 0) | (rows >= max(lengths[0], 1))).any()
        ):
            raise _Misfit("a sparse array points outside itself")

    def _nested(self, body: memoryview, place: int, n_items: float, mx_class: int, depth: int) -> None:
        n_fields = 1
        if mx_class == _OBJECT:
            _, _, place = self.element(body, place)
        if mx_class != _CELL:
            kind, width, place = self.element(body, place)
            if kind != _INT32 or len(width) != 4:
                raise _Misfit("a struct has no names")
            length = struct.unpack(f"{self.order}i", width)[0]
            _, names, place = self.element(body, place)
            if length < 1 or len(names) % length:
                raise _Misfit("the names of a struct do not fit")
            n_fields = len(names) // length
        if n_items * n_fields * 8 > len(body):
            raise _Misfit("it holds fewer parts than it says")
        for _ in range(int(n_items) * n_fields):
            kind, inner, place = self.element(body, place)
            if kind != _MATRIX:
                raise _Misfit("a part of it is no array")
            self.matrix(inner, depth + 1)
