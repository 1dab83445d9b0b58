"""How alike are what was seen and what was reconstructed: scores on pixels, features and class probabilities.

Definitions are those of the NSD reconstruction literature (Ozcelik & VanRullen 2023, Scotti et al. 2023 and 2024). Two
choices that papers leave open change the numbers, and are arguments here: the form of SSIM and the direction of two-way
identification. Correlations with something constant (a black picture) are undefined; here they are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.picture_sets import Interpolation, Pictures, Resize, as_pairs, blocks
from neurodec.evaluation.retrieval.similarity import TIE, expected_top, rank_bounds

Set = np.ndarray | Sequence[Image.Image]
Form = Literal["2d", "columnwise"]
Direction = Literal["over_targets", "over_recons"]

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in grey, as scikit-image's `rgb2gray` has them."""

_SIGMA, _RADIUS = 1.5, 5  # of SSIM's Gaussian window; the radius is 3.5 sigma
_C1, _C2 = 0.01**2, 0.03**2  # SSIM's constants for a data range of 1
_CONSTANT = (
    1e-6  # a row whose spread is smaller than this share of its mean is constant up to float32 rounding
)
_VALUES_AT_ONCE = 2**22  # float64 numbers held per block of a product of features: 32 MB
_VALUES_IN_CACHE = 2**18  # and where every number is needed once


