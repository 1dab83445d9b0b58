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
Kind = Literal["eeg", "meg", "mag", "grad", "ecog", "seeg"]
UNITS = {"eeg": "V", "meg": "T", "mag": "T", "grad": "T/m", "ecog": "V", "seeg": "V"}
# Standard deviation of a channel in SI units: beyond these no unit is right.
PLAUSIBLE = {
    "eeg": (1e-7, 5e-3),
    "meg": (1e-15, 1e-9),
    "mag": (1e-15, 1e-9),
    "grad": (1e-14, 1e-7),
    "ecog": (1e-7, 5e-2),
    "seeg": (1e-7, 5e-2),
}
CORTICAL = {"eeg": (1e-7, 1e-3)}  # the same after filtering: what lies beyond is told
_MEG = ("mag", "grad")
_UNTYPED = ("misc", "bio")  # of channels that a file names and does not describe; a recipe may vouch for them
_LONGEST_EPOCH = 300.0  # seconds
_REST_SHARE = 0.8  # of all samples; a trigger is short, so a level held that long is none


@dataclass(frozen=True)
class Picked:
    """What `pick_channels` left out.

    Parameters
    ----------
    left_out : dict
        Reason to channel names.
    bads : list of str
        Names that were marked as bad and are left out, or were interpolated.
    """

    left_out: dict[str, list[str]]
    bads: list[str]


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

    def check_rate(self, sfreq: float, where: str) -> None:
        """Refuse cut-offs that a recording of this sampling rate cannot hold.

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
    picked = pick_channels(raw, settings, kind, where)
    check_channels(raw.get_data()[None], raw.ch_names, kind, where)
    raw.load_data(verbose="error")
    if settings.notch is not None:
        raw.notch_filter(np.arange(settings.notch, raw.info["sfreq"] / 2, settings.notch), verbose="warning")
    if settings.l_freq is not None or settings.h_freq is not None:
        raw.filter(settings.l_freq, settings.h_freq, verbose="warning")
    rereference(raw, settings.reference, where)
    return picked


def strange_scale(responses: np.ndarray, kind: Kind) -> str | None:
    """Tell, in words, if filtered responses are larger or smaller than a brain makes them.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        In SI units.
    kind : str
        Of the channels.
    """
    if kind not in CORTICAL or not responses.size:
        return None
    typical = float(np.median(responses.std(axis=(0, 2), dtype=np.float64)))
    low, high = CORTICAL[kind]
    if low <= typical <= high:
        return None
    return (
        f"the {kind} channels vary by {typical:.2g} {UNITS[kind]}, which no brain does ({low:g} to {high:g} "
        f"{UNITS[kind]}): check the unit and the filter"
    )


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
    recording: mne.io.BaseRaw | mne.BaseEpochs, settings: EEGPreprocessing, kind: Kind, where: str
) -> Picked:
    """Keep the named channels in the named order, or all good channels of a kind, in place.

    Parameters
    ----------
    recording : mne.io.BaseRaw or mne.BaseEpochs
        Loaded, if bad channels are to be interpolated.
    settings : EEGPreprocessing
        Its `ch_names` and `interpolate_bads`.
    kind : str
        "meg" stands for magnetometers or gradiometers, whichever there are, but never for both: their units differ.
    where : str
        Names the recording in messages.

    Raises
    ------
    NeurodecError
        Naming the absent channels or those of another kind, or when there is no channel of that kind.
    """
    types = dict(zip(recording.ch_names, recording.get_channel_types(), strict=True))
    if settings.ch_names is not None:
        _require_named(recording, settings.ch_names, types, kind, where)
        wanted, left_out = list(settings.ch_names), {}
    else:
        kinds = _kinds_of(types, kind, where)
        wanted = [name for name, found in types.items() if found in kinds]
        others = sorted(set(types.values()) - set(kinds))
        left_out = {f"of kind {other}": [name for name in types if types[name] == other] for other in others}
    bads = [name for name in recording.info["bads"] if name in wanted]
    if settings.interpolate_bads and bads:
        recording.pick(wanted, verbose="error")
        _interpolate(recording, where)
    elif settings.ch_names is None:
        wanted = [name for name in wanted if name not in bads]
        left_out |= {"marked as bad": bads} if bads else {}
        if not wanted:
            raise NeurodecError(f"{where} marks every {kind} channel as bad; correct that, or leave it out.")
        recording.pick(wanted, verbose="error")
    else:
        recording.pick(wanted, verbose="error")
        bads = []  # a recipe that names them wants them
    return Picked(left_out, bads)


def _require_named(
    recording: mne.io.BaseRaw | mne.BaseEpochs,
    ch_names: list[str],
    types: dict[str, str],
    kind: str,
    where: str,
) -> None:
    absent = [name for name in ch_names if name not in types]
    if absent:
        raise NeurodecError(
            f"{where} has {len(types)} channels but not {', '.join(absent)}; correct `ch_names` "
            f"(the recording has {', '.join(types)})."
        )
    repeated = {name for name in ch_names if ch_names.count(name) > 1}
    if repeated:
        raise NeurodecError(f"`ch_names` lists {min(repeated)} twice; keep one.")
    kinds = _kinds_of({name: types[name] for name in ch_names}, kind, where, strict=False)
    foreign = [name for name in ch_names if types[name] not in (*kinds, *_UNTYPED)]
    if foreign:
        raise NeurodecError(
            f"{where}: the channel {foreign[0]} is of kind {types[foreign[0]]}, not {kind}; correct `ch_names` or "
            "`modality`."
        )
    vouched = {name: kinds[0] for name in ch_names if types[name] in _UNTYPED}
    if vouched:
        recording.set_channel_types(vouched, on_unit_change="ignore", verbose="error")


def _kinds_of(types: dict[str, str], kind: str, where: str, strict: bool = True) -> list[str]:
    """Return MNE's channel types that `kind` stands for in a recording."""
    found = [name for name in (_MEG if kind == "meg" else (kind,)) if name in types.values()]
    if len(found) > 1:
        counts = [sum(value == name for value in types.values()) for name in found]
        raise NeurodecError(
            f"{where} has {counts[0]} magnetometers (T) and {counts[1]} gradiometers (T/m), which share no unit; set "
            "`modality: mag` or `modality: grad`."
        )
    if not found and strict:
        kinds = ", ".join(sorted(set(types.values())))
        raise NeurodecError(
            f"{where} has no {kind} channel (only {kinds}); name the channels in `ch_names`, or correct `modality`."
        )
    return found or ["mag" if kind == "meg" else kind]


