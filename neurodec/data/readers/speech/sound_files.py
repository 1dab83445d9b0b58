"""The sounds of an event table: how long their files are, and whether what was heard fits into them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.data.speech_events import SOUND, WORD
from neurodec.errors import NeurodecError, reading, require_fetched

_LONGER = 0.5  # s by which words may outlast their sound: aligners round, and the last word fades


def sound_seconds(path: Path) -> float:
    """Return how long a WAV file is, from its header.

    Parameters
    ----------
    path : Path

    Raises
    ------
    NeurodecError
        If the file is missing, or no WAV.
    """
    require_fetched(path)
    if not path.is_file():
        raise NeurodecError(f"The sound {path} is missing; put it there.")
    with reading(path, "a WAV file", "export it as WAV (PCM)"), path.open("rb") as handle:
        head = handle.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise NeurodecError(f"{path} is no WAV file; export it as WAV (PCM).")
        n_bytes, bytes_per_second = path.stat().st_size, 0
        while len(chunk := handle.read(8)) == 8:
            name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data" and bytes_per_second:
                return min(size, n_bytes - handle.tell()) / bytes_per_second
            if name == b"fmt ":
                form = handle.read(size)
                bytes_per_second = struct.unpack("<I", form[8:12])[0]
            else:
                handle.seek(size, 1)
            handle.seek(size % 2, 1)
    raise NeurodecError(f"{path} is a WAV file without samples; export it again.")


def with_durations(events: pd.DataFrame, root: Path, where: str) -> pd.DataFrame:
    """Give every sound the duration of its file, up to the next sound.

    Parameters
    ----------
    events : DataFrame
        `start`, `kind`, `duration`; sounds have `audio` and may have `offset`.
    root : Path
        Data root, which `audio` is relative to.
    where : str
        Names the events in messages.

    Raises
    ------
    NeurodecError
        If words are heard after the end of their sound.
    """
    sounds = events[(events["kind"] == SOUND) & events["start"].notna()].sort_values("start")
    words = events[(events["kind"] == WORD) & events["start"].notna()]
    stops = (words["start"] + words["duration"].fillna(0.0)).to_numpy(dtype=float)
    starts = sounds["start"].to_numpy(dtype=float)
    place = np.searchsorted(starts, words["start"].to_numpy(dtype=float), side="right") - 1
    offsets = sounds.get("offset", pd.Series(0.0, sounds.index)).fillna(0.0)
    durations = {}
    for number, row in enumerate(sounds.index):
        left = sound_seconds(root / str(sounds["audio"][row])) - float(offsets[row])
        last = stops[place == number].max(initial=0.0) - starts[number]
        if last > left + _LONGER:
            raise NeurodecError(
                f"{root / str(sounds['audio'][row])} goes on for {left:.2f} s, and {where} has words up to {last:.2f} "
                "s of it; see whether it is the right file, and whole."
            )
        until = starts[number + 1] - starts[number] if number + 1 < len(starts) else left
        durations[row] = min(left, until)
    return events.assign(
        duration=events["duration"].mask(events["kind"] == SOUND, pd.Series(durations, dtype=float))
    )
