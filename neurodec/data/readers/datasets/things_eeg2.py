"""THINGS-EEG2 (Gifford, Dwivedi, Roig & Cichy 2022, doi:10.1016/j.neuroimage.2022.119754).

Ten subjects, four sessions each, 63 electrodes at 1000 Hz, pictures every 200 ms. Three forms are read: the raw
recordings, preprocessed here exactly as NICE and ATM published it; their preprocessed pickles; NeuroBridge's arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import shuffle

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.readers.datasets.things_images import things_stimuli
from neurodec.data.readers.raw_trials import done_to
from neurodec.data.trial_tables import require_rate
from neurodec.data.trials import Trials
from neurodec.data.unpickle import load_pickled
from neurodec.errors import NeurodecError, reading
from neurodec.files import read_json
from neurodec.preprocessing.channels import check_channels, standard_positions
from neurodec.preprocessing.eeg import EEGPreprocessing, Whitening, whiten
from neurodec.preprocessing.epoching import cut_epochs, epoch_times
from neurodec.preprocessing.triggers import stim_events

# fmt: off
CHANNELS = [
    "Fp1", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8", "F7", "F5", "F3", "F1", "F2", "F4", "F6", "F8", "FT9",
    "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10", "T7", "C5", "C3", "C1", "Cz",
    "C2", "C4", "C6", "T8", "TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "TP10",
    "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz",
    "O2",
]
# fmt: on
OCCIPITO_PARIETAL = CHANNELS[46:]  # the 17 channels of the data set's own release
TARGET = 99999  # event code of the catch trials
SEED = 20200220  # of the published choice of repetitions
PARTITIONS = {"train": "training", "test": "test"}
PREPROCESSED = {
    "preprocessed": (
        "Preprocessed_data_250Hz",
        "preprocessed_eeg_training.npy",
        "preprocessed_eeg_test.npy",
    ),
    "neurobridge": ("", "train.npy", "test.npy"),
}
_FORKED = (".pt", ".pth", ".npz", ".h5", ".mat")


@dataclass(frozen=True)
class ThingsEEG2(Dataset):
    """Read THINGS-EEG2, or a recording laid out like it.

    Parameters
    ----------
    subjects, sessions : list of int, optional
        Which to read; all that are there by default. Sessions are known in the raw form only.
    form : "raw", "preprocessed" or "neurobridge"
        ``Raw_data/sub-01/ses-01/raw_eeg_{training,test}.npy``;
        ``Preprocessed_data_250Hz/sub-01/preprocessed_eeg_{training,test}.npy``; or ``info.json`` and
        ``sub-01/{train,test}.npy``. The last two are whitened already and keep the rate, times and scale they have.
    ch_names : list of str, optional
        Channels to keep, in this order; the published 63 by default.
    sfreq : float
        Rate after resampling (raw form).
    tmin, tmax : float
        First and last time to keep, seconds (raw form). The baseline is -0.2 to 0 s in any case.
    whiten : str
        See `EEGPreprocessing`; fitted on the training trials of each session (raw form).
    train_repetitions, test_repetitions : int, optional
        Repetitions of every picture and file to keep, chosen as published; by default as many as the least shown
        picture has (2 and 20 in the full raw set).

    Notes
    -----
    One part is a session (raw), or one repetition of every training picture (preprocessed): below 4 GB of memory.
    """

    subjects: list[int] | None = None
    sessions: list[int] | None = None
    form: Literal["raw", "preprocessed", "neurobridge"] = "raw"
    ch_names: list[str] | None = None
    sfreq: float = 250.0
    tmin: float = 0.0
    tmax: float = 1.0
    whiten: Whitening = "mvnn-epochs"
    train_repetitions: int | None = None
    test_repetitions: int | None = None

    def parts(self, root: Path) -> list[Part]:
        """List subject-sessions (raw), or subjects and blocks of repetitions (preprocessed)."""
        if self.form != "raw":
            return [part for subject in self._subjects(root) for part in self._blocks(root, subject)]
        parts = []
        for subject in self._subjects(root):
            base = root / "Raw_data" / f"sub-{subject:02d}"
            for session in _numbered(base, "ses", self.sessions):
                folder = base / f"ses-{session:02d}"
                files = tuple(folder / f"raw_eeg_{name}.npy" for name in PARTITIONS.values())
                _require_files(files)
                name = f"sub-{subject:02d}_ses-{session:02d}"
                parts.append(Part(name, f"{subject:02d}", files, n_recordings=len(files)))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one part: epochs, baseline, resampling and whitening in the published order."""
        return self._load_raw(part, root) if self.form == "raw" else self._load_block(part, root)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the pictures; ``center_images``, if there, are the gallery."""
        return things_stimuli(root)

    def _subjects(self, root: Path) -> list[int]:
        folder = "Raw_data" if self.form == "raw" else PREPROCESSED[self.form][0]
        return _numbered(root / folder, "sub", self.subjects)

    def _settings(self) -> EEGPreprocessing:
        return EEGPreprocessing(
            tmin=min(-0.2, self.tmin),
            tmax=self.tmax,
            baseline=(-0.2, 0.0),
            sfreq=self.sfreq,
            keep_from=self.tmin,
            whiten=self.whiten,
        )

    def _load_raw(self, part: Part, root: Path) -> Trials:
        session = part.name.rsplit("ses-", 1)[-1]
        stimuli, settings = things_stimuli(root), self._settings()
        wanted = dict(zip(PARTITIONS, (self.train_repetitions, self.test_repetitions), strict=True))
        recordings = {}
        for (split, repetitions), file in zip(wanted.items(), part.files, strict=True):
            recordings[split] = _RawFile.open(file, self.ch_names or CHANNELS)
            recordings[split].choose(repetitions, (stimuli["split"] == split).sum())

        train, test = recordings["train"], recordings["test"]
        times, rate = epoch_times(train.sfreq, settings)
        n_train, n_trials = len(train.onsets), len(train.onsets) + len(test.onsets)
        responses = np.empty((n_trials, len(train.picks), len(times)), dtype=np.float32)
        for recording, out in ((train, responses[:n_train]), (test, responses[n_train:])):
            cut_epochs(
                recording.signals,
                recording.onsets,
                recording.sfreq,
                settings,
                str(recording.file),
                picks=recording.picks,
                out=out,
            )
            check_channels(out, self.ch_names or CHANNELS, "eeg", str(recording.file))

        tables = [
            recordings[split].table(stimuli[stimuli["split"] == split], part.subject, session)
            for split in wanted
        ]
        table = pd.concat(tables, ignore_index=True)
        is_train = (table["split"] == "train").to_numpy()
        conditions = table["stimulus"].to_numpy(dtype=str)
        noise = whiten(responses, conditions, is_train, settings, part.name)
        account = Account(
            events=sum(recording.n_events for recording in recordings.values()), channels=len(train.signals)
        )
        for recording in recordings.values():
            account.leave_out("a catch trial", recording.n_catch)
            account.leave_out(
                "beyond the repetitions that are kept", recording.n_pictures - len(recording.onsets)
            )
        info = self._info(list(self.ch_names or CHANNELS), rate, times[0], "V")
        info = done_to(info, table, settings, noise)
        info["account"] = [account.entry(part.name, len(table), len(train.picks))]
        return Trials(responses, table, info)

    def _blocks(self, root: Path, subject: int) -> list[Part]:
        """One part per training repetition, so that a subject of 5 GB is never in memory whole."""
        folder, *names = PREPROCESSED[self.form]
        files = tuple(root / folder / f"sub-{subject:02d}" / name for name in names)
        _require_files(files)
        n_blocks = self._kept(_open_preprocessed(files[0], root)[0], self.train_repetitions, files[0])
        return [
            Part(f"sub-{subject:02d}_block-{block + 1}-of-{n_blocks}", f"{subject:02d}", files, len(files))
            for block in range(n_blocks)
        ]

    def _kept(self, responses: np.ndarray, repetitions: int | None, file: Path) -> int:
        _require_repetitions(responses.shape[1], repetitions, str(file), "every picture")
        return repetitions or responses.shape[1]

    def _load_block(self, part: Part, root: Path) -> Trials:
        block, n_blocks = (int(number) for number in part.name.rsplit("block-", 1)[-1].split("-of-"))
        stimuli, wanted = things_stimuli(root), (self.train_repetitions, self.test_repetitions)
        responses, tables = [], []
        for split, repetitions, file in zip(PARTITIONS, wanted, part.files, strict=True):
            stored, ch_names, times = _open_preprocessed(file, root)
            shown = stimuli[stimuli["split"] == split]
            if len(stored) != len(shown):
                raise NeurodecError(
                    f"{file} has {len(stored)} conditions, the image set {len(shown)} {split} pictures; use the image "
                    "set of this recording."
                )
            kept = np.array_split(np.arange(self._kept(stored, repetitions, file)), n_blocks)[block - 1]
            picks = _picks(self.ch_names or ch_names, ch_names, file)
            responses.append(_read_repetitions(stored, kept, picks))
            table = shown.loc[shown.index.repeat(len(kept)), ["stimulus", "concept", "split"]]
            tables.append(table.assign(repetition=np.tile(kept, len(shown))))
        table = pd.concat(tables, ignore_index=True).assign(subject=part.subject, session="all", run="01")
        names = list(self.ch_names or ch_names)
        rate = float(np.round((len(times) - 1) / (times[-1] - times[0]), 6))
        start = times[
            len(times) - responses[0].shape[-1]
        ]  # the published files keep the dropped baseline's times
        info = self._info(names, rate, start, "a.u.")
        info["account"] = [Account(channels=len(ch_names)).entry(part.name, len(table), len(names))]
        return Trials(np.concatenate(responses), table, info)

    def _info(self, ch_names: list[str], sfreq: float, tmin: float, units: str) -> dict[str, Any]:
        return {
            "modality": "eeg",
            "units": units,
            "sfreq": sfreq,
            "tmin": float(tmin),
            "ch_names": ch_names,
            "ch_pos": standard_positions(ch_names),
            "provenance": {},
        }


@dataclass
class _RawFile:
    """One raw file: its signals on disk, and the events that are kept."""

    file: Path
    signals: np.ndarray
    picks: np.ndarray
    sfreq: float
    onsets: np.ndarray
    codes: np.ndarray
    n_catch: int
    n_pictures: int

    @property
    def n_events(self) -> int:
        """Triggers in the file."""
        return self.n_catch + self.n_pictures

    @classmethod
    def open(cls, file: Path, ch_names: list[str]) -> _RawFile:
        content = load_pickled(file)
        missing = {"raw_eeg_data", "ch_names", "ch_types", "sfreq"} - set(
            content if isinstance(content, dict) else ()
        )
        if missing:
            raise NeurodecError(
                f"{file} is not a raw THINGS-EEG2 file: it lacks {', '.join(sorted(missing))}."
            )
        signals, names, types = content["raw_eeg_data"], list(content["ch_names"]), list(content["ch_types"])
        if signals.ndim != 2 or not len(signals) == len(names) == len(types):
            raise NeurodecError(
                f"{file} has data of shape {signals.shape} but {len(names)} channel names and {len(types)} types; "
                "every row needs one of each."
            )
        if types.count("stim") != 1:
            raise NeurodecError(
                f"{file} has {types.count('stim')} channels of type stim; exactly one gives the events."
            )
        onsets, codes = stim_events(signals[types.index("stim")])
        shown = codes != TARGET
        if not shown.any():
            raise NeurodecError(
                f"{file} holds no picture event on its stim channel; it cannot be cut into trials."
            )
        picks = _picks(ch_names, names, file)
        require_rate(float(content["sfreq"]), str(file))
        counts = int((~shown).sum()), int(shown.sum())
        return cls(file, signals, picks, float(content["sfreq"]), onsets[shown], codes[shown], *counts)

    def choose(self, repetitions: int | None, n_pictures: int) -> None:
        """Keep the published choice of repetitions, sorted by condition."""
        unknown = np.setdiff1d(self.codes, np.arange(1, n_pictures + 1))
        if len(unknown):
            raise NeurodecError(
                f"{self.file} shows picture number {unknown[0]}, but the image set has {n_pictures}; use the image set "
                "of this recording."
            )
        rows = choose_repetitions(self.codes, repetitions, str(self.file))
        self.onsets, self.codes = self.onsets[rows], self.codes[rows]

    def table(self, stimuli: pd.DataFrame, subject: str, session: str) -> pd.DataFrame:
        table = stimuli.iloc[self.codes - 1][["stimulus", "concept", "split"]].reset_index(drop=True)
        return table.assign(
            subject=subject,
            session=session,
            run=self.file.stem.removeprefix("raw_eeg_"),  # of their own: onsets of two files share no clock
            repetition=table.groupby("stimulus").cumcount(),
            onset=self.onsets / self.sfreq,
        )


def choose_repetitions(codes: np.ndarray, n_repetitions: int | None, where: str) -> np.ndarray:
    """Choose the trials that the published preprocessing keeps, sorted by condition.

    Per condition: ``sklearn.utils.shuffle(indices, random_state=20200220, n_samples=n_repetitions)``.

    Parameters
    ----------
    codes : ndarray of int, shape (n_events,)
        Condition of every event.
    n_repetitions : int, optional
        How many to keep of each; as many as the rarest condition has, by default.
    where : str
        Names the file in messages.

    Returns
    -------
    ndarray of int, shape (n_conditions * n_repetitions,)

    Raises
    ------
    NeurodecError
        If a condition has fewer trials.
    """
    conditions, counts = np.unique(codes, return_counts=True)
    rarest = counts.argmin()
    _require_repetitions(int(counts[rarest]), n_repetitions, where, f"picture number {conditions[rarest]}")
    n_kept = n_repetitions or int(counts[rarest])
    order, starts = np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = np.empty((len(conditions), n_kept), dtype=int)
    for count in np.unique(counts):  # the permutation depends on the number of trials only
        kept = shuffle(np.arange(count), random_state=SEED, n_samples=n_kept)
        chosen[counts == count] = starts[counts == count][:, None] + kept
    return order[chosen.ravel()]


def _require_repetitions(found: int, asked: int | None, where: str, what: str) -> None:
    if asked is not None and found < asked:
        raise NeurodecError(
            f"{where} shows {what} only {found} times, fewer than the {asked} repetitions asked for; lower "
            "`train_repetitions` or `test_repetitions`."
        )


def _numbered(folder: Path, prefix: str, wanted: list[int] | None) -> list[int]:
    """Return the wanted numbers, or those of the folders ``<prefix>-01``, ..."""
    if wanted is not None:
        return wanted
    numbers = (path.name.removeprefix(f"{prefix}-") for path in folder.glob(f"{prefix}-*"))
    found = sorted(int(number) for number in numbers if number.isdigit())
    if not found:
        raise NeurodecError(
            f"{folder} holds no {prefix}-01, ...; correct --data-root or the recipe's `form`."
        )
    return found


def _require_files(files: tuple[Path, ...]) -> None:
    for file in files:
        if not file.is_file():
            forked = next((file.with_suffix(end) for end in _FORKED if file.with_suffix(end).is_file()), None)
            if forked is not None:
                raise NeurodecError(
                    f"{file} is missing; {forked.name} beside it is another project's form of it, which says neither "
                    "channels nor times: take the published .npy, or name its arrays by `neurodec.data.ArrayFile`."
                )
            raise NeurodecError(
                f"{file} is missing; download it, or leave its subject or session out of the recipe."
            )


def _picks(wanted: list[str], ch_names: list[str], file: Path) -> np.ndarray:
    absent = [name for name in wanted if name not in ch_names]
    if absent:
        raise NeurodecError(
            f"{file} has {len(ch_names)} channels but not {', '.join(absent)}; correct `ch_names` (the file has "
            f"{', '.join(ch_names)})."
        )
    return np.array([ch_names.index(name) for name in wanted])


def _open_preprocessed(file: Path, root: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the responses (conditions, repetitions, channels, times) on disk, the channel names and the times."""
    content = load_pickled(file)
    if isinstance(content, np.ndarray):
        if not (root / "info.json").is_file():
            raise NeurodecError(
                f"{file} is an array without channel names and times; put info.json with `ch_names` and `times` into "
                f"{root} (form: neurobridge), or read it with `neurodec.data.ArrayFile`."
            )
        info = read_json(root / "info.json")
        content = {
            "preprocessed_eeg_data": content.reshape(-1, *content.shape[2:])
            if content.ndim == 5
            else content,
            "ch_names": info.get("ch_names"),
            "times": info.get("times"),
        }
    missing = {"preprocessed_eeg_data", "ch_names", "times"} - set(
        content if isinstance(content, dict) else ()
    )
    missing |= {name for name, value in content.items() if value is None} if not missing else set()
    if missing:
        raise NeurodecError(
            f"{file} is not a preprocessed THINGS-EEG2 file: it lacks {', '.join(sorted(missing))}."
        )
    with reading(file, "a preprocessed THINGS-EEG2 file"):
        responses, ch_names = (
            np.asarray(content["preprocessed_eeg_data"]),
            [str(name) for name in content["ch_names"]],
        )
        times = np.asarray(content["times"], dtype=float)
        if responses.ndim == 3:
            raise NeurodecError(
                f"{file} holds responses averaged over repetitions (shape {responses.shape}); single repetitions are "
                "needed to average as the recipe says, so take the published file, or read it with "
                "`neurodec.data.ArrayFile`."
            )
        if responses.ndim != 4 or responses.shape[2] != len(ch_names) or responses.dtype.kind not in "fiu":
            raise NeurodecError(
                f"{file} has data of shape {responses.shape} ({responses.dtype}), not (conditions, repetitions, "
                f"{len(ch_names)} channels, times); check that it is the file it is named as."
            )
        if times.ndim != 1 or len(times) < max(2, responses.shape[-1]) or not (np.diff(times) > 0).all():
            raise NeurodecError(f"{file} has no rising sample times for its {responses.shape[-1]} samples.")
        require_rate((len(times) - 1) / (times[-1] - times[0]), str(file))
    return responses, ch_names, times


def _read_repetitions(stored: np.ndarray, kept: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Copy some repetitions to float32 (conditions * kept, channels, times), a little at a time."""
    first, last = kept[0], kept[-1] + 1
    out = np.empty((len(stored), len(kept), len(picks), stored.shape[-1]), dtype=np.float32)
    for condition in range(len(stored)):
        out[condition] = stored[condition, first:last][:, picks]
    return out.reshape(-1, len(picks), stored.shape[-1])
