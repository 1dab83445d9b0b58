"""From a recording as it was made to one that can be cut: the MNE chain, and checks that name the culprit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mne
import numpy as np
from mne.io.constants import FIFF

from neurodec.errors import NeurodecError
from neurodec.preprocessing.whitening import (
    apply_whitener,
    inverse_square_root,
    mvnn_covariance,
    standardise,
)

Whitening = Literal["none", "mvnn-epochs", "mvnn-time", "zscore", "robust"]
UNITS = {"eeg": "V", "meg": "T"}
PLAUSIBLE = {"eeg": (1e-7, 5e-3), "meg": (1e-15, 1e-9)}  # standard deviation of a channel, in SI units


@dataclass(frozen=True)
class EEGPreprocessing:
    """What happens between a recording and its trials, in this order. Times in seconds, frequencies in hertz.

    Parameters
    ----------
    ch_names : list of str, optional
        Channels to keep, in this order; all good data channels by default.
    notch : float, optional
        Mains frequency (50 or 60) to remove, with its harmonics.
    l_freq, h_freq : float, optional
        Edges of the band-pass filter, applied to the continuous recording.
    reference : str or list of str, optional
        "average", or the channel(s) to subtract; as recorded by default. EEG only.
    tmin, tmax : float
        First and last time of the epoch around the onset, both included.
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


def clean_raw(
    raw: mne.io.BaseRaw, settings: EEGPreprocessing, kind: Literal["eeg", "meg"], where: str
) -> None:
    """Pick, filter and re-reference a recording, in place.

    Raises
    ------
    NeurodecError
        For missing channels, NaN or flat channels, implausible units, or a filter above half the sampling rate.
    """
    pick_channels(raw, settings.ch_names, kind, where)
    check_channels(raw.get_data()[None], raw.ch_names, kind, where)
    nyquist = raw.info["sfreq"] / 2
    if settings.h_freq is not None and settings.h_freq >= nyquist:
        raise NeurodecError(
            f"{where}: h_freq {settings.h_freq:g} Hz is not below half the sampling rate ({nyquist:g} Hz); lower it."
        )
    raw.load_data(verbose="error")
    if settings.notch is not None:
        raw.notch_filter(np.arange(settings.notch, nyquist, settings.notch), verbose="error")
    if settings.l_freq is not None or settings.h_freq is not None:
        raw.filter(settings.l_freq, settings.h_freq, verbose="error")
    rereference(raw, settings.reference, where)


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


def pick_channels(
    recording: mne.io.BaseRaw | mne.BaseEpochs, ch_names: list[str] | None, kind: str, where: str
) -> None:
    """Keep the named channels in the named order, or all good channels of a kind, in place.

    Raises
    ------
    NeurodecError
        Naming the absent channels, or when there is no channel of that kind.
    """
    if ch_names is not None:
        absent = [name for name in ch_names if name not in recording.ch_names]
        if absent:
            raise NeurodecError(
                f"{where} has {len(recording.ch_names)} channels but not {', '.join(absent)}; correct `ch_names` "
                f"(the recording has {', '.join(recording.ch_names)})."
            )
        recording.pick(ch_names, verbose="error")
        return
    if kind not in recording:
        kinds = ", ".join(sorted(set(recording.get_channel_types())))
        raise NeurodecError(
            f"{where} has no {kind} channel (only {kinds}); name the channels in `ch_names`, or correct `modality`."
        )
    recording.pick(kind, exclude="bads", verbose="error")


def check_channels(responses: np.ndarray, ch_names: list[str], kind: str, where: str) -> None:
    """Refuse NaN channels, flat channels and values that are not in SI units.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        Before any scaling.
    ch_names : list of str
        Names of the channels.
    kind : "eeg" or "meg"
        Decides the plausible range: 0.1 µV to 5 mV, or 1 fT to 1 nT.
    where : str
        Names the recording in the message.

    Raises
    ------
    NeurodecError
        Naming the channels.
    """
    spread = np.array([responses[:, channel].std(dtype=np.float64) for channel in range(responses.shape[1])])
    _refuse(~np.isfinite(spread), ch_names, where, "hold NaN or infinite values")
    typical = np.median(spread)
    _refuse(spread <= 1e-5 * typical, ch_names, where, "are flat")
    low, high = PLAUSIBLE[kind]
    if not low <= typical <= high:
        raise NeurodecError(
            f"{where}: the channels vary by {typical:.2g} {UNITS[kind]} (typical standard deviation), outside the "
            f"plausible {low:g} to {high:g} {UNITS[kind]}; the units look wrong, often by 10^6, so correct the file "
            "or, with your own recordings, set `unit_scale`."
        )


def _refuse(bad: np.ndarray, ch_names: list[str], where: str, what: str) -> None:
    names = [name for name, is_bad in zip(ch_names, bad, strict=True) if is_bad]
    if names:
        raise NeurodecError(
            f"{where}: channel(s) {', '.join(names)} {what}; repair them, or leave them out by `ch_names`."
        )


def stim_events(stim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where a stimulus channel takes a new value other than zero.

    Returns
    -------
    onsets, codes : ndarray of int, shape (n_events,)
        Sample and value of every event.
    """
    values = np.asarray(stim).astype(np.int64)
    onsets = np.flatnonzero((values[1:] != values[:-1]) & (values[1:] != 0)) + 1
    return onsets, values[onsets]


def whiten(
    responses: np.ndarray,
    conditions: np.ndarray,
    is_train: np.ndarray,
    settings: EEGPreprocessing,
    where: str,
) -> str:
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
    str
        "a.u.", or "" if nothing was done.

    Raises
    ------
    NeurodecError
        If MVNN is asked for and there is no training trial.
    """
    if settings.whiten == "none":
        return ""
    n_train = int(is_train.sum())
    fit_on = slice(n_train) if is_train[:n_train].all() else is_train
    if settings.whiten in ("zscore", "robust"):
        standardise(responses, fit_on if n_train else np.ones_like(is_train), settings.whiten, settings.clamp)
        return "a.u."
    if not n_train:
        raise NeurodecError(
            f"{where} has no training trial to estimate the noise for MVNN; mark some by the column `split`, or set "
            '`whiten: "zscore"`.'
        )
    mode = "epochs" if settings.whiten == "mvnn-epochs" else "time"
    covariance = mvnn_covariance(responses[fit_on], conditions[fit_on], mode)
    apply_whitener(responses, inverse_square_root(covariance))
    return "a.u."


def sensor_positions(info: mne.Info) -> list[list[float]] | None:
    """Return the sensor positions, metres in the head frame; standard 10-05 places when the file has none.

    Returns
    -------
    list of [x, y, z], or None
        None if any channel has no known place.
    """
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    in_device = info["chs"][0]["coord_frame"] == FIFF.FIFFV_COORD_DEVICE
    if in_device and info["dev_head_t"] is not None:
        places = mne.transforms.apply_trans(info["dev_head_t"], places)
    if np.isfinite(places).all() and places.any(axis=1).all():
        return places.tolist()
    return standard_positions(info["ch_names"])


def standard_positions(ch_names: list[str]) -> list[list[float]] | None:
    """Return the places of 10-05 electrodes in the head frame, or None if one is unknown."""
    name = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    montage = mne.channels.make_standard_montage(name)
    spelling = {known.lower(): known for known in montage.ch_names}
    if any(ch_name.lower() not in spelling for ch_name in ch_names):
        return None
    info = mne.create_info([spelling[ch_name.lower()] for ch_name in ch_names], 1.0, "eeg")
    info.set_montage(montage, verbose="error")
    return [channel["loc"][:3].tolist() for channel in info["chs"]]
