"""MOUS: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/schoffelen2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
from neurodec.data import Schoffelen2019

ABOUT = """\
MOUS, Mother Of all Unification Studies (Schoffelen et al. 2019, doi:10.1038/s41597-019-0020-y), its listeners
  where    https://data.ru.nl/collections/di/dccn/DSC_3011020.09_236 (with an account)
  licence  RU-DI-HD-1.0, the data use agreement of the Donders Institute: no redistribution
  size     96 listeners, one recording of a CTF MEG each, 81 hours, 1200 Hz
  expected sub-A2002/meg/sub-A2002_task-auditory_meg.ds, with its _events.tsv
           stimuli/audio_files/EQ_Ramp_Int2_Int1LPF001.wav, ...
           stimuli/audio_files/EQ_Ramp_Int2_Int1LPF001.TextGrid, ... (or in stimuli/, or derivatives/phonemes/)
The release does not tell when words are said: align every sound with its line of stimuli/stimuli.txt (with a forced
aligner that knows Dutch) to a TextGrid with the tier words. Readers (sub-V*) are not read."""


def main() -> int:
    """Print what to download, and count what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_args()
    print(ABOUT)
    if arguments.data_root is None:
        return 0
    try:
        reader = Schoffelen2019()
        parts = reader.parts(arguments.data_root)
        heard = reader.stimuli(arguments.data_root)
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    people = {part.subject for part in parts}
    counts = ", ".join(f"{count} {split}" for split, count in heard["split"].value_counts().items())
    print(f"{len(parts)} recordings of {len(people)} people, of 96 of 96; segments: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
