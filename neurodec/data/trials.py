"""Trials: responses plus one table row per trial. The one currency between readers, encoders and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neurodec.data.continuous import Windows
from neurodec.data.noise import read_described, write_described
from neurodec.data.responses import Averages, View, select
from neurodec.data.trial_tables import require_splits, same_rate, with_defaults
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_own_table, write_table
from neurodec.preprocessing.channels import UNITS

if TYPE_CHECKING:
    import mne
    import nibabel

COLUMNS = ("stimulus", "concept", "split", "subject", "session", "run", "repetition")
_TEXT = {name: str for name in COLUMNS if name != "repetition"}


@dataclass(frozen=True)
class Trials:
    """Brain responses and what was shown when.

    Parameters
    ----------
    responses : ndarray or View, shape (n_trials, n_chans, n_times) or (n_trials, n_voxels), float32
        May be memory-mapped, or a view that reads rows when they are asked for (`np.asarray` reads all of them). Units
        are in `info["units"]`: SI as read, "a.u." after whitening.
    table : DataFrame, one row per trial
        Columns `stimulus, concept, split, subject, session, run` (text) and `repetition` (int, from 0),
        plus any others. `split` is "train", "validation" (of training, to choose an epoch by), "test", or "cv" where
        folds are made at evaluation.
    info : dict
        `modality` ("eeg", "meg", "fmri"), `units`, `provenance`; for EEG and MEG `sfreq` (Hz), `tmin` (s),
        `ch_names`, `ch_pos` (metres, head frame, or None); for fMRI `mask_shape`, `voxel_indices` (flat, C order),
        `affine` and optionally `roi` (name to column indices); for parcels `ch_names`, `roi` (their networks) and
        `brain` (`space`, `mask_shape`, `voxel_indices`, `affine`, and the parcel of every voxel as `labels`). Where a
        reader preprocessed: `preprocessing` (its settings, and the channels that were whitened) and `noise` (subject to
        what whitening was fitted to). `dims` names the axes where they are not the usual ones: ``["trial", "parcel",
        "time"]``, say, at any rate.

    Raises
    ------
    NeurodecError
        If the table lacks a column or has another number of rows than `responses`, or a split is not a split.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Study
    >>> trials = Study.from_arrays(np.random.randn(4, 300), ["cat", "dog", "cat", "dog"], split="train").trials
    >>> trials.select([0, 2]).table["stimulus"].tolist()
    ['cat', 'cat']
    >>> len(trials.average())
    2
    """

    responses: np.ndarray | View
    table: pd.DataFrame
    info: dict[str, Any]

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.table]
        if missing:
            raise NeurodecError(f"The trial table lacks the column(s) {', '.join(missing)}; add them.")
        if len(self.table) != len(self.responses):
            raise NeurodecError(
                f"{len(self.responses)} responses but {len(self.table)} table rows; every trial needs one row."
            )
        require_splits(self.table["split"], "The trial table")
        dims = self.info.get("dims")
        if dims is not None and (len(dims) != self.responses.ndim or dims[0] != "trial"):
            raise NeurodecError(
                f"The axes are called {', '.join(dims)}, and the responses have the shape {self.responses.shape}; name "
                "every axis, the trials first."
            )
        table = self.table.reset_index(drop=True).astype({**_TEXT, "repetition": int})
        object.__setattr__(self, "table", table)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        subjects, shape = self.table["subject"].unique(), " x ".join(map(str, self.responses.shape[1:]))
        who = f"{len(subjects)} subjects" if len(subjects) != 1 else f"subject {subjects[0]}"
        splits = ", ".join(f"{count} {name}" for name, count in self.table["split"].value_counts().items())
        return (
            f"<Trials: {len(self)} ({splits or 'none'}) of {shape}, {self.info.get('modality', '?')} in "
            f"{self.info.get('units', '?')}, {who}, {self.table['stimulus'].nunique()} stimuli>"
        )

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes of the responses, such as ``("trial", "channel", "time")`` or ``("trial", "voxel")``."""
        usual = ("trial", "channel", "time") if self.responses.ndim == 3 else ("trial", "voxel")
        return tuple(self.info.get("dims") or usual)

    @property
    def ch_names(self) -> list[str]:
        """Channel names, in the order of the responses."""
        return list(self.info["ch_names"])

    @property
    def times(self) -> np.ndarray:
        """Seconds from stimulus onset, shape (n_times,)."""
        return self.info["tmin"] + np.arange(self.responses.shape[-1]) / self.info["sfreq"]

    def select(self, rows: np.ndarray | Sequence[int] | slice) -> Trials:
        """Return a view of the trials at `rows` (indices, boolean mask or slice).

        Parameters
        ----------
        rows : ndarray or sequence of int or slice
        """
        if isinstance(rows, pd.Series):
            rows = rows.to_numpy()
        return replace(self, responses=select(self.responses, rows), table=self.table.iloc[rows])

    def in_memory(self) -> Trials:
        """Return the trials with their responses read, where they are a view."""
        return (
            self
            if isinstance(self.responses, np.ndarray)
            else replace(self, responses=np.asarray(self.responses))
        )

    def split(self, name: str) -> Trials:
        """Return the trials whose `split` is `name`.

        Parameters
        ----------
        name : str
        """
        return self.select(np.flatnonzero(self.table["split"] == name))

    def pick(self, ch_names: Sequence[str]) -> Trials:
        """Return a view of the named channels, in the named order.

        Parameters
        ----------
        ch_names : sequence of str
            Channels to keep, in this order; all by default.

        Raises
        ------
        NeurodecError
            If a channel is not in the recording.
        """
        missing = [name for name in ch_names if name not in self.ch_names]
        if missing:
            raise NeurodecError(
                f"Channel(s) {', '.join(missing)} are not in the recording, which has {', '.join(self.ch_names)}; "
                "correct `ch_names`."
            )
        order = [self.ch_names.index(name) for name in ch_names]
        positions = self.info.get("ch_pos")
        info = {**self.info, "ch_names": list(ch_names)}
        if positions is not None:
            info["ch_pos"] = [positions[index] for index in order]
        if info.get("ch_types") is not None:
            info["ch_types"] = [info["ch_types"][index] for index in order]
        if info.get("roi"):
            info["roi"] = _regions_left(info["roi"], order)
        if info.get("brain"):
            places = {column: place for place, column in enumerate(order)}
            labels = [places.get(label, -1) for label in info["brain"]["labels"]]
            info["brain"] = {**info["brain"], "labels": labels}
        return replace(self, responses=select(self.responses, chans=np.array(order)), info=info)

    def take(self, voxels: np.ndarray) -> Trials:
        """Return a view of some voxels, by column; regions keep what is left of them.

        Parameters
        ----------
        voxels : ndarray
            Columns to keep.
        """
        voxels, info = np.asarray(voxels), dict(self.info)
        if "parcel" in self.dims:
            return self.pick([self.ch_names[column] for column in voxels])
        if info.get("voxel_indices") is not None:
            info["voxel_indices"] = np.asarray(info["voxel_indices"])[voxels].tolist()
        if info.get("roi"):
            info["roi"] = _regions_left(info["roi"], voxels.tolist())
        return replace(self, responses=select(self.responses, chans=voxels), info=info)

    def crop(self, tmin: float | None = None, tmax: float | None = None) -> Trials:
        """Return a view of the samples with ``tmin <= time < tmax`` (seconds from stimulus onset).

        Parameters
        ----------
        tmin : float, optional
            First time (s); that of the trials by default.
        tmax : float, optional
            End of the window (s), not included; that of the trials by default.

        Raises
        ------
        NeurodecError
            If no sample lies in the window.
        """
        half = 0.5 / self.info["sfreq"]  # times are on a grid: compare between its points
        first = 0 if tmin is None else int(np.searchsorted(self.times, tmin - half))
        last = len(self.times) if tmax is None else int(np.searchsorted(self.times, tmax - half))
        if last <= first:
            raise NeurodecError(
                f"The window {tmin} to {tmax} s holds no sample; the trials run from {self.times[0]:g} to "
                f"{self.times[-1]:g} s."
            )
        info = {**self.info, "tmin": float(self.times[first])}
        return replace(self, responses=select(self.responses, times=slice(first, last)), info=info)

    def average(self, n_repetitions: int | None = None, seed: int = 0) -> Trials:
        """Average the repetitions of every stimulus within subject and split, when they are read.

        Parameters
        ----------
        n_repetitions : int, optional
            Average this many, drawn without replacement; all of them by default.
        seed : int
            Seed of the draw.

        Returns
        -------
        Trials
            One row per subject and stimulus in order of first appearance, `repetition` 0 and the column
            `n_averaged`.

        Raises
        ------
        NeurodecError
            If a stimulus has fewer than `n_repetitions` trials.
        """
        groups = self.table.groupby(["subject", "split", "stimulus"], sort=False)
        codes, counts = groups.ngroup().to_numpy(), groups.size()
        order = np.random.default_rng(seed).permutation(len(self)) if n_repetitions else np.arange(len(self))
        order = order[np.argsort(codes[order], kind="stable")]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        if n_repetitions is not None:
            if counts.min() < n_repetitions:
                subject, _, stimulus = counts.idxmin()
                raise NeurodecError(
                    f"Subject {subject} saw {stimulus} {counts.min()} times, fewer than the {n_repetitions} "
                    "repetitions asked for; lower `n_repetitions`."
                )
            order = order[(starts[:, None] + np.arange(n_repetitions)).ravel()]
            counts[:] = n_repetitions
            starts = np.arange(len(counts)) * n_repetitions
        table = groups.head(1).assign(repetition=0, n_averaged=counts.to_numpy())
        return replace(
            self, responses=Averages(self.responses, order, starts, counts.to_numpy()), table=table
        )

    def save(self, folder: str | Path) -> None:
        """Write `responses.npy`, `trials.csv` and `info.json`, each atomically, `info.json` last.

        Windows of continuous recordings are kept as these: `signals.npy` and `windows.npz` in place of `responses.npy`.

        Parameters
        ----------
        folder : str or Path
        """
        folder = Path(folder)
        if isinstance(self.responses, Windows):
            self.responses.save(folder)
        else:
            with atomic_path(folder / "responses.npy") as partial, partial.open("wb") as handle:
                np.save(handle, np.asarray(self.responses, dtype=np.float32))
        write_table(folder / "trials.csv", self.table)
        write_described(folder / "info.json", self.info)

    @classmethod
    def load(cls, folder: str | Path, *, mmap: bool = True) -> Trials:
        """Read a folder written by `save` or by `neurodec prepare`.

        Parameters
        ----------
        folder : str or Path
            The prepared folder.
        mmap : bool
            Leave the responses on disk and read what is asked for.

        Raises
        ------
        NeurodecError
            If a file is missing or cut short.
        """
        folder = Path(folder)
        info = read_described(folder / "info.json")
        with reading(folder, "a prepared folder", "delete it and prepare again"):
            mode = "r" if mmap else None
            responses = Windows.load(folder, mode)
            if responses is None:
                responses = np.load(folder / "responses.npy", mmap_mode=mode)
            table = read_own_table(folder / "trials.csv", dtype=_TEXT)
            if not isinstance(info, dict) or "modality" not in info or responses.dtype.kind != "f":
                raise NeurodecError(f"The prepared folder {folder} is damaged; delete it and prepare again.")
            return cls(responses, table, info)

    @classmethod
    def concatenate(cls, parts: Sequence[Trials]) -> Trials:
        """Join trials recorded with the same channels (or voxels) and times.

        Parameters
        ----------
        parts : sequence of Trials
            Measured alike.

        Raises
        ------
        NeurodecError
            If a part has other channels, times or voxels than the first one.
        """
        first = parts[0]
        for part in parts[1:]:
            require_same_space(first, part)
        responses = np.concatenate([part.responses for part in parts])
        noise = {who: own for part in parts for who, own in part.info.get("noise", {}).items()}
        info = {**first.info, "noise": noise} if noise else first.info
        return cls(responses, pd.concat([part.table for part in parts], ignore_index=True), info)

    def to_epochs(self) -> mne.EpochsArray:
        """Return `mne.EpochsArray` with the table as metadata (EEG and MEG only)."""
        import mne

        modality = self.info["modality"]
        kinds = self.info.get("ch_types") or ["mag" if modality == "meg" else modality] * len(self.ch_names)
        measurement = mne.create_info(self.ch_names, self.info["sfreq"], kinds)
        positions = self.info.get("ch_pos")
        if positions is not None:
            for channel, position in zip(measurement["chs"], positions, strict=True):
                if position is not None:
                    channel["loc"][:3] = position
        return mne.EpochsArray(
            np.asarray(self.responses, dtype=np.float64),
            measurement,
            tmin=self.info["tmin"],
            metadata=self.table,
            baseline=None,
            verbose="error",
        )

    @classmethod
    def from_epochs(cls, epochs: mne.BaseEpochs, **defaults: str) -> Trials:
        """Take `mne.Epochs` whose metadata hold the table's columns.

        Parameters
        ----------
        epochs : mne.BaseEpochs
            Data channels only are kept (bad ones are dropped). Values stay in SI units.
        **defaults : str
            Values of the columns that the metadata lack, such as ``subject="01"``. A missing `stimulus` is
            the event's name, a missing `concept` the stimulus, and `repetition` is counted.

        Raises
        ------
        NeurodecError
            If the epochs hold channels of several kinds, or of none that is a brain signal.
        """
        epochs = epochs.copy().load_data().pick("data", exclude="bads")
        kinds = sorted(set(epochs.get_channel_types()))
        if len(kinds) != 1 or kinds[0] not in UNITS:
            raise NeurodecError(
                f"The epochs hold {', '.join(kinds)} channels; pick one kind, as in epochs.pick('eeg')."
            )
        table = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else epochs.metadata.copy()
        names = {code: name for name, code in epochs.event_id.items()}
        if "stimulus" not in table:
            table["stimulus"] = [names[code] for code in epochs.events[:, 2]]
        table = with_defaults(table, **defaults)
        positions = [channel["loc"][:3].tolist() for channel in epochs.info["chs"]]
        known = np.isfinite(positions).all() and np.any(positions)
        info = {
            "modality": "meg" if kinds[0] in ("mag", "grad") else kinds[0],
            "units": UNITS[kinds[0]],
            "sfreq": float(epochs.info["sfreq"]),
            "tmin": float(epochs.times[0]),
            "ch_names": list(epochs.ch_names),
            "ch_types": epochs.get_channel_types(),
            "ch_pos": positions if known else None,
            "provenance": {},
        }
        return cls(epochs.get_data(copy=False).astype(np.float32), table, info)

    def to_nifti(self) -> nibabel.Nifti1Image:
        """Return the voxel responses as a 4-D image, one volume per trial (fMRI only)."""
        import nibabel

        if self.dims != ("trial", "voxel"):
            raise NeurodecError(
                f"An image holds one volume per trial, and these have the axes {', '.join(self.dims)}; average over "
                "time first."
            )
        shape = tuple(self.info["mask_shape"])
        volume = np.zeros((len(self), int(np.prod(shape))), dtype=np.float32)
        volume[:, self.info["voxel_indices"]] = self.responses
        return nibabel.Nifti1Image(
            np.moveaxis(volume.reshape(-1, *shape), 0, -1), np.asarray(self.info["affine"])
        )


