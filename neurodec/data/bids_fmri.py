"""BIDS-like fMRI folders: BOLD runs, events and a brain mask become one pattern per event."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pandas as pd

from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import (
    complete_events,
    read_stimuli,
    read_table,
    stimuli_of_events,
    table_files,
)
from neurodec.data.trials import Trials, with_defaults
from neurodec.errors import NeurodecError
from neurodec.files import read_json
from neurodec.preprocessing.fmri import Estimate, block_means, clean_series, glm_betas, zscore_rows

_ENTITY = re.compile(r"(sub|ses|task|run|space)-([A-Za-z0-9]+)")
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError)


@dataclass(frozen=True)
class BidsFMRI(Dataset):
    """Read every ``*_bold.nii[.gz]`` below the data root with its ``*_events.tsv`` and brain mask.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read (``"01"``, not ``"sub-01"``); all by default, with as many runs as there are.
    space : str, optional
        Read only the series with this ``space-`` label.
    mask : str
        File name, or end of it, of the mask: looked for beside each run with the same entities, then above it. Voxels
        above zero count.
    estimate : "block_mean", "lsa" or "lss"
        Mean of an event's volumes, or a GLM with all events at once, or one per event (for events that overlap).
    hrf_shift : float
        Seconds that the window of a block mean lies after its event.
    hrf_model : str
        Of the GLM; any that nilearn knows.
    detrend : bool
        Remove a straight line from every voxel and run (block means).
    high_pass : float, optional
        Remove drifts slower than this (Hz); 0.01 for a GLM when not given.
    standardise : "none" or "run"
        Z-score every voxel over the patterns of its run; no labels are used.
    stimulus, concept : str
        Columns of the events. Where a file has no `stimulus` column, `concept` names the stimulus as well.
    ignore : list of str
        Concepts that are no trials.
    stimuli_table : str, optional
        CSV or TSV below the data root with `stimulus`, `image`, and optionally `concept`, `split`, `caption`.

    Notes
    -----
    One part is one run; memory is that of one run inside the mask. The repetition time comes from the ``_bold.json``
    beside or above the run, or else from the image's header.
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    space: str | None = None
    mask: str = "mask.nii.gz"
    estimate: Estimate = "lsa"
    hrf_shift: float = 5.0
    hrf_model: str = "spm"
    detrend: bool = True
    high_pass: float | None = None
    standardise: Literal["none", "run"] = "run"
    stimulus: str = "stim_file"
    concept: str = "trial_type"
    ignore: list[str] = field(default_factory=lambda: ["rest", "n/a", ""])
    stimuli_table: str | None = None

    def parts(self, root: Path) -> list[Part]:
        """List the runs; each needs events and a mask."""
        parts = []
        for path in self._runs(root):
            name = re.sub(r"_bold\.nii(\.gz)?$", "", path.name)
            files = (path, _events_file(path, root), self._mask_file(path, root))
            sidecar = _inherited(path, root, "bold.json")
            tables = (*table_files(root, self.stimuli_table), *([sidecar] if sidecar else []))
            parts.append(Part(name, _entities(path)["sub"], (*files, *tables)))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one run and estimate the pattern of every event."""
        path, events_file, mask_file = part.files[:3]
        image, mask_image = _open(path), _open(mask_file)
        mask = _read_mask(mask_image, mask_file, image, path)
        t_r = _repetition_time(path, root, image)
        series = _read_series(image, mask, path)
        events = self._events(events_file, root)
        _require_inside(events, len(series) * t_r, events_file, path)
        try:
            patterns = self._patterns(series, t_r, events)
        except NeurodecError as error:
            raise NeurodecError(f"{events_file}: {error}.") from None
        if self.standardise == "run":
            patterns = zscore_rows(patterns)
        entities = _entities(path)
        table = with_defaults(
            events,
            subject=entities["sub"],
            session=entities.get("ses", "01"),
            run="_".join(entities[key] for key in ("task", "run") if key in entities) or "01",
        )
        info = {
            "modality": "fmri",
            "units": "a.u.",
            "mask_shape": list(mask.shape),
            "voxel_indices": np.flatnonzero(mask).tolist(),
            "affine": mask_image.affine.tolist(),
            "provenance": {},
        }
        return Trials(patterns.astype(np.float32), table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name; pictures below ``stimuli/`` are found."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        table = stimuli_of_events([self._events(_events_file(path, root), root) for path in self._runs(root)])
        pictures = "stimuli/" + table["stimulus"]
        return table.assign(image=pictures.where([(root / picture).is_file() for picture in pictures], ""))

    def _runs(self, root: Path) -> list[Path]:
        wanted = {"sub": self.subjects, "ses": self.sessions, "task": self.tasks}
        wanted["space"] = None if self.space is None else [self.space]
        found = []
        for path in sorted(root.rglob("sub-*_bold.nii*")):
            entities = _entities(path)
            if path.name.endswith((".nii", ".nii.gz")) and all(
                labels is None or entities.get(key) in labels for key, labels in wanted.items()
            ):
                found.append(path)
        absent = set(self.subjects or ()) - {_entities(path)["sub"] for path in found}
        if absent or not found:
            which = f"sub-{min(absent)}" if absent else "sub-*"
            raise NeurodecError(
                f"No {which}_..._bold.nii or .nii.gz (with the wanted session, task and space) below {root}; correct "
                "--data-root or the recipe's dataset section."
            )
        return found

    def _mask_file(self, path: Path, root: Path) -> Path:
        """Return the mask that shares the most entities with the run, in the nearest folder."""
        entities = _entities(path)
        for folder in _upwards(path, root):
            fitting = [
                file for file in folder.glob(f"*{self.mask}") if _entities(file).items() <= entities.items()
            ]
            if fitting:
                return max(fitting, key=lambda file: (len(_entities(file)), file.name))
        raise NeurodecError(
            f"{path} has no brain mask: no file *{self.mask} of subject {entities['sub']} in its folder or above up to "
            f"{root}; put one there (such as sub-{entities['sub']}_desc-brain_mask.nii.gz) or correct `mask`."
        )

    def _events(self, file: Path, root: Path) -> pd.DataFrame:
        events = read_table(file, ("onset", "duration", self.concept))
        events = events[~events[self.concept].isin(self.ignore)]
        wrong = events.index[~(events["duration"] >= 0)]
        if len(wrong):
            raise NeurodecError(
                f"{file} has no duration in seconds at row {wrong[0] + 2} ({events[self.concept][wrong[0]]}); give one."
            )
        column = self.stimulus if self.stimulus in events else self.concept
        events = events.assign(stimulus=events[column])
        if not self.stimuli_table:
            events = events.assign(concept=events[self.concept])
        stimuli = read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None
        return complete_events(events, stimuli, str(file))

    def _patterns(self, series: np.ndarray, t_r: float, events: pd.DataFrame) -> np.ndarray:
        if self.estimate == "block_mean":
            cleaned = clean_series(series, t_r, detrend=self.detrend, high_pass=self.high_pass)
            onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
            return block_means(cleaned, t_r, onsets, durations, self.hrf_shift)
        cleaned = clean_series(series, t_r, detrend=False)
        return glm_betas(
            cleaned,
            t_r,
            events,
            mode=self.estimate,
            hrf_model=self.hrf_model,
            high_pass=self.high_pass or 0.01,
        )


def _entities(path: Path) -> dict[str, str]:
    return dict(_ENTITY.findall(path.name))


def _upwards(path: Path, root: Path) -> list[Path]:
    """Return the run's folder and those above it up to the data root."""
    folders = [path.parent, *path.parent.parents]
    return [folder for folder in folders if folder.is_relative_to(root)]


