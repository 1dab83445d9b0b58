"""Arrays that somebody has cut already: ``.npz``, ``.mat`` or ``.npy``, described by the names of keys and axes."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.io import loadmat

from neurodec.data.dataset import Dataset, Part, stimuli_of
from neurodec.data.events import read_stimuli, read_table, table_files
from neurodec.data.trials import Trials, with_defaults
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import standard_positions
from neurodec.preprocessing.epoching import resample
from neurodec.preprocessing.whitening import standardise_groups

_INNER = ("channel", "time", "voxel")
_OUTER = ("subject", "session", "run", "stimulus", "concept", "repetition", "trial")


@dataclass(frozen=True)
class ArrayFile(Dataset):
    """Read one array of responses per file; what each axis means is said by the recipe.

    Parameters
    ----------
    file : str
        Path below the data root; with ``*``, every file that fits.
    axes : list of str
        The array's axes in order: any of `subject`, `session`, `run`, `stimulus`, `concept`, `repetition` and `trial`,
        and `channel` and `time`, or `voxel`.
    responses : str
        Key of the array in an ``.npz`` or ``.mat`` file.
    labels : dict
        Axis to the key of its names (one per entry), such as ``{concept: categories, channel: channels}``; axes
        without are numbered from 01.
    columns : dict
        For the axis `trial`: column of the trial table (`stimulus`, `concept`, `split`, `subject`, ...) to the key of
        its values.
    table : str, optional
        For the axis `trial`: CSV or TSV below the data root with a row per trial, instead of `columns`.
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
        CSV or TSV below the data root with `stimulus`, `image`, and optionally `concept`, `split`, `caption`.

    Notes
    -----
    Values keep the file's unit, which nothing states: they are taken to be arbitrary. One part is one file. Pickled
    objects are refused.
    """

    file: str
    axes: list[str]
    responses: str = "responses"
    labels: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    table: str | None = None
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
        files = sorted(root.glob(self.file)) if "*" in self.file else [root / self.file]
        if not files or not files[0].is_file():
            raise NeurodecError(
                f"{root / self.file} does not exist; correct --data-root or the recipe's `file`."
            )
        tables = table_files(root, self.table, self.stimuli_table)
        return [Part(_name(file, root), "", (file, *tables)) for file in files]

    def load(self, part: Part, root: Path) -> Trials:
        """Read one file and flatten all but the inner axes to trials."""
        content = _Content.read(part.files[0])
        array, lengths = self._array(content)
        outer, inner = ([axis for axis in lengths if axis in kind] for kind in (_OUTER, _INNER))
        responses = array.reshape(-1, *(lengths[axis] for axis in inner)).astype(np.float32)
        table = self._trial_table(content, {axis: lengths[axis] for axis in outer}, root)
        info = self._info(content, lengths)
        _require_usable(responses, table, info, content.path)
        if self.resample is not None and "time" in inner:
            responses = resample(responses, self.resample / info["sfreq"]).astype(np.float32)
            info["sfreq"] = float(self.resample)
        if self.scale == "subject":
            shape = responses.shape
            responses = standardise_groups(np.atleast_3d(responses), table["subject"].to_numpy()).reshape(
                shape
            )
        return Trials(responses, table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the trials show."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        shown = [stimuli_of(self.load(part, root)) for part in self.parts(root)]
        return pd.concat(shown).drop_duplicates("stimulus").reset_index(drop=True)

    def _array(self, content: _Content) -> tuple[np.ndarray, dict[str, int]]:
        """Return the array with the inner axes last, and the length of every axis in that order."""
        array = content.value(self.responses)
        if array.ndim != len(self.axes):
            raise NeurodecError(
                f"{content.path} has an array {self.responses} of shape {array.shape}, but the recipe names "
                f"{len(self.axes)} axes ({', '.join(self.axes)}); correct `axes`."
            )
        if array.dtype.kind not in "fiu":
            raise NeurodecError(
                f"{content.path}: {self.responses} holds {array.dtype}, not real numbers; correct `responses`."
            )
        order = [axis for axis in self.axes if axis in _OUTER]
        order += [axis for axis in _INNER if axis in self.axes]
        moved = array.transpose([self.axes.index(axis) for axis in order])
        return moved, dict(zip(order, moved.shape, strict=True))

    def _names(self, content: _Content, axis: str, length: int) -> list[str]:
        if axis not in self.labels:
            return [f"{number:02d}" for number in range(1, length + 1)]
        names = content.texts(self.labels[axis])
        if len(names) != length:
            raise NeurodecError(
                f"{content.path}: the key {self.labels[axis]} has {len(names)} names for the axis {axis} of length "
                f"{length}; correct `labels` or `axes`."
            )
        return names

    def _trial_table(self, content: _Content, outer: dict[str, int], root: Path) -> pd.DataFrame:
        names = [self._names(content, axis, length) for axis, length in outer.items()]
        table = pd.MultiIndex.from_product(names, names=list(outer)).to_frame(index=False)
        if "trial" in outer:
            told = self._told(content, outer["trial"], root)
            places = np.indices(tuple(outer.values()))[list(outer).index("trial")].ravel()
            kept = [axis for axis in outer if axis != "trial" and axis not in told]
            table = pd.concat([table[kept], told.iloc[places].reset_index(drop=True)], axis=1)
        if "subject" in outer and "subject" not in self.labels and "*" in self.file:
            table["subject"] = (
                _name(content.path, root) + "-" + table["subject"]
            )  # every file numbers its own from 01
        if "stimulus" not in table and "concept" not in table:
            raise NeurodecError(
                f"Nothing says what was shown in the trials of {content.path}: name an axis stimulus or concept, or "
                "give `columns` or `table`."
            )
        if "stimulus" not in table:
            table["stimulus"] = table["concept"]
        return with_defaults(table.drop(columns="repetition", errors="ignore"))  # counted over all parts

    def _told(self, content: _Content, n_trials: int, root: Path) -> pd.DataFrame:
        """Return what the table, or the keys of the file, say of every entry of the axis `trial`."""
        if self.table:
            told, source = read_table(root / self.table, ()), str(root / self.table)
        else:
            told = pd.DataFrame({name: pd.Series(content.texts(key)) for name, key in self.columns.items()})
            source = f"{content.path} ({', '.join(self.columns.values()) or 'no `columns` are named'})"
        if len(told) != n_trials or told.isna().any(axis=None):
            raise NeurodecError(
                f"{source} describes {len(told)} trials, the array has {n_trials}; make them agree."
            )
        return told

    def _info(self, content: _Content, lengths: dict[str, int]) -> dict[str, Any]:
        info: dict[str, Any] = {"modality": self.modality, "units": "a.u.", "provenance": {}}
        if "voxel" in lengths:
            n_voxels = lengths["voxel"]
            place = {"mask_shape": [n_voxels, 1, 1], "affine": np.eye(4).tolist()}
            return info | place | {"voxel_indices": list(range(n_voxels))}
        ch_names = self._names(content, "channel", lengths["channel"])
        sfreq, tmin = self.sfreq, self.tmin
        if self.times is not None:
            sfreq, tmin = _rate(content, self.times, lengths["time"])
        if sfreq is None:
            raise NeurodecError(
                "The recipe gives neither `times` nor `sfreq`; name one for the array's time axis."
            )
        positions = standard_positions(ch_names)
        return info | {"sfreq": float(sfreq), "tmin": float(tmin), "ch_names": ch_names, "ch_pos": positions}


@dataclass(frozen=True)
class _Content:
    """The arrays of one file by their keys."""

    path: Path
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> _Content:
        try:
            if path.suffix == ".mat":
                arrays = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
            else:
                loaded = np.load(path, allow_pickle=False)
                arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"responses": loaded}
        except NotImplementedError:
            raise NeurodecError(f"{path} is a MATLAB 7.3 file; save it again with -v7, or as .npz.") from None
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            reason = "pickled objects, which are refused" if "allow_pickle" in str(error) else str(error)
            raise NeurodecError(
                f"{path} is not a readable array file ({reason}); copy it again, or save plain arrays."
            ) from None
        return cls(path, arrays)

    def value(self, key: str) -> np.ndarray:
        if key not in self.arrays:
            raise NeurodecError(f"{self.path} has no key {key}; it has {', '.join(sorted(self.arrays))}.")
        return self.arrays[key]

    def texts(self, key: str) -> list[str]:
        """Return labels as text; MATLAB pads them, or wraps each in an array of its own."""
        values = np.ravel(self.value(key)).tolist()
        return [
            str(np.ravel(value)[0] if isinstance(value, np.ndarray) else value).strip() for value in values
        ]


def _check_axes(axes: list[str]) -> None:
    inner = sorted(set(axes) & set(_INNER))
    known = set(axes) <= {*_OUTER, *_INNER} and len(set(axes)) == len(axes)
    if not known or inner not in (["channel", "time"], ["voxel"]):
        raise NeurodecError(
            f"The recipe's axes ({', '.join(axes)}) must be, each at most once, some of {', '.join(_OUTER)}, with "
            "channel and time, or with voxel."
        )


def _rate(content: _Content, key: str, n_times: int) -> tuple[float, float]:
    """Return the sampling rate and the first time."""
    values = np.ravel(content.value(key))
    times = values.astype(float) if values.dtype.kind in "fiu" else np.zeros(1)
    steps = np.diff(times)
    if len(times) != n_times or not len(steps) or steps.min() <= 0 or np.ptp(steps) > 0.1 * steps.mean():
        raise NeurodecError(
            f"{content.path}: the key {key} must hold {n_times} evenly rising times in seconds, and it does not."
        )
    return round(1 / steps.mean(), 3), round(float(times[0]), 6)


def _require_usable(responses: np.ndarray, table: pd.DataFrame, info: dict[str, Any], path: Path) -> None:
    """Refuse NaN, and channels that never change within a subject."""
    names = info.get("ch_names") or [f"voxel {index}" for index in range(responses.shape[1])]
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


def _name(file: Path, root: Path) -> str:
    """Return the path below the data root as one word."""
    inside = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    return "-".join(inside.with_suffix("").parts).replace(".", "-")
