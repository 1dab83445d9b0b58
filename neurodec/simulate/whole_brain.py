"""Several people in one space whose brains have seven networks: some hold what is seen, and one holds nothing.

Visual parcels answer to the stages of the picture network that lie below its embedding, the default network to the
embedding itself, and the dorsal attention network weakly to what late visual parcels answer to. After every picture a
button is pressed. Networks fluctuate together, at rest as well; the limbic one does not, and is nothing but noise.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.cluster.vq import kmeans2

from neurodec.files import atomic_path, write_json
from neurodec.simulate.drive import STAGES
from neurodec.simulate.evoked_responses import saturate
from neurodec.simulate.fmri_recording import (
    PER_RUN,
    T_R,
    ellipsoid,
    run_file,
    save,
    save_series,
    scanner_noise,
    write_descriptions,
    write_run,
)
from neurodec.simulate.rendered_stimuli import Study, shuffled
from neurodec.simulate.sensor_noise import shaped
from neurodec.simulate.sources import INNER_RADIUS

# Roughly where the seven networks of Yeo et al. (2011, doi:10.1152/jn.00338.2011) lie in the right hemisphere, in radii
# of the head (x right, y front, z up); names as in the atlas of Schaefer et al. (2018, doi:10.1093/cercor/bhx179).
NETWORKS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "Vis": ((0.2, -0.6, 0.1), (0.4, -0.5, -0.3)),
    "SomMot": ((0.2, -0.1, 0.6), (0.7, 0.0, 0.5)),
    "DorsAttn": ((0.4, -0.5, 0.6), (0.4, 0.4, 0.6)),
    "SalVentAttn": ((0.4, 0.3, 0.0), (0.8, -0.2, 0.1)),
    "Limbic": ((0.2, 0.5, -0.7), (0.4, 0.0, -0.9)),
    "Cont": ((0.7, 0.5, 0.2), (0.7, -0.5, 0.3)),
    "Default": ((0.1, 0.7, 0.2), (0.15, -0.2, 0.2), (0.6, 0.0, -0.4)),
}
EMPTY = "Limbic"
DRIVEN = {"Vis": ("pixels", "early", "middle", "late"), "DorsAttn": ("late",), "Default": ("embedding",)}
"""What drives a network's parcels, from the back of the head to the front."""
N_PER_SIDE = 50  # parcels of a hemisphere
N_UNITS = 24  # of every stage
SIGNAL = {"Vis": 12.0, "DorsAttn": 4.0, "Default": 12.0}
"""Deviation over pictures of the response of a voxel, image units."""
MEAN = {"Vis": 12.0, "SomMot": 12.0}
"""Response to every picture, and to the button that follows it, image units."""
OF_PARCEL, OF_PEOPLE = 0.5, 0.9
"""Share of the variance of weights that all voxels of a parcel have in common, and of that, all people."""
RESTING, BAND = 3.0, (0.01, 0.1)
"""Deviation (image units) and frequencies (hertz) of what a network's parcels do together.

Biswal et al. (1995, doi:10.1002/mrm.1910340409) found them below 0.1 Hz.
"""
N_RESTING = 200  # volumes of a run at rest
_PERSON, _REST, _ORDER = 4000, 5000, 6000  # what a random stream is for; person 0 is what all share


