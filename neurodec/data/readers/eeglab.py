"""EEGLAB: where a ``.set`` keeps its samples, and which of an epoch's events it was cut around."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import mne
import numpy as np
from pymatreader import read_mat

from neurodec.data.account import Account
from neurodec.data.readers.hdf5 import check_own
from neurodec.data.readers.pointers import require_own
from neurodec.errors import NeurodecError

_LARGEST = 1 << 26  # bytes; a `.set` beyond holds its samples itself
_LOCKED = 1.0  # samples that the event of an epoch may lie beside its zero


def check_set(path: Path) -> None:
    """Refuse a ``.set`` that names the samples of another recording, or a file outside its folder.

    Raises
    ------
    NeurodecError
        Naming both files.
    """
    if path.stat().st_size > _LARGEST:
        return
    name = _fields(path).get("data")
    if not isinstance(name, str):
        return
    if re.search(r"[\\/:]", name):
        raise NeurodecError(
            f"{path} names {name} as its samples, which is not a file beside it; copy that file there and save the "
            "set anew."
        )
    require_own(path, path.with_name(name), "samples")


def name_epochs(path: Path, epochs: mne.BaseEpochs, account: Account) -> None:
    """Name every epoch by the event at its zero, where MNE joins the names of all events within it.

    Parameters
    ----------
    path : Path
        The ``.set``.
    epochs : mne.BaseEpochs
        Its `events` and `event_id` are changed in place.
    account : Account
        Told of further events, and of epochs whose event is not at zero.

    Raises
    ------
    NeurodecError
        If two events lie at the zero of one epoch, or none of several does.
    """
    fields = _fields(path)
    events = _rows(fields.get("event"))
    places = np.array([float(_number(event.get("epoch"))) for event in events]) - 1
    latencies = np.array([float(_number(event.get("latency"))) for event in events]) - 1
    if not len(events) or np.isnan(places).any() or np.isnan(latencies).any():
        account.note("some epochs hold several events whose times are not told; their names are joined by /")
        return
    sfreq, n_times = float(epochs.info["sfreq"]), len(epochs.times)
    away = np.abs(latencies - places * n_times + epochs.tmin * sfreq)  # samples from the zero of its epoch
    names = []
    for epoch in range(len(epochs.events)):
        own = np.flatnonzero(places == epoch)
        at_zero = own[away[own] <= _LOCKED]
        chosen = at_zero if len(at_zero) or len(own) != 1 else own
        if len(chosen) != 1:
            told = ", ".join(str(events[event]["type"]) for event in own[:4]) or "no event"
            raise NeurodecError(
                f"{path}: epoch {epoch + 1} holds {told}, of which {len(chosen)} lie at 0 s, so nothing says what the "
                "epoch shows; keep one event for each in EEGLAB (pop_selectevent), or give the continuous recording."
            )
        names.append(str(events[int(chosen[0])]["type"]))
    further = len(events) - len(names)
    if further:
        account.note(
            f"{further} further event(s) within epochs are not read; the event at 0 s names its epoch"
        )
    late = sum(not (away[places == epoch] <= _LOCKED).any() for epoch in range(len(names)))
    if late:
        account.note(f"{late} epoch(s) have their only event beside 0 s; it names them")
    codes = {name: code for code, name in enumerate(dict.fromkeys(names), 1)}
    epochs.events[:, 2] = [codes[name] for name in names]
    epochs.event_id = codes


def _fields(path: Path) -> dict[str, Any]:
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            check_own(file, path)
    content = read_mat(str(path))
    for _ in range(2):  # newer versions keep the fields at the top
        content = content.get("EEG", content) if isinstance(content.get("EEG"), dict) else content
    return content


def _rows(table: Any) -> list[dict[str, Any]]:
    """Return a struct array as a list of dicts; pymatreader gives a dict of lists."""
    if isinstance(table, dict):
        lengths = {len(column) for column in table.values() if isinstance(column, list | np.ndarray)}
        if not lengths:
            return [table] if table else []
        return [
            {name: column[row] for name, column in table.items() if len(column) > row}
            for row in range(max(lengths))
        ]
    return [row for row in table if isinstance(row, dict)] if isinstance(table, list) else []


def _number(value: Any) -> float:
    found = np.asarray(value if value is not None else np.nan).ravel()
    try:
        return float(found[0]) if len(found) else np.nan
    except (TypeError, ValueError):
        return np.nan
