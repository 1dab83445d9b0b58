"""Arrays that a person has cut already, of EEG, MEG or voxels, described by the names of keys and axes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import choose_stimuli
from neurodec.data.patterns import FIELDS, fill_pattern, find_files
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.readers.nifti import open_image, voxels_of
from neurodec.data.stimuli import label_trials, read_stimuli, stimuli_of_trials, table_files
from neurodec.data.tables import read_table, same_name
from neurodec.data.trial_tables import require_rate, with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import standard_positions
from neurodec.preprocessing.epoching import resample
from neurodec.preprocessing.whitening import standardise_groups

_INNER = ("channel", "parcel", "voxel", "time")
_OUTER = ("subject", "session", "run", "stimulus", "concept", "repetition", "trial")
_SUBJECT = re.compile(r"(?:^|[^A-Za-z])(?:subject|subj|sub)[-_]?([0-9]+|[A-Za-z0-9]+)", re.IGNORECASE)
_VOLUME = 3  # axes of an image
_COMPARED = 16  # numbers of a trial by which to find its double


@dataclass(frozen=True)
class ArrayFile(Dataset):
    """Read one array of responses per file; what each axis means is said by the recipe.

    Parameters
    ----------
    file : str
        Path below the data root: ``.npz``, ``.npy``, ``.mat`` (7.3 too), ``.h5``, ``.hdf5``, ``.nii``, ``.nii.gz``,
        ``.pt`` or ``.safetensors``. With ``*`` or the fields ``{subject}``, ``{session}``, ``{run}``, every file that
        fits.
    axes : list of str
        The array's axes in order: any of `subject`, `session`, `run`, `stimulus`, `concept`, `repetition` and `trial`,
        and `channel` and `time`, `parcel` and `time` or `voxel` and `time` (of fMRI, at any rate), or `voxel`. An
        array with two more axes has three for `voxel`: a volume.
    responses : str
        Key of the array in the file; entries of structs, groups and dicts have dotted keys (``results.betasmd``).
        What GLMsingle (``betasmd``) and NSD (``betas``) call it is found without.
    labels : dict
        Axis to the key of its names (one per entry), such as ``{concept: categories, channel: channels}``; axes
        without are numbered from 01.
    columns : dict
        For the axis `trial`: column of the trial table (`stimulus`, `concept`, `split`, `subject`, ...) to the key of
        its values.
    table : str, optional
        For the axis `trial`: CSV or TSV below the data root with a row per trial, instead of `columns`; with the same
        fields as `file`, one table per file.
    mask : str, optional
        For volumes: an image on their grid, of which voxels above zero are kept; with the same fields as `file`.
    times : str, optional
        Key of the sample times in seconds.
    sfreq, tmin : float, optional
        Sampling rate (Hz) and time of the first sample (s), where there is no `times`.
    resample : float, optional
        Rate to resample to (Hz).
    modality : "eeg", "meg" or "fmri"
    scale : "none" or "subject"
        Standardise every channel (or voxel) within each subject, without labels: subjects differ in amplitude many
        times over.
    stimuli_table : str, optional
        CSV or TSV below the data root with `stimulus`, `image`, and optionally `concept`, `split`, `caption`. What it
        says of a stimulus holds for all its trials.

    Notes
    -----
    Values keep the file's unit, which nothing states: they are taken to be arbitrary. One part is one file. The
    subject, where no axis, column or field tells, comes from the name of the file (``sub-01``, ``subj1``). Trials
    without a stimulus, and voxels that are not finite in every trial, are left out and counted. Pickled objects other
    than arrays are refused. Memory: the array as stored, and once more as float32.
    """

    file: str
    axes: list[str]
    responses: str = "responses"
    labels: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    table: str | None = None
    mask: str | None = None
    times: str | None = None
    sfreq: float | None = None
    tmin: float = 0.0
    resample: float | None = None
    modality: Literal["eeg", "meg", "fmri"] = "eeg"
    scale: Literal["none", "subject"] = "none"
    stimuli_table: str | None = None

    def parts(self, root: Path) -> list[Part]:
        """List the files; each is a part."""
        _check_axes(self.axes)
        parts = []
        for file, fields in self._files(root).items():
            table = (
                (fill_pattern(root, self.table, fields),)
                if self._own_table()
                else table_files(root, self.table)
            )
            table += () if self.mask is None else (fill_pattern(root, self.mask, fields),)
            files = (file, *table, *table_files(root, self.stimuli_table))
            parts.append(Part(_name(file, root), fields.get("subject", ""), files))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one file and flatten all but the inner axes to trials."""
        file, account = part.files[0], Account()
        content, fields = ArrayContent.read(file), self._files(root)[file]
        array, lengths, volume = self._array(content)
        outer, inner = ([axis for axis in lengths if axis in kind] for kind in (_OUTER, _INNER))
        responses = array.reshape(-1, *(lengths[axis] for axis in inner)).astype(np.float32)
        table = self._trial_table(content, {axis: lengths[axis] for axis in outer}, fields, root)
        stimuli = read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None
        shown = choose_stimuli(table.assign(place=range(len(table))), None, account, str(file))
        if len(shown) < len(table):
            responses = responses[shown["place"].to_numpy()]
        table = label_trials(shown.drop(columns="place"), stimuli, str(file))
        table = with_defaults(table, **{name: value for name, value in fields.items() if name not in table})
        info = self._info(content, lengths, volume)
        account.channels = responses.shape[1]
        if self.mask is not None:
            responses = _masked(responses, info, fill_pattern(root, self.mask, fields), account)
        if "voxel_indices" in info:
            responses = finite_voxels(responses, info, account, content.path)
        _require_usable(responses, table, info, content.path)
        refuse_repeated(responses, table, content.path)
        if self.resample is not None and "time" in inner:
            responses = resample(responses, self.resample / info["sfreq"]).astype(np.float32)
            info["sfreq"] = float(self.resample)
        if self.scale == "subject":
            shape = responses.shape
            responses = standardise_groups(np.atleast_3d(responses), table["subject"].to_numpy()).reshape(
                shape
            )
        info["account"] = [account.entry(part.name, len(table), responses.shape[1])]
        return Trials(responses, table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the trials show."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        return stimuli_of_trials({part.name: self.load(part, root).table for part in self.parts(root)})

    def _own_table(self) -> bool:
        return self.table is not None and "{" in self.table

    def _files(self, root: Path) -> dict[Path, dict[str, str]]:
        """Return the files and what their names tell: the fields of the pattern, else the subject."""
        if "*" in self.file or "{" in self.file:
            found = dict(find_files(root, self.file))
        else:
            found = {root / self.file: {}}
            if not (root / self.file).is_file():
                raise NeurodecError(
                    f"{root / self.file} does not exist; correct --data-root or the recipe's `file`."
                )
        told = "subject" in self.axes or "subject" in self.columns or self.table is not None
        for file, fields in found.items():
            named = _SUBJECT.search(
                file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
            )
            if "subject" not in fields and not told:
                if named:
                    fields["subject"] = named[1]
                elif len(found) > 1:
                    raise NeurodecError(
                        f"The subject of the responses in {file.name} is unknown ({len(found)} files); put "
                        "{subject} into `file`, or a column `subject` into `columns` or `table`."
                    )
        return found

    def _array(self, content: ArrayContent) -> tuple[np.ndarray, dict[str, int], tuple[int, ...]]:
        """Return the array with the inner axes last, the length of every axis in that order, and a volume's shape."""
        array = np.asarray(content.value(self.responses))
        volume: tuple[int, ...] = ()
        if "voxel" in self.axes and array.ndim == len(self.axes) + _VOLUME - 1:
            place = self.axes.index("voxel")
            volume = array.shape[place : place + _VOLUME]
            array = array.reshape(*array.shape[:place], -1, *array.shape[place + _VOLUME :])
        if array.ndim != len(self.axes):
            raise NeurodecError(
                f"{content.path} has an array {self.responses} of shape {array.shape}, but the recipe names "
                f"{len(self.axes)} axes ({', '.join(self.axes)}); correct `axes`."
            )
        if array.dtype.kind not in "fiu":
            raise NeurodecError(
                f"{content.path}: {self.responses} holds {array.dtype}, not real numbers; correct `responses`."
            )
        if not array.size:
            raise NeurodecError(
                f"{content.path}: {self.responses} is empty (shape {array.shape}); correct `responses`."
            )
        order = [axis for axis in self.axes if axis in _OUTER]
        order += [axis for axis in _INNER if axis in self.axes]
        moved = array.transpose([self.axes.index(axis) for axis in order])
        return moved, dict(zip(order, moved.shape, strict=True)), volume

    def _names(self, content: ArrayContent, axis: str, length: int) -> list[str]:
        if axis not in self.labels:
            return [f"{number:02d}" for number in range(1, length + 1)]
        names = content.texts(self.labels[axis])
        if len(names) != length:
            raise NeurodecError(
                f"{content.path}: the key {self.labels[axis]} has {len(names)} names for the axis {axis} of length "
                f"{length}; correct `labels` or `axes`."
            )
        return names

    def _trial_table(
        self, content: ArrayContent, outer: dict[str, int], fields: dict[str, str], root: Path
    ) -> pd.DataFrame:
        names = [self._names(content, axis, length) for axis, length in outer.items()]
        table = pd.MultiIndex.from_product(names, names=list(outer)).to_frame(index=False)
        if "trial" in outer:
            told = self._told(content, outer["trial"], fields, root)
            places = np.indices(tuple(outer.values()))[list(outer).index("trial")].ravel()
            kept = [axis for axis in outer if axis != "trial" and axis not in told]
            table = pd.concat([table[kept], told.iloc[places].reset_index(drop=True)], axis=1)
        if "subject" in outer and "subject" not in self.labels and ("*" in self.file or "{" in self.file):
            table["subject"] = (
                _name(content.path, root) + "-" + table["subject"]
            )  # every file numbers its own from 01
        if "stimulus" not in table and "concept" not in table:
            raise NeurodecError(
                f"The stimuli of the trials of {content.path} are unknown: name an axis stimulus or concept, or "
                "give `columns` or `table`."
            )
        if "stimulus" not in table:
            table["stimulus"] = table["concept"]
        return table.drop(columns="repetition", errors="ignore")  # counted over all parts

    def _told(self, content: ArrayContent, n_trials: int, fields: dict[str, str], root: Path) -> pd.DataFrame:
        """Return what the table, or the keys of the file, say of every entry of the axis `trial`."""
        if self.table:
            path = fill_pattern(root, self.table, fields) if self._own_table() else root / self.table
            told, source = read_table(path, ()), str(path)
            if not self._own_table():
                for name in set(FIELDS) & set(told) & set(fields):
                    told = told[told[name].map(lambda text, name=name: same_name(text, fields[name]))]
        else:
            told = pd.DataFrame({name: pd.Series(content.texts(key)) for name, key in self.columns.items()})
            source = f"{content.path} ({', '.join(self.columns.values()) or 'no `columns` are named'})"
        if len(told) != n_trials or told.isna().any(axis=None):
            raise NeurodecError(
                f"{source} describes {len(told)} trials, the array has {n_trials}; make them agree."
            )
        return told.reset_index(drop=True)

    def _info(
        self, content: ArrayContent, lengths: dict[str, int], volume: tuple[int, ...]
    ) -> dict[str, Any]:
        info: dict[str, Any] = {"modality": self.modality, "units": "a.u.", "provenance": {}}
        if "voxel" in lengths:
            affine = np.eye(4) if content.affine is None else content.affine
            info |= {"mask_shape": list(volume or (lengths["voxel"], 1, 1)), "affine": affine.tolist()}
            info |= {"voxel_indices": list(range(lengths["voxel"]))}
            if "time" not in lengths:
                return info
            sfreq, tmin = self._rate(content, lengths["time"])
            return info | {"dims": ["trial", "voxel", "time"], "sfreq": sfreq, "tmin": tmin}
        rows = "parcel" if "parcel" in lengths else "channel"
        ch_names = self._names(content, rows, lengths[rows])
        sfreq, tmin = self._rate(content, lengths["time"])
        info |= {"sfreq": sfreq, "tmin": tmin, "ch_names": ch_names}
        if rows == "parcel":
            return info | {"dims": ["trial", "parcel", "time"], "ch_pos": None}
        require_rate(sfreq, str(content.path))
        return info | {"ch_pos": standard_positions(ch_names)}

    def _rate(self, content: ArrayContent, n_times: int) -> tuple[float, float]:
        """Return the sampling rate (Hz) and the first time (s)."""
        if self.times is not None:
            return _rate(content, self.times, n_times)
        if self.sfreq is None:
            raise NeurodecError(
                "The recipe gives neither `times` nor `sfreq`; name one for the array's time axis."
            )
        return float(self.sfreq), float(self.tmin)


def _check_axes(axes: list[str]) -> None:
    inner = sorted(set(axes) & set(_INNER))
    known = set(axes) <= {*_OUTER, *_INNER} and len(set(axes)) == len(axes)
    if not known or inner not in (["channel", "time"], ["parcel", "time"], ["time", "voxel"], ["voxel"]):
        raise NeurodecError(
            f"The recipe's axes ({', '.join(axes)}) must be, each at most once, some of {', '.join(_OUTER)}, with "
            "channel and time, with parcel and time, or with voxel (and time)."
        )


def _rate(content: ArrayContent, key: str, n_times: int) -> tuple[float, float]:
    """Return the sampling rate and the first time."""
    values = np.ravel(content.value(key))
    times = values.astype(float) if values.dtype.kind in "fiu" else np.zeros(1)
    steps = np.diff(times)
    if len(times) != n_times or not len(steps) or steps.min() <= 0 or np.ptp(steps) > 0.1 * steps.mean():
        raise NeurodecError(
            f"{content.path}: the key {key} must hold {n_times} evenly rising times in seconds, and it does not."
        )
    return round(1 / steps.mean(), 3), round(float(times[0]), 6)


def finite_voxels(responses: np.ndarray, info: dict[str, Any], account: Account, path: Path) -> np.ndarray:
    """Leave out the voxels that some trial has no number for: outside the brain, as GLMsingle and NSD mark it."""
    finite = np.isfinite(responses).all(axis=(0, *range(2, responses.ndim)))
    if not finite.any():
        raise NeurodecError(
            f"{path}: no voxel is finite in every trial; repair the array, or leave trials out."
        )
    if finite.all():
        return responses
    account.channels_left_out["NaN or infinite in some trial"] = int((~finite).sum())
    info["voxel_indices"] = np.asarray(info["voxel_indices"])[finite].tolist()
    return responses[:, finite]


def _masked(responses: np.ndarray, info: dict[str, Any], file: Path, account: Account) -> np.ndarray:
    """Keep the voxels of a mask."""
    image = open_image(file)
    inside = np.nan_to_num(np.squeeze(voxels_of(image, file))) > 0
    shape = info.get("mask_shape")
    if shape is None or list(inside.shape) != list(shape) or not inside.any():
        raise NeurodecError(
            f"The mask {file} has the shape {inside.shape} and {int(inside.sum())} voxels, the responses "
            f"{tuple(shape or responses.shape[1:])}; give one on their grid."
        )
    account.channels_left_out["outside the mask"] = int((~inside).sum())
    info["voxel_indices"] = np.flatnonzero(inside).tolist()
    return responses[:, inside.ravel()]


def _require_usable(responses: np.ndarray, table: pd.DataFrame, info: dict[str, Any], path: Path) -> None:
    """Refuse NaN, and channels that never change within a subject."""
    names = info.get("ch_names") or [f"voxel {index}" for index in info["voxel_indices"]]
    for subject, rows in table.groupby("subject", sort=False).indices.items():
        block = responses[rows].swapaxes(0, 1).reshape(len(names), -1)
        bad = ~np.isfinite(block).all(axis=1)
        flat = (np.ptp(block, axis=1) == 0) & ("ch_names" in info)
        for wrong, what in ((bad, "hold NaN or infinite values"), (flat, "are flat")):
            if wrong.any():
                which = ", ".join(np.asarray(names)[wrong][:10])
                raise NeurodecError(
                    f"{path}: channel(s) {which} of subject {subject} {what}; repair them or leave them out."
                )


def refuse_repeated(responses: np.ndarray, table: pd.DataFrame, path: Path) -> None:
    """Refuse two trials with the very same numbers; a few numbers of each tell which to compare whole."""
    flat = responses.reshape(len(responses), -1)
    places = np.linspace(0, flat.shape[1] - 1, _COMPARED).astype(int)
    some = np.ascontiguousarray(flat[:, places])
    order = np.lexsort(some.T)
    alike = np.flatnonzero((some[order[1:]] == some[order[:-1]]).all(axis=1))
    for first, second in zip(order[alike], order[alike + 1], strict=True):
        if np.ptp(flat[first]) > 0 and np.array_equal(flat[first], flat[second]):
            rows = sorted((int(first), int(second)))
            raise NeurodecError(
                f"{path} holds the same numbers in the trials {rows[0]} ({table['stimulus'][rows[0]]}) and {rows[1]} "
                f"({table['stimulus'][rows[1]]}); counted twice they would leak between training and test, so keep one."
            )


def _name(file: Path, root: Path) -> str:
    """Return the path below the data root as one word."""
    inside = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    return "-".join(inside.with_suffix("").parts).replace(".", "-")
