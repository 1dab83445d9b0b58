"""A continuous recording, resampled block by block and scaled as the speech decoder does (Défossez et al. 2023)."""

from __future__ import annotations

import mne
import numpy as np

from neurodec.data.account import Account
from neurodec.data.continuous import Windows
from neurodec.data.readers.opening import load_samples
from neurodec.data.readers.raw_trials import note_picked
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind, check_channels, pick_channels
from neurodec.preprocessing.eeg import EEGPreprocessing, rereference
from neurodec.preprocessing.sinc import resample_sinc
from neurodec.preprocessing.whitening import sorted_quantile_scale

_FITTED_TO = 200  # windows that centre and scale are estimated on
_SCALINGS = ("robust", "none")


class _Samples:
    """Samples of a recording as an array that is read where it is asked for; NaN is read as 0 and noted."""

    def __init__(self, raw: mne.io.BaseRaw) -> None:
        self.raw, self.shape = raw, (len(raw.ch_names), raw.n_times)
        self.lost = np.zeros(raw.n_times, dtype=bool)

    def __getitem__(self, index: tuple) -> np.ndarray:
        wanted = index[-1]
        first, last = int(wanted.min()), int(wanted.max())
        block = self.raw.get_data(start=first, stop=last + 1)
        finite = np.isfinite(block)
        if not finite.all():
            self.lost[first : last + 1] |= ~finite.all(axis=0)
            block[~finite] = 0.0
        return block[:, wanted - first]


def resampled(
    raw: mne.io.BaseRaw, settings: EEGPreprocessing, modality: Kind, where: str, account: Account
) -> tuple[np.ndarray, np.ndarray]:
    """Pick, filter and resample a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Opened; changed in place. Without filter, reference and interpolation it is read block by block, and its
        samples are never in memory as a whole.
    settings : EEGPreprocessing
        Its channels, filters, reference and rate.
    modality : str
        Kind of the channels.
    where : str
        Names the recording in messages.
    account : Account
        Gets what is left out.

    Returns
    -------
    signals : ndarray, shape (n_samples, n_chans), float32
    lost : ndarray, shape (n_stretches, 2)
        Seconds between which a channel holds NaN.

    Raises
    ------
    NeurodecError
        For missing or flat channels, implausible units, or a cut-off above half the sampling rate.
    """
    rate = float(raw.info["sfreq"])
    settings.check_rate(rate, where)
    account.channels = len(raw.ch_names)
    filtered = settings.notch or settings.l_freq or settings.h_freq or settings.reference
    if filtered or settings.interpolate_bads or any(not own["active"] for own in raw.info["projs"]):
        load_samples(raw, where, account)
    picked = pick_channels(
        raw, modality, where, ch_names=settings.ch_names, interpolate_bads=settings.interpolate_bads
    )
    note_picked(picked, account)
    if filtered and not np.isfinite(raw.get_data()).all():
        raise NeurodecError(
            f"{where} holds NaN, which a filter or a reference spreads over the recording; repair these channels, or "
            "leave the filter out."
        )
    if settings.notch is not None:
        raw.notch_filter(np.arange(settings.notch, rate / 2, settings.notch), verbose="error")
    if settings.l_freq is not None or settings.h_freq is not None:
        raw.filter(settings.l_freq, settings.h_freq, verbose="error")
    rereference(raw, settings.reference, where)
    if rate != int(rate):  # the kernel wants whole hertz
        load_samples(raw, where, account)
        raw.resample(round(rate), verbose="error")
        account.note(f"brought from {rate:.9g} to {round(rate)} Hz first")
        rate = float(round(rate))
    samples, wanted = _Samples(raw), settings.sfreq or rate
    if wanted > rate:
        account.note(
            f"resampled up from {rate:g} to {wanted:g} Hz, which adds samples but nothing to read in them"
        )
    signals = resample_sinc(samples, rate, wanted)
    flat = np.ptp(signals, axis=1) == 0
    if flat.any() and not flat.all():
        names = [name for name, own in zip(raw.ch_names, flat, strict=True) if own]
        account.note(f"channels that never change, and tell nothing: {', '.join(names)}")
    varied = ~flat if not flat.all() else np.ones_like(flat)
    names = [name for name, own in zip(raw.ch_names, varied, strict=True) if own]
    check_channels(signals[None, varied], names, modality, where)
    edges = np.flatnonzero(np.diff(np.r_[False, samples.lost, False].astype(int))).reshape(-1, 2)
    return np.ascontiguousarray(signals.T), edges / rate


def cut(
    signals: np.ndarray,
    first: np.ndarray,
    is_train: np.ndarray,
    settings: EEGPreprocessing,
    n_delay: int,
    where: str,
    account: Account,
) -> Windows:
    """Return windows of a recording, scaled by at most 200 of those for training.

    Parameters
    ----------
    signals : ndarray, shape (n_samples, n_chans)
    first : ndarray of int, shape (n_windows,)
        First sample of every window.
    is_train : ndarray of bool, shape (n_windows,)
    settings : EEGPreprocessing
        Its window, baseline (from the beginning of the window), scaling and limit.
    n_delay : int
        First samples that are left out.
    where : str
        Names the recording in messages.
    account : Account

    Raises
    ------
    NeurodecError
        If the settings ask for what windows of continuous recordings do not have.
    """
    rate = settings.sfreq or 0.0
    if settings.whiten not in _SCALINGS:
        raise NeurodecError(
            f"`whiten` is {settings.whiten}, and windows of continuous speech are scaled by `robust` or `none`; choose "
            "one of these."
        )
    if settings.baseline is not None and settings.baseline[0] not in (None, settings.tmin):
        raise NeurodecError(
            f"The baseline of windows of continuous speech begins where the window does ({settings.tmin:g} s); set "
            f"`baseline: [null, {settings.baseline[1]}]`."
        )
    end = 0.0 if settings.baseline is None else (settings.baseline[1] or 0.0) - settings.tmin
    n_read = round((settings.tmax - settings.tmin) * rate) + 1
    # MNE counts both ends of a baseline.
    n_baseline = 0 if settings.baseline is None else round(end * rate) + 1
    recording = np.zeros(len(first), dtype=np.int64)
    plain = np.zeros((1, signals.shape[1])), np.ones((1, signals.shape[1]))
    clamp = settings.clamp or np.inf
    windows = Windows(signals, first, recording, *plain, n_read, n_baseline)
    if settings.whiten == "none":
        return Windows(signals, first, recording, *plain, n_read, n_baseline, n_delay, clamp)
    if not is_train.any():
        account.note("channels are scaled by the windows themselves, without labels: none is for training")
    known = np.flatnonzero(is_train) if is_train.any() else np.arange(len(first))
    chosen = np.sort(np.random.default_rng(0).permutation(known)[:_FITTED_TO])
    centre, scale = sorted_quantile_scale(windows.read(chosen))
    return Windows(signals, first, recording, centre[None], scale[None], n_read, n_baseline, n_delay, clamp)
