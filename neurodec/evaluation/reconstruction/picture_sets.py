"""Sets of pictures of any kind and size, checked once, then read and resized a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError

Interpolation = Literal["bilinear", "bicubic"]

_SLACK = 1e-5  # how far rounding may carry a float picture out of 0..1
_VALUES_AT_ONCE = 2**19  # numbers of a block of pictures: what stays in a processor's cache


@dataclass(frozen=True)
class Resize:
    """Bring pictures to a square, whatever their shape was.

    Parameters
    ----------
    size : int
        Side in pixels.
    interpolation : {"bilinear", "bicubic"}
        Results of "bicubic" may leave 0..1 a little unless `eight_bit`.
    antialias : bool
        Widen the kernel where pictures shrink, as Pillow always does. torchvision's own default for tensors changed
        with version 0.17, so it is said here, always.
    eight_bit : bool
        Round to 0..255 before and after, as a pipeline does that resizes PNG files with Pillow (equal to Pillow but
        for differences of one or two levels in less than one per cent of the values).
    """

    size: int
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    eight_bit: bool = False

    def __call__(self, pictures: Tensor) -> Tensor:
        """Resize.

        Parameters
        ----------
        pictures : Tensor, shape (B, 3, H, W)
            uint8, or floating in 0..1.

        Returns
        -------
        Tensor, shape (B, 3, size, size), float32
            In 0..1.
        """
        if self.eight_bit and pictures.dtype != torch.uint8:
            pictures = (pictures * 255).round().clamp(0, 255).to(torch.uint8)
        elif not self.eight_bit:
            pictures = as_unit(pictures)
        if pictures.shape[-2:] != (self.size, self.size):
            pictures = F.interpolate(
                pictures, size=(self.size, self.size), mode=self.interpolation, antialias=self.antialias
            )
        return as_unit(pictures)


def as_unit(pictures: Tensor) -> Tensor:
    """Return float32 pictures in 0..1, whatever type they had."""
    return pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures.float()


@dataclass(frozen=True)
class Pictures:
    """Checked pictures that are converted when they are needed; make them with `as_pictures`.

    Parameters
    ----------
    source : ndarray of shape (n, 3, H, W) or list of PIL.Image.Image
        An array may be memory-mapped.
    """

    source: np.ndarray | list[Image.Image]

    def __len__(self) -> int:
        return len(self.source)

    def resized(self, rows: Sequence[int] | np.ndarray, resizes: Sequence[Resize]) -> Tensor:
        """Return some pictures, resized step by step.

        Parameters
        ----------
        rows : sequence of int
            Which pictures.
        resizes : sequence of Resize
            One after the other.

        Returns
        -------
        Tensor, shape (len(rows), 3, size, size), float32
            As they are where there is no step.
        """
        if isinstance(self.source, np.ndarray):
            return _through(torch.from_numpy(self.source[rows]), resizes)
        return torch.cat([_through(_tensor_of(self.source[row]), resizes) for row in rows])

    @cached_property
    def digests(self) -> list[bytes]:
        """Hash of every picture's pixels."""
        return [hashlib.blake2b(_bytes_of(picture)).digest() for picture in self.source]

    @cached_property
    def unique(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the distinct pictures, and for every picture its place among them, as `numpy.unique` gives them.

        Equal pictures that pass a network once have equal features to the last bit, so that they tie.
        """
        codes = pd.factorize(np.array(self.digests, dtype=object))[0]
        return np.unique(codes, return_index=True)[1], codes


def as_pictures(pictures: np.ndarray | Sequence[Image.Image], name: str) -> Pictures:
    """Check a set of pictures.

    Parameters
    ----------
    pictures : ndarray of shape (n, 3, H, W), or list of PIL.Image.Image
        uint8, or floats in 0..1. PIL pictures may differ in size and mode; they count as RGB.
    name : str
        What the sentence of an error calls them.

    Raises
    ------
    NeurodecError
        If there are none, they are no pictures, or a value is NaN or outside 0..1.
    """
    if not len(pictures):
        raise NeurodecError(f"There are no {name} to score; give at least one picture.")
    if isinstance(pictures, (list, tuple)) and all(isinstance(one, Image.Image) for one in pictures):
        return Pictures(list(pictures))
    try:
        array = np.asarray(pictures)
    except (TypeError, ValueError) as error:
        raise NeurodecError(
            f"The {name} form no array ({error}); give (n, 3, H, W) or a list of PIL images."
        ) from error
    floating = np.issubdtype(array.dtype, np.floating)
    if array.ndim != 4 or array.shape[1] != 3 or not (floating or array.dtype == np.uint8):
        raise NeurodecError(
            f"The {name} are {array.dtype} of shape {array.shape}; give uint8 or float pictures of shape (n, 3, H, W), "
            "or a list of PIL images."
        )
    if floating:
        _check_range(array, name)
    return Pictures(array)


def as_pairs(
    targets: np.ndarray | Sequence[Image.Image], recons: np.ndarray | Sequence[Image.Image]
) -> tuple[Pictures, Pictures]:
    """Check two sets of pictures of which every two belong together, as `as_pictures` does.

    Raises
    ------
    NeurodecError
        Also if there are more of one than of the other.
    """
    pair = as_pictures(targets, "targets"), as_pictures(recons, "reconstructions")
    if len(pair[0]) != len(pair[1]):
        raise NeurodecError(
            f"There are {len(pair[0])} targets but {len(pair[1])} reconstructions; give one reconstruction per target, "
            "in the same order."
        )
    return pair


def blocks(n_pictures: int, size: int) -> Iterator[np.ndarray]:
    """Yield the rows of blocks of pictures of `size` x `size` pixels that fit the memory of a processor's cache."""
    step = max(1, _VALUES_AT_ONCE // (3 * size**2))
    for start in range(0, n_pictures, step):
        yield np.arange(start, min(start + step, n_pictures))


def _check_range(array: np.ndarray, name: str) -> None:
    lowest, highest = (edge(array, axis=(1, 2, 3)) for edge in (np.min, np.max))
    bad = np.flatnonzero(~((lowest >= -_SLACK) & (highest <= 1 + _SLACK)))  # a NaN is neither
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} of the {name}, first number {bad[0]}, hold values from {lowest[bad[0]]:g} to "
            f"{highest[bad[0]]:g}; float pictures go from 0 to 1, without NaN."
        )


def _through(pictures: Tensor, resizes: Sequence[Resize]) -> Tensor:
    for resize in resizes:
        pictures = resize(pictures)
    return pictures


def _tensor_of(picture: Image.Image) -> Tensor:
    """Return (1, 3, H, W), uint8."""
    values = np.array(picture.convert("RGB")).transpose(2, 0, 1)[None]
    return torch.from_numpy(np.ascontiguousarray(values))


def _bytes_of(picture: np.ndarray | Image.Image) -> bytes:
    if isinstance(picture, Image.Image):
        return repr(picture.size).encode() + picture.convert("RGB").tobytes()
    return picture.tobytes()
