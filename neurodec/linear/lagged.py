"""Ridge regression with lags: the temporal response function, forward and backward, from sums of products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.linear.ridge import grouped_folds
from neurodec.linear.solvers import device

Segments: TypeAlias = np.ndarray | View | Sequence[np.ndarray]
"""Shape (n_segments, n_features, n_times), or arrays (n_features, n_times) of any length."""

_DESIGN = 1 << 23  # numbers of a lagged design that are held at once: 64 MB
_READ = 1 << 22  # numbers of segments that are read at once


class LaggedRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge from lagged series to series, its penalty tuned on held-out segments.

    ``y[o, t] = intercept[o] + Σ_f Σ_l coef[f, l, o] (x[f, t - l] - centre[f])``. Positive lags look back: a forward
    model from a stimulus to sensors has lags of 0 to 0.4 s, a backward model from sensors to the stimulus, which
    precedes them, lags of -0.4 to 0 s.

    Parameters
    ----------
    tmin, tmax : float
        First and last lag (s), both included.
    sfreq : float
        Rate of both series (Hz).
    alphas : sequence of float
        Penalties to choose from, relative to the number of training samples; features are standardised.
    step : int
        Samples from lag to lag.
    n_folds : int
        Folds of the tuning.

    Attributes
    ----------
    coef_ : ndarray, shape (n_features, n_lags, n_outputs)
        For features as they are.
    intercept_ : ndarray, shape (n_outputs,)
    centre_ : ndarray, shape (n_features,)
    lags_ : ndarray of int, shape (n_lags,)
        Samples.
    alpha_ : float
        The penalty, as scikit-learn's.

    Notes
    -----
    Before and after a segment, features are taken to be at their mean. With p = n_features x n_lags, n samples and t
    outputs: O(n p (p + t)) time, and n_folds times p (p + t) numbers, whatever n is. Float64.

    References
    ----------
    Crosse, Di Liberto, Bednar and Lalor (2016), The multivariate temporal response function (mTRF) toolbox, Frontiers
    in Human Neuroscience 10. Lags and edges are those of `mne.decoding.ReceptiveField`.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec.linear import LaggedRidge
    >>> sound = np.random.default_rng(0).normal(size=(10, 1, 200))
    >>> sensors = np.roll(sound, 5, axis=-1)  # 50 ms later
    >>> model = LaggedRidge(0.0, 0.1, sfreq=100.0).fit(sound, sensors)
    >>> int(model.lags_[model.coef_[0, :, 0].argmax()])
    5
    """

    def __init__(
        self,
        tmin: float = 0.0,
        tmax: float = 0.25,
        sfreq: float = 1.0,
        alphas: Sequence[float] = tuple(np.logspace(-4, 4, 17)),
        step: int = 1,
        n_folds: int = 10,
    ) -> None:
        self.tmin, self.tmax, self.sfreq, self.alphas = tmin, tmax, sfreq, alphas
        self.step, self.n_folds = step, n_folds

    def fit(
        self,
        X: Segments,
        y: Segments,
        groups: ArrayLike | None = None,
        folds: Sequence[np.ndarray] | None = None,
    ) -> LaggedRidge:
        """Tune and solve.

        Parameters
        ----------
        X : ndarray or View, shape (n_segments, n_features, n_times), or list of (n_features, n_times_i)
            Views are read a few segments at a time, twice.
        y : ndarray or View, shape (n_segments, n_outputs, n_times), or list of (n_outputs, n_times_i)
        groups : array-like, shape (n_segments,), optional
            Segments of one group stay in one fold. Without it, a fold is segments that follow each other.
        folds : sequence of ndarray of int, optional
            Segments that each fold holds out, disjoint, instead.

        Returns
        -------
        LaggedRidge

        Raises
        ------
        NeurodecError
            If `X` and `y` have other segments or lengths, there is nothing to hold out, or `X` does not vary.
        """
        if len(X) != len(y) or not len(X):
            raise NeurodecError(
                f"LaggedRidge got {len(X)} segments of `X` and {len(y)} of `y`; give every one both."
            )
        penalties = np.asarray(self.alphas, dtype=np.float64)
        lags = self._lags()
        if folds is None:
            folds = [] if len(penalties) == 1 else self._folds(len(X), groups)
        centre, spread = _moments(X)
        means, _ = _moments(y)
        if not (spread > 0).any():
            raise NeurodecError("The series of `X` do not vary; check the recording.")
        scale = np.where(spread > 0, spread, 1.0)
        rest = np.setdiff1d(np.arange(len(X)), np.concatenate([*folds, np.empty(0, dtype=np.int64)]))
        parts = [rows for rows in (*folds, rest) if len(rows)]
        sums = [_Sums.of(X, y, rows, lags, (centre, scale, means)) for rows in parts]
        whole = reduce(add, sums)
        errors = np.zeros(len(penalties))
        for fold in sums[: len(folds)] if len(penalties) > 1 else []:
            errors += (whole - fold).errors_on(fold, penalties * (whole.n - fold.n))
        self.alpha_ = float(penalties[errors.argmin()] * whole.n)
        weights = whole.solve(self.alpha_).cpu().numpy()
        self.lags_, self.centre_, self.intercept_ = lags, centre, means
        self.coef_ = weights.reshape(len(centre), len(lags), -1) / scale[:, None, None]
        return self

    def predict(self, X: Segments) -> np.ndarray | list[np.ndarray]:
        """Return predicted series at the samples of `X`, (n_segments, n_outputs, n_times); a list for a list.

        Parameters
        ----------
        X : ndarray or View, shape (n_segments, n_features, n_times), or list of (n_features, n_times_i)
        """
        check_is_fitted(self)
        coef = _tensor(self.coef_.reshape(-1, self.coef_.shape[-1]))
        scaled = self.centre_, np.ones_like(self.centre_)
        found: list[np.ndarray] = []
        for _, block in _read(X, np.arange(len(X))):
            for series in _standardised(block, scaled, len(self.lags_)):
                own = _design(series, self.lags_) @ coef + _tensor(self.intercept_)
                found += list(own.reshape(len(series), series.shape[-1], -1).transpose(1, 2).cpu().numpy())
        return np.stack(found) if isinstance(X, (np.ndarray, View)) else found

    def score(self, X: Segments, y: Segments, sample_weight: Any = None) -> float:
        """Return Pearson's r of predicted and true series over all samples, the mean over outputs.

        Parameters
        ----------
        X, y : ndarray, View or list
            As for `fit`.
        sample_weight : None
            Not used; scikit-learn's signature.
        """
        found = np.concatenate(list(self.predict(X)), axis=1)
        true = np.concatenate([np.asarray(y[place], dtype=np.float64) for place in range(len(y))], axis=1)
        found, true = (own - own.mean(axis=1, keepdims=True) for own in (found, true))
        sizes = np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1)
        return float(np.mean((found * true).sum(axis=1) / np.where(sizes > 0, sizes, 1)))

    def _lags(self) -> np.ndarray:
        first, last = round(self.tmin * self.sfreq), round(self.tmax * self.sfreq)
        if last < first or self.step < 1:
            raise NeurodecError(
                f"There is no lag from {self.tmin:g} to {self.tmax:g} s in steps of {self.step} samples; correct "
                "`tmin`, `tmax` and `step`."
            )
        return np.arange(first, last + 1, self.step)

    def _folds(self, n_segments: int, groups: ArrayLike | None) -> list[np.ndarray]:
        if groups is not None:
            return grouped_folds(n_segments, np.asarray(groups), self.n_folds)
        if n_segments < 2:
            raise NeurodecError(
                "LaggedRidge tunes its penalty on left-out segments, and there is one; cut the series into several, or "
                "give one penalty as `alphas`."
            )
        return np.array_split(np.arange(n_segments), min(self.n_folds, n_segments))


