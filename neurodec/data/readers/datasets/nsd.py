"""The Natural Scenes Dataset (Allen et al. 2022, doi:10.1038/s41593-021-00962-x) from its own folders.

Eight people, 7 T, 750 pictures a session, each shown up to three times. Which picture a trial shows comes from the
experimental design, never from the order of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.readers.hdf5 import check_own
from neurodec.data.readers.nifti import open_image, voxels_of
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError, reading
from neurodec.preprocessing.fmri import zscore_rows

PER_SESSION = 750
N_VOXELS = (15724, 14278, 15226, 13153, 13039, 17907, 12682, 14386)
"""Voxels of `nsdgeneral` above zero, people 1 to 8."""
PERCENT = 300  # integers per percent of signal change
_SHARED = 1000  # the first numbers of the design stand for the pictures that all saw
_BLOCK = 50  # trials read at a time
_LABELS = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0.5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}


@dataclass(frozen=True)
class NSD(Dataset):
    """Read single-trial betas of the Natural Scenes Dataset within a mask.

    ``nsddata_betas/ppdata/subj01/func1pt8mm/<betas>/betas_session01.hdf5`` (or ``.nii.gz``),
    ``nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz`` and ``nsddata/experiments/nsd/nsd_expdesign.mat``.

    Parameters
    ----------
    subjects : list of int
        People; 1, 2, 5 and 7 finished all 40 sessions.
    betas : str
        Version; papers differ, and their scores with them.
    mask : str
        Of the folder ``roi``, or ``brainmask``, the whole brain; voxels above zero count.
    test_within : int
        Test pictures are those of the 1,000 shared ones that the design shows within the first so many sessions: 40
        gives all, 37 the 982 of the first release, 30 the 907 that all eight people saw. The others are left out.
    regions : list of str
        Further files of the folder ``roi``, such as ``floc-faces`` or ``streams``, whose labels name regions.
    standardise : "session" or "none"
        Z-score every voxel by the training trials of its session.

    Notes
    -----
    One part is one session: 47 MB of 15,724 voxels, read 50 trials at a time. Pictures are ``pictures/nsd00000.png``
    below the root, by their number from 0; ``data_prep/nsd.py`` writes them.
    """

    subjects: list[int] = field(default_factory=lambda: [1, 2, 5, 7])
    betas: str = "betas_fithrf_GLMdenoise_RR"
    mask: str = "nsdgeneral"
    test_within: int = 40
    regions: list[str] = field(default_factory=list)
    standardise: str = "session"

    def __post_init__(self) -> None:
        unknown = [number for number in self.subjects if not 1 <= number <= len(N_VOXELS)]
        if unknown or self.standardise not in ("session", "none"):
            raise NeurodecError(
                f"`subjects` holds {unknown[0]}; NSD has people 1 to {len(N_VOXELS)}."
                if unknown
                else f"`standardise` is {self.standardise}; choose session or none."
            )

    def parts(self, root: Path) -> list[Part]:
        """List the sessions that are there."""
        parts = []
        for subject in self.subjects:
            folder = root / "nsddata_betas" / "ppdata" / f"subj{subject:02d}" / "func1pt8mm" / self.betas
            sessions: dict[str, Path] = {}
            for ending in (".nii.gz", ".hdf5"):  # HDF5 is read the quicker
                for file in sorted(folder.glob(f"betas_session*{ending}")):
                    sessions[file.name.removesuffix(ending).removeprefix("betas_session")] = file
            if not sessions:
                raise NeurodecError(
                    f"{folder} holds no betas_session01.hdf5 or .nii.gz; download them, or correct `betas` and "
                    "`subjects`."
                )
            fixed = (_roi(root, subject, self.mask), _design_file(root))
            fixed += tuple(_roi(root, subject, name) for name in self.regions)
            for session, file in sorted(sessions.items()):
                name = f"sub-{subject:02d}_ses-{session}"
                parts.append(Part(name, f"{subject:02d}", (file, *fixed)))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one session."""
        file, mask_file = part.files[:2]
        subject, session = int(part.subject), int(part.name[-2:])
        mask_image = open_image(mask_file)
        mask = np.squeeze(voxels_of(mask_image, mask_file)) > 0
        account = Account(events=PER_SESSION, channels=int(mask.sum()))
        if self.mask == "nsdgeneral" and mask.sum() != N_VOXELS[subject - 1]:
            account.note(f"nsdgeneral has {mask.sum()} voxels, published are {N_VOXELS[subject - 1]:,}")
        responses = _read_betas(file, mask) / PERCENT
        table = self._design(root, subject).iloc[(session - 1) * PER_SESSION : session * PER_SESSION]
        if len(table) < PER_SESSION:
            raise NeurodecError(f"{file} is session {session}, beyond the design; check the file.")
        kept = np.flatnonzero(table["split"] != "")
        account.leave_out("a shared picture that is not of this test", PER_SESSION - len(kept))
        table, responses = table.iloc[kept].reset_index(drop=True), responses[kept]
        if self.standardise == "session":
            responses = zscore_rows(responses, (table["split"] == "train").to_numpy())
        flat = int((np.ptp(responses, axis=0) == 0).sum())
        if flat:
            account.note(f"{flat} voxels of the mask never change in this session")
        info = {
            "modality": "fmri",
            "units": "a.u." if self.standardise == "session" else "percent",
            "mask_shape": list(mask.shape),
            "voxel_indices": np.flatnonzero(mask).tolist(),
            "affine": mask_image.affine.tolist(),
            "provenance": {},
            "account": [account.entry(part.name, len(table), int(mask.sum()))],
        }
        if self.regions:
            info["roi"] = {}
            for path in part.files[3:]:
                info["roi"] |= _regions(path, mask)
        return Trials(responses, with_defaults(table, subject=part.subject, session=f"{session:02d}"), info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the pictures that these people were shown."""
        shown = pd.concat([self._design(root, subject) for subject in self.subjects])
        shown = shown[shown["split"] != ""].drop_duplicates("stimulus")
        table = shown[["stimulus", "concept", "split"]]
        there = (root / "pictures").is_dir()
        images = "pictures/" + table["stimulus"] + ".png" if there else ""
        return table.assign(image=images, caption="").reset_index(drop=True)

    def _design(self, root: Path, subject: int) -> pd.DataFrame:
        """Return stimulus, concept and split of all 30,000 trials of a person."""
        content = ArrayContent.read(_design_file(root))
        order, pictures = (
            np.atleast_2d(content.value(name)).astype(int) for name in ("masterordering", "subjectim")
        )
        order = order.ravel()
        numbers = pictures[subject - 1, order - 1] - 1  # from 0, as in the file of pictures
        tested = np.unique(order[: self.test_within * PER_SESSION])
        shared = order <= _SHARED
        splits = np.where(shared, np.where(np.isin(order, tested), "test", ""), "train")
        names = [f"nsd{number:05d}" for number in numbers]
        return pd.DataFrame({"stimulus": names, "concept": names, "split": splits})


def _design_file(root: Path) -> Path:
    file = root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"
    if not file.is_file():
        raise NeurodecError(f"{file} is missing; it tells which picture each trial shows, so download it.")
    return file


def _roi(root: Path, subject: int, name: str) -> Path:
    folder = root / "nsddata" / "ppdata" / f"subj{subject:02d}" / "func1pt8mm"
    file = (folder if name == "brainmask" else folder / "roi") / f"{name}.nii.gz"
    if not file.is_file():
        raise NeurodecError(f"{file} is missing; download it, or correct `mask` and `regions`.")
    return file


def _read_betas(file: Path, mask: np.ndarray) -> np.ndarray:
    """Return the betas within a mask, shape (750, n_voxels), float32, voxels in C order of the mask."""
    if file.suffix == ".hdf5":
        with reading(file, "a session of betas"), h5py.File(file) as opened:
            check_own(opened, file)
            betas = opened["betas"]  # (trial, z, y, x)
            _require_shape((betas.shape[0], *betas.shape[:0:-1]), mask, file)
            place = np.nonzero(mask)[::-1]
            found = np.empty((PER_SESSION, int(mask.sum())), dtype=np.float32)
            for start in range(0, PER_SESSION, _BLOCK):
                found[start : start + _BLOCK] = betas[start : start + _BLOCK][:, *place]
            return found
    image = open_image(file)
    _require_shape((image.shape[-1], *image.shape[:3]), mask, file)
    return voxels_of(image, file)[mask].T.astype(np.float32)


def _require_shape(shape: tuple[int, ...], mask: np.ndarray, file: Path) -> None:
    if shape != (PER_SESSION, *mask.shape):
        raise NeurodecError(
            f"{file} holds {shape[0]} trials of a volume {shape[1:]}; expected are {PER_SESSION} of {mask.shape}, the "
            "grid of the mask. Fetch it again, or take the mask of the same person and resolution."
        )


def _regions(path: Path, mask: np.ndarray) -> dict[str, list[int]]:
    """Return the regions of a file of labels, by their voxels' number within the mask."""
    name = path.name.removesuffix(".nii.gz")
    labels = np.squeeze(voxels_of(open_image(path), path))
    if labels.shape != mask.shape:
        raise NeurodecError(
            f"{path} has the shape {labels.shape}, the mask {mask.shape}; take one resolution."
        )
    inside = np.round(labels[mask]).astype(int)
    if name not in _LABELS:  # of a functional localiser every label is a patch of the one region
        return {name: np.flatnonzero(inside > 0).tolist()}
    return {
        label: np.flatnonzero(inside == number).tolist()
        for number, label in enumerate(_LABELS[name], start=1)
    }
