"""Your own EEG or MEG: any continuous file that MNE reads with an events table, or epochs with metadata."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mne
import numpy as np
import pandas as pd

from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import (
    complete_events,
    events_of_raw,
    read_stimuli,
    read_table,
    stimuli_of_events,
    table_files,
)
from neurodec.data.patterns import FIELDS, fill_pattern, find_files
from neurodec.data.trials import Trials, with_defaults
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import (
    UNITS,
    EEGPreprocessing,
    check_channels,
    clean_raw,
    pick_channels,
    rereference,
    sensor_positions,
    whiten,
)
from neurodec.preprocessing.epoching import cut_epochs, epoch_times

Modality = Literal["eeg", "meg"]
# What MNE warns of when a file is cut short, and goes on with the rest.
_LOST = re.compile("does not match the file size|outside data range")


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
    """Read continuous recordings: FIF, EDF, BDF, BrainVision, EEGLAB and all else that ``mne.io.read_raw`` opens.

    Parameters
    ----------
    files : str or list of Recording
        A pattern such as ``sub-{subject}/ses-{session}_run-{run}.edf``, or the recordings one by one.
    events : str, optional
        The events table of each recording, a pattern with the same fields, CSV or TSV with the columns `onset`
        (seconds from the start of the file) and `stimulus`, and optionally `concept`, `split` and any others. One
        table for all recordings has the columns `subject`, `session`, `run` as needed to tell them apart. Without it,
        events come from the stimulus channel or the markers of the file.
    event_id : dict, optional
        Stimulus name to event code or marker text, for events from the file.
    stim_channel : str, optional
        Name of the stimulus channel, for events from the file.
    stimuli_table : str, optional
        CSV or TSV with the columns `stimulus`, `image` (path below the data root) and optionally `concept`, `split`
        ("train", "test", "gallery" or "cv") and `caption`.
    modality : "eeg" or "meg"
        Kind of the channels.
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
    modality: Modality = "eeg"
    unit_scale: float = 1.0
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        parts, pictures = [], table_files(root, self.stimuli_table)
        for path, fields, events in self._recordings(root).values():
            files = (*source_files(path), *([events] if events else []), *pictures)
            parts.append(Part(part_name(fields), fields["subject"], files))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read, filter, cut and whiten one recording."""
        path, fields, _ = self._recordings(root)[part.name]
        raw = open_raw(path)
        events = self._events(root, part.name, raw)
        return trials_of_raw(
            raw, events, self.preprocessing, self.modality, fields, str(path), self.unit_scale
        )

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        return stimuli_of_events([self._events(root, name) for name in self._recordings(root)])

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
        recordings = {}
        for path, fields, events in found:
            if not path.exists():
                raise NeurodecError(f"{path} is missing; correct --data-root or the recipe's `files`.")
            table = fill_pattern(root, events, fields) if events else None
            fields = {name: fields.get(name, "01") for name in FIELDS}
            if part_name(fields) in recordings:
                raise NeurodecError(
                    f"{path} and {recordings[part_name(fields)][0]} are both {part_name(fields)}; tell them apart by "
                    "the fields {subject}, {session} or {run}."
                )
            recordings[part_name(fields)] = (path, fields, table)
        return recordings

    def _events(self, root: Path, name: str, raw: mne.io.BaseRaw | None = None) -> pd.DataFrame:
        path, fields, table = self._recordings(root)[name]
        stimuli = read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None
        if table is None:
            raw = raw if raw is not None else open_raw(path)
            return complete_events(
                events_of_raw(raw, self.event_id, self.stim_channel, str(path)), stimuli, str(path)
            )
        events = read_table(table, ("onset", "stimulus"))
        for field_name in set(FIELDS) & set(events):  # one table may serve several recordings
            events = events[events[field_name] == fields[field_name]]
        return complete_events(events, stimuli, f"{table} for {name}")


@dataclass(frozen=True)
class EpochsFiles(Dataset):
    """Read epochs that MNE saved (``-epo.fif``).

    Parameters
    ----------
    files : str
        A pattern such as ``sub-{subject}-epo.fif``.
    stimulus : str, optional
        Column of the metadata that names the stimulus; the event names by default. Columns `concept`, `split`,
        `session`, `run` are used where they are.
    stimuli_table, modality
        As in `Recordings`.
    preprocessing : EEGPreprocessing
        Filters are refused here: they belong on the continuous recording. The window is what the epochs have of it.
    """

    files: str
    stimulus: str | None = None
    stimuli_table: str | None = None
    modality: Modality = "eeg"
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the files."""
        pictures = table_files(root, self.stimuli_table)
        return [
            Part(part_name(_all_fields(fields)), fields.get("subject", "01"), (path, *pictures))
            for path, fields in find_files(root, self.files)
        ]

    def load(self, part: Part, root: Path) -> Trials:
        """Read one file, pick, reference, baseline, resample and whiten it."""
        settings, where = self.preprocessing, str(part.files[0])
        if settings.l_freq or settings.h_freq or settings.notch:
            raise NeurodecError(
                f"{where} holds epochs, which are too short to filter; filter the recording before cutting, or remove "
                "`l_freq`, `h_freq` and `notch`."
            )
        epochs = self._open(part.files[0])
        load_samples(epochs, where)
        pick_channels(epochs, settings.ch_names, self.modality, where)
        check_channels(epochs.get_data(copy=False), epochs.ch_names, self.modality, where)
        rereference(epochs, settings.reference, where)
        epochs.crop(max(settings.tmin, epochs.tmin), min(settings.tmax, epochs.tmax), verbose="error")
        if settings.baseline is not None:
            epochs.apply_baseline(settings.baseline, verbose="error")
        if settings.sfreq is not None:
            epochs.resample(settings.sfreq, verbose="error")
        if settings.keep_from is not None:
            epochs.crop(tmin=settings.keep_from, verbose="error")
        fields = _all_fields(dict(find_files(root, self.files))[part.files[0]])
        trials = Trials.from_epochs(epochs, **fields)
        table = complete_events(trials.table, self._table(root), where)
        info = {**trials.info, "ch_pos": sensor_positions(epochs.info)}
        return whitened(Trials(trials.responses, table, info), settings, where)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the metadata name."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        tables = [
            complete_events(with_defaults(_metadata(self._open(part.files[0]))), None, str(part.files[0]))
            for part in self.parts(root)
        ]
        return stimuli_of_events(tables)

    def _table(self, root: Path) -> pd.DataFrame | None:
        return read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None

    def _open(self, path: Path) -> mne.BaseEpochs:
        epochs = open_epochs(path)
        table = _metadata(epochs)
        if self.stimulus is not None and self.stimulus not in table:
            raise NeurodecError(
                f"{path} has no metadata column {self.stimulus}; it has {', '.join(table)}: correct `stimulus`."
            )
        if self.stimulus is not None:
            table["stimulus"] = table[self.stimulus].astype(str)
        with mne.utils.use_log_level("error"):
            epochs.metadata = table
        return epochs


