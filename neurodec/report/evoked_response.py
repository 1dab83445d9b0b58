"""The evoked response and its signal-to-noise ratio: what is locked to the onset, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from neurodec.data import Trials
from neurodec.data.trial_tables import has_time
from neurodec.evaluation.figures import BLUE, GREY, figure_of, styled

_TRIALS = 4000
_AT_ONCE = 100  # pairs
_CHANS = 60  # lines of a butterfly plot


@dataclass(frozen=True)
class Evoked:
    """The average over trials, and the noise in it.

    Parameters
    ----------
    times : ndarray, shape (n_times,)
        Seconds from the onset.
    mean, noise : ndarray, shape (n_chans, n_times)
        The average, and the plus-minus average.
    n_trials : int
    units : str
    """

    times: np.ndarray
    mean: np.ndarray
    noise: np.ndarray
    n_trials: int
    units: str

    @property
    def snr(self) -> np.ndarray:
        """Power of the average over that of its noise, over channels, shape (n_times,); 1 is noise alone."""
        noise = (self.noise**2).mean(axis=0)
        return (self.mean**2).mean(axis=0) / np.maximum(noise.mean(), np.finfo(float).tiny)


def evoked_of(trials: Trials) -> Evoked | None:
    """Average trials, and average them again with the opposite sign for every second one of a run.

    What is locked to the onset cancels in the second average, and the noise does not (plus-minus average, Schimmel
    1967, Science 157). At most 4,000 trials are read, spread over all.

    Returns
    -------
    Evoked or None
        None where trials have no time, or where there are fewer than two.
    """
    if not has_time(trials.info) or len(trials) < 2:
        return None
    pairs = np.unique(np.linspace(0, len(trials) // 2 - 1, min(len(trials), _TRIALS) // 2).astype(int))
    first, second = np.zeros((2, *trials.responses.shape[1:]))
    for start in range(0, len(pairs), _AT_ONCE):  # many sensors do not fit at once
        rows = pairs[start : start + _AT_ONCE]
        first += trials.responses[2 * rows].sum(axis=0, dtype=np.float64) / len(pairs)
        second += trials.responses[2 * rows + 1].sum(axis=0, dtype=np.float64) / len(pairs)
    mean, noise = (first + second) / 2, (first - second) / 2
    return Evoked(trials.times, mean, noise, 2 * len(pairs), str(trials.info.get("units", "")))


@styled
def evoked_figure(evoked: Evoked) -> Figure:
    """Draw one line per channel, and beside it the root mean square over channels of average and noise."""
    figure, (left, right) = figure_of(10, 3.8, 2)
    rows = np.unique(np.linspace(0, len(evoked.mean) - 1, min(_CHANS, len(evoked.mean))).astype(int))
    left.plot(evoked.times, evoked.mean[rows].T, color=BLUE, linewidth=0.6, alpha=0.6)
    for values, color, label in ((evoked.mean, BLUE, "average"), (evoked.noise, GREY, "noise in it")):
        right.plot(evoked.times, np.sqrt((values**2).mean(axis=0)), color=color, label=label)
    for axes, label in ((left, "response"), (right, "root mean square over channels")):
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set(xlabel="time after stimulus onset (s)", ylabel=label)
    right.set_ylim(bottom=0)
    right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above the lines
    return figure
