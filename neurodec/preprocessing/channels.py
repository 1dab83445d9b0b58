"""Channels: their kinds, units and places, which to keep, and checks that name the culprit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mne
import numpy as np
from mne.io.constants import FIFF

from neurodec.errors import NeurodecError

Kind = Literal["eeg", "meg", "mag", "grad", "ecog", "seeg"]
HUNDRED_MICROVOLTS = "100 uV"
"""Unit of recordings that EEG foundation models read."""
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
CORTICAL = {"eeg": (1e-7, 1e-3)}  # the same after filtering: what lies beyond is reported
_MEG = ("mag", "grad")
_UNTYPED = ("misc", "bio")  # of channels that a file names and does not describe; a recipe may vouch for them


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


def pick_channels(
    recording: mne.io.BaseRaw | mne.BaseEpochs,
    kind: Kind,
    where: str,
    *,
    ch_names: list[str] | None = None,
    interpolate_bads: bool = False,
) -> Picked:
    """Keep the named channels in the named order, or all good channels of a kind, in place.

    Parameters
    ----------
    recording : mne.io.BaseRaw or mne.BaseEpochs
        Loaded, if bad channels are to be interpolated.
    kind : str
        "meg" stands for magnetometers or gradiometers, whichever there are, but never for both: their units differ.
    where : str
        Names the recording in messages.
    ch_names : list of str, optional
        Keep these; all good ones of the kind by default.
    interpolate_bads : bool
        Replace channels that are marked as bad instead of leaving them out.

    Raises
    ------
    NeurodecError
        Naming the absent channels or those of another kind, or when there is no channel of that kind.
    """
    types = dict(zip(recording.ch_names, recording.get_channel_types(), strict=True))
    if ch_names is not None:
        _require_named(recording, ch_names, types, kind, where)
        wanted, left_out = list(ch_names), {}
    else:
        kinds = _kinds_of(types, kind, where)
        wanted = [name for name, found in types.items() if found in kinds]
        others = sorted(set(types.values()) - set(kinds))
        left_out = {f"of kind {other}": [name for name in types if types[name] == other] for other in others}
    bads = [name for name in recording.info["bads"] if name in wanted]
    if interpolate_bads and bads:
        recording.pick(wanted, verbose="error")
        _interpolate(recording, where)
    elif ch_names is None:
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
