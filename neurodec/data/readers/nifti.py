"""NIfTI images: opened without trust in their headers, masked, and with a repetition time that a person stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.tables import read_table
from neurodec.errors import NeurodecError, reading, require_fetched

_COMPRESSION = 1100  # gzip shrinks nothing further than 1,032-fold
_SHORTEST, _LONGEST = 0.05, 30.0  # seconds between volumes
_SAME = 0.01  # relative; headers keep a repetition time in few digits


def open_image(path: Path) -> nibabel.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    NeurodecError
        If it is not an image that nibabel reads, or promises more voxels than the file can hold.
    """
    require_fetched(path)
    with reading(path, "a NIfTI image"):
        image = nibabel.load(path)
        if not hasattr(image, "affine") or image.affine is None or not hasattr(image, "dataobj"):
            raise NeurodecError(
                f"{path} is not an image of a volume (but {type(image).__name__}); convert it to NIfTI."
            )
        if min(image.shape, default=0) < 1 or len(image.shape) < 3:
            raise NeurodecError(
                f"{path} has the shape {tuple(image.shape)}, which is not a volume; fetch it again."
            )
        needed = np.prod([float(length) for length in image.shape]) * image.get_data_dtype().itemsize
        files = [Path(file.filename) for file in image.file_map.values() if file.filename]
        held = sum(
            file.stat().st_size * (_COMPRESSION if file.suffix == ".gz" else 1)
            for file in files
            if file.is_file()
        )
        if needed > held:
            raise NeurodecError(
                f"{path} is cut short or damaged: its header promises {needed:.0f} bytes of voxels, more than the file "
                "can hold; fetch it again."
            )
        if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-12:
            raise NeurodecError(f"{path} has an affine that places no volume; repair its header.")
        return image


def voxels_of(image: nibabel.Nifti1Image, path: Path) -> np.ndarray:
    """Read the voxels of an image.

    Raises
    ------
    NeurodecError
        If the file is cut short or damaged.
    """
    with reading(path, "a NIfTI image", "it is cut short or damaged, so fetch it again"):
        return np.asarray(image.dataobj)


def read_mask(
    mask_image: nibabel.Nifti1Image, mask_file: Path, image: nibabel.Nifti1Image, path: Path
) -> np.ndarray:
    """Return a mask as booleans on the grid of a series.

    Raises
    ------
    NeurodecError
        If the series has not four dimensions, the mask lies on another grid, or is empty.
    """
    if image.ndim != 4:
        raise NeurodecError(
            f"{path} has {image.ndim} dimensions, a BOLD series has 4; give the series itself."
        )
    mask = np.nan_to_num(voxels_of(mask_image, mask_file)) > 0
    if mask.ndim == 4 and mask.shape[3] == 1:
        mask = mask[..., 0]
    if mask.shape != image.shape[:3] or not np.allclose(mask_image.affine, image.affine, atol=1e-2):
        raise NeurodecError(
            f"The mask {mask_file} (shape {mask.shape}) lies on another grid than {path} (shape {image.shape[:3]}); "
            "resample the mask to the series."
        )
    if not mask.any():
        raise NeurodecError(f"The mask {mask_file} has no voxel above zero; give the right one.")
    return mask


def read_regions(
    file: Path, names_file: Path, image: nibabel.Nifti1Image, mask: np.ndarray
) -> dict[str, list[int]]:
    """Return the voxels of every region of a segmentation, by their number within a mask.

    Parameters
    ----------
    file : Path
        Integer labels, 0 for none, on the grid of the series.
    names_file : Path
        Table with the columns `index` and `name`, as BIDS has them.
    image : Nifti1Image
        The series.
    mask : ndarray of bool

    Raises
    ------
    NeurodecError
        If the segmentation lies on another grid, holds a label without a name, or none within the mask.
    """
    segmentation = open_image(file)
    labels = np.squeeze(voxels_of(segmentation, file))
    if labels.shape != image.shape[:3] or not np.allclose(segmentation.affine, image.affine, atol=1e-2):
        raise NeurodecError(
            f"The regions of {file} (shape {labels.shape}) lie on another grid than the series (shape "
            f"{image.shape[:3]}); resample them to it, by nearest neighbours."
        )
    table = read_table(names_file, ("index", "name"))
    names = dict(zip(pd.to_numeric(table["index"], errors="coerce"), table["name"], strict=True))
    inside = np.round(labels[mask]).astype(int)
    unnamed = sorted({int(label) for label in np.unique(inside) if label and label not in names})
    if unnamed or not inside.any():
        what = (
            f"label {unnamed[0]}, which {names_file} does not name" if unnamed else "no label within the mask"
        )
        raise NeurodecError(f"{file} holds {what}; complete the table, or give the right segmentation.")
    return {
        str(name): np.flatnonzero(inside == label).tolist()
        for label, name in names.items()
        if label and (inside == label).any()
    }


