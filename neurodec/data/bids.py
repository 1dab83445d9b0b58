"""BIDS-like EEG and MEG folders, without any further package."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import mne
import pandas as pd

from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import (
    complete_events,
    read_stimuli,
    read_table,
    stimuli_of_events,
    table_files,
)
from neurodec.data.generic import Modality, open_raw, source_files, trials_of_raw
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

SUFFIXES = (".fif", ".edf", ".bdf", ".vhdr", ".set", ".ds")
_ENTITY = re.compile(r"(sub|ses|task|run)-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class BidsEEG(Dataset):
    """Read ``sub-*/[ses-*/]{eeg,meg}/*_{eeg,meg}.<ext>`` with ``*_events.tsv`` and, where there, ``*_channels.tsv``.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read (``"01"``, not ``"sub-01"``); all by default.
    modality : "eeg" or "meg"
        Which folder.
    stimulus : str
        Column of the events that names what was shown; ``trial_type`` where a file has no such column.
    concept : str
        Column of the events that names its concept.
    trial_types : list of str, optional
        Keep the events of these trial types; all by default.
    stimuli_table : str, optional
        As in `Recordings`. Without it, a stimulus that is a file below ``stimuli/`` is its own picture.
    preprocessing : EEGPreprocessing
        Filter, epoch, baseline, whitening. Channels marked bad in ``channels.tsv`` are left out.
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    modality: Modality = "eeg"
    stimulus: str = "stim_file"
    concept: str = "trial_type"
    trial_types: list[str] | None = None
    stimuli_table: str | None = None
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings; each needs its events."""
        parts = []
        for path in self._recordings(root):
            events = _sidecar(path, "events")
            if not events.is_file():
                raise NeurodecError(f"{events} is missing; every recording needs its events.")
            tables = [file for file in (_sidecar(path, "channels"),) if file.is_file()]
            tables += table_files(root, self.stimuli_table)
            name = re.sub(r"_(split-\d+_)?(eeg|meg)$", "", path.stem)
            parts.append(Part(name, _entities(path)["sub"], (*source_files(path), events, *tables)))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read, filter, cut and whiten one recording."""
        path = next(file for file in self._recordings(root) if file.stem.startswith(f"{part.name}_"))
        entities = _entities(path)
        raw = open_raw(path)
        _apply_channels(raw, _sidecar(path, "channels"), self.modality)
        fields = {
            "subject": entities["sub"],
            "session": entities.get("ses", "01"),
            "run": entities.get("run", "01"),
        }
        return trials_of_raw(
            raw, self._events(path, root), self.preprocessing, self.modality, fields, str(path)
        )

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        table = stimuli_of_events([self._events(path, root) for path in self._recordings(root)])
        pictures = "stimuli/" + table["stimulus"]
        found = [(root / picture).is_file() for picture in pictures]
        return table.assign(image=pictures.where(found, ""))

    def _recordings(self, root: Path) -> list[Path]:
        wanted = {"sub": self.subjects, "ses": self.sessions, "task": self.tasks}
        found = []
        for path in sorted(root.glob(f"sub-*/**/{self.modality}/*_{self.modality}.*")):
            entities = _entities(path)
            kept = all(labels is None or entities.get(key) in labels for key, labels in wanted.items())
            later = re.search(r"_split-0*([2-9]|\d{2,})_", path.name)  # MNE follows the first piece to these
            if path.suffix in SUFFIXES and kept and not later:
                found.append(path)
        absent = set(self.subjects or ()) - {_entities(path)["sub"] for path in found}
        if absent or not found:
            which = f"sub-{min(absent)}" if absent else "sub-*"
            raise NeurodecError(
                f"No {self.modality} recording of {which} below {root} ({', '.join(SUFFIXES)} with the wanted session "
                "and task); correct --data-root or the recipe's dataset section."
            )
        return found

    def _events(self, path: Path, root: Path) -> pd.DataFrame:
        file = _sidecar(path, "events")
        events = read_table(file, ("onset",))
        if self.trial_types is not None:
            events = events[events.get("trial_type", pd.Series(dtype=str)).isin(self.trial_types)]
        column = self.stimulus if self.stimulus in events else "trial_type"
        if column not in events:
            raise NeurodecError(
                f"{file} has neither the column {self.stimulus} nor trial_type; correct `stimulus` (it has "
                f"{', '.join(events)})."
            )
        events = events.assign(stimulus=events[column])
        events = events[~events["stimulus"].isin(["", "n/a"])]
        if "concept" not in events and self.concept in events and not self.stimuli_table:
            events = events.assign(concept=events[self.concept])
        stimuli = read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None
        return complete_events(events, stimuli, str(file))


def _entities(path: Path) -> dict[str, str]:
    return dict(_ENTITY.findall(path.name))


def _sidecar(path: Path, kind: str) -> Path:
    """Return ``<entities>_<kind>.tsv`` beside a recording."""
    return path.with_name(re.sub(r"_(split-\d+_)?(eeg|meg)$", "", path.stem) + f"_{kind}.tsv")


def _apply_channels(raw: mne.io.BaseRaw, file: Path, modality: Modality) -> None:
    """Take channel types and bad channels from ``channels.tsv``."""
    if not file.is_file():
        return
    table = read_table(file, ("name", "type")).set_index("name")
    table = table[table.index.isin(raw.ch_names)]
    if modality == "eeg":
        kinds = {"EEG": "eeg", "EOG": "eog", "HEOG": "eog", "VEOG": "eog", "ECG": "ecg", "EMG": "emg"}
        kinds |= {"TRIG": "stim", "MISC": "misc", "REF": "misc"}
        types = table["type"].str.upper().map(kinds).dropna().to_dict()
        raw.set_channel_types(types, on_unit_change="ignore", verbose="error")
    if "status" in table:
        raw.info["bads"] = table.index[table["status"].str.lower() == "bad"].tolist()
