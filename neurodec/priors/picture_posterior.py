"""What pictures like those of the training are likely to have been seen, given pixels that a system predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError, reading
from neurodec.features.moved_pictures import moved_copies
from neurodec.features.pixel_similarity import WINDOW, windowed_ssim
from neurodec.priors.embedding_rows import Generators, blocks, check_generators, checked_pairs, checked_rows
from neurodec.priors.prior import Prior
from neurodec.priors.saved_prior import read_prior_config, require_fitted, write_prior

_WIDEST_GAIN = 1.5
_BLURS = (0.0, 0.5)  # pixels
_BLACKS = tuple(np.arange(0, 0.45, 0.05).round(2))
_RANGES = tuple(np.arange(0.3, 1.45, 0.1).round(2))


class PicturePosterior(Prior):
    """Turns predicted pixels into the picture that was probably seen: a Gaussian over pictures, then a tone curve.

    Step 1, the posterior mean: along every principal component of the training pictures (and slightly moved, turned
    and scaled copies of them), the prediction is multiplied by the gain that brings cross-fitted predictions nearest
    to what was seen; what training pictures do not span has a gain of its own. A component that the brain does not
    tell is left at the mean. Step 2, contrast: simple pictures are nearly black and white, and means of many are grey.
    One black point, one white point and perhaps a slight blur are chosen on the same cross-fitted predictions. Where
    predictions are perfect, both steps change nothing.

    Parameters
    ----------
    n_components : int
        Principal components; at most one less than there are pictures.
    n_copies : int
        Moved copies of every training picture.
    structure : float
        What the tone curve is chosen for: the squared error, relative to that without curve, less `structure` times
        SSIM (windows of 7 x 7). 0 is for the squared error alone; more gives crisper pictures at a larger error.
    shrinkage : float
        Strength, in units of a mean component, with which gains are drawn to that of all components together: there
        are few training pictures.
    seed : int
        Of the copies.

    Notes
    -----
    Linear-Gaussian: with predictions z and pictures x, the gain of a component is ``cov(z, x) / var(z)``, the
    regression of what was seen on what was predicted; it falls to 0 as predictions become noise. No test picture and
    no label plays a part.
    """

    mean: Tensor
    centre: Tensor
    components: Tensor
    gains: Tensor
    rest: Tensor
    tone: Tensor

    def __init__(
        self,
        n_components: int = 60,
        n_copies: int = 6,
        structure: float = 2.0,
        shrinkage: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if n_components < 1 or n_copies < 0 or structure < 0 or shrinkage < 0:
            raise NeurodecError(
                "PicturePosterior needs at least one component, and no negative number of copies, `structure` or "
                "`shrinkage`; correct the section `prior`."
            )
        self.n_components, self.n_copies = n_components, n_copies
        self.structure, self.shrinkage, self.seed = structure, shrinkage, seed
        self.embedding_space: str | None = None
        self._size(0, 0, 0)

    def fit(
        self,
        z: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        *,
        embedding_space: str,
        checkpoints: str | Path | None = None,
    ) -> PicturePosterior:
        """Fit predicted pixels and the pixels of what was seen; see `Prior.fit`.

        Parameters
        ----------
        z, targets : Tensor or ndarray, shape (n, height, width)
        groups, embedding_space, checkpoints
            See `Prior.fit`; groups and checkpoints are not needed.

        Raises
        ------
        NeurodecError
            If these are no pictures of one size, of 7 pixels a side or more, or rows do not pair up or are not finite.
        """
        z, targets = torch.as_tensor(z), torch.as_tensor(targets)
        if z.ndim != 3 or z.shape[1:] != targets.shape[1:] or min(z.shape[1:]) < WINDOW:
            raise NeurodecError(
                f"The prior was given predictions {tuple(z.shape)} of targets {tuple(targets.shape)}, and reads "
                f"pictures (n, height, width) of {WINDOW} pixels a side or more; take the target "
                "neurodec.features.Pixels."
            )
        self.height, self.width = z.shape[1:]
        z, targets, _ = checked_pairs(z.flatten(1), targets.flatten(1), groups)
        predicted, seen = z.double().numpy(), targets.double().numpy()
        mean, centre = seen.mean(axis=0), predicted.mean(axis=0)
        components = self._components(seen, mean)
        gains, rest = self._gains(predicted - centre, seen - mean, components)
        found = {"mean": mean, "centre": centre, "components": components, "gains": gains, "rest": rest}
        for name, value in found.items():
            setattr(self, name, torch.as_tensor(value, dtype=torch.float32))
        self.tone = self._chosen_tone(self._posterior_mean(z).double().numpy(), seen)
        self.embedding_space = embedding_space
        return self

    def _posterior_mean(self, rows: Tensor) -> Tensor:
        """Return the mean of what was seen given predictions (n, height * width), before the tone curve."""
        found = []
        for block in blocks(rows):
            apart = block - self.centre.cpu()
            scores = apart @ self.components.cpu().T
            told = (scores * self.gains.cpu()) @ self.components.cpu()
            found.append(self.mean.cpu() + told + self.rest.cpu() * (apart - scores @ self.components.cpu()))
        return torch.cat(found)[: len(rows)]

    def sample(
        self, z: Tensor | np.ndarray, generator: Generators, n_steps: int = 1, guidance: float = 1.0
    ) -> Tensor:
        """Return the most fitting picture (n, height, width), 0 to 1, per prediction; nothing is drawn at random.

        Parameters
        ----------
        z : Tensor or ndarray, shape (n, height, width)
        generator, n_steps, guidance
            See `Prior.sample`; without effect.

        Raises
        ------
        NeurodecError
            If `z` has another size or holds NaN or infinity, or the prior was never fitted.
        """
        require_fitted(self)
        z = torch.as_tensor(z)
        if tuple(z.shape[1:]) != (self.height, self.width):
            raise NeurodecError(
                f"The predictions have the shape {tuple(z.shape)}, the prior was fitted to pictures of {self.height} x "
                f"{self.width} pixels; give (n, {self.height}, {self.width})."
            )
        rows = checked_rows(z.flatten(1), "predicted pixels")
        check_generators(generator, len(rows))
        mean = self._posterior_mean(rows.cpu())
        blur, black, span = self.tone.tolist()
        pixels = toned(self._pictures(mean.double().numpy()), blur, black, span)
        return torch.as_tensor(pixels, dtype=torch.float32)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`.

        Raises
        ------
        NeurodecError
            If the prior was never fitted.
        """
        names = ("n_components", "n_copies", "structure", "shrinkage", "seed")
        sizes = {"embed_dim": len(self.mean), "cond_dim": len(self.mean), "n_kept": len(self.gains)}
        sizes |= {"height": self.height, "width": self.width}
        write_prior(folder, self, {"init_args": {name: getattr(self, name) for name in names}, **sizes})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> PicturePosterior:
        """Read a folder written by `save_pretrained`.

        Raises
        ------
        NeurodecError
            If a file is missing or damaged, or any tensor does not fit (every one is named).
        """
        config = read_prior_config(folder, cls)
        with reading(Path(folder) / "config.json", "a prior", "fit it again"):
            prior = cls(**config["init_args"])
            prior._size(config["n_kept"], config["height"], config["width"])
        prior.embedding_space = config["embedding_space"]
        return take_exactly(prior, read_checkpoint(Path(folder) / "model.safetensors"), str(folder)).eval()

    def _size(self, n_kept: int, height: int, width: int) -> None:
        """Make room for tensors of so many components of pictures of a size."""
        self.height, self.width, n_pixels = height, width, height * width
        for name in ("mean", "centre"):
            self.register_buffer(name, torch.zeros(n_pixels))
        self.register_buffer("components", torch.zeros(n_kept, n_pixels))
        self.register_buffer("gains", torch.ones(n_kept))
        self.register_buffer("rest", torch.ones(()))
        self.register_buffer("tone", torch.tensor([0.0, 0.0, 1.0]))

    def _pictures(self, rows: np.ndarray) -> np.ndarray:
        return rows.reshape(-1, self.height, self.width)

    def _components(self, seen: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the principal components (k, height * width) of the pictures and moved copies."""
        copies = moved_copies(self._pictures(seen), self.n_copies, self.seed)
        rows = np.concatenate([seen, copies.reshape(-1, seen.shape[1])]) - mean
        values, vectors = np.linalg.eigh(rows.T @ rows)
        kept = min(self.n_components, len(seen) - 1, int((values > 1e-9 * values[-1]).sum()))
        return vectors[:, ::-1][:, :kept].T.copy()

    def _gains(
        self, predicted: np.ndarray, seen: np.ndarray, components: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Return the gain of every component, and that of what they do not span."""
        told, true = predicted @ components.T, seen @ components.T
        products, squares = (told * true).sum(axis=0), np.square(told).sum(axis=0)
        overall = products.sum() / max(squares.sum(), np.finfo(float).tiny)
        pull = self.shrinkage * squares.mean() + np.finfo(float).tiny
        gains = (products + pull * overall) / (squares + pull)
        left, missing = predicted - told @ components, seen - true @ components
        rest = (left * missing).sum() / max(np.square(left).sum(), np.finfo(float).tiny)
        return np.clip(gains, 0, _WIDEST_GAIN), float(np.clip(rest, 0, _WIDEST_GAIN))

    def _chosen_tone(self, mean: np.ndarray, seen: np.ndarray) -> Tensor:
        """Return the blur, black point and span of least error and most SSIM; none is the first choice."""
        pictures, true = self._pictures(mean), self._pictures(seen)
        usual = np.square(np.clip(pictures, 0, 1) - true).mean() + 1e-6
        tones = [
            (0.0, 0.0, 1.0),
            *((blur, black, span) for blur in _BLURS for black in _BLACKS for span in _RANGES),
        ]

        def loss(tone: tuple[float, float, float]) -> float:
            shown = toned(pictures, *tone)
            error = np.square(shown - true).mean() / usual
            return error - self.structure * float(windowed_ssim(true, shown).mean())

        best, lowest = tones[0], math.inf
        for tone in tones:
            value = loss(tone)
            if value < lowest - 1e-9:
                best, lowest = tone, value
        return torch.tensor(best, dtype=torch.float32)


def toned(pictures: np.ndarray, blur: float, black: float, span: float) -> np.ndarray:
    """Return pictures (n, h, w) blurred (pixels), with `black` at 0 and ``black + span`` at 1, cut off beyond.

    Parameters
    ----------
    pictures : ndarray, shape (n, h, w)
    blur : float
        Standard deviation of a Gaussian; 0 is none.
    black, span : float
    """
    smooth = gaussian_filter(pictures, (0, blur, blur)) if blur else pictures
    return np.clip((smooth - black) / span, 0, 1)
