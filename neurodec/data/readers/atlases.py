"""Atlases as they come: label and map images with the tables of names and networks that lie beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from nilearn.image import resample_to_img

from neurodec.data.account import Account
from neurodec.data.readers.nifti import open_image, voxels_of
from neurodec.data.tables import is_missing, read_table
from neurodec.data.warned import heard
from neurodec.errors import NeurodecError, reading
from neurodec.preprocessing.parcellation import Parcels, grid_labels

# What nilearn's atlases, BIDS, XCP-D and FreeSurfer call these columns.
_VALUE = ("index", "Component", "component", "value", "label_id")
_NAME = ("name", "Difumo_names", "difumo_names", "label", "region", "roi")
_NETWORK = ("network", "network_label", "Yeo_networks7", "yeo_networks7", "network7")
_SPACE = re.compile(r"(?:space|tpl)-([A-Za-z0-9]+)")
_MOST_EMPTY = 0.5  # share of parcels outside the mask beyond which the atlas lies elsewhere


@dataclass(frozen=True)
class Atlas:
    """Which atlas turns voxels into parcels.

    Parameters
    ----------
    file : str, optional
        Image of integer labels (three dimensions) or of overlapping maps (four: DiFuMo), relative to the data root or
        absolute; such as nilearn's fetchers leave it. Without one, cubes take its place.
    names : str, optional
        Table of the parcels: CSV or TSV with columns such as `index`, `name` and `network` (also those of DiFuMo and
        XCP-D), or Schaefer's ``.txt``. By default the one of the image's own name, if it is there.
    networks : str, optional
        CSV or TSV with the columns `name` and `network`, where the table of names has none or others are wanted.
    side : float
        Of the cubes (mm) without an atlas.
    """

    file: str | None = None
    names: str | None = None
    networks: str | None = None
    side: float = 24.0

    def files(self, root: Path) -> list[Path]:
        """Return the files that it is read from.

        Parameters
        ----------
        root : Path
            Of the data.

        Raises
        ------
        NeurodecError
            If one is missing.
        """
        told = {"file": self.file, "names": self.names, "networks": self.networks}
        for key, name in told.items():
            if name is not None and not (root / name).is_file():
                raise NeurodecError(
                    f"The atlas {root / name} is missing; put it there (nilearn.datasets.fetch_atlas_difumo and "
                    f"fetch_atlas_schaefer_2018 download theirs), correct `{key}`, or leave `file` out to take cubes."
                )
        if self.file is None:
            return [] if self.networks is None else [root / self.networks]
        found = [root / self.file, self._names_file(root)]
        return [file for file in found if file is not None] + (
            [] if self.networks is None else [root / self.networks]
        )

    def read(
        self, root: Path, image: nibabel.Nifti1Image, mask: np.ndarray, path: Path, account: Account
    ) -> tuple[Parcels, dict[str, Any]]:
        """Read the atlas on the grid of a series.

        Parameters
        ----------
        root : Path
        image : Nifti1Image
            The series.
        mask : ndarray of bool, shape (x, y, z)
            Its voxels that count.
        path : Path
            Of the series, for messages.
        account : Account

        Returns
        -------
        parcels : Parcels
            On the voxels of the mask.
        info : dict
            `ch_names`, `roi` (network to parcels, where networks are known) and `brain`, what pictures of the parcels
            need.

        Raises
        ------
        NeurodecError
            If the atlas is of another space, most of its parcels lie outside the mask, or a table does not fit it.
        """
        if self.file is None:
            labels, names = grid_labels(mask, image.affine, self.side)
            parcels, table = (
                Parcels.of_labels(labels, range(1, len(names) + 1)),
                pd.DataFrame({"name": names}),
            )
        else:
            atlas = open_image(root / self.file)
            values = np.nan_to_num(voxels_of(atlas, root / self.file).astype(np.float32))
            values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
            table = self._table(root, values)
            here = self._resampled(nibabel.Nifti1Image(values, atlas.affine), image, path, account)[mask]
            parcels = (
                Parcels.of_maps(here.T)
                if values.ndim == 4
                else Parcels.of_labels(np.round(here).astype(int), table["value"].tolist())
            )
        names = list(map(str, table["name"]))
        twice = pd.Index(names)[pd.Index(names).duplicated()]
        if len(twice):
            raise NeurodecError(
                f"Two parcels of {self.file} are called {twice[0]}; give them names of their own."
            )
        empty = [names[number] for number in parcels.empty]
        if len(empty) > _MOST_EMPTY * len(names):
            raise NeurodecError(
                f"{len(empty)} of {len(names)} parcels of {self.file} have no voxel in the mask of {path}, first "
                f"{empty[0]}; the atlas lies elsewhere, so take the one of the space of the series."
            )
        if empty:
            account.note(f"parcels without a voxel in the mask, which are zero: {', '.join(empty)}")
        own = _SPACE.search(path.name)
        brain = {
            "space": own[1] if own else "",
            "mask_shape": list(mask.shape),
            "voxel_indices": np.flatnonzero(mask).tolist(),
            "affine": image.affine.tolist(),
            "labels": parcels.labels.tolist(),
        }
        roi = self._networks(root, table, account)
        return parcels, {"ch_names": names, "ch_pos": None, "brain": brain, **({"roi": roi} if roi else {})}

    def _resampled(
        self, atlas: nibabel.Nifti1Image, image: nibabel.Nifti1Image, path: Path, account: Account
    ) -> np.ndarray:
        """Bring an atlas to the grid of a series in the same space; what cannot be in one space is refused."""
        if atlas.shape[:3] == image.shape[:3] and np.allclose(atlas.affine, image.affine, atol=1e-2):
            return np.asarray(atlas.dataobj)
        own, other = (_SPACE.search(Path(name).name) for name in (path.name, str(self.file)))
        if other and other[1].startswith("MNI") and not (own and own[1].startswith("MNI")):
            where = f"in the space {own[1]}" if own else "in the scanner's own space (its name has no space-)"
            raise NeurodecError(
                f"{path} is {where}, and the atlas {self.file} in {other[1]}; take the series that was brought there "
                "(with fMRIPrep: `space`), or an atlas in the space of the series."
            )
        account.note(
            f"the atlas {Path(str(self.file)).name} ({'x'.join(map(str, atlas.shape[:3]))}) was resampled to the grid "
            f"of the series ({'x'.join(map(str, image.shape[:3]))})"
        )
        target = nibabel.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine)
        way = "nearest" if atlas.ndim == 3 else "continuous"
        with reading(Path(str(self.file)), "an atlas"), heard(account, str(self.file)):
            found = resample_to_img(atlas, target, interpolation=way, force_resample=True, copy_header=True)
            return np.asarray(found.dataobj)

    def _table(self, root: Path, values: np.ndarray) -> pd.DataFrame:
        """Return the table of all parcels of an atlas: `name`, of labels `value`, and `network` where it is known."""
        file, names_file = root / str(self.file), self._names_file(root)
        table = None if names_file is None else _parcel_table(names_file)
        if values.ndim == 4:
            n_maps = values.shape[3]
            if table is not None and len(table) != n_maps:
                raise NeurodecError(
                    f"{names_file} names {len(table)} parcels, and {file} has {n_maps} maps; take its own table."
                )
            return pd.DataFrame({"name": _numbered(range(1, n_maps + 1))}) if table is None else table
        whole = np.unique(values)
        if not np.array_equal(whole, np.round(whole)):
            raise NeurodecError(
                f"{file} holds numbers that are no labels, first {whole[whole != np.round(whole)][0]:g}; give an image "
                "of integer labels, or of maps in four dimensions."
            )
        present = [int(value) for value in whole if value != 0]
        if table is None:
            table = pd.DataFrame({"value": present, "name": _numbered(present)})
        elif "value" not in table:
            if len(table) != len(present):
                raise NeurodecError(
                    f"{names_file} has {len(table)} rows and no column `index`, and {file} {len(present)} labels; add "
                    "the label of every parcel as `index`."
                )
            table = table.assign(value=present)
        table = table[table["value"] != 0].reset_index(drop=True)
        unnamed = sorted(set(present) - set(table["value"]))
        if unnamed:
            raise NeurodecError(
                f"{file} holds the label {unnamed[0]}, which {names_file} does not name; complete it."
            )
        return table

    def _names_file(self, root: Path) -> Path | None:
        if self.names is not None:
            return root / self.names
        stem = re.sub(r"\.nii(\.gz)?$", "", str(self.file))
        return next(
            (file for end in (".tsv", ".csv", ".txt") if (file := root / f"{stem}{end}").is_file()), None
        )

    def _networks(self, root: Path, table: pd.DataFrame, account: Account) -> dict[str, list[int]]:
        if self.networks is None:
            return networks_of(table["name"], table["network"]) if "network" in table else {}
        return read_networks(root / self.networks, list(map(str, table["name"])), account)


def read_networks(file: Path, names: list[str], account: Account) -> dict[str, list[int]]:
    """Read which parcels belong to which network.

    Parameters
    ----------
    file : Path
        CSV or TSV with the columns `name` and `network`.
    names : list of str
        Of the parcels.
    account : Account
        Is told how many belong to none.

    Raises
    ------
    NeurodecError
        If the table names a parcel that there is not.
    """
    table = read_table(file, ("name", "network"))
    unknown = [name for name in table["name"] if name not in set(names)]
    if unknown:
        raise NeurodecError(
            f"{file} names the parcel {unknown[0]}, which the recordings do not have ({len(unknown)} such rows); they "
            f"have {', '.join(names[:3])}, ..."
        )
    known = dict(zip(table["name"], table["network"], strict=True))
    without = [name for name in names if name not in known]
    if without:
        account.note(f"{len(without)} parcels belong to no network of {file.name}, such as {without[0]}")
    return networks_of(names, [known.get(name, "") for name in names])


def networks_of(names: pd.Series | list[str], networks: pd.Series | list[str]) -> dict[str, list[int]]:
    """Return network to numbers of its parcels; parcels without one are left out.

    Parameters
    ----------
    names, networks : sequence of str, one per parcel
    """
    found: dict[str, list[int]] = {}
    told = pd.Series(list(networks), dtype=object)
    for number, network in enumerate(told.mask(is_missing(told), "")):
        if network:
            found.setdefault(str(network), []).append(number)
    return found


def _numbered(values: Any) -> list[str]:
    return [f"parcel-{value:04d}" for value in values]


def _parcel_table(file: Path) -> pd.DataFrame:
    """Read a table of parcels, whatever program wrote it: `name`, and `value` and `network` where it has them."""
    if file.suffix == ".txt":
        table = _headless(file)
    else:
        found = read_table(file, ())
        columns = {
            key: next((name for name in names if name in found), None)
            for key, names in {"value": _VALUE, "name": _NAME, "network": _NETWORK}.items()
        }
        if columns["name"] is None:
            raise NeurodecError(
                f"{file} has no column with the parcels' names ({', '.join(_NAME[:3])}); it has {', '.join(found)}."
            )
        table = pd.DataFrame({key: found[name] for key, name in columns.items() if name is not None})
    if "value" in table:
        numbers = pd.to_numeric(table["value"], errors="coerce")
        if numbers.isna().any() or numbers.duplicated().any():
            raise NeurodecError(
                f"{file} has labels that are no numbers or occur twice; correct the column `index`."
            )
        table = table.assign(value=numbers.astype(int))
    if "network" not in table:
        networks = table["name"].astype(str).str.extract(r"^\d+Networks_[LR]H_([A-Za-z]+)")[0]
        table = table if networks.isna().all() else table.assign(network=networks)
    return table.reset_index(drop=True)


def _headless(file: Path) -> pd.DataFrame:
    """Read Schaefer's table: number, name and color, separated by tabs, without a header."""
    with reading(file, "a table of parcels", "give lines of number, tab, name"):
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return pd.DataFrame({"value": [row[0] for row in rows], "name": [row[1] for row in rows]})
