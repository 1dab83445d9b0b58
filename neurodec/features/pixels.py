"""The picture itself as a target: its brightness, pixel by pixel, at a small side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from neurodec.errors import NeurodecError
from neurodec.features.cache import cached_rows
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.files import key_of, sha256_of
from neurodec.picture_opening import RULES_VERSION, open_picture

GREY = "pixels/grey"
"""The space of grey pictures; their size is the shape of the values."""


@dataclass(frozen=True)
class Pixels(Extractor):
    """Grey pictures from 0 (black) to 1 (white): for figures, letters and digits, not photographs.

    Parameters
    ----------
    height, width : int, optional
        In pixels; pictures of another size are resized (Lanczos). By default their own size, one for all.
    """

    height: int | None = None
    width: int | None = None

    @property
    def embedding_space(self) -> str:
        """Name of the space of the targets."""
        return GREY

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return the pixels of the pictures of a stimulus table, shape (n_stimuli, height, width).

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus` and `image`.
        root : str or Path
            The data root.

        Raises
        ------
        NeurodecError
            If a picture is missing or damaged, or has another size than the first and none is asked for.
        """
        files = [Path(root) / image for image in stimuli["image"]]
        for file, stimulus in zip(files, stimuli["stimulus"], strict=True):
            if not file.is_file():
                raise NeurodecError(
                    f"The picture of stimulus '{stimulus}' does not exist ({file}); correct the stimulus table."
                )
        height, width = self._size(files, stimuli["stimulus"].tolist())
        contents = [sha256_of(file) for file in files]
        recipe: dict[str, Any] = {"kind": GREY, "size": [height, width], "pictures": RULES_VERSION}

        def compute(rows: list[int]) -> Iterator[np.ndarray]:
            for row in rows:
                yield grey_pixels(open_picture(files[row]), height, width)[None]

        values = cached_rows(contents, recipe, compute, "pixels")
        info = {"embedding_space": GREY, "key": key_of([recipe, contents]), **recipe}
        info |= {"dims": ["stimulus", "row", "column"], "contents": contents}
        return Features(values, stimuli["stimulus"].tolist(), info)

    def _size(self, files: list[Path], names: list[str]) -> tuple[int, int]:
        """Return the height and width of all targets."""
        if self.height is not None and self.width is not None:
            return self.height, self.width
        if self.height is not None or self.width is not None:
            raise NeurodecError("`Pixels` needs both `height` and `width`, or neither; correct the target.")
        first: tuple[int, int] | None = None
        for file, name in zip(files, names, strict=True):
            size = open_picture(file).size
            first = first or size
            if size != first:
                raise NeurodecError(
                    f"The picture of {name} has {size[0]} x {size[1]} pixels, that of {names[0]} {first[0]} x "
                    f"{first[1]}; give `height` and `width` to the target."
                )
        if first is None:
            raise NeurodecError("There is no stimulus to take pixels of; check the stimulus table.")
        return first[1], first[0]


def grey_pixels(picture: Image.Image, height: int, width: int) -> np.ndarray:
    """Return the brightness of a picture, 0 to 1, shape (height, width), float32.

    Parameters
    ----------
    picture : PIL.Image.Image
    height, width : int
    """
    grey = picture.convert("L")
    if grey.size != (width, height):
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(grey, dtype=np.float32) / 255