class _Sums:
    """Sums of products of a lagged design and its targets over some segments."""

    def __init__(self, n: int, gram: Tensor, cross: Tensor, squares: Tensor) -> None:
        self.n, self.gram, self.cross, self.squares = n, gram, cross, squares

    @classmethod
    def of(
        cls,
        X: Segments,
        y: Segments,
        rows: np.ndarray,
        lags: np.ndarray,
        moments: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> _Sums:
        """Add up the segments at `rows`."""
        centre, scale, means = moments
        size = len(centre) * len(lags)
        gram, cross, squares = (np.zeros(shape) for shape in ((size, size), (size, len(means)), ()))
        found = cls(0, _tensor(gram), _tensor(cross), _tensor(squares))
        for places, block in _read(X, rows):
            wanted = _taken(y, places)
            first = 0
            for series in _standardised(block, (centre, scale), len(lags)):
                own = wanted[first : first + len(series)]
                first += len(series)
                targets = _targets(own, series, means, places[0])
                design = _design(series, lags)
                found.gram.addmm_(design.T, design)
                found.cross.addmm_(design.T, targets)
                found.squares += targets.square().sum()
                found.n += len(targets)
        return found

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.n + other.n, self.gram + other.gram, self.cross + other.cross, self.squares + other.squares
        )

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.n - other.n, self.gram - other.gram, self.cross - other.cross, self.squares - other.squares
        )

    def solve(self, penalty: float) -> Tensor:
        """Return the weights (p, t)."""
        system = self.gram.clone()
        system.diagonal().add_(penalty)
        return torch.linalg.solve(system, self.cross)

    def errors_on(self, held_out: _Sums, penalties: np.ndarray) -> np.ndarray:
        """Return the squared error on other samples of fits to these, for every penalty.

        With eigenvalues s, weights are ``diag(1 / (s + penalty)) F`` along the axes, so a penalty costs O(p²) once the
        products with F are there, however many outputs.
        """
        squares, axes = torch.linalg.eigh(self.gram)
        fitted = axes.T @ self.cross
        seen = (fitted * (axes.T @ held_out.cross)).sum(dim=1)
        power = (axes.T @ held_out.gram @ axes) * (fitted @ fitted.T)
        errors = []
        for penalty in penalties.tolist():
            scale = 1 / (squares.clamp(min=0) + penalty)
            errors.append(float(held_out.squares - 2 * scale @ seen + scale @ power @ scale))
        return np.array(errors)


