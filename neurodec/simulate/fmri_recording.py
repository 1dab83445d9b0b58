"""Simulated fMRI as a BIDS folder: NIfTI runs, events, a brain mask."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from nilearn.glm.first_level import spm_hrf
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from neurodec.files import atomic_path, write_json
from neurodec.simulate.evoked_responses import saturate
from neurodec.simulate.rendered_stimuli import Study, shuffled
from neurodec.simulate.sensor_noise import shaped, slow
from neurodec.simulate.sources import AREAS, INNER_RADIUS

T_R = 1.6
SHAPE = (26, 30, 18)
VOXEL = 0.006  # metres
SOA, DURATION = 4.0, 3.0
PER_RUN = 60  # pictures
LEAD, TAIL = 4.8, 14.4  # seconds before the first and after the last picture
SIGNAL, NOISE, DRIFT, BASELINE = 12.0, 10.0, 8.0, 1000.0  # image units
FINE = 0.1  # seconds; resolution of the haemodynamic convolution


@dataclass(frozen=True)
class Brain:
    """One person's voxels and what they prefer.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z)
    weights : list of (ndarray of int, ndarray)
        Per area, its voxels' positions within the mask and their weights on the area's units.
    """

    mask: np.ndarray
    weights: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def draw(cls, rng: np.random.Generator, size: float = 1.0) -> Brain:
        """Draw a person: an ellipsoid mask; every voxel near an area's centres mixes that area's units.

        Parameters
        ----------
        rng : Generator
        size : float
            Of the head; a larger one has a grid of more voxels.
        """
        mask, inside = ellipsoid(size)
        weights = []
        for area in AREAS:
            mirrored = np.abs(inside) * [1, 0, 0] + inside * [0, 1, 1]
            distance = np.linalg.norm(mirrored - area.centre + rng.normal(scale=0.003, size=3), axis=1)
            voxels = np.flatnonzero(distance < 0.016)
            weights.append((voxels, rng.normal(size=(len(voxels), 2 * area.n_sources)).astype(np.float32)))
        return cls(mask, weights)

    def patterns(self, study: Study) -> np.ndarray:
        """Return every picture's pattern (n_pictures, n_voxels), unit variance in driven voxels."""
        patterns = np.zeros((study.n_train + study.n_test, int(self.mask.sum())), dtype=np.float32)
        for drive, (voxels, weights) in zip(study.drives, self.weights, strict=True):
            answers = saturate(drive) @ weights.T
            patterns[:, voxels] += (answers - answers.mean(axis=0)) / answers.std(axis=0)
            patterns[:, voxels] += 1.0  # every picture activates visual cortex
        return patterns

    def areas(self) -> np.ndarray:
        """Return which area each voxel answers for (x, y, z), from 1 in the order of `AREAS`; 0 for none."""
        labels = np.zeros(int(self.mask.sum()), dtype=np.int16)
        for number, (voxels, _) in reversed(list(enumerate(self.weights, start=1))):
            labels[voxels] = number  # where areas overlap, the earlier one
        volume = np.zeros(self.mask.shape, dtype=np.int16)
        volume[self.mask] = labels
        return volume


