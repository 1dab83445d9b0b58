"""Pictures that came as arrays, written where the prepared trials are, so that targets and reports can open them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, file_names

COLUMN = "prepared_image"
"""Column of the stimuli that names such a picture, below the prepared folder."""
_FOLDER = "pictures"


def with_pictures(stimuli: pd.DataFrame, pictures: dict[str, np.ndarray], folder: Path) -> pd.DataFrame:
    """Write pictures (PNG, so that no number changes) and name them in the table of stimuli.

    Parameters
    ----------
    stimuli : DataFrame
    pictures : dict of ndarray, shape (h, w) or (h, w, 3), uint8
        By stimulus; with none, the table is returned as it is.
    folder : Path
        The prepared folder.

    Raises
    ------
    NeurodecError
        If a stimulus has none, or an array is no picture.
    """
    if not pictures:
        return stimuli
    missing = sorted(set(stimuli["stimulus"]) - set(pictures))
    if missing:
        raise NeurodecError(f"The reader gives no picture of the stimulus {missing[0]}; add it there.")
    files = {name: f"{_FOLDER}/{own}.png" for name, own in file_names(stimuli["stimulus"]).items()}
    for name, file in files.items():
        values = np.asarray(pictures[name])
        if values.dtype != np.uint8 or values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)):
            raise NeurodecError(
                f"The picture of {name} is {values.dtype} of shape {values.shape}; give uint8, (h, w) or (h, w, 3)."
            )
        with atomic_path(folder / file) as partial:
            Image.fromarray(values).save(partial)
    return located(stimuli.assign(**{COLUMN: stimuli["stimulus"].map(files)}), folder)


def located(stimuli: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return a table of stimuli whose column `image` tells where the pictures in a prepared folder are now.

    Parameters
    ----------
    stimuli : DataFrame
    folder : Path
        The prepared folder, which may have been moved since.

    Raises
    ------
    NeurodecError
        If a name leads out of the folder.
    """
    if COLUMN not in stimuli:
        return stimuli
    inside = (folder / _FOLDER).resolve()
    files = [(folder / name).resolve() for name in stimuli[COLUMN]]
    outside = [file for file in files if file.parent != inside]
    if outside:
        raise NeurodecError(f"{folder} names the picture {outside[0]}, which is not of it; prepare it again.")
    return stimuli.assign(image=[str(file) for file in files])