def read_series(image: nibabel.Nifti1Image, mask: np.ndarray, path: Path) -> np.ndarray:
    """Return the masked series, shape (n_volumes, n_voxels), voxels in C order of the mask.

    Raises
    ------
    NeurodecError
        If a voxel of the mask is not finite, or none ever changes.
    """
    series = voxels_of(image, path)[mask].T.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(series).all(axis=0))
    if len(bad):
        voxel = tuple(int(index[bad[0]]) for index in np.nonzero(mask))
        raise NeurodecError(
            f"{path} has NaN or infinite values in {len(bad)} of {mask.sum()} voxels of the mask, first {voxel}; take "
            "them out of the mask or repair the series."
        )
    if not np.ptp(series, axis=0).any():
        raise NeurodecError(f"{path} is constant in every voxel of the mask; give the right series.")
    return series


def repetition_time(path: Path, metadata: dict[str, Any], image: nibabel.Nifti1Image) -> float:
    """Return the seconds between volumes, from the run's own metadata or a header that states its unit.

    Parameters
    ----------
    path : Path
        Names the run in messages.
    metadata : dict
        Of its ``_bold.json``.
    image : Nifti1Image

    Raises
    ------
    NeurodecError
        If nobody states it (nibabel writes 1 without a unit where none was given), both do and disagree, volumes do
        not follow each other evenly, or the number is no repetition time.
    """
    stated = _stated(metadata, path)
    factor = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(_time_unit(image))
    in_header = float(image.header.get_zooms()[3]) * factor if factor is not None else None
    if stated is None and not in_header:
        raise NeurodecError(
            f"The repetition time of {path} is unknown: there is no RepetitionTime in a _bold.json of its own, and "
            "the image's header states none with its unit; write RepetitionTime in seconds into a _bold.json beside it."
        )
    if stated is not None and in_header and abs(stated - in_header) > _SAME * in_header:
        raise NeurodecError(
            f"{path}: its _bold.json gives a repetition time of {stated:g} s, the image's header {in_header:g} s; "
            "correct the one that is wrong."
        )
    t_r = stated if stated is not None else float(in_header or 0)
    if not _SHORTEST <= t_r <= _LONGEST:
        unit = ", and it looks like milliseconds" if _SHORTEST <= t_r / 1000 <= _LONGEST else ""
        raise NeurodecError(
            f"{path} gives {t_r:g} s as repetition time{unit}; write RepetitionTime in seconds into a _bold.json "
            "beside it."
        )
    return t_r


def start_time(path: Path, metadata: dict[str, Any], account: Account) -> float:
    """Return the time in the scan that the first volume stands for (s), as its ``_bold.json`` says.

    A series whose slices were brought to one time (fMRIPrep: to the middle of the volume) begins at that time.

    Raises
    ------
    NeurodecError
        If it is no time.
    """
    timing = metadata.get("VolumeTiming") or [0.0]
    stated = metadata.get("StartTime", timing[0] if isinstance(timing, list) else 0.0)
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= _LONGEST:
        raise NeurodecError(
            f"{path}: its _bold.json gives {stated!r} as StartTime; give seconds from the scan's start."
        )
    if "StartTime" not in metadata and metadata.get("SliceTimingCorrected") is True:
        account.note(
            "slice times were corrected, but no StartTime says to which time; volumes count from their start, which "
            "may be half a repetition time early"
        )
    if stated:
        account.note(f"the first volume stands for {stated:g} s of the scan, which is taken off the onsets")
    return float(stated)


def _time_unit(image: nibabel.Nifti1Image) -> str:
    with reading("the image's header", "", "its unit code is none of NIfTI"):
        return image.header.get_xyzt_units()[1] if hasattr(image.header, "get_xyzt_units") else "unknown"


def _stated(metadata: dict[str, Any], path: Path) -> float | None:
    """Return the repetition time of a ``_bold.json``, also where it dates every volume (``VolumeTiming``)."""
    stated, timing = metadata.get("RepetitionTime"), metadata.get("VolumeTiming")
    if stated is None and timing is not None:
        with reading(path, "", "its VolumeTiming must be a list of seconds"):
            steps = np.diff(np.asarray(timing, dtype=float))
        if not len(steps) or np.ptp(steps) > _SAME * steps.mean():
            raise NeurodecError(
                f"{path} has volumes at uneven times (VolumeTiming), which cannot be modelled yet; give an evenly "
                "sampled series."
            )
        return float(steps.mean())
    if stated is not None and (isinstance(stated, bool) or not isinstance(stated, (int, float))):
        raise NeurodecError(f"{path}: its _bold.json gives {stated!r} as RepetitionTime; give seconds.")
    return None if stated is None else float(stated)
