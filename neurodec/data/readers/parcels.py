"""Parcels over time: windows of recordings that somebody parcellated already, whatever program wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import all_fields, find_files
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.readers.atlases import networks_of
from neurodec.data.readers.bids_files import sidecar
from neurodec.data.readers.series_windows import require_held_out, require_window, split_of, window_trials
from neurodec.data.tables import is_missing, read_table
from neurodec.data.trials import Trials
from neurodec.data.warned import heard
from neurodec.errors import NeurodecError, reading

_TABLES = (".csv", ".tsv")
_CIFTI = (".ptseries.nii",)
_SAME = 0.01  # relative difference of repetition times


@dataclass(frozen=True)
class ParcelSeries(Dataset):
    """Read series of parcels, and cut them into windows of volumes that follow each other.

    Parameters
    ----------
    files : str
        Which ones, with ``*`` and the fields ``{subject}``, ``{session}``, ``{run}``: ``.mat`` (7.3 too), ``.npy``,
        ``.npz``, ``.h5``, tables with a column per parcel (``.csv``, ``.tsv``, as XCP-D and nilearn write them), or
        ``.ptseries.nii`` (CIFTI).
    tr : float, optional
        Seconds between volumes; by default what the file (CIFTI) or a ``.json`` of its name says.
    key : str
        Of the array in the file.
    axes : "parcel, time" or "time, parcel"
        Of the array; tables have a row per volume.
    n_volumes : int
        Of a window.
    step : int
        Volumes between the beginnings of windows; overlapping ones take no room.
    names : str, optional
        CSV or TSV below the data root with a row per parcel: `name`, and `network` for analyses by networks.
    held_out : list of str
        Subjects whose windows are for testing; a cross-validation over subjects needs none.

    Notes
    -----
    Every parcel is z-scored over its recording. The trial table has `stretch`, a tenth of a recording, which
    `data.held_out_by` may name: windows overlap, so single ones cannot be held out.
    """

    files: str
    tr: float | None = None
    key: str = "responses"
    axes: Literal["parcel, time", "time, parcel"] = "parcel, time"
    n_volumes: int = 6
    step: int = 1
    names: str | None = None
    held_out: list[str] = field(default_factory=list)

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        require_window(self.n_volumes, self.step)
        if self.tr is not None and not 0 < self.tr < 100:
            raise NeurodecError(f"`tr` is {self.tr:g}; give the seconds between volumes.")
        further = () if self.names is None else (root / self.names,)
        found = []
        for path, fields in find_files(root, self.files):
            fields = all_fields(fields)
            name = f"sub-{fields['subject']}_ses-{fields['session']}_run-{fields['run']}"
            found.append(Part(name, fields["subject"], (path, *further, *_sidecars(path, root)[1])))
        require_held_out(self.held_out, {part.subject for part in found})
        return found

    def load(self, part: Part, root: Path) -> Trials:
        """Read one recording; its windows stay windows of the series."""
        path, account = part.files[0], Account()
        series, names, stated = self._series(path, account)
        t_r = self._repetition_time(path, root, stated)
        n_parcels = series.shape[1]
        table = self._named(root, n_parcels)
        if table is not None:
            names = table["name"].tolist()
        names = names or [f"parcel-{number:04d}" for number in range(1, n_parcels + 1)]
        absent = np.isnan(series).all(axis=0)  # XCP-D leaves parcels without enough voxels empty
        bad = np.flatnonzero(~np.isfinite(series).all(axis=0) & ~absent)
        if len(bad):
            raise NeurodecError(
                f"{path} holds NaN or infinity in {len(bad)} parcel(s), first {names[bad[0]]}; leave the recording "
                "out, or fill the parcel in."
            )
        series = np.where(absent, 0.0, series)
        spread = series.std(axis=0)
        for words, which in (("have no values", absent), ("never change", (spread == 0) & ~absent)):
            told = [names[number] for number in np.flatnonzero(which)]
            if told:
                account.note(f"parcels that {words}, and tell nothing: {', '.join(told)}")
        if not spread.any():
            raise NeurodecError(f"{path} never changes in any parcel; give the right series.")
        scaled = (series - series.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        named = dict(piece.split("-", 1) for piece in part.name.split("_"))
        split = split_of(part.subject, self.held_out)
        fields = {"subject": part.subject, "session": named["ses"], "run": named["run"], "split": split}
        info = {
            "modality": "fmri",
            "units": "a.u.",
            "dims": ["trial", "parcel", "time"],
            "ch_names": names,
            "ch_pos": None,
            "provenance": {},
        }
        if table is not None and "network" in table:
            info["roi"] = networks_of(table["name"], table["network"])
        windows = (scaled, t_r, self.n_volumes, self.step)
        return window_trials(*windows, name=part.name, fields=fields, info=info, path=path, account=account)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the recordings: at rest nothing else is shown."""
        return pd.DataFrame({"stimulus": [part.name for part in self.parts(root)]})

    def _series(self, path: Path, account: Account) -> tuple[np.ndarray, list[str] | None, float | None]:
        """Return a series (n_volumes, n_parcels), and the names and repetition time (s) that the file has."""
        name = path.name.lower()
        if name.endswith(_TABLES):
            table = read_table(path, ())
            numbers = table.mask(table.apply(is_missing)).apply(pd.to_numeric, errors="coerce")
            words = [
                column for column in table if (numbers[column].isna() & ~is_missing(table[column])).any()
            ]
            if words:
                raise NeurodecError(
                    f"{path} holds text in the column {words[0]}; a table of parcels has a row per volume and a column "
                    "of numbers per parcel, so leave this one out."
                )
            return numbers.to_numpy(dtype=np.float64), list(map(str, table.columns)), None
        if name.endswith(_CIFTI):
            with (
                reading(path, "a CIFTI series of parcels", "write it again as .ptseries.nii"),
                heard(account, str(path)),
            ):
                image = nibabel.load(path)
                axes = [image.header.get_axis(number) for number in range(2)]
                factor = {"SECOND": 1.0}.get(axes[0].unit.upper())
                stated = None if factor is None else float(axes[0].step) * factor
                return np.asarray(image.get_fdata()), [str(own) for own in axes[1].name], stated
        values = np.asarray(ArrayContent.read(path).value(self.key))
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise NeurodecError(
                f"{self.key} of {path} has the shape {values.shape} ({values.dtype}), and a series has parcels and "
                "volumes; name another by `key`."
            )
        values = values.astype(np.float64)
        return (values.T if self.axes == "parcel, time" else values), None, None

    def _repetition_time(self, path: Path, root: Path, stated: float | None) -> float:
        """Return the seconds between volumes, which nobody may contradict."""
        told = {
            "the file": stated,
            "its .json": _sidecars(path, root)[0].get("RepetitionTime"),
            "`tr`": self.tr,
        }
        known = {where: own for where, own in told.items() if isinstance(own, int | float) and own > 0}
        if not known:
            raise NeurodecError(
                f"The repetition time of {path} is unknown; give `tr`, the seconds between volumes."
            )
        first = next(iter(known))
        for where, own in known.items():
            if abs(own - known[first]) > _SAME * known[first]:
                raise NeurodecError(
                    f"{path}: {first} gives a repetition time of {known[first]:g} s, {where} {own:g} s; correct one "
                    "of them."
                )
        return float(known[first])

    def _named(self, root: Path, n_parcels: int) -> pd.DataFrame | None:
        if self.names is None:
            return None
        table = read_table(root / self.names, ("name",))
        if len(table) != n_parcels:
            raise NeurodecError(
                f"{root / self.names} names {len(table)} parcels, and the recordings have {n_parcels}; take the table "
                "of their atlas, or correct `axes`."
            )
        return table


def _sidecars(path: Path, root: Path) -> tuple[dict[str, Any], list[Path]]:
    """Return what a ``.json`` says of a series: the one of its name, or those that BIDS lets it inherit."""
    suffix = re.search(r"_[A-Za-z]+(?=\.)", path.name)
    return sidecar(path, root, f"{suffix[0]}.json") if suffix and path.name.startswith("sub-") else ({}, [])
