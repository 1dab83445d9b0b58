"""Parcels over time: windows of recordings that somebody parcellated already, whatever program wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.continuous import Windows
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import all_fields, find_files
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.tables import read_table
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError, reading

_N_STRETCHES = 10
_TABLES = (".csv", ".tsv")
_CIFTI = (".ptseries.nii",)


@dataclass(frozen=True)
class ParcelSeries(Dataset):
    """Read series of parcels, and cut them into windows of volumes that follow each other.

    Parameters
    ----------
    files : str
        Which ones, with ``*`` and the fields ``{subject}``, ``{session}``, ``{run}``: ``.mat`` (7.3 too), ``.npy``,
        ``.npz``, ``.h5``, tables with a column per parcel (``.csv``, ``.tsv``, as XCP-D and nilearn write them), or
        ``.ptseries.nii`` (CIFTI).
    tr : float
        Seconds between volumes.
    key : str
        Of the array in the file.
    axes : "parcel, time" or "time, parcel"
        Of the array; tables have a row per volume.
    n_volumes : int
        Of a window.
    step : int
        Volumes between the beginnings of windows; overlapping ones take no room.
    names : str, optional
        CSV or TSV below the data root with a row per parcel: `name`, and perhaps `network`.
    held_out : list of str
        Subjects whose windows are for testing; a cross-validation over subjects needs none.

    Notes
    -----
    Every parcel is z-scored over its recording. The trial table has `stretch`, a tenth of a recording, which
    `data.held_out_by` may name: windows overlap, so single ones cannot be held out.
    """

    files: str
    tr: float
    key: str = "responses"
    axes: Literal["parcel, time", "time, parcel"] = "parcel, time"
    n_volumes: int = 6
    step: int = 1
    names: str | None = None
    held_out: list[str] = field(default_factory=list)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        if self.n_volumes < 2 or self.step < 1 or not 0 < self.tr < 100:
            raise NeurodecError(
                "Windows of parcels need `n_volumes` of 2 or more, a `step` of 1 or more, and `tr` in seconds; correct "
                "these."
            )
        further = () if self.names is None else (root / self.names,)
        found = []
        for path, fields in find_files(root, self.files):
            fields = all_fields(fields)
            name = f"sub-{fields['subject']}_ses-{fields['session']}_run-{fields['run']}"
            found.append(Part(name, fields["subject"], (path, *further)))
        known = {part.subject for part in found}
        unknown = set(self.held_out) - known
        if unknown:
            raise NeurodecError(
                f"`held_out` names subject {min(unknown)}, and there are {', '.join(sorted(known))}; correct it."
            )
        return found

    def load(self, part: Part, root: Path) -> Trials:
        """Read one recording; its windows stay windows of the series."""
        path, account = part.files[0], Account()
        series, names = self._series(path)
        n_times, n_parcels = series.shape
        names = (
            self._named(root, n_parcels)
            or names
            or [f"parcel-{number:04d}" for number in range(1, n_parcels + 1)]
        )
        if n_times < self.n_volumes:
            raise NeurodecError(
                f"{path} has {n_times} volumes, fewer than a window of {self.n_volumes}; lower `n_volumes`, or correct "
                "`axes`."
            )
        if not np.isfinite(series).all():
            bad = np.flatnonzero(~np.isfinite(series).all(axis=0))
            raise NeurodecError(
                f"{path} holds NaN or infinity in {len(bad)} parcel(s), first {names[bad[0]]}; leave the recording "
                "out, or fill the parcel in."
            )
        spread = series.std(axis=0)
        flat = [name for name, own in zip(names, spread, strict=True) if own == 0]
        if flat:
            account.note(f"parcels that never change, and tell nothing: {', '.join(flat)}")
        scaled = (series - series.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        starts = np.arange(0, n_times - self.n_volumes + 1, self.step)
        plain = np.zeros((1, n_parcels)), np.ones((1, n_parcels))
        windows = Windows(scaled.astype(np.float32), starts, np.zeros_like(starts), *plain, self.n_volumes)
        stretches = starts * _N_STRETCHES // n_times
        table = pd.DataFrame(
            {
                "stimulus": part.name,
                "onset": starts * self.tr,
                "stretch": [f"{part.name}/{number}" for number in stretches],
            }
        )
        split = "test" if part.subject in self.held_out else "train" if self.held_out else "cv"
        named = dict(piece.split("-", 1) for piece in part.name.split("_"))
        fields = {"subject": part.subject, "session": named["ses"], "run": named["run"], "split": split}
        info = {
            "modality": "fmri",
            "units": "a.u.",
            "sfreq": 1 / self.tr,
            "tmin": 0.0,
            "dims": ["trial", "parcel", "time"],
            "ch_names": names,
            "ch_pos": None,
            "provenance": {},
            "account": [account.entry(part.name, len(starts), n_parcels)],
        }
        return Trials(windows, with_defaults(table, **fields), info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the recordings: at rest nothing else is shown."""
        return pd.DataFrame({"stimulus": [part.name for part in self.parts(root)]})

    def _series(self, path: Path) -> tuple[np.ndarray, list[str] | None]:
        """Return a series (n_volumes, n_parcels), and the names that the file has."""
        name = path.name.lower()
        if name.endswith(_TABLES):
            table = read_table(path, ())
            values = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
            return values, list(map(str, table.columns))
        if name.endswith(_CIFTI):
            with reading(path, "a CIFTI series of parcels", "write it again as .ptseries.nii"):
                image = nibabel.load(path)
                return np.asarray(image.get_fdata()), [str(own) for own in image.header.get_axis(1).name]
        values = np.asarray(ArrayContent.read(path).value(self.key))
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise NeurodecError(
                f"{self.key} of {path} has the shape {values.shape} ({values.dtype}), and a series has parcels and "
                "volumes; name another by `key`."
            )
        values = values.astype(np.float64)
        return (values.T if self.axes == "parcel, time" else values), None

    def _named(self, root: Path, n_parcels: int) -> list[str] | None:
        if self.names is None:
            return None
        table = read_table(root / self.names, ("name",))
        if len(table) != n_parcels:
            raise NeurodecError(
                f"{root / self.names} names {len(table)} parcels, and the recordings have {n_parcels}; take the table "
                "of their atlas, or correct `axes`."
            )
        return table["name"].tolist()