def _interpolate(recording: mne.io.BaseRaw | mne.BaseEpochs, where: str) -> None:
    positions = sensor_positions(recording.info)
    if positions is None:
        raise NeurodecError(
            f"{where}: bad channels cannot be interpolated, as the place of some electrode is unknown; set "
            "`interpolate_bads: false`, or rename the electrodes to 10-05 names."
        )
    places = dict(zip(recording.ch_names, np.array(positions), strict=True))
    recording.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose="error")
    recording.interpolate_bads(reset_bads=True, verbose="error")


def check_channels(responses: np.ndarray, ch_names: list[str], kind: str, where: str) -> None:
    """Refuse NaN channels, flat channels and values that are not in SI units.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_chans, n_times)
        Before any scaling.
    ch_names : list of str
        Names of the channels.
    kind : str
        Decides the plausible range, such as 0.1 µV to 5 mV for EEG, or 1 fT to 1 nT for magnetometers.
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


def trigger_events(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Find the triggers of a stimulus channel as ``mne.find_events`` does, and say what is none.

    A trigger begins where the channel leaves its rest level, or steps up to another code (MNE's
    ``consecutive="increasing"``); on a channel that never comes to rest, wherever the code changes. A code that lasts
    one sample on the way to or from another one is the lines of a port switching one after the other.

    Parameters
    ----------
    codes : ndarray of int, shape (n_samples,)
        The channel, status bits removed.

    Returns
    -------
    onsets, shown : ndarray of int, shape (n_events,)
        Sample and code of every trigger.
    left_out : dict
        Reason to count.
    """
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.zeros(0, dtype=int)
    values, lengths = codes[starts], np.diff(np.r_[starts, len(codes)])
    levels, places = np.unique(values, return_inverse=True)
    held = np.bincount(places, weights=lengths)
    rest = int(levels[held.argmax()]) if len(levels) and held.max() >= _REST_SHARE * len(codes) else 0
    active = values != rest
    beside = np.r_[False, active[:-1]] | np.r_[active[1:], False]
    transient = active & (lengths == 1) & beside & (starts > 0)
    starts, values = starts[~transient], values[~transient]
    changed = np.r_[True, values[1:] != values[:-1]] if len(values) else np.zeros(0, dtype=bool)
    starts, values = starts[changed], values[changed]
    active = values != rest
    before = np.r_[rest, values[:-1]]
    rests = (~active[1:]).sum()
    never_rests = rests == 0 or active.sum() > 10 * rests
    up = active & (never_rests | (before == rest) | (values > before))
    up[:1] = False  # what is on when the recording begins did not begin in it
    left_out = {
        "a code of one sample on the way to another": int(transient.sum()),
        "on when the recording began": int(active[:1].sum()),
        "a step down to another code": int((active & ~up)[1:].sum()),
    }
    return starts[up], values[up], {reason: count for reason, count in left_out.items() if count}


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
