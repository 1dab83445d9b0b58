"""XDF (Lab Streaming Layer): one EEG stream and its markers, through the package pyxdf."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mne
import numpy as np

from neurodec.data.account import Account
from neurodec.errors import NeurodecError

_SCALES = {"volts": 1.0, "v": 1.0, "millivolts": 1e-3, "mv": 1e-3, "microvolts": 1e-6, "uv": 1e-6, "µv": 1e-6}
_HEADER, _SAMPLES = 2, 3  # tags of chunks
_STAMPED = 8  # bytes of a sample's own time stamp; others follow from the rate
_WIDTHS = {"double64": 8, "float32": 4, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
_JITTER = 0.05  # relative; how far the measured rate may be from the one that the stream states


def read_raw_xdf(path: Path, account: Account) -> mne.io.BaseRaw:
    """Read the EEG stream of an XDF file; every marker becomes an annotation.

    Parameters
    ----------
    path : Path
    account : Account
        Gets the streams that were not read, and units that had to be assumed.

    Raises
    ------
    NeurodecError
        If pyxdf is not installed, or there is not exactly one EEG stream with a steady rate.
    """
    try:
        import pyxdf
    except ImportError as error:
        raise NeurodecError(f"{path} needs the package pyxdf; install it with  pip install pyxdf.") from error
    _check_chunks(path)
    streams, _ = pyxdf.load_xdf(str(path))
    signals = [
        stream for stream in streams if _told(stream, "type").upper() == "EEG" and len(stream["time_series"])
    ]
    if len(signals) != 1:
        listed = (
            ", ".join(f"{_told(stream, 'name')} ({_told(stream, 'type')})" for stream in streams) or "none"
        )
        raise NeurodecError(
            f"{path} has {len(signals)} streams of type EEG with samples (streams: {listed}); one is read, so save it "
            "alone."
        )
    stream = signals[0]
    sfreq, stamps = float(_told(stream, "nominal_srate") or 0), np.asarray(stream["time_stamps"], dtype=float)
    if sfreq <= 0 or len(stamps) < 2 or abs((len(stamps) - 1) / np.ptp(stamps) / sfreq - 1) > _JITTER:
        raise NeurodecError(
            f"{path}: the EEG stream {_told(stream, 'name')} keeps no steady rate of {sfreq:g} Hz."
        )
    names, kinds, scales = _channels(stream, account)
    info = mne.create_info(names, sfreq, kinds, verbose="error")
    values = np.asarray(stream["time_series"], dtype=float).T * scales[:, None]
    raw = mne.io.RawArray(values, info, verbose="error")
    marks = [
        (float(stamp - stamps[0]), str(text[0] if np.ndim(text) else text))
        for marker in streams
        if _told(marker, "type").lower() in ("markers", "marker", "events")
        for stamp, text in zip(marker["time_stamps"], marker["time_series"], strict=True)
    ]
    if marks:
        onsets, texts = zip(*sorted(marks), strict=True)
        raw.set_annotations(mne.Annotations(onsets, 0.0, texts), verbose="error")
    others = [_told(other, "name") for other in streams if other is not stream and not len(marks)]
    if others:
        account.note(f"streams of the XDF file that were not read: {', '.join(others)}")
    return raw


def _check_chunks(path: Path) -> None:
    """Refuse a file whose chunks promise more than they hold; pyxdf would ask for the memory.

    Raises
    ------
    NeurodecError
        Naming the place.
    """
    content, place, described = memoryview(path.read_bytes()), 4, {}
    while place < len(content):
        length, begin = _number(content, place, path)
        end = begin + length
        tag = int.from_bytes(content[begin : begin + 2], "little")
        stream, body = bytes(content[begin + 2 : begin + 6]), bytes(content[begin + 6 : end])
        if tag == _HEADER:
            told = re.search(rb"<channel_count>\s*(\d+)", body), re.search(rb"<channel_format>\s*(\w+)", body)
            described[stream] = int(told[0][1]) if told[0] else 1, told[1][1].decode() if told[1] else ""
        fits = length >= 2 and end <= len(content)
        if not fits or (tag == _SAMPLES and not _samples_fit(body, *described.get(stream, (1, "")), path)):
            raise NeurodecError(
                f"{path} is damaged or cut short: the chunk at byte {place} does not hold what it promises; copy it "
                "again."
            )
        place = end


def _samples_fit(body: bytes, n_chans: int, form: str, path: Path) -> bool:
    """Tell whether a chunk holds the samples that it promises, and nothing else."""
    n_samples, place = _number(body, 0, path)
    if n_samples * max(n_chans, 1) > len(body) - place:
        return False
    width = _WIDTHS.get(form)
    if width is None and form != "string":
        return False
    stride = 9 + n_chans * (width or 0)
    flags = np.frombuffer(body, np.uint8)[place::stride][:n_samples]
    if width is not None and len(body) - place == n_samples * stride and (flags == _STAMPED).all():
        return True
    for _ in range(n_samples):
        place += 9 if body[place : place + 1] == bytes([_STAMPED]) else 1  # a time stamp, or none
        if width is not None:
            place += n_chans * width
            continue
        for _ in range(n_chans):
            length, place = _number(body, place, path)
            place += length
            if place > len(body):
                return False
    return place == len(body)


def _number(content: memoryview | bytes, place: int, path: Path) -> tuple[int, int]:
    """Read a number that is preceded by its length in bytes; return it and where it ends."""
    width = content[place] if place < len(content) else 0
    if width not in (1, 4, 8):
        raise NeurodecError(f"{path} is damaged: no length stands where a chunk begins; copy it again.")
    return int.from_bytes(content[place + 1 : place + 1 + width], "little"), place + 1 + width


def _told(stream: dict[str, Any], name: str) -> str:
    value = stream["info"].get(name)
    return str(value[0] if isinstance(value, list) and value else value or "")


def _channels(stream: dict[str, Any], account: Account) -> tuple[list[str], list[str], np.ndarray]:
    """Return names, MNE kinds and factors to volts, as the stream describes its channels."""
    n_chans = np.asarray(stream["time_series"]).shape[1]
    described = (stream["info"].get("desc") or [None])[0] or {}
    listed = ((described.get("channels") or [{}])[0] or {}).get("channel") or []
    listed = listed if len(listed) == n_chans else [{}] * n_chans
    names = [str((channel.get("label") or [f"EEG{i + 1:03d}"])[0]) for i, channel in enumerate(listed)]
    units = [str((channel.get("unit") or [""])[0]).lower() for channel in listed]
    told = [str((channel.get("type") or ["EEG"])[0]).lower() for channel in listed]
    if any(unit not in _SCALES for unit in units):
        account.note(
            "the XDF stream states no unit that is known for some channel; microvolts are assumed there"
        )
    kinds = [kind if kind in ("eeg", "eog", "ecg", "emg", "stim") else "misc" for kind in told]
    return names, kinds, np.array([_SCALES.get(unit, 1e-6) for unit in units])
