"""Your own EEG or MEG: any continuous file that MNE reads, with an events table or markers of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import mne
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import (
    annotate_bad,
    choose_stimuli,
    events_of_raw,
    require_all_named,
    timed_events,
)
from neurodec.data.patterns import FIELDS, all_fields, fill_pattern, find_files, part_name
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.raw_trials import trials_of_raw
from neurodec.data.stimuli import label_trials, read_stimuli, stimuli_of_trials, table_files
from neurodec.data.tables import is_missing, read_table, same_name
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind
from neurodec.preprocessing.eeg import EEGPreprocessing


@dataclass(frozen=True)
class Recording:
    """One recording whose name follows no pattern.

    Parameters
    ----------
    file : str
        Path below the data root.
    subject, session, run : str
        Whose it is.
    events : str, optional
        Its events table, path below the data root.
    """

    file: str
    subject: str = "01"
    session: str = "01"
    run: str = "01"
    events: str | None = None


@dataclass(frozen=True)
class Recordings(Dataset):
    """Read continuous recordings: FIF, EDF, BDF, BrainVision, EEGLAB, XDF and all that ``mne.io.read_raw`` opens.

    Parameters
    ----------
    files : str or list of Recording
        A pattern such as ``sub-{subject}/ses-{session}_run-{run}.edf``, or the recordings one by one.
    events : str, optional
        The events table of each recording, a pattern with the same fields, CSV or TSV with the columns `onset`
        (seconds from the start of the file; n/a leaves the row out) and `stimulus`, and optionally `concept`, `split`
        and any others. One table for all recordings has the columns `subject`, `session`, `run` as needed to tell them
        apart. Without it, events come from the stimulus channel or the markers of the file.
    event_id : dict, optional
        Stimulus name to event code or marker text, for events from the file. Each must be in some recording. Without
        it, every marker counts that is no pause, comment, response or bad segment.
    stim_channel : str, optional
        Name of the stimulus channel, for events from the file.
    stimuli_table : str, optional
        CSV or TSV with the columns `stimulus`, `image` (path below the data root) and optionally `concept`, `split`
        ("train", "test", "gallery" or "cv") and `caption`. What it says of a stimulus holds for all its trials.
    modality : "eeg", "meg", "mag", "grad", "ecog" or "seeg"
        Kind of the channels; others are left out. "meg" is for systems with one kind of sensor.
    unit_scale : float
        What to multiply the values with to get volts (EEG) or tesla (MEG), for files whose header is wrong.
    preprocessing : EEGPreprocessing
        Filter, epoch, baseline, whitening.
    """

    files: str | list[Recording]
    events: str | None = None
    event_id: dict[str, int | str] | None = None
    stim_channel: str | None = None
    stimuli_table: str | None = None
    modality: Kind = "eeg"
    unit_scale: float = 1.0
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        self.preprocessing.check()
        parts, pictures = [], table_files(root, self.stimuli_table)
        for path, fields, events in self._recordings(root).values():
            files = (*source_files(path), *([events] if events else []), *pictures)
            parts.append(Part(part_name(fields), fields["subject"], files))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read, filter, cut and whiten one recording."""
        path, fields, table = self._recordings(root)[part.name]
        account = Account()
        raw, clock = open_raw(path, account)
        events = self._events(root, part.name, raw, clock, account)
        events = label_trials(events, self._table(root), str(table or path))
        return trials_of_raw(
            raw, clock, events, self.preprocessing, self.modality, fields, str(path), account, self.unit_scale
        )

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name."""
        if self.stimuli_table and not self.event_id:
            return read_stimuli(root / self.stimuli_table, root)
        tables = {}
        for name, (path, _, table) in self._recordings(root).items():
            raw, clock = (None, None) if table else open_raw(path, Account())
            where = f"{table} for {name}" if table else str(path)  # one table may serve several recordings
            tables[where] = self._events(root, name, raw, clock, Account())
        found = {name for table in tables.values() for name in table["stimulus"]}
        require_all_named(self.event_id, found, str(root))
        return self._table(root) if self.stimuli_table else stimuli_of_trials(tables)

    def _table(self, root: Path) -> pd.DataFrame | None:
        return read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None

    def _recordings(self, root: Path) -> dict[str, tuple[Path, dict[str, str], Path | None]]:
        """Map part names to the recording, its subject, session and run, and its events table."""
        if isinstance(self.files, str):
            found = [(path, fields, self.events) for path, fields in find_files(root, self.files)]
        else:
            found = [
                (
                    root / item.file,
                    {name: getattr(item, name) for name in FIELDS},
                    item.events or self.events,
                )
                for item in self.files
            ]
        recordings: dict[str, tuple[Path, dict[str, str], Path | None]] = {}
        for path, fields, events in found:
            if not path.exists():
                raise NeurodecError(f"{path} is missing; correct --data-root or the recipe's `files`.")
            table = fill_pattern(root, events, fields) if events else None
            fields = all_fields(fields)
            if part_name(fields) in recordings:
                raise NeurodecError(
                    f"{path} and {recordings[part_name(fields)][0]} are both {part_name(fields)}; tell them apart by "
                    "the fields {subject}, {session} or {run}."
                )
            recordings[part_name(fields)] = (path, fields, table)
        return recordings

    def _events(
        self, root: Path, name: str, raw: mne.io.BaseRaw | None, clock: Clock | None, account: Account
    ) -> pd.DataFrame:
        """Return the events of one recording that are stimuli; onsets of tables are on the recording's clock."""
        path, fields, table = self._recordings(root)[name]
        if table is None and raw is not None and clock is not None:
            where = str(path)
            events = events_of_raw(raw, self.event_id, self.stim_channel, account, where)
        else:
            where = f"{table} for {name}"
            events = _rows_of(read_table(table, ("onset", "stimulus")), fields)
            if raw is not None and clock is not None:
                annotate_bad(raw, clock, events)
            events = choose_stimuli(timed_events(events, account), self.event_id, account, where)
            events = events.assign(onset=clock.places(events["onset"])) if clock is not None else events
        if events.empty:
            raise NeurodecError(
                f"{where} has no event that is a stimulus; check its table, its markers, or leave the recording out."
            )
        return events


def _rows_of(events: pd.DataFrame, fields: dict[str, str]) -> pd.DataFrame:
    """Return the rows of one recording, where one table serves several; blank cells belong to all."""
    for name in set(FIELDS) & set(events):
        own = events[name].map(lambda told, name=name: same_name(told, fields[name]))
        events = events[own | is_missing(events[name])]
        events = events.drop(columns=name)
    return events
