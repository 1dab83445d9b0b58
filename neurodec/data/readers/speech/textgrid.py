"""TextGrid files of Praat and of forced aligners: tiers of labelled intervals and points."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from neurodec.errors import NeurodecError, reading, require_fetched

SILENT = frozenset({"", "sil", "sp", "spn", "<p>", "<eps>", "br", "ns", "noise"})
"""Labels of intervals in which nothing is said, in lower case."""

_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# Praat reads strings, flags and numbers that stand alone, and passes over all else: so long and short form agree.
_TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?P<flag><\w+>)|(?<!\S)(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|!.*'
)


def read_textgrid(path: Path) -> dict[str, pd.DataFrame]:
    """Read a TextGrid, in the long or the short form.

    Parameters
    ----------
    path : Path
        UTF-8, or UTF-16 with its mark.

    Returns
    -------
    dict of DataFrame
        By the name of the tier: `start`, `stop` (s, alike for points) and `text`, in order.

    Raises
    ------
    NeurodecError
        If the file is missing, is no TextGrid, ends early, or has an interval that ends before it begins.
    """
    require_fetched(path)
    if not path.is_file():
        raise NeurodecError(f"{path} is missing; put the TextGrid there.")
    with reading(path, "a TextGrid", "save it with Praat as a text file in UTF-8"):
        content = path.read_bytes()
        encoding = next((name for mark, name in _BOMS.items() if content.startswith(mark)), "utf-8")
        tokens = _Tokens(content.decode(encoding), path)
        if (tokens.text(), tokens.text()) != ("ooTextFile", "TextGrid"):
            raise NeurodecError(f"{path} is no TextGrid in text form; save it with Praat as a text file.")
        tokens.number(), tokens.number(), tokens.flag()
        return dict(_tier(tokens, path) for _ in range(tokens.count()))


def read_words(path: Path) -> pd.DataFrame:
    """Read the words of a TextGrid: `start`, `duration` (s), `word`; silence is left out.

    Parameters
    ----------
    path : Path
        Has a tier ``word`` or ``words``, in any case.

    Raises
    ------
    NeurodecError
        See `read_textgrid`; also if there is no such tier.
    """
    tiers = read_textgrid(path)
    name = next((own for own in tiers if own.strip().lower() in ("word", "words")), None)
    if name is None:
        raise NeurodecError(
            f"{path} has no tier of words (it has {', '.join(tiers) or 'none'}); name it words."
        )
    tier = tiers[name]
    said = tier[~tier["text"].str.strip().str.lower().isin(SILENT)].reset_index(drop=True)
    return pd.DataFrame(
        {"start": said["start"], "duration": said["stop"] - said["start"], "word": said["text"].str.strip()}
    )


class _Tokens:
    """The values of a file, one after the other."""

    def __init__(self, content: str, path: Path) -> None:
        self.path, self.found = path, _TOKEN.finditer(content)

    def _next(self, kind: str) -> str:
        token = next((own for own in self.found if own.lastgroup is not None), None)
        if token is None or token.lastgroup != kind:
            at = f"at {token.group()[:40]!r}" if token else "at its end"
            raise NeurodecError(
                f"{self.path} is damaged: a {kind} should stand {at}; save it anew with Praat."
            )
        return token[kind]

    def text(self) -> str:
        return self._next("text").replace('""', '"')

    def flag(self) -> str:
        return self._next("flag")

    def number(self) -> float:
        return float(self._next("number"))

    def count(self) -> int:
        return int(self.number())


def _tier(tokens: _Tokens, path: Path) -> tuple[str, pd.DataFrame]:
    kind, name = tokens.text(), tokens.text()
    if kind not in ("IntervalTier", "TextTier"):
        raise NeurodecError(f"{path} has a tier of the unknown class {kind[:40]}; save it anew with Praat.")
    tokens.number(), tokens.number()
    rows = []
    for _ in range(tokens.count()):
        start = tokens.number()
        stop = tokens.number() if kind == "IntervalTier" else start
        rows.append((start, stop, tokens.text()))
        if stop < start:
            raise NeurodecError(
                f"{path}: an interval of the tier {name} ends at {stop:g} s, before it begins at {start:g} s; correct "
                "it with Praat."
            )
    return name, pd.DataFrame(rows, columns=["start", "stop", "text"])