def _inherited(path: Path, root: Path, suffix: str) -> Path | None:
    """Find a sidecar by the inheritance principle: nearest folder first, its entities a subset of the run's."""
    entities = {key: value for key, value in _entities(path).items() if key != "space"}
    for folder in _upwards(path, root):
        fitting = [file for file in folder.glob(f"*_{suffix}") if _entities(file).items() <= entities.items()]
        if fitting:
            return max(fitting, key=lambda file: (len(_entities(file)), file.name))
    return None


def _events_file(path: Path, root: Path) -> Path:
    file = _inherited(path, root, "events.tsv")
    if file is None:
        expected = re.sub(r"(_space-\w+?)?(_desc-\w+?)?_bold\.nii(\.gz)?$", "_events.tsv", path.name)
        raise NeurodecError(f"{path.with_name(expected)} is missing; every run needs its events.")
    return file


def _repetition_time(path: Path, root: Path, image: nibabel.Nifti1Image) -> float:
    sidecar = _inherited(path, root, "bold.json")
    stated = read_json(sidecar).get("RepetitionTime") if sidecar else None
    in_header = image.header.get_zooms()[3] if len(image.shape) == 4 else 0.0
    if image.header.get_xyzt_units()[1] == "msec":
        in_header /= 1000
    t_r = float(stated or in_header)
    if not 0.05 <= t_r <= 30:
        raise NeurodecError(
            f"{path} gives {t_r:g} s as repetition time; write RepetitionTime in seconds into a _bold.json beside it."
        )
    return t_r


def _open(path: Path) -> nibabel.Nifti1Image:
    try:
        return nibabel.load(path)
    except _DAMAGED as error:
        raise NeurodecError(f"{path} is not a readable NIfTI file ({error}); fetch it again.") from None


def _values(image: nibabel.Nifti1Image, path: Path) -> np.ndarray:
    try:
        return np.asarray(image.dataobj)
    except _DAMAGED as error:
        raise NeurodecError(f"{path} is cut short or damaged ({error}); fetch it again.") from None


def _read_mask(
    mask_image: nibabel.Nifti1Image, mask_file: Path, image: nibabel.Nifti1Image, path: Path
) -> np.ndarray:
    if image.ndim != 4:
        raise NeurodecError(
            f"{path} has {image.ndim} dimensions, a BOLD series has 4; give the series itself."
        )
    mask = _values(mask_image, mask_file) > 0
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


def _read_series(image: nibabel.Nifti1Image, mask: np.ndarray, path: Path) -> np.ndarray:
    """Return the masked series, shape (n_volumes, n_voxels), voxels in C order of the mask."""
    series = _values(image, path)[mask].T.astype(np.float32)
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


def _require_inside(events: pd.DataFrame, n_seconds: float, events_file: Path, path: Path) -> None:
    outside = events.index[(events["onset"] < 0) | (events["onset"] >= n_seconds)]
    if len(outside):
        first = events.loc[outside[0]]
        raise NeurodecError(
            f"{events_file}: {len(outside)} event(s) lie beyond the scan of {n_seconds:g} s ({path.name}), first "
            f"{first['stimulus']} at {first['onset']:g} s; correct the onsets (seconds from the first volume)."
        )
