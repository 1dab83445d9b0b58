"""The Natural Scenes Dataset: where it is, what it weighs, and its pictures as files.

Run: ``python data_prep/nsd.py --data-root NSD [--subjects 1 2 5 7]``. It writes NSD/pictures/nsd00000.png, ..., of what
these people were shown. Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import h5py
from PIL import Image

from neurodec import NeurodecError
from neurodec.data import NSD
from neurodec.files import atomic_path, track

ABOUT = """\
Natural Scenes Dataset (Allen et al. 2022, doi:10.1038/s41593-021-00962-x)
  where    https://naturalscenesdataset.org (access form), then aws s3 cp s3://natural-scenes-dataset/...
  licence  NSD data access agreement: no redistribution, non-commercial; pictures: COCO, Flickr terms
  size     betas of one version at 1.8 mm: about 1 GB a session, 40 sessions a subject; pictures 37 GB
  expected nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5 (or .nii.gz)
           nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz (and floc-*, prf-visualrois, streams)
           nsddata/experiments/nsd/nsd_expdesign.mat
           nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5 (data set imgBrick)"""


def write_pictures(root: Path, subjects: list[int]) -> int:
    """Write the pictures of some people as files, those that are there excepted, and return how many were shown."""
    file = root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    if not file.is_file():
        raise NeurodecError(f"{file} is missing; download it, since the pictures are in it.")
    shown = NSD(subjects).stimuli(root)["stimulus"]
    with h5py.File(file) as opened:
        bricks = opened["imgBrick"]
        for name in track(sorted(shown), "pictures", total=len(shown)):
            target = root / "pictures" / f"{name}.png"
            if not target.exists():
                with atomic_path(target) as partial:
                    Image.fromarray(bricks[int(name.removeprefix("nsd"))]).save(partial, format="PNG")
    return len(shown)


def main() -> int:
    """Print what to download, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 2, 5, 7])
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None:
        return 0
    try:
        print(
            f"{write_pictures(arguments.data_root, arguments.subjects)} pictures in {arguments.data_root / 'pictures'}"
        )
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
