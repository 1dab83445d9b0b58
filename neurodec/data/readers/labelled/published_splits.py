"""Training, validation and test parts of every data set of classes, read from ``published_splits.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neurodec.errors import NeurodecError

Split = Literal["published", "by_people"]
SPLITS = ("train", "validation", "test")


@cache
def tables() -> dict[str, dict[str, Any]]:
    """Return the file of splits: name of the reader to the ways of splitting it."""
    return json.loads(Path(__file__).with_name("published_splits.json").read_text(encoding="utf-8"))


def split_of(dataset: str, split: Split, names: Sequence[str]) -> dict[str, str]:
    """Return the split of every person or file of a data set.

    Parameters
    ----------
    dataset : str
        Name of the reader.
    split : {"published", "by_people"}
    names : sequence of str
        All of them, in the order that the file of splits counts in.

    Raises
    ------
    NeurodecError
        If there are others, or another number, than the published split is of.
    """
    told = tables()[dataset][split]
    if "shares" in told:
        shuffled = (
            list(np.random.default_rng(0).permutation(sorted(names))) if told.get("shuffled") else names
        )
        return by_shares(shuffled, told["shares"])
    if "in_order" in told:
        return in_order(dataset, names, told["in_order"], told["of"])
    found = {name: one for one in SPLITS for name in told[one]}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise NeurodecError(
            f"The split {split} of {dataset} does not know {unknown[0]}; it is of {', '.join(list(found)[:12])}, ...: "
            "correct the name, or take split: by_people."
        )
    return {name: found[name] for name in names}


def in_order(dataset: str, names: Sequence[str], counts: Sequence[int | None], of: str) -> dict[str, str]:
    """Split names in their order: the first so many, the next, the others.

    Parameters
    ----------
    dataset : str
        For messages.
    names : sequence of str
    counts : sequence of int
        Of training, validation and test; the last is None where all others are tested.
    of : str
        What they are, for messages.

    Raises
    ------
    NeurodecError
        If there are fewer or more.
    """
    known = [count for count in counts if count is not None]
    fits = len(names) == sum(known) if len(known) == len(counts) else len(names) > sum(known)
    if not fits:
        wanted = sum(known) if len(known) == len(counts) else f"more than {sum(known)}"
        raise NeurodecError(
            f"The published split of {dataset} is of {wanted} {of}, and there are {len(names)}; complete the data set, "
            "or take split: by_people."
        )
    first, second = known[0], known[0] + known[1]
    return {
        name: SPLITS[0] if place < first else SPLITS[1] if place < second else SPLITS[2]
        for place, name in enumerate(names)
    }


def by_shares(names: Sequence[str], shares: Sequence[float]) -> dict[str, str]:
    """Split names in their order into as many splits as there are shares, of which each gets one at least.

    Raises
    ------
    NeurodecError
        If there are fewer names.
    """
    if len(names) < len(shares):
        raise NeurodecError(
            f"{len(shares)} splits need as many people, and there are {len(names)}; add recordings."
        )
    others = [max(1, round(share * len(names))) for share in shares[1:]]
    sizes = [max(1, len(names) - sum(others)), *others]
    splits = [one for one, size in zip(SPLITS, sizes, strict=False) for _ in range(size)]
    return dict(zip(names, splits, strict=False))
