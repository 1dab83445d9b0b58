"""Tables that people and programs write: read with their encodings, separators and missing values, or refused."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError, reading, require_fetched

MISSING = frozenset({"", "n/a", "na", "nan", "none", "null", "<na>", "#n/a"})
"""What stands for "nothing" in a cell, in lower case: pandas' and BIDS' words."""

NUMERIC = ("onset", "duration")
_FURTHEST = 1e7  # seconds; a hundred days, so anything beyond is no time
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV or TSV file as text, with `onset` and `duration` as numbers.

    Headers and cells lose the blanks around them, and accents are single characters (NFC). The separator is what the
    header uses (tab, comma, semicolon);
    numbers may have a decimal comma. ``2.0`` in a column of whole numbers reads as ``2``, so that a label is the same
    whichever program wrote it. Rows without any value are skipped.

    Parameters
    ----------
    path : Path
        UTF-8, or UTF-16 with its mark.
    required : tuple of str
        Columns that must be there.

    Returns
    -------
    DataFrame
        The index is the row of the file, counted from 0 below the header. `onset` and `duration` are NaN where they
        are missing.

    Raises
    ------
    NeurodecError
        If the file is missing, empty, of another encoding, ragged, or lacks a required column, or if a time is not a
        number.
    """
    with reading(path, "a table", "open it in a spreadsheet and save it as CSV UTF-8"):
        text = unicodedata.normalize("NFC", _decode(path))
        header = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
        separator = _separator(header, required, "\t" if path.suffix == ".tsv" else ",")
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise NeurodecError(f"{path} has the column {min(repeated)} twice; keep one of them.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
        table.columns = names
    missing = [name for name in required if name not in table]
    if missing:
        raise NeurodecError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(names)}.")
    for name in table:
        table[name] = _whole_numbers(table[name].fillna("").astype(str).str.strip())
    table = table[(table != "").any(axis=1)]
    for name in set(NUMERIC) & set(table):
        table[name] = _seconds(table[name], path)
    return table


def is_missing(values: pd.Series) -> pd.Series:
    """Mark the cells that hold nothing, or a word for nothing."""
    return values.isna() | values.astype(str).str.strip().str.lower().isin(MISSING)


def same_name(first: str, second: str) -> bool:
    """Return whether two spellings mean one subject, session or run: ``1``, ``01`` and ``sub-01`` do."""
    return _bare(first) == _bare(second)


def _bare(name: str) -> str:
    bare = re.sub(r"^(sub|ses|run)-", "", str(name).strip())
    return bare.lstrip("0") or "0" if bare.isdigit() else bare


def _decode(path: Path) -> str:
    require_fetched(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NeurodecError(f"{path} is missing; put the table there or correct its name.") from None
    encoding = next((name for mark, name in _BOMS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise NeurodecError(
            f"{path} is not UTF-8 text (first at byte {error.start}); save it as 'CSV UTF-8', or convert it, as in "
            "iconv -f latin1 -t utf-8."
        ) from None
    if "\0" in text:
        raise NeurodecError(
            f"{path} holds binary zeros, so it is not a text table (or UTF-16 without its mark); save as 'CSV UTF-8'."
        )
    if not text.strip():
        raise NeurodecError(f"{path} is empty; write the table into it, or leave it out.")
    return text


def _separator(header: str, required: tuple[str, ...], usual: str) -> str:
    """Return the separator that finds the most required columns, then the most columns, then the usual one."""

    def merit(separator: str) -> tuple[int, int, bool]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
        return len(set(required) & set(names)), len(names), separator == usual

    return max((usual, ",", ";", "\t"), key=merit)


def _whole_numbers(values: pd.Series) -> pd.Series:
    """Write whole numbers alike where a column holds nothing else: pandas writes 2.0 once a cell is missing."""
    told = values[~is_missing(values)]
    if (
        len(told)
        and told.str.fullmatch(r"[-+]?\d+(\.0+)?").all()
        and told.str.contains(".", regex=False).any()
    ):
        return values.str.replace(r"\.0+$", "", regex=True)
    return values


def _seconds(values: pd.Series, path: Path) -> pd.Series:
    """Return a column of times as numbers, NaN where nothing stands."""
    blank = is_missing(values)
    told = values[~blank]
    if told.str.fullmatch(r"[-+]?\d+,\d+").any():
        told = told.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(told, errors="coerce")
    wrong = numbers.index[numbers.isna() | ~(numbers.abs() <= _FURTHEST)]
    if len(wrong):
        raise NeurodecError(
            f"{path} has {values[wrong[0]]!r} in the column {values.name} at row {wrong[0] + 2}; give seconds, or n/a."
        )
    return numbers.reindex(values.index).astype(np.float64)
