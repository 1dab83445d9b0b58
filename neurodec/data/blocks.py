"""Blocks of continuous speech: merged, split by text, and sounds cut at their borders (Défossez et al. 2023).

A block is what one sentence (or several) takes in a recording. Its text decides its split, so that all people and
sessions agree, and nothing of a test text is heard in training.
"""

from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np
import pandas as pd


def merged_blocks(
    blocks: pd.DataFrame, shortest: float = 6.0, known: dict[tuple[str, str], bool] | None = None
) -> pd.DataFrame:
    """Merge blocks that follow each other until they are longer than a minimum.

    Parameters
    ----------
    blocks : DataFrame
        `start`, `duration` (s) and `uid` (the text), in order.
    shortest : float
        Seconds; the last block may be shorter.
    known : dict, optional
        Whether a border lies between two texts that follow each other, as former recordings had it; what is decided
        here is added. Without it, people who began to listen at other times get other blocks of one text.

    Returns
    -------
    DataFrame
        `start`, `duration` and `uid`, the texts joined by commas. The first begins at 0, each next one where the
        former ends.
    """
    merged, start, texts = [], 0.0, []
    ends = (blocks["start"] + blocks["duration"]).tolist()
    for place, (end, uid) in enumerate(zip(ends, blocks["uid"], strict=True)):
        texts.append(str(uid))
        ends_here = end > start + shortest or place == len(ends) - 1
        if known is not None and place < len(ends) - 1:
            ends_here = known.setdefault((str(uid), str(blocks["uid"].iloc[place + 1])), ends_here)
        if ends_here:
            merged.append((start, end - start, ",".join(texts)))
            start, texts = end, []
    return pd.DataFrame(merged, columns=["start", "duration", "uid"])


def split_of_text(
    text: str, test: float = 0.2, validation: float = 0.1, seed: int = 12, removed: float = 0.0
) -> str | None:
    """Return the split of a text, which depends on the text and the seed alone.

    Parameters
    ----------
    text : str
        Identity of a block.
    test, validation, removed : float
        Shares.
    seed : int

    Returns
    -------
    {"test", "validation", "train"} or None
        None for a text that is left out (`removed`).
    """
    digest = int(hashlib.sha256(text.encode()).hexdigest(), 16)
    place = random.Random(digest + seed).random()
    for split, share in (("test", test), ("validation", validation), (None, removed)):
        if place < share:
            return split
        place -= share
    return "train"


def cut_sounds(sounds: pd.DataFrame, blocks: pd.DataFrame, margin: float = 0.1) -> pd.DataFrame:
    """Cut sounds at the borders of blocks, so that features of one block do not follow from the sound of another.

    Parameters
    ----------
    sounds : DataFrame
        `start`, `duration` (s in the recording) and `offset` (s in the file), and any further columns.
    blocks : DataFrame
        `start` and `stop` (s).
    margin : float
        Borders nearer than this to the ends of a sound do not cut it (s).

    Returns
    -------
    DataFrame
        One row per piece, sorted by `start`.
    """
    borders = np.unique(blocks[["start", "stop"]].to_numpy(dtype=float))
    pieces = []
    for sound in sounds.to_dict("records"):
        begin, end = sound["start"], sound["start"] + sound["duration"]
        inside = borders[(borders > begin + margin) & (borders < end - margin)]
        edges = [begin, *inside, end]
        for first, last in itertools.pairwise(edges):
            offset = sound["offset"] + first - begin
            pieces.append({**sound, "start": first, "duration": last - first, "offset": offset})
    return pd.DataFrame(pieces).sort_values("start", kind="stable").reset_index(drop=True)
