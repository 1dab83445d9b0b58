"""The Old Man and the Sea: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/broderick2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
from neurodec.data import Broderick2019, Broderick2019Mat

ABOUT = """\
The Old Man and the Sea (Broderick et al. 2018, doi:10.1016/j.cub.2018.01.080)
  where    https://openneuro.org/datasets/ds004408, recommended; as .mat: doi:10.5061/dryad.070jc, Natural Speech
  licence  CC0
  size     19 people, 20 runs each, 19 hours; BIDS 18.7 GB at 512 Hz, .mat at 128 Hz
  expected sub-001/eeg/sub-001_task-listening_run-01_eeg.vhdr (with .eeg, .vmrk), ..., sub-019, run-20
           stimuli/audio01.wav, stimuli/audio01.TextGrid, ..., 20 of each
           or, with --mat: Natural Speech/EEG/Subject1/Subject1_Run1.mat, ...
           Natural Speech/Stimuli/audio1.wav, audio1.json (of the aligner Gentle), ..., not in that archive"""


def main() -> int:
    """Print what to download, and count what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--mat", action="store_true", help="the older files of MATLAB")
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None:
        return 0
    try:
        reader = Broderick2019Mat() if arguments.mat else Broderick2019()
        parts = reader.parts(arguments.data_root)
        heard = reader.stimuli(arguments.data_root)
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    people = {part.subject for part in parts}
    counts = ", ".join(f"{count} {split}" for split, count in heard["split"].value_counts().items())
    print(f"{len(parts)} recordings of {len(people)} people, of 380 of 19; segments: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