@dataclass(frozen=True)
class Parcellation:
    """The parcels, which are those of all people.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z)
    labels : ndarray of int, shape (n_voxels,)
        Parcel of every voxel in the mask, from 1.
    table : DataFrame
        `index` (the label), `name` and `network` of every parcel: by network, from the back to the front, left before
        right.
    """

    mask: np.ndarray
    labels: np.ndarray
    table: pd.DataFrame

    @classmethod
    def of_head(cls) -> Parcellation:
        """Cut the head into compact parcels, the left half as the right one; always the same."""
        mask, inside = ellipsoid()
        right = inside[:, 0] > 0
        folded = inside / (0.95 * INNER_RADIUS)
        folded[:, 0] = np.abs(folded[:, 0])
        first = np.random.default_rng(0).permutation(folded[right])[:N_PER_SIDE]
        centres = kmeans2(folded[right], first, iter=30, minit="matrix")[0]
        networks = [_network(centre) for centre in centres]
        ranks = {network: rank for rank, network in enumerate(NETWORKS)}
        order = np.lexsort((centres[:, 1], [ranks[network] for network in networks]))
        nearest = np.linalg.norm(folded[:, None] - centres[order], axis=2).argmin(axis=1)
        network = pd.Series(np.repeat(np.array(networks)[order], 2))
        number = (network.groupby(network).cumcount() + 1).astype(str).str.zfill(2)
        table = pd.DataFrame({"index": network.index + 1, "name": network + "-" + number, "network": network})
        return cls(mask, 2 * nearest + right + 1, table)

    def parcels(self, network: str) -> np.ndarray:
        """Return the labels of a network's parcels."""
        return self.table.loc[self.table["network"] == network, "index"].to_numpy()

    def voxels(self, network: str) -> np.ndarray:
        """Return which voxels of the mask belong to a network, bool (n_voxels,)."""
        return np.isin(self.labels, self.parcels(network))

    def write(self, root: Path) -> None:
        """Write ``atlas/``, unless it is there."""
        image, table = _atlas_files(root)
        if not table.exists():
            with atomic_path(table) as partial:
                self.table.to_csv(partial, sep="\t", index=False)
        if not image.exists():
            volume = np.zeros(self.mask.shape, dtype=np.int16)
            volume[self.mask] = self.labels
            save(volume, image)


def patterns(study: Study, parcellation: Parcellation, subject: int, seed: int) -> np.ndarray:
    """Draw a person and return the response of every voxel to every picture.

    Parameters
    ----------
    study : Study
    parcellation : Parcellation
    subject : int
        From 1.
    seed : int

    Returns
    -------
    ndarray, shape (n_pictures, n_voxels), float32
        Image units; training pictures, then test pictures.
    """
    people, person = (np.random.default_rng([seed, _PERSON + number]) for number in (0, subject))
    found = np.zeros((study.n_train + study.n_test, len(parcellation.labels)), dtype=np.float32)
    for network, stages in DRIVEN.items():
        parts = np.array_split(parcellation.parcels(network), len(stages))
        for stage, parcels in zip(stages, parts, strict=True):
            rates = saturate(study.drive.units(stage, N_UNITS, seed=STAGES.index(stage)))
            for parcel in parcels:
                voxels = np.flatnonzero(parcellation.labels == parcel)
                common, own = people.normal(size=N_UNITS), person.normal(size=N_UNITS)
                shared = np.sqrt(OF_PEOPLE) * common + np.sqrt(1 - OF_PEOPLE) * own
                single = person.normal(size=(len(voxels), N_UNITS))
                weights = np.sqrt(OF_PARCEL) * shared + np.sqrt(1 - OF_PARCEL) * single
                answers = rates @ weights.T
                found[:, voxels] = SIGNAL[network] * (answers - answers.mean(axis=0)) / answers.std(axis=0)
    for network, height in MEAN.items():
        found[:, parcellation.voxels(network)] += np.float32(height)
    return found


def background(parcellation: Parcellation, n_scans: int, rng: np.random.Generator) -> np.ndarray:
    """Draw what a brain at rest does under the scanner's noise, (n_scans, n_voxels), image units."""
    series = scanner_noise(parcellation.mask, n_scans, rng)
    empty = parcellation.voxels(
        EMPTY
    )  # its noise is its own: smoothness would make it tell of its neighbours'
    series[:, empty] = scanner_noise(parcellation.mask, n_scans, rng)[:, empty]
    courses = shaped(len(NETWORKS), n_scans, 1 / T_R, _in_band, rng)
    for network, course in zip(NETWORKS, courses, strict=True):
        if network != EMPTY:
            series[:, parcellation.voxels(network)] += np.float32(RESTING) * course[:, None]
    return series