def _metadata(epochs: mne.BaseEpochs) -> pd.DataFrame:
    names = {code: name for name, code in epochs.event_id.items()}
    table = (
        pd.DataFrame(index=range(len(epochs.events))) if epochs.metadata is None else epochs.metadata.copy()
    )
    if "stimulus" not in table:
        table["stimulus"] = [names[code] for code in epochs.events[:, 2]]
    return table


def _all_fields(fields: dict[str, str]) -> dict[str, str]:
    return {name: fields.get(name, "01") for name in FIELDS}


def part_name(fields: dict[str, str]) -> str:
    """Return ``sub-01_ses-01_run-01``."""
    return f"sub-{fields['subject']}_ses-{fields['session']}_run-{fields['run']}".replace("/", "-")


def source_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold a recording, the samples first (some formats keep them beside a header)."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return tuple(sorted(files, key=lambda file: -file.stat().st_size))
    beside = {".vhdr": (".eeg", ".vmrk"), ".set": (".fdt",)}.get(path.suffix, ())
    found = [path.with_suffix(suffix) for suffix in beside if path.with_suffix(suffix).is_file()]
    return (*found, path)


def open_raw(path: Path) -> mne.io.BaseRaw:
    """Open a continuous recording without reading its samples.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, or no format that MNE knows.
    """
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            raw = mne.io.read_raw(path, preload=False, verbose="warning")
    except Exception as error:  # every format fails in its own way
        raise NeurodecError(_unreadable(path, error)) from None
    lost = [text for text in (str(warning.message) for warning in told) if _LOST.search(text)]
    if lost and path.suffix in (".edf", ".bdf", ".vhdr"):
        reason = lost[0].split(" (")[0]
        raise NeurodecError(
            f"The length of {path} does not fit its header or its markers ({reason}); copy it again, or export it anew "
            "if the recording was broken off."
        )
    return raw


