"""How alike small pictures are at their own size: correlation, squared error and two named forms of SSIM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from neurodec.errors import NeurodecError

WINDOW = 7
SSIM_FORM = "grey, native size, uniform windows of 7 x 7 (scikit-image's default), data range 1"
"""The form of `windowed_ssim`, as results name it."""
_SIGMA, _RADIUS = 1.5, 5  # of the Gaussian window; the radius is 3.5 sigma
GAUSSIAN_WINDOW = 2 * _RADIUS + 1
_C1, _C2 = 0.01**2, 0.03**2  # SSIM's constants for a data range of 1


def pixel_correlation(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return Pearson's r over the pixels of every pair of pictures (n, h, w), shape (n,); 0 where one is constant."""
    seen, shown = (_checked(side).reshape(len(side), -1) for side in (seen, shown))
    seen, shown = (side - side.mean(axis=1, keepdims=True) for side in (seen, shown))
    lengths = np.linalg.norm(seen, axis=1) * np.linalg.norm(shown, axis=1)
    products = (seen * shown).sum(axis=1)
    return np.divide(products, lengths, out=np.zeros(len(seen)), where=lengths > 1e-9)


def squared_error(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of brightness, 0 to 1, of every pair of pictures (n, h, w), shape (n,)."""
    return np.square(_checked(seen) - _checked(shown)).mean(axis=(1, 2))


def windowed_ssim(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return SSIM with uniform windows of 7 x 7 and sample covariance: `structural_similarity`'s default.

    Parameters
    ----------
    seen, shown : ndarray, shape (n, h, w)
        Brightness, 0 to 1.

    Returns
    -------
    ndarray, shape (n,)
    """
    n, radius = WINDOW**2, WINDOW // 2

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, (0, WINDOW, WINDOW))[:, radius:-radius, radius:-radius]

    return _similarity(_checked(seen, WINDOW), _checked(shown, WINDOW), mean, n / (n - 1))


def gaussian_ssim(seen: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return SSIM with Gaussian windows (sigma 1.5) and population covariance (Wang et al. 2004).

    Parameters
    ----------
    seen, shown : ndarray, shape (n, h, w)
        Brightness, 0 to 1; at least 11 pixels a side.

    Returns
    -------
    ndarray, shape (n,)
    """

    def mean(values: np.ndarray) -> np.ndarray:
        smooth = gaussian_filter(values, (0, _SIGMA, _SIGMA), radius=(0, _RADIUS, _RADIUS))
        return smooth[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]

    return _similarity(_checked(seen, GAUSSIAN_WINDOW), _checked(shown, GAUSSIAN_WINDOW), mean, 1.0)


def _similarity(
    x: np.ndarray, y: np.ndarray, mean: Callable[[np.ndarray], np.ndarray], correction: float
) -> np.ndarray:
    mean_x, mean_y = mean(x), mean(y)
    variances = correction * (mean(x * x) + mean(y * y) - mean_x**2 - mean_y**2)
    covariance = correction * (mean(x * y) - mean_x * mean_y)
    index = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return (index / ((mean_x**2 + mean_y**2 + _C1) * (variances + _C2))).mean(axis=(1, 2))


def _checked(pictures: np.ndarray, least: int = 1) -> np.ndarray:
    values = np.asarray(pictures, dtype=np.float64)
    if values.ndim != 3 or min(values.shape[1:]) < least:
        raise NeurodecError(
            f"Pictures have the shape {values.shape}; these scores need grey ones, (n, h, w), of at least {least} "
            "pixels a side."
        )
    return values
