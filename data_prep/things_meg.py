"""THINGS-MEG: where it is, what it weighs, and its preprocessed epochs to one prepared folder.

Run: ``python data_prep/things_meg.py --data-root THINGS-MEG --out PREPARED [--subjects 1 2] [--whiten zscore]``.
Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
from neurodec.data import ThingsMEG, prepare

ABOUT = """\
THINGS-MEG (Hebart et al. 2023, doi:10.7554/eLife.82580)
  where    https://openneuro.org/datasets/ds004212 (derivatives/preprocessed); pictures and lists: https://osf.io/jum2f/
  licence  recordings CC0; pictures: THINGS, academic use only
  size     4 participants, about 8 GB each; prepared 4.8 GB each
  expected derivatives/preprocessed/preprocessed_P1..4-epo.fif with their split files -1, -2, ...
           image_paths.csv, image_concept_index.csv (26,107 lines each, no header) below the root or image_set/
           the pictures that image_paths.csv names, below the root or image_set/
Not the picture set of THINGS-EEG2: the lists map events to pictures, and another set maps them wrongly."""


def main() -> int:
    """Print what to download, and prepare what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+")
    parser.add_argument("--whiten", choices=["none", "zscore"], default="none", help="zscore as NeuroBridge")
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None or arguments.out is None:
        return 0
    try:
        prepare(
            ThingsMEG(subjects=arguments.subjects, whiten=arguments.whiten),
            arguments.data_root,
            arguments.out,
        )
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