def open_epochs(path: Path) -> mne.BaseEpochs:
    """Open an epochs file without reading its samples.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, or not in the format.
    """
    try:
        return mne.read_epochs(path, preload=False, verbose="error")
    except Exception as error:
        raise NeurodecError(_unreadable(path, error)) from None


def load_samples(recording: mne.io.BaseRaw | mne.BaseEpochs, where: str) -> None:
    """Read the samples of an opened file into memory.

    Raises
    ------
    NeurodecError
        If the file is cut short.
    """
    try:
        with mne.utils.use_log_level("error"):
            recording.load_data()
    except Exception as error:
        raise NeurodecError(_unreadable(where, error)) from None


def _unreadable(path: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{path} cannot be read ({type(error).__name__}: {reason}); check that it is whole and that MNE opens it."


def trials_of_raw(
    raw: mne.io.BaseRaw,
    events: pd.DataFrame,
    settings: EEGPreprocessing,
    modality: Modality,
    fields: dict[str, str],
    where: str,
    unit_scale: float = 1.0,
) -> Trials:
    """Turn a continuous recording and its events into trials.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording; it is loaded and changed.
    events : DataFrame
        `onset` in seconds from the first sample, `stimulus`, `concept`, `split` and any others.
    settings : EEGPreprocessing
        What to do.
    modality : "eeg" or "meg"
        Kind of the channels.
    fields : dict
        `subject`, `session` and `run`.
    where : str
        Names the recording in messages.
    unit_scale : float
        Multiplies the values first.

    Returns
    -------
    Trials
        In order of onset, without the events in segments annotated as bad.
    """
    load_samples(raw, where)
    if unit_scale != 1.0:
        raw.apply_function(lambda signal: signal * unit_scale, picks=modality, verbose="error")
    clean_raw(raw, settings, modality, where)
    sfreq = raw.info["sfreq"]
    events = _outside_bad_segments(raw, events.sort_values("onset", kind="stable"), settings, where)
    onsets = np.round(events["onset"].to_numpy(dtype=float) * sfreq).astype(int)
    responses = cut_epochs(raw.get_data(), onsets, sfreq, settings, where)
    times, rate = epoch_times(sfreq, settings)
    info = {
        "modality": modality,
        "units": UNITS[modality],
        "sfreq": float(rate),
        "tmin": float(times[0]),
        "ch_names": list(raw.ch_names),
        "ch_pos": sensor_positions(raw.info),
        "provenance": {},
    }
    return whitened(Trials(responses, with_defaults(events, **fields), info), settings, where)


def _outside_bad_segments(
    raw: mne.io.BaseRaw, events: pd.DataFrame, settings: EEGPreprocessing, where: str
) -> pd.DataFrame:
    """Leave out the events whose epoch touches a segment that is annotated as bad."""
    marks = raw.annotations
    starts = marks.onset - raw.first_time * (marks.orig_time is not None)
    keep = np.ones(len(events), dtype=bool)
    onsets = events["onset"].to_numpy(dtype=float)
    for text, start, duration in zip(marks.description, starts, marks.duration, strict=True):
        if text.lower().startswith("bad"):
            keep &= (onsets + settings.tmax < start) | (onsets + settings.tmin > start + duration)
    if not keep.any():
        raise NeurodecError(
            f"{where}: every event lies in a segment annotated as bad; check the annotations."
        )
    return events[keep]


def whitened(trials: Trials, settings: EEGPreprocessing, where: str) -> Trials:
    """Normalise trials by `EEGPreprocessing.whiten`, in place, and state the new units."""
    is_train = (trials.table["split"] == "train").to_numpy()
    conditions = trials.table["stimulus"].to_numpy(dtype=str)
    units = whiten(trials.responses, conditions, is_train, settings, where)
    return Trials(trials.responses, trials.table, {**trials.info, "units": units or trials.info["units"]})
