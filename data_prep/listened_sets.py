"""What the scripts of recorded listeners share: what to download, and whether a folder has what the reader needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodec import NeurodecError
from neurodec.data import Dataset


def check(about: str, planned: str, reader: Dataset, older: Dataset | None = None) -> int:
    """Print what to download, and count what is there.

    Parameters
    ----------
    about : str
        Text to print.
    planned : str
        How many recordings and people the data set has, in words.
    reader : Dataset
    older : Dataset, optional
        Reader of an older form, which ``--mat`` takes.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    if older is not None:
        parser.add_argument("--mat", action="store_true", help="the older files of MATLAB")
    arguments = parser.parse_args()
    print(about)
    if arguments.data_root is None:
        return 0
    if older is not None and arguments.mat:
        reader = older
    try:
        parts = reader.parts(arguments.data_root)
        heard = reader.stimuli(arguments.data_root)
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    people = {part.subject for part in parts}
    counts = ", ".join(f"{count} {split}" for split, count in heard["split"].value_counts().items())
    print(f"{len(parts)} recordings of {len(people)} people, of {planned}; segments: {counts}")
    return 0
