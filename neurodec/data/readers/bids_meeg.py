"""BIDS folders of EEG, MEG and intracranial EEG."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import mne
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import annotate_bad, choose_stimuli, timed_events
from neurodec.data.patterns import bids_files
from neurodec.data.readers.bids_files import companion, entities, require_one_each, wanted
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.raw_trials import trials_of_raw
from neurodec.data.stimuli import label_trials, pictures_of, read_stimuli, stimuli_of_trials, table_files
from neurodec.data.tables import is_missing, read_table
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind
from neurodec.preprocessing.eeg import EEGPreprocessing

SUFFIXES = (".fif", ".edf", ".bdf", ".vhdr", ".set", ".ds", ".con", ".sqd", ".mff", ".xdf")
_FOLDERS = {"mag": "meg", "grad": "meg", "ecog": "ieeg", "seeg": "ieeg"}
_LABELS = ("trial_type", "value")  # columns that name an event, where there is no other
_APART = 0.01  # s
_KINDS = {  # of channels.tsv to MNE's
    "EEG": "eeg",
    "EOG": "eog",
    "HEOG": "eog",
    "VEOG": "eog",
    "ECG": "ecg",
    "EMG": "emg",
    "ECOG": "ecog",
    "SEEG": "seeg",
    "DBS": "dbs",
    "RESP": "resp",
    "GSR": "gsr",
    "TEMP": "temperature",
    "TRIG": "stim",
    **dict.fromkeys(("MISC", "REF", "AUDIO", "PD", "PUPIL", "EYEGAZE", "ADC", "DAC", "SYSCLOCK"), "misc"),
}
_NOT_IN_FILE = ("REF", "TRIG")  # a channels.tsv may list what the recording does not hold


@dataclass(frozen=True)
class BidsEEG(Dataset):
    """Read ``sub-*/[ses-*/]{eeg,meg,ieeg}/*_{eeg,meg,ieeg}.<ext>`` with ``*_events.tsv`` and ``*_channels.tsv``.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read (``"01"`` or ``"sub-01"``); all by default.
    entities : dict, optional
        Read only the recordings with these labels, such as ``{acq: dry}``; null stands for recordings without the
        entity. Several files of one recording are refused until this tells them apart.
    modality : "eeg", "meg", "mag", "grad", "ecog" or "seeg"
        Kind of the channels, and with it the folder; others are left out.
    stimulus : str
        Column of the events that names what was shown; ``trial_type``, or else ``value``, where a file has no such
        column or nothing in it.
    concept : str
        Column of the events that names its concept.
    trial_types : list of str, optional
        Keep the events of these trial types; all by default.
    stimuli_table : str, optional
        As in `Recordings`. Without it, a stimulus that is a file below ``stimuli/`` is its own picture.
    preprocessing : EEGPreprocessing
        Filter, epoch, baseline, whitening. Channels marked bad in ``channels.tsv`` are left out (or interpolated).
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    entities: dict[str, str | None] | None = None
    modality: Kind = "eeg"
    stimulus: str = "stim_file"
    concept: str = "trial_type"
    trial_types: list[str] | None = None
    stimuli_table: str | None = None
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings; each needs its events."""
        self.preprocessing.check()
        parts = []
        for path in self._recordings(root):
            channels = companion(path, root, "_channels.tsv")
            tables = [*([channels] if channels else []), *table_files(root, self.stimuli_table)]
            files = (*source_files(path), events_file(path, root), *tables)
            parts.append(Part(recording_name(path), entities(path)["sub"], files))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read, filter, cut and whiten one recording."""
        path = next(file for file in self._recordings(root) if recording_name(file) == part.name)
        account, where, fields = Account(), str(path), run_fields(path)
        raw, clock = open_raw(path, account)
        apply_channels(raw, companion(path, root, "_channels.tsv"), account)
        file = events_file(path, root)
        events = self._events(file, account, raw, clock)
        events = events.drop(columns=[name for name in fields if name in events])
        events = label_trials(events, self._table(root), str(file))
        return trials_of_raw(raw, clock, events, self.preprocessing, self.modality, fields, where, account)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        files = [events_file(path, root) for path in self._recordings(root)]
        tables = {str(file): self._events(file, Account()) for file in files}
        return pictures_of(stimuli_of_trials(tables), root)

    def _table(self, root: Path) -> pd.DataFrame | None:
        return read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None

    def _recordings(self, root: Path) -> list[Path]:
        return bids_recordings(root, self.modality, self.subjects, self.sessions, self.tasks, self.entities)

    def _events(
        self, file: Path, account: Account, raw: mne.io.BaseRaw | None = None, clock: Clock | None = None
    ) -> pd.DataFrame:
        """Return the events that are stimuli; `onset` in seconds from the first sample, if the clock is given."""
        events = timed_events(read_table(file, ("onset",)), account)
        if self.trial_types is not None:
            if "trial_type" not in events:
                raise NeurodecError(f"{file} has no column trial_type; leave `trial_types` out.")
            kept = events["trial_type"].isin(self.trial_types)
            account.events += int((~kept).sum())
            account.leave_out("of another trial type", int((~kept).sum()))
            events = events[kept]
        columns = [name for name in (self.stimulus, *_LABELS) if name in events]
        if not columns:
            raise NeurodecError(
                f"{file} has neither the column {self.stimulus} nor trial_type; correct `stimulus` (it has "
                f"{', '.join(events)})."
            )
        told = [name for name in columns if not is_missing(events[name]).all()]
        events = events.assign(stimulus=events[(told or columns)[0]])
        if raw is not None and clock is not None:
            marks = events.assign(stimulus=events.get("trial_type", events["stimulus"]))
            annotate_bad(raw, clock, marks)
            _compare_samples(events, float(raw.info["sfreq"]), account)
            events = events.assign(onset=clock.places(events["onset"]))
        if "concept" not in events and not self.stimuli_table and self.concept in events:
            blank = is_missing(events[self.concept])
            events = events.assign(concept=events[self.concept].mask(blank, events["stimulus"]))
        events = choose_stimuli(events, None, account, str(file))
        if events.empty:
            raise NeurodecError(
                f"{file} has no event that is a stimulus; correct `stimulus`, or leave it out."
            )
        return events


def bids_recordings(
    root: Path,
    modality: Kind,
    subjects: list[str] | None,
    sessions: list[str] | None,
    tasks: list[str] | None,
    chosen: dict[str, str | None] | None,
) -> list[Path]:
    """List the recordings of a kind below a BIDS folder; see `BidsEEG`.

    Raises
    ------
    NeurodecError
        If there is none, a subject has none, or several files are one recording.
    """
    kind = _FOLDERS.get(modality, modality)
    files = [
        path
        for path in bids_files(root, f"sub-*/**/{kind}/*_{kind}.*")
        if path.suffix in SUFFIXES
        and not re.search(r"_split-0*([2-9]|\d{2,})_", path.name)  # MNE follows the first piece to these
    ]
    found = wanted(files, subjects, sessions, tasks, chosen)
    absent = [name for name in subjects or () if not wanted(found, [name], None, None, None)]
    if absent or not found:
        which = f"sub-{min(absent).removeprefix('sub-')}" if absent else "sub-*"
        raise NeurodecError(
            f"No {kind} recording of {which} below {root} ({', '.join(SUFFIXES)} with the wanted session "
            "and task); correct --data-root or the recipe's dataset section."
        )
    require_one_each(found, root)
    return found


def events_file(path: Path, root: Path) -> Path:
    """Return the events table of a recording.

    Raises
    ------
    NeurodecError
        If there is none.
    """
    file = companion(path, root, "_events.tsv")
    if file is None:
        raise NeurodecError(
            f"{path.with_name(recording_name(path))}_events.tsv is missing; every recording needs its events."
        )
    return file


def run_fields(path: Path) -> dict[str, str]:
    """Return `subject`, `session` and `run` of a recording from its name."""
    named = entities(path)
    keys = ("acq", "run" if "run" in named else "task")
    run = "_".join(named[key] for key in keys if key in named)
    return {"subject": named["sub"], "session": named.get("ses", "01"), "run": run}


def _compare_samples(events: pd.DataFrame, sfreq: float, account: Account) -> None:
    """Tell of events whose column `sample` is another moment than their onset, which counts."""
    if "sample" not in events:
        return
    samples = pd.to_numeric(events["sample"], errors="coerce")
    apart = (samples / sfreq - events["onset"]).abs() > max(_APART, 2.5 / sfreq)  # some count from 1
    if apart.any():
        account.note(
            f"{int(apart.sum())} events have a `sample` that is not at their `onset`; the onset counts"
        )


def recording_name(path: Path) -> str:
    """Return the name of a recording without its kind."""
    return re.sub(r"_(split-\d+_)?(eeg|meg|ieeg)$", "", path.stem)


def apply_channels(raw: mne.io.BaseRaw, file: Path | None, account: Account) -> None:
    """Take channel types and bad channels from ``channels.tsv``.

    Raises
    ------
    NeurodecError
        If it lists a channel that the recording does not have: then it may be the table of another recording.
    """
    if file is None:
        return
    table = read_table(file, ("name", "type"))
    repeated = table["name"][table["name"].duplicated()]
    if len(repeated):
        raise NeurodecError(f"{file} lists the channel {repeated.iloc[0]} twice; keep one row.")
    kinds = table["type"].str.upper()
    foreign = table["name"][~table["name"].isin(raw.ch_names) & ~kinds.isin(_NOT_IN_FILE)]
    if len(foreign):
        raise NeurodecError(
            f"{file} lists the channel {foreign.iloc[0]}, which the recording does not have (it has "
            f"{', '.join(raw.ch_names[:12])}{', ...' if len(raw.ch_names) > 12 else ''}); spell them alike."
        )
    here = table["name"].isin(raw.ch_names)
    types = dict(zip(table["name"][here], kinds[here].map(_KINDS), strict=True))
    known = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    changed = {name: kind for name, kind in types.items() if isinstance(kind, str) and kind != known[name]}
    raw.set_channel_types(changed, on_unit_change="ignore", verbose="error")
    missing = [name for name, kind in known.items() if name not in types and kind not in ("stim", "misc")]
    if missing:
        account.note(
            f"{file.name} says nothing of {', '.join(missing[:12])}; their kind is as the recording has it"
        )
    if "status" in table:
        raw.info["bads"] = table["name"][here & (table["status"].str.lower() == "bad")].tolist()
