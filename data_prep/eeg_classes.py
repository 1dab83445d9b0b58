"""The sixteen sets of EEG with classes: where they are, what they weigh, and what a folder of one holds.

Run: ``python data_prep/eeg_classes.py BCICIV2a``, and with ``--data-root DIR [--split by_people]`` to have the
recordings of each split counted. Nothing is converted: the recipes ``csbrain/...`` read the folders as they are
distributed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import neurodec.data
from neurodec import NeurodecError

ON_APPLICATION = "on application, for research"
TUH = "https://isip.piconepress.com/projects/tuh_eeg"
# Name of the reader: recipe, where, licence (check the page), size.
SETS = {
    "BCICIV2a": (
        "bciciv2a",
        "http://bnci-horizon-2020.eu/database/data-sets (001-2014)",
        "CC BY-ND 4.0",
        "0.8 GB",
    ),
    "PhysioNetMI": ("physionet-mi", "https://physionet.org/content/eegmmidb", "ODC-By 1.0", "3.4 GB"),
    "SHUMI": ("shu-mi", "https://doi.org/10.6084/m9.figshare.19228725", "CC BY 4.0", "3 GB"),
    "FACED": ("faced", "https://doi.org/10.7303/syn50614194", ON_APPLICATION, "12 GB (Processed_data)"),
    "SEEDV": ("seed-v", "https://bcmi.sjtu.edu.cn/home/seed/seed-v.html", ON_APPLICATION, "40 GB (EEG_raw)"),
    "SEEDVIG": ("seed-vig", "https://bcmi.sjtu.edu.cn/home/seed/seed-vig.html", ON_APPLICATION, "4 GB"),
    "CHBMIT": ("chb-mit", "https://physionet.org/content/chbmit", "ODC-By 1.0", "43 GB"),
    "Siena": ("siena", "https://physionet.org/content/siena-scalp-eeg", "CC BY 4.0", "20 GB"),
    "ISRUC": ("isruc", "https://sleeptight.isr.uc.pt (subgroup 1)", "free for research", "35 GB"),
    "HMC": ("hmc", "https://physionet.org/content/hmc-sleep-staging", "CC BY 4.0", "15 GB"),
    "BCIC2020": ("bcic2020-3", "https://osf.io/pq7vb (track 3)", "see the page", "2 GB"),
    "MentalArithmetic": ("mental-arithmetic", "https://physionet.org/content/eegmat", "ODC-By 1.0", "0.2 GB"),
    "Mumtaz2016": ("mumtaz2016", "https://doi.org/10.6084/m9.figshare.4244171", "CC BY 4.0", "1 GB"),
    "TUAB": ("tuab", TUH, ON_APPLICATION, "58 GB"),
    "TUEV": ("tuev", TUH, ON_APPLICATION, "19 GB"),
    "TUSL": ("tusl", TUH, ON_APPLICATION, "1.6 GB"),
}


def main() -> int:
    """Print what to download, and count what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(SETS))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--split", choices=["published", "by_people"], default="published")
    arguments = parser.parse_args()
    recipe, where, licence, size = SETS[arguments.dataset]
    reader = getattr(neurodec.data, arguments.dataset)(split=arguments.split)
    print(
        f"{arguments.dataset}\n  where    {where}\n  licence  {licence}\n  size     about {size}\n"
        f"  expected {reader.layout}\n  recipe   neurodec run csbrain/{recipe} --data-root DIR --out OUT"
    )
    if arguments.data_root is None:
        return 0
    try:
        parts, sources = reader.parts(arguments.data_root), reader.sources(arguments.data_root)
    except NeurodecError as error:
        print(error, file=sys.stderr)
        return 2
    people = len({part.subject for part in parts})
    counts = Counter(source.split for source in sources)
    told = ", ".join(
        f"{count} {'of several splits' if name == 'cv' else name}" for name, count in counts.items()
    )
    print(f"  found    {len(parts)} recordings of {people} people: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
