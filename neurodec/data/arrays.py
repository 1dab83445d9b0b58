"""Arrays somebody already cut: ``.npz``, ``.mat`` or ``.npy``, described by the names of their keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.io import loadmat

from neurodec.data.dataset import Dataset, Part, stimuli_of
from neurodec.data.events import read_table
from neurodec.data.trials import Trials, with_defaults
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import standard_positions
from neurodec.preprocessing.whitening import standardise_groups


@dataclass(frozen=True)
class ArrayFile(Dataset):
    """Read one array of responses whose leading axes are named.

    Parameters
    ----------
    file : str
        Path below the data root.
    responses : str
        Key of the array in an ``.npz`` or ``.mat`` file; ignored for ``.npy``.
    axes : list of str
        Its axes in order: any of `subject`, `session`, `run`, `concept`, `stimulus`, `repetition`, or `trial`, then
        `channel` and `time`, or `voxel`.
    labels : dict
        Axis name to the key of its labels; axes without labels are numbered from 1.
    table : str, optional
        CSV or TSV with one row per trial, for the axis `trial`.
    sfreq : float or str
        Sampling rate (Hz), or its key.
    tmin : float or str
        Time of the first sample (s), or the key of the times.
    modality : {"eeg", "meg", "fmri"}
    scale : {"none", "subject"}
        Standardise every channel within each subject, without labels: amplitudes of subjects differ many times over.
    """

    file: str
    axes: list[str]
    responses: str = "responses"
    labels: dict[str, str] = field(default_factory=dict)
    table: str | None = None
    sfreq: float | str = 1.0
    tmin: float | str = 0.0
    modality: Literal["eeg", "meg", "fmri"] = "eeg"
    scale: Literal["none", "subject"] = "none"

    def parts(self, root: Path) -> list[Part]:
        """Return the file as one part."""
        if not (root / self.file).is_file():
            raise NeurodecError(
                f"{root / self.file} does not exist; correct --data-root or the recipe's `file`."
            )
        tables = [root / self.table] if self.table else []
        return [Part(Path(self.file).name.replace(".", "_"), "", (root / self.file, *tables))]

    def load(self, part: Part, root: Path) -> Trials:
        """Flatten the leading axes to trials."""
        content = _read(root / self.file)
        array = self._array(content)
        n_leading = next(place for place, axis in enumerate(self.axes) if axis in ("channel", "voxel"))
        trials = array.reshape(-1, *array.shape[n_leading:]).astype(np.float32)
        table = self._table(content, root, array.shape[:n_leading])
        if self.scale == "subject":
            trials = standardise_groups(trials, table["subject"].to_numpy())
        return Trials(trials, table, self._info(content, array))

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the stimuli of the table, or the labels."""
        return stimuli_of(self.load(self.parts(root)[0], root))

    def _array(self, content: dict[str, np.ndarray]) -> np.ndarray:
        array = self._value(content, self.responses) if len(content) > 1 else next(iter(content.values()))
        if array.ndim != len(self.axes):
            raise NeurodecError(
                f"{self.file} has shape {array.shape}, but the recipe names {len(self.axes)} axes."
            )
        return array

    def _value(self, content: dict[str, np.ndarray], key: str) -> np.ndarray:
        if key not in content:
            raise NeurodecError(f"{self.file} has no key {key}; it has {', '.join(sorted(content))}.")
        return content[key]

    def _names(self, content: dict[str, np.ndarray], axis: str, length: int) -> list[str]:
        if axis not in self.labels:
            return [f"{number:02d}" for number in range(1, length + 1)]
        names = [str(name).strip() for name in np.ravel(self._value(content, self.labels[axis]))]
        if len(names) != length:
            raise NeurodecError(
                f"{self.file} has {len(names)} labels but {length} entries on the axis {axis}."
            )
        return names

    def _table(self, content: dict[str, np.ndarray], root: Path, shape: tuple[int, ...]) -> pd.DataFrame:
        if self.table:
            table = read_table(root / self.table, ("stimulus",))
            if len(table) != int(np.prod(shape)):
                raise NeurodecError(f"{self.table} has {len(table)} rows for {int(np.prod(shape))} trials.")
            return with_defaults(table)
        leading = self.axes[: len(shape)]
        names = [self._names(content, axis, length) for axis, length in zip(leading, shape, strict=True)]
        table = pd.MultiIndex.from_product(names, names=leading).to_frame(index=False)
        if "stimulus" not in table:
            if "concept" not in table:
                raise NeurodecError(
                    "The recipe's axes name neither stimulus nor concept; add one, or a `table`."
                )
            table["stimulus"] = table["concept"]
        if "repetition" in table:
            table["repetition"] = table.groupby(["stimulus", *set(leading) & {"subject"}]).cumcount()
        return with_defaults(table)

    def _info(self, content: dict[str, np.ndarray], array: np.ndarray) -> dict[str, Any]:
        info: dict[str, Any] = {"modality": self.modality, "units": "a.u.", "provenance": {}}
        if self.modality == "fmri":
            n_voxels = array.shape[-1]
            return info | {
                "mask_shape": [n_voxels, 1, 1],
                "voxel_indices": list(range(n_voxels)),
                "affine": np.eye(4).tolist(),
            }
        ch_names = self._names(content, "channel", array.shape[-2])
        rate, start = (
            float(np.ravel(self._value(content, key))[0]) if isinstance(key, str) else key
            for key in (self.sfreq, self.tmin)
        )
        return info | {
            "sfreq": rate,
            "tmin": start,
            "ch_names": ch_names,
            "ch_pos": standard_positions(ch_names),
        }


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".mat":
            return {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
        content = np.load(path, allow_pickle=False)
        return dict(content) if path.suffix == ".npz" else {"responses": content}
    except Exception as error:  # zip, pickle and header errors: each library has its own
        raise NeurodecError(
            f"{path} is not a readable array file ({error}); save it again without pickled objects."
        ) from None
