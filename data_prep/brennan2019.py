"""Alice in Wonderland: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/brennan2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import sys

from listened_sets import check

from neurodec.data import Brennan2019

ABOUT = """\
Alice in Wonderland, chapter one (Brennan & Hale 2019, doi:10.1371/journal.pone.0207741)
  where    https://deepblue.lib.umich.edu/data/concern/data_sets/bg257f92t
  licence  CC BY 4.0
  size     33 of 42 people, one recording of 12 minutes each, 61 channels at 500 Hz; 4.2 GB
  expected S01.mat, S03.mat, ... (FieldTrip)
           proc/S01.mat, ... (of proc.zip)
           audio/DownTheRabbitHoleFinal_SoundFile1.wav, ..., 12 of them (of audio.zip)
           AliceChapterOne-EEG.csv
Nine people are left out, as in published results; Brennan2019(subjects=[...]) reads any."""


def main() -> int:
    """Print what to download, and count what is there."""
    return check(ABOUT, "33 of 33", Brennan2019())


if __name__ == "__main__":
    sys.exit(main())
