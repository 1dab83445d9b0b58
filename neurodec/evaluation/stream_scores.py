"""Correlation of predicted with candidate series: sums over windows, from which every stretch and null follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError


@dataclass(frozen=True)
class StreamSums:
    """Sums over the windows of one run, of the prediction and every candidate.

    Parameters
    ----------
    run : str
    streams : list of str
        The attended one, the ignored one ("" where none is known), and those of the null.
    shifted : bool
        The null is the attended stream, shifted around the run, in place of streams that were not played.
    seconds : float
        Length of a window.
    sums : ndarray, shape (n_windows, n_streams, n_features, 5)
        Of prediction, candidate, their squares, and their product; NaN for an unknown stream.
    n_samples : int
        Of a window.
    """

    run: str
    streams: list[str]
    shifted: bool
    seconds: float
    sums: np.ndarray
    n_samples: int

    @classmethod
    def of(
        cls,
        run: str,
        streams: list[str],
        shifted: bool,
        seconds: float,
        found: np.ndarray,
        candidates: Iterable[np.ndarray],
    ) -> StreamSums:
        """Add up windows, one stream at a time.

        Parameters
        ----------
        run, streams, shifted, seconds
            See the class.
        found : ndarray, shape (n_windows, n_features, n_times)
        candidates : iterable of ndarray, shape (n_windows, n_features, n_times)
            In the order of `streams`.
        """
        x = np.asarray(found, dtype=np.float64)
        x = x - x.mean(axis=(0, 2), keepdims=True)  # sums of small numbers, whatever is predicted
        own = x.sum(axis=-1), np.square(x).sum(axis=-1)
        sums = []
        for candidate in candidates:
            y = np.asarray(candidate, dtype=np.float64)
            product = np.einsum("wft,wft->wf", x, y)
            sums.append(
                np.stack([own[0], y.sum(axis=-1), own[1], np.square(y).sum(axis=-1), product], axis=-1)
            )
        return cls(run, streams, shifted, seconds, np.stack(sums, axis=1), found.shape[-1])

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self.sums)

    @property
    def n_null(self) -> int:
        """Number of streams of the null."""
        return len(self.streams) - 2

    def correlations(self, n_joined: int | None = None) -> np.ndarray:
        """Return r of every candidate in stretches of some windows that follow each other, by default in the whole run.

        Parameters
        ----------
        n_joined : int, optional
            Windows of a stretch; what is left over at the end is left out.

        Returns
        -------
        ndarray, shape (n_stretches, n_streams)
            The mean over features.
        """
        n_joined = n_joined or self.n_windows
        n_stretches = self.n_windows // n_joined
        kept = self.sums[: n_stretches * n_joined]
        joined = kept.reshape(n_stretches, n_joined, *kept.shape[1:]).sum(axis=1)
        return correlation(joined, n_joined * self.n_samples)

    def without(self, window: int) -> np.ndarray:
        """Return r of every candidate in the run without a window, shape (n_streams,)."""
        rest = self.sums.sum(axis=0) - self.sums[window]
        return correlation(rest, (self.n_windows - 1) * self.n_samples)


def correlation(sums: np.ndarray, n: int) -> np.ndarray:
    """Return the mean over features of Pearson's r from sums (..., n_features, 5) over n samples; 0 without spread."""
    x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.sqrt(np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0))
    varies = np.isnan(spread) | (spread > 1e-12 * np.sqrt(np.maximum(xx * yy, 0)))
    r = np.where(varies, (xy - x * y / n) / np.where(varies & (spread != 0), spread, 1), 0.0)
    return r.mean(axis=-1)


def shifted_copies(series: np.ndarray, least: int, most: int) -> np.ndarray:
    """Return a series turned around by steps of one length, the series itself left out.

    Parameters
    ----------
    series : ndarray, shape (n_features, n_times)
    least : int
        Samples of the smallest step.
    most : int
        Copies.

    Returns
    -------
    ndarray, shape (n_copies, n_features, n_times)
    """
    n_times = series.shape[-1]
    n_steps = min(most + 1, n_times // max(least, 1))
    steps = np.round(np.arange(1, n_steps) * n_times / max(n_steps, 1)).astype(int)
    return np.stack([np.roll(series, step, axis=-1) for step in steps]) if len(steps) else series[None][:0]


def require_in_a_row(table: pd.DataFrame, duration: float, run: str) -> None:
    """Refuse windows of a run (in order of onset) that overlap.

    Raises
    ------
    NeurodecError
        Naming the run.
    """
    steps = np.diff(table["onset"].to_numpy(dtype=float))
    if len(steps) and steps.min() < duration * (1 - 1e-6):
        raise NeurodecError(
            f"Test windows of the run {run} overlap ({steps.min():g} s from onset to onset, {duration:g} s long); cut "
            "them one after the other."
        )


def null_sums(values: Sequence[np.ndarray], n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return sums over runs of the value of a candidate that is drawn in each.

    Parameters
    ----------
    values : sequence of ndarray, shape (n_candidates,)
        Of every run; candidates that were not played, and the one that was attended.
    n_draws : int
    rng : Generator

    Returns
    -------
    ndarray, shape (n_draws,)
    """
    return np.sum([own[rng.integers(len(own), size=n_draws)] for own in values], axis=0)


def null_shares(stretches: Sequence[np.ndarray], n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return shares of stretches in which one drawn candidate is ahead of another, the same two in all of a run.

    Parameters
    ----------
    stretches : sequence of ndarray, shape (n_stretches, n_candidates)
        r in every run.
    n_draws : int
    rng : Generator

    Returns
    -------
    ndarray, shape (n_draws,)
    """
    ahead = np.zeros(n_draws)
    for r in stretches:
        first = rng.integers(r.shape[1], size=n_draws)
        second = (first + 1 + rng.integers(r.shape[1] - 1, size=n_draws)) % r.shape[1]
        ahead += leads(r[:, :, None], r[:, None, :]).sum(axis=0)[first, second]
    return ahead / sum(map(len, stretches))


def leads(r: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return 1 where a correlation is ahead of another, 0.5 for a tie, 0 otherwise."""
    return (r > others) + 0.5 * (r == others)


def smallest_p(n_candidates: Sequence[int], n_draws: int) -> float:
    """Return the smallest p that draws of one candidate in every run can give.

    Parameters
    ----------
    n_candidates : sequence of int
        Of every run.
    n_draws : int
    """
    return float(max(1 / (1 + n_draws), np.exp(-np.log(n_candidates).sum())))
