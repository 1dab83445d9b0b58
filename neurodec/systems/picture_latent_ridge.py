"""Ridge from responses to the latents of an autoencoder that is trained on the study's own pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials
from neurodec.data.descriptions import require_arrays
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.systems.ridge_system import RidgeSystem
from neurodec.systems.system import as_trained
from neurodec.training.picture_autoencoder import PictureAutoencoder, latent_shape

_FOLDER = "autoencoder"


@dataclass
class PictureLatentRidge(RidgeSystem):
    """Predicts pixels through the latents of an autoencoder of the training pictures.

    A mean of latents decodes to a picture like those that were learned, where a mean of pixels is a blur. The head is
    the target `neurodec.features.Pixels`; predictions are pixels too, so priors, decoders and scores are those of
    pixels.

    Parameters
    ----------
    head, targets, alphas, alpha, n_folds, per_value, average_repetitions, renormalise, data
        See `RidgeSystem`; of the head, it is the latents that are solved.
    weigh_voxels : bool
        See `RidgeSystem`.
    latent_channels, n_steps, n_copies : int
        See `PictureAutoencoder.fit`.
    seed : int
        Of the autoencoder.

    Notes
    -----
    The autoencoder sees the pictures of the trials that are fitted, and no other. Cross-fitted predictions, which a
    prior needs, come from ridge fitted without the left-out trials, through the same autoencoder: it knows the
    left-out *training* pictures, though nothing of their responses. Cost: about a minute of one CPU core.
    """

    head: str = "pixels"
    weigh_voxels: bool = True
    latent_channels: int = 2
    n_steps: int = 400
    n_copies: int = 20
    seed: int = 0
    _known: dict[str, PictureAutoencoder] = field(default_factory=dict, init=False, repr=False, compare=False)

    _class_path: ClassVar[str] = "neurodec.systems.PictureLatentRidge"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments; see `System.get_params`."""
        return {name: value for name, value in super().get_params(deep).items() if name != "_known"}

    def _fit_space(
        self, trials: Trials, stimuli: pd.DataFrame, targets: dict[str, Features], folder: Path
    ) -> dict[str, float | None]:
        shown = list(dict.fromkeys(trials.table["stimulus"]))
        pictures = np.asarray(targets[self.head].of(shown), dtype=np.float64)
        if pictures.ndim != 3:
            raise NeurodecError(
                f"The target {self.head} has the shape {pictures.shape}, and an autoencoder of pictures needs (n, "
                "height, width); take neurodec.features.Pixels."
            )
        network = self._known.get(folder.name) or PictureAutoencoder.fit(
            pictures,
            latent_channels=self.latent_channels,
            n_steps=self.n_steps,
            n_copies=self.n_copies,
            seed=self.seed,
        )
        network.save(folder / _FOLDER)
        latents = Features(network.encode(pictures), shown, targets[self.head].info)
        np.save(folder / "mean.npy", pictures.mean(axis=0))
        return super()._fit_space(trials, stimuli, {**targets, self.head: latents}, folder)

    def _read_space(self, folder: Path) -> dict[str, Any]:
        height, width = self.config["targets"][self.head]
        network = PictureAutoencoder.load(folder / _FOLDER, height, width)
        mean = np.load(folder / "mean.npy")
        require_arrays(folder, {"mean.npy": (mean, (height, width))})
        return {**super()._read_space(folder), "network": network, "mean": mean}

    def _solved_shapes(self, model: dict[str, Any]) -> dict[str, list[int]]:
        shapes = self.config["targets"]
        height, width = shapes[self.head]
        return {**shapes, self.head: list(latent_shape(height, width, self.latent_channels))}

    def _predict(self, trials: Trials, model: dict[str, Any]) -> dict[str, np.ndarray]:
        found = super()._predict(trials, model)
        return {**found, self.head: model["network"].decode(found[self.head])}

    def without(self, kept: Study, targets: dict[str, Features]) -> PictureLatentRidge:
        """Return ridge of the same kind and autoencoder, fitted to some of the training trials; see `RefitsApart`."""
        alpha = {name: value for name, value in self.alpha.items() if name == self.head}
        fewer = replace(self, targets=[self.head], alpha=alpha)
        fewer._known = {space: model["network"] for space, model in self._models.items()}
        return fewer.fit(as_trained(kept, self.config), targets)

    def through_latents(self, pictures: np.ndarray) -> np.ndarray:
        """Return true pictures (n, h, w) encoded and decoded: the best that any response could give.

        Parameters
        ----------
        pictures : ndarray, shape (n, h, w)
        """
        network = next(iter(self._models.values()))["network"]
        return network.decode(network.encode(pictures))

    def mean_target(self, name: str) -> np.ndarray | None:
        """Return the mean training target; see `System.mean_target`."""
        if name != self.head:
            return super().mean_target(name)
        return np.mean([model["mean"] for model in self._models.values()], axis=0)

    @property
    def n_parameters(self) -> int:
        """Number of weights, those of the autoencoder included."""
        networks = [model["network"].network for model in self._models.values()]
        return super().n_parameters + sum(own.numel() for network in networks for own in network.parameters())
