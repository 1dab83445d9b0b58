"""MEG-MASC: where it is, what it weighs, and whether a folder has what the reader needs.

Run: ``python data_prep/gwilliams2022.py [--data-root DIR]``. Without arguments it only prints what to download.
"""

from __future__ import annotations

import sys

from listened_sets import check

from neurodec.data import Gwilliams2022

ABOUT = """\
MEG-MASC (Gwilliams et al. 2023, doi:10.1038/s41597-023-02752-5)
  where    https://osf.io/ag3kj/ (and its further parts, linked there)
  licence  CC0
  size     27 people, 196 recordings of a KIT MEG, 56 hours, 1000 Hz
  expected participants.tsv
           sub-01/ses-0/meg/sub-01_ses-0_task-0_meg.con, with its _events.tsv (sessions 0 and 1, tasks 0 to 3)
           stimuli/audio/lw1_0.wav, ..., cable_spool_fort_*.wav, easy_money_*.wav, the_black_willow_*.wav
Some combinations of session and task do not exist; they are skipped, and named in the account of the study."""


def main() -> int:
    """Print what to download, and count what is there."""
    return check(ABOUT, "196 of 27", Gwilliams2022())


if __name__ == "__main__":
    sys.exit(main())
