"""What drives the simulated brain: pixels, and the layers of a network that is not the decoder's target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from neurodec.errors import NeurodecError
from neurodec.features import image_layers, load_clip
from neurodec.files import track

DRIVER = "neurodec/scene-driver"  # another seed than neurodec/tiny-clip, and never a target
BLOCKS = {"early": 0, "middle": 1, "late": 3}
STAGES = ("pixels", *BLOCKS, "embedding")
GRID = 6
_OPPONENT = np.array(
    [[0.30, 0.59, 0.11], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]]
)  # luminance, red-green, blue-yellow


class StimulusDrive:
    """Standardised activity of visual stages for a set of pictures.

    Parameters
    ----------
    pictures : sequence of PIL.Image
    n_fit : int
        Means, scales and principal axes come from the first `n_fit` pictures (the training ones).

    Notes
    -----
    Cost: one forward pass of a small vision transformer per picture.
    """

    def __init__(self, pictures: Sequence[Image.Image], n_fit: int) -> None:
        self.pictures, self.n_fit = pictures, n_fit

    def units(self, stage: str, n_units: int, seed: int) -> np.ndarray:
        """Return the activity of `n_units` units that mix the main axes of a stage.

        Parameters
        ----------
        stage : str
            One of `STAGES`.
        n_units : int
            Also the number of principal axes that are mixed, equalised in variance as in populations of neurons
            with normalisation.
        seed : int
            Of the mixture.

        Returns
        -------
        ndarray, shape (n_pictures, n_units), float32
            Zero mean and unit variance over the fitted pictures.

        Raises
        ------
        NeurodecError
            If there are fewer training pictures than units.
        """
        activity = self.stages[stage]
        if self.n_fit <= n_units:
            raise NeurodecError(
                f"{n_units} units need more than {self.n_fit} training pictures; simulate more."
            )
        centred = activity - activity[: self.n_fit].mean(axis=0)
        fitted = centred[: self.n_fit]
        axes = np.linalg.eigh(fitted.T @ fitted)[1][:, ::-1][:, :n_units]
        scores = centred @ axes
        scores /= scores[: self.n_fit].std(axis=0)
        mixture = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_units, n_units)))[0]
        return (scores @ mixture).astype(np.float32)

    @cached_property
    def stages(self) -> dict[str, np.ndarray]:
        """Activity of every stage, each (n_pictures, n_features), float64."""
        return {"pixels": np.stack([pixels(picture) for picture in self.pictures]), **self._network_stages()}

    def _network_stages(self) -> dict[str, np.ndarray]:
        network, transform = load_clip(DRIVER)
        found: dict[str, list[torch.Tensor]] = {stage: [] for stage in (*BLOCKS, "embedding")}
        starts = range(0, len(self.pictures), 64)
        with torch.inference_mode():
            for start in track(starts, "driving the simulated brain"):
                batch = torch.stack([transform(picture) for picture in self.pictures[start : start + 64]])
                for stage, maps in zip(
                    BLOCKS, image_layers(network, batch, list(BLOCKS.values())), strict=True
                ):
                    # quadrants stay apart: these areas know where in the picture something is
                    found[stage].append(torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1))
                found["embedding"].append(network.encode_image(batch))
        return {stage: torch.cat(parts).double().numpy() for stage, parts in found.items()}


def pixels(picture: Image.Image) -> np.ndarray:
    """Describe a picture as primary visual cortex would: opponent colours and contrast in a retinotopic grid.

    Returns
    -------
    ndarray, shape (4 * 6 * 6,)
        Means of luminance, red-green and blue-yellow, and the luminance contrast, of every cell.
    """
    side = picture.width // GRID * GRID
    image = np.asarray(picture.resize((side, side)), dtype=np.float64) / 255 @ _OPPONENT.T
    cells = image.reshape(GRID, side // GRID, GRID, side // GRID, 3)
    means = cells.mean(axis=(1, 3))
    contrast = cells[..., 0].std(axis=(1, 3))
    return np.concatenate([means.reshape(-1), contrast.reshape(-1)])
