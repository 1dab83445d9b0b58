"""LibriBrain, Özdogan et al. (2025): one person hears Sherlock Holmes for 50 hours in a MEGIN MEG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.patterns import files_below
from neurodec.data.readers.bids_files import entities, require_one_each, wanted
from neurodec.data.readers.hdf5 import check_own
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.speech.array_raw import array_raw
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.readers.speech.sound_files import with_durations
from neurodec.data.stimuli import file_below
from neurodec.data.tables import read_table
from neurodec.errors import NeurodecError, reading
from neurodec.preprocessing.channels import Kind

_PATTERNS = {"h5": "**/derivatives/serialised/*_meg.h5", "fif": "**/sub-*/ses-*/meg/*_meg.fif"}
_COMPRESSION = 1100
_RADIUS = 0.11  # m, of the half sphere that a flat layout is laid on


@dataclass(frozen=True)
class LibriBrain(SpeechReader):
    """Read ``<book>/derivatives/serialised/*_meg.h5`` or ``<book>/sub-*/ses-*/meg/*_meg.fif``, and their events.

    ``*_events.tsv`` lies in ``<book>/derivatives/events/``, or beside the recording. Rows of the `kind` ``word`` have
    the word in `segment`, its onset in `timemeg` (s from the first sample), `duration`, and `sentenceidx`.

    What is assumed: the release tells no sound. Add to every table a row of the `kind` ``sound``: `segment` the WAV
    file of the LibriVox chapter (below the data root, or its folder ``audio/``), `timemeg` when it began.

    Parameters
    ----------
    form : "h5" or "fif"
        The serialised recordings (cleaned, 250 Hz), or the raw ones.
    subjects, sessions, tasks : list of str, optional
        Labels to read; all by default. A task is a book, such as ``Sherlock1``.

    Notes
    -----
    102 magnetometers by default; `modality: grad` takes the 204 gradiometers. HDF5 files name no places: sensors get
    those of MNE's drawn layout of the helmet, laid on a half sphere.

    References
    ----------
    Özdogan et al. (2025), LibriBrain: over 50 hours of within-subject MEG, arXiv 2506.02098; files:
    https://huggingface.co/datasets/pnpl/LibriBrain.
    """

    form: Literal["h5", "fif"] = "h5"
    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    modality: Kind = "mag"

    def recordings(self, root: Path) -> list[Listened]:
        """List the runs; each needs its events."""
        paths = wanted(
            files_below(root, _PATTERNS[self.form]), self.subjects, self.sessions, self.tasks, None
        )
        if not paths:
            raise NeurodecError(
                f"No run of LibriBrain as {_PATTERNS[self.form]} is below {root}; correct --data-root, `form` or "
                "what is chosen."
            )
        require_one_each(paths, root)
        tables = {_run(file): file for file in reversed(files_below(root, "**/*_events.tsv"))}
        found = []
        for path in paths:
            if _run(path) not in tables:
                raise NeurodecError(
                    f"No events of {path} are below {root} ({_run(path)}_events.tsv); fetch them."
                )
            named = entities(path)
            fields = {
                "subject": named.get("sub", "0"),
                "session": named.get("ses", "1"),
                "run": f"{named.get('task', '')}-{named.get('run', '1')}",
            }
            found.append(Listened(_run(path), path, fields, (*source_files(path), tables[_run(path)])))
        return found

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Open a run; of HDF5 the sensors of the wanted kind are read."""
        if self.form == "fif":
            return open_raw(listened.path, account)
        path = listened.path
        with reading(path, "an HDF5 file of LibriBrain"), h5py.File(path) as file:
            check_own(file, path)
            if "sample_frequency" not in file.attrs:
                raise NeurodecError(
                    f"{path} does not tell its sampling rate (`sample_frequency`); fetch it again."
                )
            data, sfreq = file["data"], float(file.attrs["sample_frequency"])
            names, kinds = (
                [own.strip() for own in str(file.attrs[f"channel_{what}"]).split(",")]
                for what in ("names", "types")
            )
            if data.size * data.dtype.itemsize > path.stat().st_size * _COMPRESSION:
                raise NeurodecError(f"{path} promises more samples than it can hold; fetch it again.")
            if data.shape[0] != len(names) or len(kinds) != len(names):
                raise NeurodecError(
                    f"{path} has {data.shape[0]} channels and names {len(names)}; fetch it again."
                )
            rows = np.array([row for row, kind in enumerate(kinds) if kind == self.modality], dtype=int)
            if not len(rows):
                raise NeurodecError(
                    f"{path} has no {self.modality} channel (only {', '.join(sorted(set(kinds)))}); correct `modality`."
                )
            signals = data[rows].astype(np.float64)
        for other in sorted(set(kinds) - {self.modality}):
            left = [name for name, kind in zip(names, kinds, strict=True) if kind == other]
            account.leave_out_channels(f"of kind {other}", left)
        chosen = [names[row] for row in rows]
        raw, clock = array_raw(signals, chosen, [kinds[row] for row in rows], sfreq, None, str(path))
        _place(raw)
        return raw, clock

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read the events table."""
        file = listened.files[-1]
        table = read_table(file, ("kind", "segment", "timemeg", "duration"))
        events = pd.DataFrame(
            {
                "kind": table["kind"].str.lower(),
                "start": clock.places(pd.to_numeric(table["timemeg"], errors="coerce").to_numpy()),
                "duration": table["duration"],
                "word": table["segment"],
            }
        )
        words = events[events["kind"] == "word"]
        if len(words) and "sentenceidx" not in table:
            raise NeurodecError(
                f"{file} has no column sentenceidx, which tells the sentences apart; fetch it again."
            )
        groups = words.sort_values("start", kind="stable").groupby(table.get("sentenceidx"), sort=False)
        events = events.assign(sentence=groups["word"].transform(" ".join), word_index=groups.cumcount())
        sounds = events.index[events["kind"] == "sound"]
        audio = {row: _audio(events["word"][row], root, file, row) for row in sounds}
        return with_durations(
            events.assign(audio=pd.Series(audio, dtype=object), offset=0.0), root, str(file)
        )


def _run(path: Path) -> str:
    """Return the name that a recording and its events share."""
    return re.sub(r"(_proc-[^_]*)?_(meg|events)$", "", path.name.rsplit(".", 1)[0])


def _audio(name: str, root: Path, file: Path, row: int) -> str:
    below = f"audio/{name}"
    return file_below(root, below if (root / below).is_file() else name, file, row, "audio")


def _place(raw: mne.io.BaseRaw) -> None:
    """Put sensors where MNE's layout draws them, as seen from above."""
    layout = mne.channels.read_layout("Vectorview-all")
    drawn = {
        name.replace(" ", ""): place for name, place in zip(layout.names, layout.pos[:, :2], strict=True)
    }
    known = [name.replace(" ", "") in drawn for name in raw.ch_names]
    if not all(known):
        return
    flat = np.array([drawn[name.replace(" ", "")] for name in raw.ch_names])
    middle = (layout.pos[:, :2].min(axis=0) + layout.pos[:, :2].max(axis=0)) / 2
    flat = (flat - middle) / np.abs(flat - middle).max()
    angle = np.linalg.norm(flat, axis=1) * np.pi / 2
    turn = np.arctan2(flat[:, 1], flat[:, 0])
    around = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], axis=1)
    for channel, place in zip(raw.info["chs"], _RADIUS * around, strict=True):
        channel["loc"][:3] = place