def pixcorr(
    targets: Set,
    recons: Set,
    size: int = 425,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> np.ndarray:
    """Return the Pearson correlation of all values of every pair of pictures.

    Parameters
    ----------
    targets, recons : ndarray of shape (n, 3, H, W), or list of PIL.Image.Image
        uint8, or floats in 0..1; recon i belongs to target i.
    size : int
        Both are resized to so many pixels a side.
    interpolation, antialias
        As in `Resize`.

    Returns
    -------
    ndarray, shape (n,), float64
        From -1 to 1; 0 where a picture is constant.

    Raises
    ------
    NeurodecError
        If the sets are empty, of unequal length, no pictures, or hold NaN or values outside 0..1.
    """
    resizes = [Resize(size, interpolation, antialias)]
    return _measured(as_pairs(targets, recons), resizes, [_pixel_correlation])[0]


def ssim(
    targets: Set,
    recons: Set,
    size: int = 425,
    form: Form = "2d",
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> np.ndarray:
    """Return the structural similarity (Wang et al. 2004) of every pair of pictures, in grey.

    Parameters
    ----------
    targets, recons, size, interpolation, antialias
        As in `pixcorr`; `size` is at least 11.
    form : {"2d", "columnwise"}
        "2d" is the ordinary index, "columnwise" takes every column of the picture for a signal of its own. Published
        scripts call scikit-image with ``multichannel=True`` on grey pictures: up to version 0.19 that is
        "columnwise" (Brain-Diffuser), from 0.20 on "2d" (MindEye2, WAVE). They differ by about 0.1.

    Returns
    -------
    ndarray, shape (n,), float64
        From -1 to 1.

    Raises
    ------
    NeurodecError
        As `pixcorr`, and if `form` or `size` is none of these.

    Notes
    -----
    Gaussian window (sigma 1.5, 11 taps), population covariance, data range 1, a border of 5 pixels left out.
    """
    resizes = [Resize(size, interpolation, antialias)]
    return _measured(as_pairs(targets, recons), resizes, [_ssim_of(form, size)])[0]


def pixel_scores(
    pair: tuple[Pictures, Pictures], resizes: Sequence[Resize], form: Form
) -> tuple[np.ndarray, np.ndarray]:
    """Return `pixcorr` and `ssim` of checked pictures that are resized once, in steps."""
    return tuple(_measured(pair, resizes, [_pixel_correlation, _ssim_of(form, resizes[-1].size)]))


def correlation_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Pearson correlation of every row of `a` with every row of `b`.

    Parameters
    ----------
    a : ndarray, shape (n_a, ...)
        Anything after the first axis is flattened.
    b : ndarray, shape (n_b, ...)

    Returns
    -------
    ndarray, shape (n_a, n_b), float64
        0 where a row is constant.

    Raises
    ------
    NeurodecError
        If the widths differ, a side is empty, or a value is NaN or infinite.

    Notes
    -----
    Adds up over blocks of columns in float64, so that memory is bounded whatever the width; the block does not change
    any digit that a comparison could see.
    """
    a, b = (_rows(side, name) for side, name in ((a, "targets"), (b, "reconstructions")))
    if a.shape[1] != b.shape[1]:
        raise NeurodecError(
            f"The targets have {a.shape[1]} features and the reconstructions {b.shape[1]}; take both from one network."
        )
    products, squares = np.zeros((len(a), len(b))), (np.zeros(len(a)), np.zeros(len(b)))
    means = [side.mean(axis=1, keepdims=True, dtype=np.float64) for side in (a, b)]
    step = max(1, _VALUES_AT_ONCE // (len(a) + len(b)))
    for start in range(0, a.shape[1], step):
        centred = [side[:, start : start + step] - mean for side, mean in zip((a, b), means, strict=True)]
        products += centred[0] @ centred[1].T
        for total, part in zip(squares, centred, strict=True):
            total += np.einsum("ij,ij->i", part, part)
    scales = [
        _inverse_norm(total, mean[:, 0], a.shape[1]) for total, mean in zip(squares, means, strict=True)
    ]
    return np.clip(products * scales[0][:, None] * scales[1], -1, 1)


def correlation_distance(targets_features: np.ndarray, recons_features: np.ndarray) -> np.ndarray:
    """Return 1 minus the Pearson correlation of every pair of rows; lower is better.

    Parameters
    ----------
    targets_features, recons_features : ndarray, shape (n, ...)

    Returns
    -------
    ndarray, shape (n,), float64
        From 0 to 2; 1 where a row is constant.

    Raises
    ------
    NeurodecError
        As `correlation_matrix`, and if there are more rows of one than of the other.
    """
    sides = [_rows(targets_features, "targets"), _rows(recons_features, "reconstructions")]
    if sides[0].shape != sides[1].shape:
        raise NeurodecError(
            f"Features of targets {sides[0].shape} and of reconstructions {sides[1].shape} do not pair."
        )
    step = max(1, _VALUES_IN_CACHE // sides[0].shape[1])
    starts = range(0, len(sides[0]), step)
    return np.concatenate(
        [1 - _paired_correlation(*(torch.from_numpy(side[i : i + step]) for side in sides)) for i in starts]
    )


def two_way(
    targets_features: np.ndarray, recons_features: np.ndarray, direction: Direction = "over_targets"
) -> np.ndarray:
    """Return, per pair, how many of the others are less alike than the two that belong together.

    Parameters
    ----------
    targets_features, recons_features : ndarray, shape (n, ...)
        Features of the same network; row i of one belongs to row i of the other.
    direction : {"over_targets", "over_recons"}
        "over_targets": for reconstruction i, the share of other *targets* that correlate less with it than its own
        (MindEye, MindBridge, Brain-Diffuser). "over_recons": for target i, the share of other *reconstructions* that
        correlate less with it (Takagi & Nishimoto).

    Returns
    -------
    ndarray, shape (n,), float64
        Chance 0.5. Ties count as failures.

    Raises
    ------
    NeurodecError
        As `correlation_matrix`, if the sets differ in length, or if there are fewer than two pairs.
    """
    correlations = correlation_matrix(targets_features, recons_features)
    ahead, n_others = distractors_ahead(correlations, direction)
    return 1 - ahead.diagonal() / n_others


def distractors_ahead(
    correlations: np.ndarray, direction: Direction, stimuli: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Count distractors at least as alike as the right one, for every stimulus that could be the right one.

    Two-way identification is ``1 - ahead / n_distractors``, the rank of the right one ``1 + ahead``, and the columns
    beside the true one are what permuted pairings need, without features.

    Parameters
    ----------
    correlations : ndarray, shape (n, n)
        Row i is target i, column j reconstruction j.
    direction : {"over_targets", "over_recons"}
        As in `two_way`.
    stimuli : ndarray of int, shape (n,), optional
        Number of the stimulus of every pair, counted in order of first appearance. Pairs of one stimulus (several
        subjects) are no distractors to each other. Every pair has a stimulus of its own by default.

    Returns
    -------
    ahead : ndarray of int, shape (n, n_stimuli)
        Row j: if reconstruction j had been made of that stimulus.
    n_distractors : ndarray of int, shape (n,)

    Raises
    ------
    NeurodecError
        If the matrix is not square, there are fewer than two stimuli, or the direction is unknown.
    """
    n = len(correlations)
    stimuli = np.arange(n) if stimuli is None else np.asarray(stimuli)
    counts = np.bincount(stimuli)
    if correlations.shape != (n, n) or len(counts) < 2:
        raise NeurodecError(
            f"Identification needs at least two stimuli, each with its reconstruction; there are "
            f"{correlations.shape[0]} targets, of {len(counts)} stimuli, and {correlations.shape[1]} reconstructions."
        )
    seen = correlations[np.unique(stimuli, return_index=True)[1]]  # (n_stimuli, n)
    if direction == "over_targets":
        columns = np.broadcast_to(np.arange(len(seen)), (n, len(seen)))
        return rank_bounds(seen.T, columns)[1] - 1, np.full(n, len(seen) - 1)
    if direction != "over_recons":
        raise NeurodecError(f'The direction is "over_targets" or "over_recons", not "{direction}".')
    ahead = rank_bounds(seen, np.broadcast_to(np.arange(n), seen.shape))[1] - 1
    for stimulus in np.flatnonzero(counts > 1):
        own = np.flatnonzero(stimuli == stimulus)
        block = seen[:, own]
        ahead[:, own] -= (block[:, None, :] >= block[:, :, None] - TIE).sum(axis=2) - 1
    return ahead.T, n - counts[stimuli]


def n_way_top_k(
    targets_probabilities: np.ndarray, recons_probabilities: np.ndarray, n: int = 50, k: int = 1
) -> np.ndarray:
    """Return, per pair, the chance that the target's class is among the reconstruction's top `k` of `n` classes.

    A classifier names the most probable class of the target; n - 1 of the other classes are drawn as distractors
    (MinD-Vis, WAVE). Papers average 1000 draws; this is the exact expectation over all draws, which is the
    hypergeometric chance that fewer than k of the more probable classes are drawn.

    Parameters
    ----------
    targets_probabilities, recons_probabilities : ndarray, shape (n_pictures, n_classes)
        Class probabilities (after softmax) of a classifier, usually ViT-H/14 on ImageNet's 1000 classes.
    n : int
        Classes to choose among, the right one included.
    k : int
        Guesses allowed.

    Returns
    -------
    ndarray, shape (n_pictures,), float64
        Chance k / n. Ties are broken at random.

    Raises
    ------
    NeurodecError
        If shapes differ, a value is not a probability, or `n` is not between 1 and the number of classes.
    """
    sides = [np.asarray(side, np.float64) for side in (targets_probabilities, recons_probabilities)]
    if sides[0].shape != sides[1].shape or sides[0].ndim != 2 or not sides[0].size:
        raise NeurodecError(
            f"Class probabilities of targets {sides[0].shape} and reconstructions {sides[1].shape} must both be "
            "(n_pictures, n_classes)."
        )
    if not all(((side >= 0) & (side <= 1)).all() for side in sides):
        raise NeurodecError("Class probabilities lie between 0 and 1, without NaN; apply a softmax first.")
    if not 1 <= n <= sides[0].shape[1]:
        raise NeurodecError(f"{n} classes cannot be drawn of {sides[0].shape[1]}; choose a smaller n.")
    with np.errstate(divide="ignore"):
        ranked = np.log(
            sides[1]
        )  # small probabilities differ by less than what counts as a tie, their logs do not
    return expected_top(*rank_bounds(ranked, sides[0].argmax(axis=1)), ranked.shape[1], n, k)


def grey(pictures: Tensor) -> Tensor:
    """Return the luminance of RGB pictures (B, 3, H, W) as (B, H, W), float64."""
    return torch.einsum("bchw,c->bhw", pictures.double(), torch.tensor(LUMINANCE, dtype=torch.float64))


def _measured(
    pair: tuple[Pictures, Pictures],
    resizes: Sequence[Resize],
    measures: Sequence[Callable[[Tensor, Tensor], np.ndarray]],
) -> np.ndarray:
    """Apply measures to pairs of resized pictures, block by block; shape (n_measures, n)."""
    found: Iterator[list[np.ndarray]] = (
        [measure(*resized) for measure in measures]
        for rows in blocks(len(pair[0]), resizes[-1].size)
        for resized in [tuple(side.resized(rows, resizes) for side in pair)]
    )
    return np.concatenate([np.stack(block) for block in found], axis=1)


def _pixel_correlation(targets: Tensor, recons: Tensor) -> np.ndarray:
    return _paired_correlation(targets.flatten(1), recons.flatten(1))


def _paired_correlation(a: Tensor, b: Tensor) -> np.ndarray:
    """Return Pearson's r of every pair of rows (B, D)."""
    means = [side.mean(dim=1, keepdim=True, dtype=torch.float64) for side in (a, b)]
    a, b = (side.double() - mean for side, mean in zip((a, b), means, strict=True))
    scales = [
        _inverse_norm(torch.linalg.vecdot(side, side).numpy(), mean[:, 0].numpy(), side.shape[1])
        for side, mean in zip((a, b), means, strict=True)
    ]
    return np.clip(torch.linalg.vecdot(a, b).numpy() * scales[0] * scales[1], -1, 1)


def _inverse_norm(squares: np.ndarray, means: np.ndarray, width: int) -> np.ndarray:
    """Return 1 / norm of centred rows, 0 for constant ones."""
    constant = squares <= width * (_CONSTANT * means) ** 2
    return np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, squares)))


