"""MOUS: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/schoffelen2019.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import sys

from listened_sets import check

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
    return check(ABOUT, "96 of 96", Schoffelen2019())


if __name__ == "__main__":
    sys.exit(main())