def files(
    root: Path, n_subjects: int, counts: tuple[int, int], repetitions: tuple[int, int], n_rest: int
) -> list[Path]:
    """List the files of a finished simulation: those of the atlas, then the recordings.

    Parameters
    ----------
    root : Path
    n_subjects : int
    counts, repetitions : tuple of int
        How many training and test pictures there are, and how often each is shown.
    n_rest : int
        Runs at rest of every person.
    """
    subjects = range(1, n_subjects + 1)
    n_runs = sum(_n_runs(count * times) for count, times in zip(counts, repetitions, strict=True))
    runs = [("images", run) for run in range(1, n_runs + 1)]
    runs += [("rest", run) for run in range(1, n_rest + 1)]
    recordings = [run_file(root, subject, run, task) for subject in subjects for task, run in runs]
    return [*_atlas_files(root), *(_mask_file(root, subject) for subject in subjects), *recordings]


def write_tables(root: Path, study: Study, n_rest: int) -> Parcellation:
    """Write the atlas and what else a BIDS root holds besides subjects; return the parcels."""
    parcellation = Parcellation.of_head()
    parcellation.write(root)
    write_descriptions(root, study)
    if n_rest:
        write_json(root / "task-rest_bold.json", {"RepetitionTime": T_R, "TaskName": "rest"})
    return parcellation


def write_subject(
    root: Path,
    study: Study,
    parcellation: Parcellation,
    subject: int,
    repetitions: tuple[int, int],
    n_rest: int,
    seed: int,
) -> None:
    """Write one person's mask, runs at rest, and runs of 60 pictures, unless they are there.

    Parameters
    ----------
    root : Path
    study : Study
    parcellation : Parcellation
    subject : int
        From 1.
    repetitions : tuple of int
        Of every training and every test picture.
    n_rest : int
        Runs at rest.
    seed : int
    """
    mask, noise = parcellation.mask, functools.partial(background, parcellation)
    if not (file := _mask_file(root, subject)).exists():
        save(mask.astype(np.uint8), file)
    for number in range(1, n_rest + 1):
        if not (file := run_file(root, subject, number, "rest")).exists():
            run_rng = np.random.default_rng([seed, _REST + subject, number])
            save_series(noise(N_RESTING, run_rng), mask, file)
    heights = patterns(study, parcellation, subject, seed)
    rng = np.random.default_rng([seed, _ORDER + subject])
    for number, rows in enumerate(_order((study.n_train, study.n_test), repetitions, rng), start=1):
        if not (file := run_file(root, subject, number)).exists():
            run_rng = np.random.default_rng([seed, _PERSON + subject, number])
            write_run(file, study, mask, heights, rows, noise, run_rng)


def _order(
    counts: tuple[int, int], repetitions: tuple[int, int], rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw which pictures every run shows, as numbers from 0.

    Training and test pictures have runs of their own, as in Horikawa & Kamitani (2017, doi:10.1038/ncomms15037). Slow
    noise agrees by chance between networks of one run, so that in mixed runs the empty network would clean the others.
    """
    train, test = np.arange(counts[0]), counts[0] + np.arange(counts[1])
    shown = [shuffled(rng, rows, times) for rows, times in zip((train, test), repetitions, strict=True)]
    return [run for rows in shown for run in np.array_split(rows, _n_runs(len(rows)))]


def _n_runs(n_trials: int) -> int:
    return -(-n_trials // PER_RUN)


def _network(place: np.ndarray) -> str:
    """Return the network that has the nearest centre."""
    nearest = {name: np.linalg.norm(place - np.array(own), axis=1).min() for name, own in NETWORKS.items()}
    return min(nearest, key=lambda name: nearest[name])


def _in_band(frequency: np.ndarray) -> np.ndarray:
    return ((frequency >= BAND[0]) & (frequency <= BAND[1])).astype(float)


def _atlas_files(root: Path) -> tuple[Path, Path]:
    return root / "atlas" / "parcels_dseg.nii.gz", root / "atlas" / "parcels_dseg.tsv"


def _mask_file(root: Path, subject: int) -> Path:
    return run_file(root, subject, 1).with_name(f"sub-{subject:02d}_desc-brain_mask.nii.gz")