def _ssim_of(form: Form, size: int) -> Callable[[Tensor, Tensor], np.ndarray]:
    if form not in ("2d", "columnwise"):
        raise NeurodecError(f'The form of SSIM is "2d" or "columnwise", not "{form}".')
    if size <= 2 * _RADIUS:
        raise NeurodecError(f"SSIM's window has 11 pixels; a size of {size} is too small.")
    axes = (-2, -1) if form == "2d" else (-2,)
    return lambda targets, recons: _ssim(grey(targets), grey(recons), axes)


def _ssim(x: Tensor, y: Tensor, axes: tuple[int, ...]) -> np.ndarray:
    """Return SSIM of grey pictures (B, H, W); the window runs along `axes`."""
    maps = torch.stack([x, y, x * x + y * y, x * y])
    for axis in axes:
        maps = _smoothed(maps, axis)
    mean_x, mean_y, squares, products = maps
    covariance = products - mean_x * mean_y
    means = mean_x.square() + mean_y.square()
    index = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    index /= (means + _C1) * (squares - means + _C2)
    return index.flatten(1).mean(dim=1).numpy()


def _smoothed(maps: Tensor, axis: int) -> Tensor:
    """Average along one axis with Gaussian weights, without the border that the window would overhang."""
    weights = torch.exp(-0.5 * (torch.arange(_RADIUS + 1, dtype=torch.float64) / _SIGMA) ** 2)
    weights = (weights / (2 * weights.sum() - weights[0])).tolist()
    length = maps.shape[axis] - 2 * _RADIUS
    smoothed = maps.narrow(axis, _RADIUS, length) * weights[0]
    for distance in range(1, _RADIUS + 1):  # the two sides of the window together
        for start in (_RADIUS - distance, _RADIUS + distance):
            smoothed.add_(maps.narrow(axis, start, length), alpha=weights[distance])
    return smoothed


def _rows(features: np.ndarray, name: str) -> np.ndarray:
    """Flatten features to (n, D) and check them."""
    features = np.asarray(features)
    if features.ndim < 2 or not features.size:
        raise NeurodecError(f"There are no features of {name}, shape {features.shape}; give (n, D).")
    rows = features.reshape(len(features), -1)
    bad = np.flatnonzero(~np.isfinite(rows.sum(axis=1, dtype=np.float64)))  # a NaN or infinity survives a sum
    if len(bad):
        raise NeurodecError(
            f"The features of {len(bad)} {name}, first row {bad[0]}, hold NaN or infinity; check the pictures."
        )
    return rows
