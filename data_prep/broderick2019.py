"""The Old Man and the Sea: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/broderick2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import sys

from listened_sets import check

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
    return check(ABOUT, "380 of 19", Broderick2019(), Broderick2019Mat())


if __name__ == "__main__":
    sys.exit(main())
