"""What MNE leaves open in EDF and BDF files: pauses (EDF+D), broken-off recordings, and kinds of channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np

from neurodec.data.account import Account
from neurodec.errors import NeurodecError

SUFFIXES = (".edf", ".bdf")
_VOLTS = {"v", "mv", "uv", "µv", "μv", "nv"}
_KINDS = {  # by the name of a channel; EDF itself knows no kinds
    "eog": r"eog|[hv]eog|loc|roc",
    "ecg": r"ecg|ekg",
    "emg": r"emg|chin",
    "resp": r"resp\w*|airflow|flow|nasal|thor\w*|abdo\w*|chest|cannula|snore",
    "temperature": r"temp\w*",
    "gsr": r"gsr|eda",
    "misc": r"sp?[ao]o2|pleth|pulse|pulso|hr|light|position|pos|battery|marker|event|events|co2|acc\w*|x|y|z",
}


@dataclass(frozen=True)
class EdfHeader:
    """The fixed part of an EDF or BDF header, and where the records lie.

    Parameters
    ----------
    kind : str
        The reserved field: "EDF+C", "EDF+D", "24BIT", or empty.
    n_records : int
        -1 where the recorder did not write how many there are.
    labels : list of str
        Of all signals, annotations among them.
    n_samples : ndarray of int, shape (n_signals,)
        Of every signal in a record.
    seconds : float
        Length of a record.
    n_header, width : int
        Bytes of the header, and of one sample.
    """

    kind: str
    n_records: int
    labels: list[str]
    n_samples: np.ndarray
    seconds: float
    n_header: int
    width: int

    @classmethod
    def read(cls, path: Path) -> EdfHeader:
        """Read the header of a file.

        Raises
        ------
        NeurodecError
            If a field that must be a number is none, or the header is cut short.
        """
        with path.open("rb") as handle:
            fixed = handle.read(256)
            n_signals = int(_number(fixed[252:256], path, "number of signals"))
            if len(fixed) < 256 or not 1 <= n_signals <= 9999:
                raise NeurodecError(f"{path} has no whole EDF header; fetch it again.")
            columns = handle.read(256 * n_signals)
        labels = [columns[16 * i : 16 * i + 16].decode("latin1").strip() for i in range(n_signals)]
        counts = columns[216 * n_signals : 224 * n_signals]
        n_samples = [
            int(_number(counts[8 * i : 8 * i + 8], path, f"number of samples of {labels[i]}"))
            for i in range(n_signals)
        ]
        return cls(
            fixed[192:236].decode("latin1").strip(),
            int(_number(fixed[236:244], path, "number of records")),
            labels,
            np.array(n_samples, dtype=np.int64),
            _number(fixed[244:252], path, "length of a record"),
            256 * (n_signals + 1),
            3 if fixed[:1] == b"\xff" else 2,
        )


def _number(text: bytes, path: Path, what: str) -> float:
    try:
        number = float(text.decode("latin1").strip())
        int(number)  # neither NaN nor infinite
        return number
    except (ValueError, OverflowError):
        raise NeurodecError(
            f"{path} has {text.decode('latin1').strip()!r} as {what} in its header; fetch it again."
        ) from None


def piece_starts(path: Path, header: EdfHeader, sfreq: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where the pieces of a discontinuous file begin, or None for a file without pauses.

    Parameters
    ----------
    path : Path
    header : EdfHeader
    sfreq : float
        Rate at which the recording was opened (Hz).

    Returns
    -------
    starts, seconds : ndarray
        First sample of every piece, and the time of it, in seconds after the first record.

    Raises
    ------
    NeurodecError
        If the file says that it has pauses, but not when its records were taken.
    """
    places = [i for i, label in enumerate(header.labels) if label in ("EDF Annotations", "BDF Annotations")]
    if not header.kind.upper().endswith("+D"):
        return None
    if not places:
        raise NeurodecError(
            f"{path} is a discontinuous recording ({header.kind}) without the annotations that date its records; "
            "export it as a continuous one."
        )
    record = int(header.n_samples.sum()) * header.width
    first = header.n_header + int(header.n_samples[: places[0]].sum()) * header.width
    size = int(header.n_samples[places[0]]) * header.width
    n_records = max(0, path.stat().st_size - header.n_header) // record
    seconds = np.empty(n_records)
    with path.open("rb") as handle:
        for index in range(n_records):
            handle.seek(first + index * record)
            dated = re.match(rb"([+-]\d+(?:\.\d+)?)\x14", handle.read(size))
            if dated is None:
                raise NeurodecError(
                    f"{path} is a discontinuous recording ({header.kind}) whose record {index + 1} has no time; export "
                    "it as a continuous one."
                )
            seconds[index] = float(dated[1])
    seconds -= seconds[:1]
    samples = np.round(np.arange(n_records) * header.seconds * sfreq).astype(int)
    late = np.diff(seconds) - header.seconds
    if (late < -0.5 / sfreq).any():
        index = int(np.flatnonzero(late < -0.5 / sfreq)[0]) + 1
        raise NeurodecError(
            f"{path}: record {index + 1} was taken before record {index} had ended; export it anew."
        )
    begins = np.r_[True, late > 0.5 / sfreq]
    return samples[begins], seconds[begins]


def type_channels(raw: mne.io.BaseRaw, account: Account) -> None:
    """Give the channels of an EDF or BDF recording the kinds that their names and units tell.

    MNE takes every signal for EEG, in volts whatever the file says. A signal without a voltage is none.
    """
    kinds = {}
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        if kind != "eeg":
            continue
        unit = str(raw._orig_units.get(name, "")).strip().lower()  # MNE has no public way to ask
        told = _kind_of(name)
        if told is not None:
            kinds[name] = told
        elif unit not in _VOLTS:
            kinds[name] = "misc"
    if kinds and len(kinds) < sum(kind == "eeg" for kind in raw.get_channel_types()):
        listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        account.note(f"taken for something else than EEG, by name and unit: {listed}")
    raw.set_channel_types(kinds, on_unit_change="ignore", verbose="error")


def _kind_of(name: str) -> str | None:
    """Return the kind that a channel's name begins with, or None for an electrode."""
    words = re.split(r"[\s_\-./]+", name.strip().lower())
    if words[0] == "eeg":
        return None
    for kind, pattern in _KINDS.items():
        if re.fullmatch(pattern, words[0]):
            return kind
    return None