def _regions_left(regions: dict[str, list[int]], kept: Sequence[int]) -> dict[str, list[int]]:
    """Return the regions in terms of the columns that are kept."""
    places = {int(column): place for place, column in enumerate(kept)}
    return {name: [places[column] for column in own if column in places] for name, own in regions.items()}


def require_same_space(first: Trials, other: Trials) -> None:
    """Refuse to join trials with other channels, sampling or voxels.

    Raises
    ------
    NeurodecError
        Naming the first field that differs and the recording it belongs to.
    """
    where = "An empty part"
    if len(other):
        where = "Subject {}, session {}, run {}".format(*other.table[["subject", "session", "run"]].iloc[0])
    fields = ("modality", "units", "sfreq", "tmin", "ch_names", "mask_shape", "voxel_indices")
    for name in fields:
        one, two = first.info.get(name), other.info.get(name)
        alike = same_rate(one, two) if name == "sfreq" and None not in (one, two) else one == two
        if name == "tmin" and None not in (one, two):
            alike = abs(one - two) < 1e-6
        if not alike:
            detail = ""
            if name == "ch_names":
                missing = set(first.ch_names) ^ set(other.ch_names)
                detail = (
                    f" ({', '.join(sorted(missing))} only on one side)" if missing else " (another order)"
                )
            raise NeurodecError(
                f"{where} differs from the first recording in `{name}`{detail}; give every "
                "recording the same channels, sampling and mask."
            )
    if first.responses.shape[1:] != other.responses.shape[1:]:
        raise NeurodecError(
            f"{where} has trials of shape {other.responses.shape[1:]}, the first recording "
            f"{first.responses.shape[1:]}; cut all epochs alike."
        )
