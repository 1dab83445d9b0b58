"""Copies of small pictures as the same hand might have drawn them again, for models with few pictures to learn from."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import affine_transform

_TURN, _SHIFT, _GROWTH = 7.0, 1.0 / 28, 0.07  # degrees, share of the side, log size


def moved_copies(pictures: np.ndarray, n_copies: int, seed: int) -> np.ndarray:
    """Return copies of every picture, slightly shifted, turned and scaled, shape (n_copies * n, h, w).

    Parameters
    ----------
    pictures : ndarray, shape (n, h, w)
        Brightness, 0 to 1; what comes in from outside is black.
    n_copies : int
        Of each; 0 gives none.
    seed : int
    """
    rng = np.random.default_rng(seed)
    copies = [_moved(picture, rng) for picture in pictures for _ in range(n_copies)]
    return np.reshape(copies, (-1, *pictures.shape[1:]))


def _moved(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sides = np.array(picture.shape)
    shift, angle = rng.normal(0, _SHIFT, 2) * sides, np.deg2rad(rng.normal(0, _TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix, centre = turn / np.exp(rng.normal(0, _GROWTH)), (sides - 1) / 2
    return affine_transform(picture, matrix, centre - matrix @ (centre + shift), order=1)
