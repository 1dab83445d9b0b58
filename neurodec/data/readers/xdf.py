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
_MARKERS = ("markers", "marker", "events")
_UNSTEADY = 0.05  # relative; a rate that far from the stated one is none that a filter or a model could use
_SAME_RATE = 0.002  # relative; an epoch of a second is then right to 2 ms at its end
_BREAK = 0.1  # s without a sample that may be a loss; shorter ones are jitter of the stamps


def read_xdf(
    path: Path, account: Account
) -> tuple[mne.io.BaseRaw, tuple[np.ndarray, np.ndarray, float], mne.Annotations]:
    """Read the EEG stream of an XDF file, its pieces, and every marker as an annotation.

    Parameters
    ----------
    path : Path
    account : Account
        Gets the streams that were not read, units that had to be assumed, and a rate that is not the stated one.

    Returns
    -------
    raw : mne.io.BaseRaw
    gaps : tuple
        First sample and time of every piece, in seconds from the first sample by the stamps of the samples, and the
        samples per second of these stamps; lost samples are a pause. See `neurodec.data.clock.clock_of`.
    marks : mne.Annotations
        Onsets in seconds from the first sample, by the stamps.

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
    # Its own removal of jitter draws one line through up to 500 lost samples.
    streams, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=False)
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
    stated, stamps = (
        float(_told(stream, "nominal_srate") or 0),
        np.asarray(stream["time_stamps"], dtype=float),
    )
    starts, seconds, rate = _pieces(stamps, stated)
    if not abs(rate / max(stated, 1e-9) - 1) <= _UNSTEADY:
        raise NeurodecError(
            f"{path}: the EEG stream {_told(stream, 'name')} keeps no steady rate of {stated:g} Hz (its stamps: "
            f"{rate:g} Hz); repair it, or save it with the rate that it has."
        )
    sfreq = stated if abs(rate / stated - 1) <= _SAME_RATE else rate
    if abs(rate / stated - 1) > 1e-4:
        taken = "" if sfreq == stated else f"; {rate:.2f} Hz is taken"
        account.note(
            f"the EEG stream states {stated:g} Hz, its samples' own stamps give {rate:.3f} Hz{taken}; onsets follow "
            "the stamps"
        )
    names, kinds, scales = _channels(stream, account)
    info = mne.create_info(names, sfreq, kinds, verbose="error")
    values = np.asarray(stream["time_series"], dtype=float).T * scales[:, None]
    raw = mne.io.RawArray(values, info, verbose="error")
    markers = [other for other in streams if _told(other, "type").lower() in _MARKERS]
    marks = [
        (float(stamp - stamps[0]), str(text[0] if np.ndim(text) else text))
        for marker in markers
        for stamp, text in zip(marker["time_stamps"], marker["time_series"], strict=True)
    ]
    onsets, texts = zip(*sorted(marks), strict=True) if marks else ((), ())
    others = [
        _told(other, "name")
        for other in streams
        if other is not stream and _told(other, "type").lower() not in _MARKERS
    ]
    if others:
        account.note(f"streams of the XDF file that were not read: {', '.join(others)}")
    return raw, (starts, seconds, rate), mne.Annotations(onsets, 0.0, texts)


def _pieces(stamps: np.ndarray, stated: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return where pieces without lost samples begin, when, and the samples per second within them.

    A break counts where the stamps stay behind the count of samples for the second that follows it: after a delay
    in the network alone, the samples catch up.
    """
    if stated <= 0 or len(stamps) < 2:
        return np.array([0]), np.array([0.0]), 0.0
    behind = stamps - np.arange(len(stamps)) / stated
    near = max(2, round(stated))
    lost = []
    for place in np.flatnonzero(np.diff(stamps) > max(_BREAK, 2.5 / stated)) + 1:
        before, after = behind[max(0, place - near) : place], behind[place : place + near]
        if np.median(after) - np.median(before) > max(_BREAK, 2.5 / stated) / 2:
            lost.append(place)
    starts = np.r_[0, lost].astype(int)
    piece = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(stamps)]))
    counts = np.bincount(piece).astype(float)
    index = np.arange(len(stamps), dtype=float)
    middle = np.bincount(piece, index) / counts, np.bincount(piece, stamps) / counts
    apart = index - middle[0][piece], stamps - middle[1][piece]
    slope = (apart[0] @ apart[1]) / max(apart[0] @ apart[0], 1.0)  # seconds per sample, one for all pieces
    if slope <= 0:
        return starts, np.zeros(len(starts)), 0.0
    seconds = middle[1] + (starts - middle[0]) * slope
    return starts, seconds - stamps[0], float(1 / slope)


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
    """Return whether a chunk holds the samples that it promises, and nothing else."""
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