def _moments(segments: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every series over all samples."""
    n, mean, squares = 0, np.zeros(()), np.zeros(())
    for _, block in _read(segments, np.arange(len(segments))):
        joined = np.concatenate([np.asarray(own, dtype=np.float64) for own in block], axis=1)
        own, n_own = joined.mean(axis=1), joined.shape[1]
        apart = own - mean
        squares = squares + np.square(joined - own[:, None]).sum(axis=1)
        squares = squares + np.square(apart) * n * n_own / (n + n_own)
        mean = mean + apart * n_own / (n + n_own)
        n += n_own
    if not np.isfinite(squares).all():
        raise NeurodecError("A series holds NaN or infinity; leave these segments or channels out.")
    return mean, np.sqrt(squares / n)


def _read(segments: Segments, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield some segments, a few at a time, with their places."""
    size = 1
    if len(rows):
        first = np.asarray(_taken(segments, rows[:1])[0])
        if first.ndim != 2:
            raise NeurodecError(
                f"A segment has the shape {first.shape}; give every one as (n_features, n_times)."
            )
        size = max(1, _READ // max(first.size, 1))
    for start in range(0, len(rows), size):
        places = rows[start : start + size]
        yield places, _taken(segments, places)


def _taken(segments: Segments, rows: np.ndarray) -> Any:
    if isinstance(segments, (np.ndarray, View)):
        return segments[rows]
    return [segments[row] for row in rows]


def _standardised(block: Any, moments: tuple[np.ndarray, np.ndarray], n_lags: int) -> Iterator[Tensor]:
    """Yield segments of one length in units of the training, (b, n_features, n_times), as many as a design may hold."""
    centre, scale = (_tensor(own)[:, None] for own in moments)
    if isinstance(block, list):
        for own in block:
            yield ((_tensor(np.asarray(own)) - centre) / scale)[None]
        return
    size = max(1, _DESIGN // (block[0].size * n_lags))
    for start in range(0, len(block), size):
        yield (_tensor(np.asarray(block[start : start + size])) - centre) / scale


def _design(series: Tensor, lags: np.ndarray) -> Tensor:
    """Return every sample's lagged features, (b * n_times, n_features * n_lags); 0 where a segment has none."""
    n, n_features, n_times = series.shape
    design = series.new_zeros(n, n_times, n_features, len(lags))
    turned = series.transpose(1, 2)
    for place, lag in enumerate(lags.tolist()):
        if abs(lag) < n_times:
            into, source = (
                slice(max(lag, 0), n_times + min(lag, 0)),
                slice(max(-lag, 0), n_times - max(lag, 0)),
            )
            design[:, into, :, place] = turned[:, source]
    return design.reshape(n * n_times, -1)


def _targets(own: Any, series: Tensor, means: np.ndarray, place: int) -> Tensor:
    """Return centred targets (b * n_times, n_outputs) of segments of one length."""
    values = torch.stack([_tensor(np.asarray(one)) for one in own])
    if values.ndim != 3 or values.shape[-1] != series.shape[-1]:
        raise NeurodecError(
            f"Around segment {place}, `X` has {series.shape[-1]} samples and `y` the shape {tuple(values.shape[1:])}; "
            "give both at the same times, as (n_series, n_times)."
        )
    return (values.transpose(1, 2) - _tensor(means)).reshape(-1, values.shape[1])


def _tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values)).to(device(), torch.float64)
