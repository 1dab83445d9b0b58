"""BOLD5000: where it is, what it weighs, and its lists as the tables that ``configs/in_context/bold5000.yaml`` reads.

Run: ``python data_prep/bold5000.py --data-root BOLD5000``. It writes, from the betas of every session and the list of
pictures of every subject, ``trials_CSI1_01.csv`` and the like, ``stimuli.csv``, and from the masks of visual regions
``CSI1_visual.nii.gz``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from neurodec import NeurodecError
from neurodec.files import atomic_path, write_table

ABOUT = """\
BOLD5000, release 2.0 (Chang et al. 2019, doi:10.1038/s41597-019-0052-3)
  where    https://bold5000-dataset.github.io/website/ (betas of release 2.0, lists of pictures, regions, pictures)
  licence  CC0 (recordings; check the page); pictures of Scene UN, COCO and ImageNet: their own terms
  size     4 subjects, 15 sessions (CSI4: 9), about 0.5 GB of betas a session
  expected CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-01.nii.gz, ... (one volume per trial)
           CSI1_imgnames.txt (one file name per trial of all sessions, in order; repeated pictures may begin with rep_)
           any number of CSI1_*EarlyVis*.nii.gz, LOC, OPA, PPA, RSC: masks on the grid of the betas
           pictures/ (all pictures, in folders or not)"""
BETAS = re.compile(r"(CSI\d)_GLMbetas-.*_ses-?(\d+)\.nii(\.gz)?$")
REGIONS = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")


def write_tables(root: Path) -> dict[str, int]:
    """Write the tables and masks, and return the trials of every subject."""
    sessions: dict[str, dict[str, Path]] = {}
    for file in sorted(root.iterdir()):
        if found := BETAS.match(file.name):
            sessions.setdefault(found[1], {})[found[2].zfill(2)] = file
    if not sessions:
        raise NeurodecError(f"{root} holds no CSI1_GLMbetas-..._ses-01.nii.gz; download the betas there.")
    pictures = {file.name: file.relative_to(root).as_posix() for file in (root / "pictures").rglob("*.*")}
    counts, shown = {}, []
    for subject, files in sessions.items():
        lines = (root / f"{subject}_imgnames.txt").read_text(encoding="utf-8").split()
        names = pd.Series([line.rpartition("/")[2].removeprefix("rep_") for line in lines])
        lengths = [nibabel.load(file).shape[3] for _, file in sorted(files.items())]
        if sum(lengths) != len(names):
            raise NeurodecError(
                f"{subject}_imgnames.txt names {len(names)} trials, the sessions {', '.join(sorted(files))} hold "
                f"{sum(lengths)}; take all sessions, and the list of the same release."
            )
        absent = names[~names.isin(pictures)]
        if len(absent):
            raise NeurodecError(
                f"{len(absent)} pictures are not below pictures/, first {absent.iloc[0]}; put them there."
            )
        repeated = names.map(names.value_counts()) > 1
        table = pd.DataFrame({"stimulus": names, "split": np.where(repeated, "test", "train")})
        for (session, _), end, length in zip(sorted(files.items()), np.cumsum(lengths), lengths, strict=True):
            write_table(root / f"trials_{subject}_{session}.csv", table.iloc[end - length : end])
        _write_mask(root, subject)
        counts[subject] = len(table)
        shown.append(table)
    stimuli = pd.concat(shown).sort_values("split").drop_duplicates("stimulus")  # "test" comes first
    write_table(root / "stimuli.csv", stimuli.assign(image=stimuli["stimulus"].map(pictures)))
    return counts


def _write_mask(root: Path, subject: str) -> None:
    """Write the union of a subject's visual regions."""
    files = [file for name in REGIONS for file in sorted(root.glob(f"{subject}_*{name}*.nii*"))]
    if not files:
        raise NeurodecError(
            f"{root} holds no {subject}_*EarlyVis*.nii.gz and the like; download the regions there."
        )
    images = [nibabel.load(file) for file in files]
    union = np.any([np.asarray(image.dataobj) > 0 for image in images], axis=0)
    print(
        f"{subject}: {int(union.sum())} voxels in {len(files)} regions (of release 1: 1685, 1129, 1466, 2787)"
    )
    with atomic_path(root / f"{subject}_visual.nii.gz") as partial:
        nibabel.save(nibabel.Nifti1Image(union.astype(np.uint8), images[0].affine), partial)


def main() -> int:
    """Print what to download, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None:
        return 0
    try:
        print(write_tables(arguments.data_root))
    except (NeurodecError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
