"""Epochs that MNE or EEGLAB cut already (``-epo.fif``, epoched ``.set``), with what was shown in their metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import mne
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import choose_stimuli
from neurodec.data.patterns import all_fields, find_files, part_name
from neurodec.data.readers.opening import load_samples, open_epochs, source_files
from neurodec.data.readers.raw_trials import accounted, note_picked, sensor_info
from neurodec.data.stimuli import label_trials, read_stimuli, stimuli_of_trials, table_files
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind, check_channels, pick_channels, strange_scale
from neurodec.preprocessing.eeg import EEGPreprocessing, rereference

_ROUNDING = 0.5  # samples


@dataclass(frozen=True)
class EpochsFiles(Dataset):
    """Read epochs that MNE saved (``-epo.fif``) or EEGLAB (``.set``).

    Parameters
    ----------
    files : str
        A pattern such as ``sub-{subject}-epo.fif``.
    stimulus : str, optional
        Column of the metadata that names the stimulus; the event names by default. Columns `concept`, `split`,
        `session`, `run` are used where they are. Epochs without a name are left out.
    stimuli_table, modality
        As in `Recordings`.
    preprocessing : EEGPreprocessing
        Filters are refused here: they belong on the continuous recording. The window is what the epochs have of it;
        where that holds no baseline, none is subtracted.
    """

    files: str
    stimulus: str | None = None
    stimuli_table: str | None = None
    modality: Kind = "eeg"
    preprocessing: EEGPreprocessing = field(default_factory=EEGPreprocessing)

    def parts(self, root: Path) -> list[Part]:
        """List the files."""
        self.preprocessing.check()
        pictures = table_files(root, self.stimuli_table)
        return [
            Part(part_name(all_fields(fields)), fields.get("subject", "01"), (*source_files(path), *pictures))
            for path, fields in find_files(root, self.files)
        ]

    def load(self, part: Part, root: Path) -> Trials:
        """Read one file, pick, reference, baseline, resample and whiten it."""
        path, fields = self._file(part, root)
        settings, where, account = self.preprocessing, str(path), Account()
        if settings.l_freq or settings.h_freq or settings.notch:
            raise NeurodecError(
                f"{where} holds epochs, which are too short to filter; filter the recording before cutting, or remove "
                "`l_freq`, `h_freq` and `notch`."
            )
        epochs, table = self._open(path, account)
        load_samples(epochs, where, account)
        account.channels = len(epochs.ch_names)
        picked = pick_channels(
            epochs,
            self.modality,
            where,
            ch_names=settings.ch_names,
            interpolate_bads=settings.interpolate_bads,
        )
        note_picked(picked, account)
        check_channels(epochs.get_data(copy=False), epochs.ch_names, self.modality, where)
        rereference(epochs, settings.reference, where)
        _cut(epochs, settings, account, where)
        table = with_defaults(label_trials(table, self._table(root), where), **fields)
        info = sensor_info(epochs, self.modality)
        info |= {"sfreq": float(epochs.info["sfreq"]), "tmin": float(epochs.times[0])}
        responses = epochs.get_data(copy=False).astype("float32")
        if strange := strange_scale(responses, self.modality):
            account.note(strange)
        return accounted(Trials(responses, table, info), settings, where, account)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the metadata name."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        files = [self._file(part, root)[0] for part in self.parts(root)]
        return stimuli_of_trials({str(file): self._open(file, Account())[1] for file in files})

    def _file(self, part: Part, root: Path) -> tuple[Path, dict[str, str]]:
        return next(
            (path, all_fields(fields))
            for path, fields in find_files(root, self.files)
            if part_name(all_fields(fields)) == part.name
        )

    def _table(self, root: Path) -> pd.DataFrame | None:
        return read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None

    def _open(self, path: Path, account: Account) -> tuple[mne.BaseEpochs, pd.DataFrame]:
        """Return the epochs that show a stimulus, and their table."""
        epochs = open_epochs(path, account)
        table = _metadata(epochs)
        if self.stimulus is not None and self.stimulus not in table:
            raise NeurodecError(
                f"{path} has no metadata column {self.stimulus}; it has {', '.join(table)}: correct `stimulus`."
            )
        names = table[self.stimulus or "stimulus"]
        table["stimulus"] = names.map(_text)
        for name in ("concept", "split"):
            if name in table:
                table[name] = table[name].map(_text)
        kept = choose_stimuli(table.assign(place=range(len(table))), None, account, str(path))
        if kept.empty:
            raise NeurodecError(f"{path} has no epoch that shows a stimulus; correct `stimulus`.")
        nameless = kept["concept"] == "" if "concept" in kept else pd.Series(False, index=kept.index)
        if nameless.any() and self.stimuli_table is None:
            account.leave_out("without a concept", int(nameless.sum()))
            kept = kept[~nameless].reset_index(drop=True)
        with mne.utils.use_log_level("error"):
            return epochs[kept["place"].to_numpy()], kept.drop(columns="place")


def _metadata(epochs: mne.BaseEpochs) -> pd.DataFrame:
    names = {code: name for name, code in epochs.event_id.items()}
    table = (
        pd.DataFrame(index=range(len(epochs.events)))
        if epochs.metadata is None
        else epochs.metadata.reset_index(drop=True)
    )
    if "stimulus" not in table:
        table["stimulus"] = [names[code] for code in epochs.events[:, 2]]
    return table


def _text(value: object) -> str:
    """Return a name as text: nothing for a missing one, 101 for the 101.0 that pandas makes of it."""
    if pd.isna(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _cut(epochs: mne.BaseEpochs, settings: EEGPreprocessing, account: Account, where: str) -> None:
    """Crop, subtract the baseline and resample, as far as the epochs reach."""
    tmin, tmax = max(settings.tmin, float(epochs.tmin)), min(settings.tmax, float(epochs.tmax))
    if tmin >= tmax:
        raise NeurodecError(
            f"{where} has epochs of {epochs.tmin:g} to {epochs.tmax:g} s, which share nothing with {settings.tmin:g} "
            f"to {settings.tmax:g} s; correct `tmin` or `tmax`."
        )
    if settings.baseline is not None:
        begin, end = settings.baseline
        begin = tmin if begin is None else max(begin, tmin)
        end = tmax if end is None else min(end, tmax)
        if end - begin > _ROUNDING / epochs.info["sfreq"]:
            epochs.apply_baseline((begin, end), verbose="error")
        else:
            account.note(f"no baseline is subtracted: the epochs begin at {epochs.tmin:g} s")
    if tmin > epochs.tmin or tmax < epochs.tmax:
        account.note(
            f"epochs of {epochs.tmin:g} to {epochs.tmax:g} s are cut to {tmin:g} to {tmax:g} s (`tmin`, `tmax`)"
        )
    with mne.utils.use_log_level("error"):
        epochs.crop(tmin, tmax)
        if settings.sfreq is not None:
            epochs.resample(settings.sfreq)
        if settings.keep_from is not None:
            epochs.crop(tmin=max(settings.keep_from, float(epochs.tmin)))