def ellipsoid(size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return an ellipsoid mask, and where its voxels lie once the ellipsoid is a ball.

    Parameters
    ----------
    size : float
        A larger head has a grid of more voxels.

    Returns
    -------
    mask : ndarray of bool, shape (x, y, z)
    inside : ndarray, shape (n_voxels, 3)
        Metres from the centre (x right, y front, z up), at most 0.95 of `INNER_RADIUS` away.
    """
    shape = tuple(int(np.ceil(size * side)) for side in SHAPE)
    coordinates = (np.indices(shape).reshape(3, -1).T + 0.5 - np.array(shape) / 2) * VOXEL / size
    mask = np.linalg.norm(coordinates / [0.9, 1.1, 0.65], axis=1) < 0.95 * INNER_RADIUS
    return mask.reshape(shape), coordinates[mask] / [0.9, 1.1, 0.65]


def write_subject(root: Path, study: Study, subject: int, repetitions: tuple[int, int], seed: int) -> None:
    """Write one subject's mask and runs of 60 pictures, unless they are there.

    Parameters
    ----------
    root : Path
    study : Study
    subject : int
        From 1.
    repetitions : tuple of int
        Of every training and every test picture.
    seed : int
    """
    rng = np.random.default_rng([seed, 2000 + subject])
    brain = Brain.draw(rng, head_size(subject, seed))
    rows = np.repeat(np.arange(study.n_train + study.n_test), _counts(study, repetitions))
    rows = shuffled(rng, rows, 1)
    patterns = brain.patterns(study) * np.float32(SIGNAL)
    mask_file = root / f"sub-{subject:02d}" / "func" / f"sub-{subject:02d}_desc-brain_mask.nii.gz"
    if not mask_file.exists():
        save(brain.mask.astype(np.uint8), mask_file)
    if not (file := mask_file.with_name(f"sub-{subject:02d}_desc-areas_dseg.nii.gz")).exists():
        save(brain.areas(), file)
    noise = functools.partial(scanner_noise, brain.mask)
    for number, start in enumerate(range(0, len(rows), PER_RUN), start=1):
        file = run_file(root, subject, number)
        if not file.exists():
            run_rng = np.random.default_rng([seed, 2000 + subject, number])
            write_run(file, study, brain.mask, patterns, rows[start : start + PER_RUN], noise, run_rng)


def head_size(subject: int, seed: int) -> float:
    """Return how large a person's head is: people are scanned in native space, with as many voxels as they have."""
    return 1.0 if subject == 1 else float(np.random.default_rng([seed, 3000 + subject]).uniform(0.88, 1.12))


def run_file(root: Path, subject: int, run: int, task: str = "images") -> Path:
    """Return the series of a run."""
    folder = root / f"sub-{subject:02d}" / "func"
    return folder / f"sub-{subject:02d}_task-{task}_run-{run:02d}_bold.nii.gz"


def n_runs(study_counts: tuple[int, int], repetitions: tuple[int, int]) -> int:
    """Return how many runs `write_subject` makes of this many training and test pictures."""
    n_trials = sum(count * times for count, times in zip(study_counts, repetitions, strict=True))
    return -(-n_trials // PER_RUN)


def _counts(study: Study, repetitions: tuple[int, int]) -> np.ndarray:
    return np.repeat(repetitions, [study.n_train, study.n_test])


def write_run(
    file: Path,
    study: Study,
    mask: np.ndarray,
    patterns: np.ndarray,
    rows: np.ndarray,
    noise: Callable[[int, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Write the events of a run, then the series, whose presence says that the run is complete.

    Parameters
    ----------
    file : Path
    study : Study
    mask : ndarray of bool, shape (x, y, z)
    patterns : ndarray, shape (n_pictures, n_voxels), float32
        Height of the response to every picture, image units.
    rows : ndarray of int
        Pictures in the order in which they are shown.
    noise : callable
        Draws (n_scans, n_voxels) from their number and a generator.
    rng : Generator
    """
    onsets = LEAD + SOA * np.arange(len(rows)) + rng.uniform(0, 0.5, len(rows))
    n_scans = int(np.ceil((onsets[-1] + DURATION + TAIL) / T_R))
    table = study.table().query("split != 'gallery'").iloc[rows]
    events = pd.DataFrame({"onset": onsets.round(3), "duration": DURATION})
    events = events.assign(trial_type=table["concept"].to_numpy(), stim_file=table["stimulus"].to_numpy())
    with atomic_path(Path(str(file).replace("_bold.nii.gz", "_events.tsv"))) as partial:
        events.to_csv(partial, sep="\t", index=False)
    regressors = _haemodynamics(events["onset"].to_numpy(), n_scans)
    gains = rng.lognormal(0.0, 0.15, len(rows)).astype(np.float32)
    save_series(regressors @ (patterns[rows] * gains[:, None]) + noise(n_scans, rng), mask, file)


def save_series(series: np.ndarray, mask: np.ndarray, file: Path) -> None:
    """Write what is added to the baseline (n_scans, n_voxels) as whole numbers."""
    volume = np.zeros((*mask.shape, len(series)), dtype=np.int16)
    volume[mask] = np.round(BASELINE + series.T).astype(np.int16)
    save(volume, file)


def _haemodynamics(onsets: np.ndarray, n_scans: int) -> np.ndarray:
    """Convolve each event with SPM's response, peak 1: (n_scans, n_events)."""
    kernel = np.convolve(spm_hrf(FINE, oversampling=1), np.ones(round(DURATION / FINE)))
    kernel /= kernel.max()
    scan_times = (np.arange(n_scans) * T_R)[:, None] - onsets
    times = np.arange(len(kernel)) * FINE
    return np.interp(scan_times, times, kernel, left=0.0, right=0.0).astype(np.float32)


def scanner_noise(mask: np.ndarray, n_scans: int, rng: np.random.Generator) -> np.ndarray:
    """Draw noise (n_scans, n_voxels): smooth in space, first-order autoregressive in time, plus slow drift."""
    white = rng.standard_normal((n_scans, *mask.shape), dtype=np.float32)
    smooth = gaussian_filter(white, sigma=(0, 0.6, 0.6, 0.6))[:, mask]
    noise = lfilter([1.0], [1.0, -0.3], smooth / smooth.std(), axis=0).astype(np.float32)
    drift = (
        shaped(8, n_scans, 1 / T_R, slow(0.008), rng).T @ rng.normal(size=(8, int(mask.sum()))) / np.sqrt(8)
    )
    return np.float32(NOISE) * noise + np.float32(DRIFT) * drift.astype(np.float32)


def save(volume: np.ndarray, file: Path) -> None:
    """Write a volume or a series as NIfTI, the centre of the grid at the origin."""
    affine = np.diag([1000 * VOXEL] * 3 + [1.0])
    affine[:3, 3] = -500 * VOXEL * np.array(volume.shape[:3])
    image = nibabel.Nifti1Image(volume, affine)
    if volume.ndim == 4:
        image.header.set_zooms((*(3 * [1000 * VOXEL]), T_R))
        image.header.set_xyzt_units("mm", "sec")
    with atomic_path(file) as partial:
        nibabel.save(image, partial)


def write_tables(root: Path, study: Study) -> None:
    """Write what a BIDS root holds besides subjects, and ``stimuli.csv`` for the reader."""
    names = pd.DataFrame({"index": range(1, len(AREAS) + 1), "name": [area.name for area in AREAS]})
    with atomic_path(root / "desc-areas_dseg.tsv") as partial:
        names.to_csv(partial, sep="\t", index=False)
    write_descriptions(root, study)


def write_descriptions(root: Path, study: Study) -> None:
    """Write ``dataset_description.json``, the sidecar of the pictures' runs, and ``stimuli.csv``."""
    write_json(root / "dataset_description.json", {"Name": "neurodec simulation", "BIDSVersion": "1.9.0"})
    write_json(root / "task-images_bold.json", {"RepetitionTime": T_R, "TaskName": "images"})
    table = study.table()
    table = table.assign(image="image_set/" + table["image"])
    with atomic_path(root / "stimuli.csv") as partial:
        table.to_csv(partial, index=False)
