"""Words that an aligner found, put into sentences: at full stops where there are any, else at pauses."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

_FULL_STOP = re.compile(r"[.!?…][\"'”’)\]]*$")


def in_sentences(words: pd.DataFrame, pause: float) -> pd.DataFrame:
    """Add `sentence` and `word_index` to words.

    A sentence ends after a word with a full stop, question or exclamation mark, whoever was abbreviated by it. Words
    without any such mark are cut where nothing is said for longer than `pause`: stretches of speech, not sentences of
    grammar.

    Parameters
    ----------
    words : DataFrame
        `word`, `start` (s; NaN where an aligner did not find the word) and `duration`, in the order of the text.
    pause : float
        Seconds.

    Returns
    -------
    DataFrame
        The sentence is the text of all its words; the index counts those with a `start`.
    """
    last = words["word"].str.contains(_FULL_STOP).to_numpy()
    if not last.any():
        stops = (words["start"] + words["duration"]).ffill().to_numpy()[:-1]
        silent = words["start"].bfill().to_numpy()[1:] - stops
        last = np.append(silent > pause, True)
    sentence = np.cumsum(np.r_[0, last[:-1]])
    timed = words["start"].notna()
    return words.assign(
        sentence=words.groupby(sentence)["word"].transform(" ".join),
        word_index=timed.groupby(sentence).cumsum() - 1,
    )
