"""Names of electrodes: what they are without a recorder's additions, and which region of the head they tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import mne
import numpy as np

from neurodec.errors import NeurodecError

REGIONS = ("frontal", "parietal", "temporal", "occipital", "central")
_RULE = {
    "AFF": 0, "AFP": 0, "AF": 0, "FP": 0, "FC": 0, "FFC": 0, "F": 0, "N": 0,
    "P": 1, "PPO": 1,
    "FT": 2, "FFT": 2, "FTT": 2, "T": 2, "TTP": 2, "TP": 2, "TPP": 2,
    "PO": 3, "POO": 3, "O": 3, "OI": 3, "I": 3, "CB": 3,
    "FCC": 4, "C": 4, "CCP": 4, "CP": 4, "CPP": 4,
}  # fmt: skip
ELECTRODE = re.compile(r"([A-Z]+?)(Z|\d{1,2}H?)")
_SIDE = re.compile(r"^EEG\s+|[-_ ]?(REF|LE|AR|AVG)$", re.IGNORECASE)
_CENTRE = np.array([0.0, 0.0, 0.04])  # of the head, in its frame (m)
_FAR = np.cos(np.deg2rad(40))
_MODERN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


def plain_name(name: str) -> str:
    """Return a channel's name without what recorders add, in capitals (``EEG Fp1-REF`` and ``Fp1.`` are ``FP1``)."""
    text = _SIDE.sub("", _SIDE.sub("", name.strip())).strip(" .").upper()
    return re.sub(r"\s+", "", text)


def region_of(name: str) -> int:
    """Return the region of an electrode, or of the first one of a pair, by its name.

    Raises
    ------
    NeurodecError
        If the name follows no scheme that is known here.
    """
    found = ELECTRODE.fullmatch(plain_name(name).partition("-")[0])
    if found is None or found[1] not in _RULE:
        raise NeurodecError(
            f"Channel {name} follows no naming of electrodes that is known (10-20, 10-10, 10-5), so its region is "
            "unknown; leave the channel out, rename it, or give a table of regions."
        )
    return _RULE[found[1]]


def modern_name(name: str) -> str:
    """Return the plain name of an electrode, of those that have an old and a new one (T3, T7) the new one."""
    return "-".join(_MODERN.get(part, part) for part in plain_name(name).split("-"))


@cache
def _standard_places() -> tuple[list[str], np.ndarray]:
    """Return the names of 10-05 electrodes that tell a region, and their directions from the centre of the head."""
    name = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    montage = mne.channels.make_standard_montage(name)
    known = [one for one in montage.ch_names if tells_region(one)]
    info = mne.create_info(known, 1.0, "eeg").set_montage(montage, match_case=False, verbose="error")
    return [one.upper() for one in known], _directions(np.array([one["loc"][:3] for one in info["chs"]]))


def placed_names(names: Sequence[str], positions: Sequence[Sequence[float]]) -> list[str]:
    """Return names that tell a region, of the nearest 10-05 electrode where a channel's own does not.

    Parameters
    ----------
    names : sequence of str
        Plain and modern.
    positions : sequence of (x, y, z)
        In the head frame (m). If a named electrode lies more than 40 degrees from where its name says, all names are
        those of the nearest ones.
    """
    standard, directions = _standard_places()
    own = _directions(np.asarray(positions, dtype=float))
    nearest = [standard[place] for place in (own @ directions.T).argmax(axis=1)]
    places = [standard.index(name) if name in standard else None for name in names]
    off = [own[row] @ directions[place] < _FAR for row, place in enumerate(places) if place is not None]
    if any(off):
        return nearest
    return [name if tells_region(name) else stand_in for name, stand_in in zip(names, nearest, strict=True)]


def tells_region(name: str) -> bool:
    """Return whether an electrode's name tells a region."""
    try:
        region_of(name)
    except NeurodecError:
        return False
    return True


def _directions(places: np.ndarray) -> np.ndarray:
    from_centre = places - _CENTRE
    return from_centre / np.linalg.norm(from_centre, axis=1, keepdims=True)
