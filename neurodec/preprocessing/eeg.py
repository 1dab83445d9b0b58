"""From a recording as it was made to one that can be cut: settings, filters, reference and whitening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mne
import numpy as np

from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind, Picked, check_channels, pick_channels
from neurodec.preprocessing.settings import Preprocessing
from neurodec.preprocessing.whitening import mvnn_covariance, standardise, whiten_by

Whitening = Literal["none", "mvnn-epochs", "mvnn-time", "zscore", "robust"]
_LONGEST_EPOCH = 300.0  # seconds
_WHITENED = {
    "mvnn-epochs": "whitened by the noise covariance of the recording's training epochs (MVNN)",
    "mvnn-time": "whitened by the noise covariance of the recording's training trials at every time (MVNN)",
    "zscore": "channels z-scored",
    "robust": "channels scaled by median and interquartile range",
}


@dataclass(frozen=True)
class EEGPreprocessing(Preprocessing):
    """What happens between a recording and its trials, in this order. Times in seconds, frequencies in hertz.

    Parameters
    ----------
    ch_names : list of str, optional
        Channels to keep, in this order; all good data channels by default.
    notch : float, optional
        Mains frequency (50 or 60) to remove, with its harmonics.
    l_freq : float, optional
        Lower edge of the band-pass filter (Hz), applied to the continuous recording.
    h_freq : float, optional
        Upper edge of the band-pass filter (Hz).
    reference : str or list of str, optional
        "average", or the channel(s) to subtract; as recorded by default. EEG only.
    tmin : float
        First time of the epoch around the onset (s), included.
    tmax : float
        Last time of the epoch (s), included.
    baseline : tuple of float, optional
        Interval whose mean is subtracted; None stands for the first or the last time of the epoch.
    sfreq : float, optional
        Rate to resample the epochs to (by FFT, as MNE does).
    keep_from : float, optional
        Drop what comes before this time, once baseline and resampling are done.
    whiten : "none", "mvnn-epochs", "mvnn-time", "zscore" or "robust"
        Fitted on the training trials of each recording; where all trials await cross-validation, "zscore" and "robust"
        are fitted on the recording itself, without its labels, and MVNN is refused.
    clamp : float, optional
        Limit standardised values to plus or minus this; with "zscore" and "robust".
    interpolate_bads : bool
        Replace channels that are marked as bad by spherical splines of the others (Perrin et al. 1989), instead of
        leaving them out. Electrodes without a place get the 10-05 one of their name.
    """

    ch_names: list[str] | None = None
    notch: float | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    reference: str | list[str] | None = None
    tmin: float = -0.2
    tmax: float = 1.0
    baseline: tuple[float | None, float | None] | None = (None, 0.0)
    sfreq: float | None = None
    keep_from: float | None = None
    whiten: Whitening = "none"
    clamp: float | None = None
    interpolate_bads: bool = False

    def check(self) -> None:
        """Refuse settings that no recording can satisfy, before any work.

        Raises
        ------
        NeurodecError
            Naming the setting.
        """
        for name in ("notch", "l_freq", "h_freq", "sfreq", "clamp"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise NeurodecError(f"`{name}` is {value:g}; give a number above 0, or leave it out.")
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise NeurodecError(
                f"`l_freq` {self.l_freq:g} Hz is not below `h_freq` {self.h_freq:g} Hz, which would cut out that band "
                "instead of keeping it; exchange them."
            )
        if not self.tmin < self.tmax:
            raise NeurodecError(
                f"The epoch from `tmin` {self.tmin:g} to `tmax` {self.tmax:g} s is empty; correct them."
            )
        if self.tmax - self.tmin > _LONGEST_EPOCH:
            raise NeurodecError(
                f"The epoch from `tmin` {self.tmin:g} to `tmax` {self.tmax:g} s is {self.tmax - self.tmin:g} s long; "
                "give seconds, not milliseconds."
            )
        if self.keep_from is not None and self.keep_from >= self.tmax:
            raise NeurodecError(
                f"`keep_from` {self.keep_from:g} s leaves nothing of an epoch that ends at {self.tmax:g} s; lower it."
            )
        if self.baseline is not None:
            begin = self.tmin if self.baseline[0] is None else self.baseline[0]
            end = self.tmax if self.baseline[1] is None else self.baseline[1]
            if not self.tmin <= begin <= end <= self.tmax:
                raise NeurodecError(
                    f"The baseline {begin:g} to {end:g} s does not lie in the epoch, {self.tmin:g} to {self.tmax:g} s; "
                    "correct `baseline`, `tmin` or `tmax`, or set `baseline: null`."
                )
            if begin == end:
                raise NeurodecError(
                    f"The baseline is the single moment {begin:g} s, so one sample's noise would be subtracted from "
                    "all; begin the epoch earlier, or set `baseline: null`."
                )

    def in_words(self) -> list[str]:
        """Tell what is done, step by step, for a report."""
        low, high = (f"{edge:g}" if edge else "" for edge in (self.l_freq, self.h_freq))
        edges = f"{low or '0'} to {high} Hz" if high else f"above {low} Hz"
        reference = self.reference if isinstance(self.reference, str) else ", ".join(self.reference or [])
        baseline = self.baseline and [
            self.tmin if self.baseline[0] is None else self.baseline[0],
            self.tmax if self.baseline[1] is None else self.baseline[1],
        ]
        steps = {
            f"{self.notch or 0:g} Hz and harmonics removed": self.notch,
            f"band-pass {edges}": low or high,
            f"reference: {reference}": reference,
            f"epochs from {self.tmin:g} to {self.tmax:g} s": True,
            "baseline {:g} to {:g} s subtracted".format(*(baseline or (0, 0))): baseline,
            f"resampled to {self.sfreq or 0:g} Hz": self.sfreq,
            f"kept from {self.keep_from or 0:g} s on": self.keep_from is not None,
            _WHITENED.get(self.whiten, ""): self.whiten != "none",
            f"limited to ±{self.clamp or 0:g}": self.clamp,
        }
        told = [step for step, done in steps.items() if done]
        return told + ["not whitened"] * (self.whiten == "none") + ["no filter here"] * (not (low or high))

    def check_rate(self, sfreq: float, where: str) -> None:
        """Refuse cut-offs that a recording of this sampling rate cannot hold.

        Parameters
        ----------
        sfreq : float
            Hertz.
        where : str
            Names the recording in messages.

        Raises
        ------
        NeurodecError
            Naming the setting and the recording.
        """
        nyquist = sfreq / 2
        for name in ("notch", "l_freq", "h_freq"):
            value = getattr(self, name)
            if value is not None and value >= nyquist:
                raise NeurodecError(
                    f"{where}: {name} {value:g} Hz is not below half the sampling rate ({nyquist:g} Hz); lower it or "
                    "leave it out."
                )


def clean_raw(raw: mne.io.BaseRaw, settings: EEGPreprocessing, kind: Kind, where: str) -> Picked:
    """Pick, filter and re-reference a recording, in place.

    Returns
    -------
    Picked
        The channels that were left out, and why.

    Raises
    ------
    NeurodecError
        For missing channels, NaN or flat channels, implausible units, or a cut-off above half the sampling rate.
    """
    settings.check_rate(float(raw.info["sfreq"]), where)
    picked = pick_channels(
        raw, kind, where, ch_names=settings.ch_names, interpolate_bads=settings.interpolate_bads
    )
    check_channels(raw.get_data()[None], raw.ch_names, kind, where)
    raw.load_data(verbose="error")
    if settings.notch is not None:
        raw.notch_filter(np.arange(settings.notch, raw.info["sfreq"] / 2, settings.notch), verbose="warning")
    if settings.l_freq is not None or settings.h_freq is not None:
        raw.filter(settings.l_freq, settings.h_freq, verbose="warning")
    rereference(raw, settings.reference, where)
    return picked


def rereference(
    recording: mne.io.BaseRaw | mne.BaseEpochs, reference: str | list[str] | None, where: str
) -> None:
    """Subtract the reference channel(s), or the average of all, in place. No-op for None."""
    if reference is None:
        return
    names = [reference] if isinstance(reference, str) and reference != "average" else reference
    absent = [] if names == "average" else [name for name in names if name not in recording.ch_names]
    if absent:
        raise NeurodecError(
            f"{where}: the reference {', '.join(absent)} is not among the channels; correct it."
        )
    recording.set_eeg_reference(names, verbose="error")


def whiten(
    responses: np.ndarray,
    conditions: np.ndarray,
    is_train: np.ndarray,
    settings: EEGPreprocessing,
    where: str,
) -> np.ndarray | None:
    """Normalise the trials of one recording in place, with statistics of its training trials only.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times), float32
        Overwritten.
    conditions : ndarray, shape (n_trials,)
        Stimulus of every trial.
    is_train : ndarray of bool, shape (n_trials,)
        Training trials. They come first in memory, so that the statistics need no copy.
    settings : EEGPreprocessing
        Its `whiten` and `clamp`.
    where : str
        Names the recording in messages.

    Returns
    -------
    ndarray, shape (n_chans, 1 + n_chans), or None
        What was fitted, as `neurodec.preprocessing.whitening.whiten_by` takes it; None if nothing was done.

    Raises
    ------
    NeurodecError
        If MVNN is asked for and there is no training trial.
    """
    if settings.whiten == "none":
        return None
    n_train = int(is_train.sum())
    fit_on = slice(n_train) if is_train[:n_train].all() else is_train
    if settings.whiten in ("zscore", "robust"):
        fit_on = fit_on if n_train else np.ones_like(is_train)
        return standardise(responses, fit_on, settings.whiten, settings.clamp)
    if not n_train:
        raise NeurodecError(
            f"{where} has no training trial to estimate the noise for MVNN; mark some by the column `split`, set "
            '`whiten: "zscore"`, or whiten within the folds of a cross-validation (`cross_validation: {whiten: '
            "mvnn-epochs}` in place of the reader's `whiten`)."
        )
    mode = "epochs" if settings.whiten == "mvnn-epochs" else "time"
    covariance = mvnn_covariance(responses[fit_on], conditions[fit_on], mode)
    noise = np.column_stack([np.zeros(len(covariance)), covariance])
    whiten_by(responses, noise)
    return noise
