"""Alice in Wonderland: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/brennan2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None:
        return 0
    try:
        reader = Brennan2019()
        parts = reader.parts(arguments.data_root)
        heard = reader.stimuli(arguments.data_root)
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    people = {part.subject for part in parts}
    counts = ", ".join(f"{count} {split}" for split, count in heard["split"].value_counts().items())
    print(f"{len(parts)} recordings of {len(people)} people, of 33 of 33; segments: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
