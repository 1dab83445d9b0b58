"""THINGS-EEG2: where it is, what it weighs, and raw files to one prepared folder.

Run: ``python data_prep/things_eeg2.py --data-root THINGS-EEG2 --out PREPARED [--subjects 1 8] [--form raw]``.
Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
from neurodec.data import ThingsEEG2, prepare

ABOUT = """\
THINGS-EEG2 (Gifford, Dwivedi, Roig & Cichy 2022, doi:10.1016/j.neuroimage.2022.119754)
  where    https://osf.io/3jk45/ (recordings and image set)
  licence  recordings CC BY 4.0 (check the page); pictures: THINGS, academic use only, see https://osf.io/jum2f/
  size     raw 10 subjects x 4 sessions, about 2 GB a session; prepared 5.2 GB a subject
  expected Raw_data/sub-01..10/ses-01..04/raw_eeg_{training,test}.npy
           image_set/training_images/<00001_concept>/<picture>.jpg (1,654 x 10)
           image_set/test_images/<00001_concept>/<picture>.jpg (200)
           image_set/center_images/<00001_concept>/<picture>.jpg (optional: the concept-centre gallery)
           image_set/image_metadata.npy (optional: checks the order of the pictures)"""


def main() -> int:
    """Print what to download, and prepare what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+")
    parser.add_argument("--form", choices=["raw", "preprocessed", "neurobridge"], default="raw")
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None or arguments.out is None:
        return 0
    try:
        prepare(
            ThingsEEG2(subjects=arguments.subjects, form=arguments.form), arguments.data_root, arguments.out
        )
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
