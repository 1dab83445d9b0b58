"""Which region of the head an electrode belongs to, and in which order CSBrain reads electrodes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurodec.errors import NeurodecError
from neurodec.preprocessing.electrodes import ELECTRODE, REGIONS, modern_name, placed_names, region_of


@dataclass(frozen=True)
class Montage:
    """Channels of a recording, by region.

    Parameters
    ----------
    regions : tuple of int
        Region (place in `REGIONS`) of every channel, in the user's order.
    order : tuple of int
        The channels, regions one after the other.
    names : tuple of str
        Of the channels, where they are known.
    """

    regions: tuple[int, ...]
    order: tuple[int, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_chans = len(self.regions)
        if not n_chans:
            raise NeurodecError("The montage holds no channel; name at least one.")
        if sorted(self.order) != list(range(n_chans)):
            raise NeurodecError(
                f"The order of the montage is not a permutation of its {n_chans} channels; name each once."
            )
        ordered = [self.regions[place] for place in self.order]
        if ordered != sorted(ordered) or not set(ordered) <= set(range(len(REGIONS))):
            raise NeurodecError(
                "The order of the montage mixes regions, or names one beyond "
                f"{len(REGIONS) - 1}; list the channels of region 0 first, then those of 1, and so on."
            )

    @classmethod
    def of(
        cls,
        ch_names: Sequence[str],
        tables: Mapping[str, Sequence[str]] | str | None = None,
        positions: Sequence[Sequence[float]] | None = None,
    ) -> Montage:
        """Return the montage of named channels.

        Parameters
        ----------
        ch_names : sequence of str
            10-20, 10-10 or 10-5 names, old (T3) or new (T7), in any case; a pair (``F7-T7``) is taken for the region of
            its first electrode where no table says otherwise.
        tables : dict or str, optional
            Region to its channels in the order in which they are read, or the name of a published table
            (`published_tables`). Without, the rule of names: Fp, AF, F and FC frontal, P parietal, FT, T and TP
            temporal, PO, O and I occipital, C and CP central; from left to right.
        positions : sequence of (x, y, z), optional
            Places in the head frame (m). A channel of no known name is taken for the electrode of the 10-05 system that
            is nearest to it; and so are all, if a named one lies elsewhere than its name says, as on caps that count
            their electrodes (A1 ... D32).

        Raises
        ------
        NeurodecError
            If a name is unknown, or occurs twice.
        """
        names = [modern_name(name) for name in ch_names]
        if isinstance(tables, str):
            return _published(tables, names, ch_names)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise NeurodecError(f"Channel {repeated[0]} occurs twice in the montage; keep one.")
        if tables is None:
            names = names if positions is None else placed_names(names, positions)
            regions = [region_of(name) for name in names]
            order = sorted(range(len(names)), key=lambda place: (regions[place], *_from_left(names[place])))
            return cls(tuple(regions), tuple(order), tuple(ch_names))
        return _by_table(names, {str(region): list(own) for region, own in tables.items()}, ch_names)

    @property
    def counts(self) -> list[int]:
        """Electrodes of every region."""
        return [self.regions.count(region) for region in range(len(REGIONS))]

    def mask(self) -> Tensor:
        """Return which electrodes attend each other, in order of regions, bool (C, C).

        Group `g` holds from every region electrode ``g mod n``; two electrodes of a group attend each other.
        """
        counts = [count for count in self.counts if count]
        starts = np.cumsum([0, *counts[:-1]])
        groups = np.arange(max(counts))[:, None] % np.array(counts) + starts  # (G, R)
        member = np.zeros((len(groups), sum(counts)), dtype=bool)
        np.put_along_axis(member, groups, True, axis=1)
        return torch.from_numpy((member[:, :, None] & member[:, None]).any(axis=0))

    def described(self) -> dict[str, Any]:
        """Return the table as plain values, to be kept with weights."""
        return {"regions": list(self.regions), "order": list(self.order), "names": list(self.names)}


@cache
def published_tables() -> dict[str, Any]:
    """Return the published montages by name: `channels` as they are read, and `regions` in their order."""
    return json.loads(
        (files("neurodec.encoders.csbrain") / "csbrain_montages.json").read_text(encoding="utf-8")
    )


def _from_left(name: str) -> tuple[int, str]:
    """Sort electrodes from left (odd, large numbers first) over the midline to the right, front rows first."""
    found = ELECTRODE.fullmatch(name.partition("-")[0])
    number = 0 if found[2] == "Z" else int(re.sub(r"\D", "", found[2]))
    return (-number if number % 2 else number), name


def _published(title: str, names: list[str], shown: Sequence[str]) -> Montage:
    """Return a published montage for channels that are those of its table, in any order."""
    if title not in published_tables():
        raise NeurodecError(
            f"There is no published montage {title}; choose among {', '.join(published_tables())}."
        )
    table = published_tables()[title]
    inputs = [modern_name(name) for name in table["channels"]]
    if sorted(inputs) != sorted(names):
        missing, more = sorted(set(inputs) - set(names)), sorted(set(names) - set(inputs))
        raise NeurodecError(
            f"The channels are not those of the montage {title}: {', '.join(missing) or 'none'} are missing, "
            f"{', '.join(more) or 'none'} are not in it."
        )
    return _by_table(names, table["regions"], shown)


def _by_table(names: list[str], tables: dict[str, list[str]], shown: Sequence[str]) -> Montage:
    """Return the montage of a table; a name that occurs twice is taken in the order of the channels."""
    left: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        left.setdefault(name, []).append(place)
    regions, order = [-1] * len(names), []
    known = {
        **{str(place): place for place in range(len(REGIONS))},
        **{name: i for i, name in enumerate(REGIONS)},
    }
    for region in sorted(tables, key=lambda text: known.get(text, -1)):
        if region not in known:
            raise NeurodecError(f"The table names the region {region}; choose among {', '.join(REGIONS)}.")
        for name in tables[region]:
            places = left.get(modern_name(name), [])
            if places:
                place = places.pop(0)
                regions[place] = known[region]
                order.append(place)
    without = [names[place] for place, region in enumerate(regions) if region < 0]
    if without:
        raise NeurodecError(f"The table has no region for the channel(s) {', '.join(without)}; complete it.")
    return Montage(tuple(regions), tuple(order), tuple(shown))
