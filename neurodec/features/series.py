"""Series over time that are there already, such as the envelope of speech, as targets at the rate of the brain."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.responses import View
from neurodec.data.tables import is_missing
from neurodec.errors import NeurodecError, reading
from neurodec.features.cache import in_memory
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.files import key_of, sha256_of

_TABLES = {".csv": ",", ".tsv": "\t"}
_FINEST = 10_000  # of the ratio of two rates


@dataclass(frozen=True)
class Series(Extractor):
    """Stretches of series from files: filtered and brought to the rate of the responses as a whole, z-scored, then cut.

    Stimuli name the file (`array`, below the data root), the stretch (`offset`, `duration`; s; the whole series where
    there are none), and, where one array holds several series, the `row` (from 0).

    Parameters
    ----------
    sfreq : float
        Rate of the responses (Hz), which the targets get.
    source_sfreq : float, optional
        Rate of the files (Hz); by default the stimulus table tells it (column `source_sfreq`).
    key : str, optional
        Key of the array in a file of several (``.mat``, ``.npz``, ``.h5``), or column of a table; all columns of
        numbers by default.
    time_axis : int
        Axis of time of an array of two axes (of one `row`, where stimuli have that).
    power : float, optional
        Exponent of a power law, first of all, as loudness has it; negative values, which filters leave, count as 0.
    l_freq, h_freq : float, optional
        Edges of a zero-phase FIR band-pass (Hz), as `mne.filter.filter_data` designs it, at the rate of the file: as
        the responses were filtered.
    embedding_space : str
        Name that whoever compares targets is to check.
    """

    sfreq: float
    source_sfreq: float | None = None
    key: str | None = None
    time_axis: int = 0
    power: float | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    embedding_space: str = "series"

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Return the stretches of the stimuli, (n_stimuli, n_values, n_times), in the order of their table.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus`, `array`, and perhaps `row`, `offset`, `duration` and `source_sfreq`.
        root : str or Path
            The data root.

        Raises
        ------
        NeurodecError
            If a series is missing, has no rate, does not vary or ends too early, or stretches differ in length.
        """
        table = self._completed(stimuli)
        named = table[["array", "row", "source_sfreq"]].drop_duplicates().reset_index(drop=True)
        whole, contents = [], {}
        for file, rows in named.groupby("array", sort=False):
            path = Path(root) / str(file)
            arrays = _arrays(path, self.key)
            contents[str(file)] = sha256_of(path)
            for one in rows.itertuples():
                whole.append((one.Index, self._prepared(_entry(arrays, one.row, path), one, path)))
        streams = [series for _, series in sorted(whole, key=lambda own: own[0])]
        keys = [pd.MultiIndex.from_frame(part[[*named]]) for part in (named, table)]
        place = keys[0].get_indexer(keys[1])
        values = in_memory(Stretches(streams, place, table, self.sfreq))
        cut = table[["stimulus", "array", "row", "offset", "duration", "source_sfreq"]].to_numpy().tolist()
        info: dict[str, Any] = {
            "embedding_space": self.embedding_space,
            "key": key_of([vars(self), contents, cut]),
            "dims": ["stimulus", "value", "time"],
            "sfreq": self.sfreq,
        }
        return Features(values, stimuli["stimulus"].tolist(), info)

    def _completed(self, stimuli: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that are read, as numbers where they are such."""
        if "array" not in stimuli or is_missing(stimuli["array"]).any():
            first = (
                "" if "array" not in stimuli else stimuli["stimulus"][is_missing(stimuli["array"])].iloc[0]
            )
            raise NeurodecError(
                f"The stimulus table has no file of a series {f'for {first} ' if first else ''}(column `array`); name "
                "one for every stimulus, below the data root."
            )
        table = stimuli[["stimulus", "array"]].reset_index(drop=True)
        for name in ("row", "offset", "duration", "source_sfreq"):
            given = stimuli[name].reset_index(drop=True) if name in stimuli else pd.Series("", table.index)
            table[name] = pd.to_numeric(given, errors="coerce")
        if self.source_sfreq is not None:
            table["source_sfreq"] = float(self.source_sfreq)
        untold = table.index[~(table["source_sfreq"] > 0)]
        if len(untold):
            raise NeurodecError(
                f"The sampling rate of {table['array'][untold[0]]} is unknown; give `source_sfreq` (Hz), or a column "
                "of that name in the stimulus table."
            )
        return table.assign(offset=table["offset"].fillna(0.0))

    def _prepared(self, series: np.ndarray, told: Any, path: Path) -> np.ndarray:
        """Return one whole series (n_values, n_times) at the rate of the responses, z-scored, float32."""
        rate = float(told.source_sfreq)
        values = np.atleast_2d(np.asarray(series, dtype=np.float64))
        if np.ndim(series) == 2 and self.time_axis in (0, -2):
            values = values.T
        where = path if np.isnan(told.row) else f"{path} (row {told.row:g})"
        if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
            raise NeurodecError(
                f"{where} holds no finite series over time (shape {np.shape(series)}); correct `key`, `row` or "
                "`time_axis`, or repair the file."
            )
        if self.h_freq is not None and self.h_freq >= rate / 2:
            raise NeurodecError(
                f"`h_freq` {self.h_freq:g} Hz is not below half the sampling rate of {where} ({rate / 2:g} Hz); lower "
                "it, or leave it out."
            )
        if self.power is not None:
            values = np.maximum(values, 0) ** self.power
        if self.l_freq is not None or self.h_freq is not None:
            values = mne.filter.filter_data(values, rate, self.l_freq, self.h_freq, verbose="warning")
        ratio = Fraction(self.sfreq / rate).limit_denominator(_FINEST)
        if ratio != 1:
            values = resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        spread = values.std(axis=1, keepdims=True)
        if (spread == 0).any():
            raise NeurodecError(f"{where} holds a series that does not vary; leave it out.")
        return ((values - values.mean(axis=1, keepdims=True)) / spread).astype(np.float32)


class Stretches(View):
    """Stretches of one length of series, cut as they are read.

    Parameters
    ----------
    streams : list of ndarray, each (n_values, n_times)
    place : ndarray of int, shape (n,)
        The series of every row.
    table : DataFrame
        `stimulus`, `array`, `offset` and `duration` (s; NaN for all that follows) of every row.
    sfreq : float
        Hertz.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, streams: list[np.ndarray], place: np.ndarray, table: pd.DataFrame, sfreq: float
    ) -> None:
        lengths = np.array([own.shape[1] for own in streams])[place]
        self.streams, self.place = streams, place
        self.starts = np.round(table["offset"].to_numpy() * sfreq).astype(int)
        ends = self.starts + np.round(table["duration"].to_numpy() * sfreq)
        counts = (np.where(np.isnan(ends), lengths, ends) - self.starts).astype(int)
        widths = {len(own) for own in streams}
        if len(np.unique(counts)) > 1 or len(widths) > 1:
            what = "samples" if len(widths) == 1 else "values"
            several = np.unique(counts) if len(widths) == 1 else sorted(widths)
            raise NeurodecError(
                f"The series have {several[0]} to {several[-1]} {what} per stimulus; cut stretches of one `duration` "
                "from series of as many values."
            )
        late = np.flatnonzero((self.starts < 0) | (self.starts + counts > lengths) | (counts < 1))
        if len(late):
            row = table.iloc[late[0]]
            raise NeurodecError(
                f"The stretch of {row['stimulus']} from {row['offset']:g} s on does not lie in {row['array']}, which "
                f"is {lengths[late[0]] / sfreq:g} s long; correct `offset` and `duration`, or `source_sfreq`."
            )
        self.shape = (len(place), widths.pop(), int(counts[0]))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows."""
        spans = ((self.streams[self.place[row]], self.starts[row]) for row in rows)
        return np.stack([series[:, start : start + self.shape[-1]] for series, start in spans])


def _arrays(path: Path, key: str | None) -> Any:
    """Return the array of a file, or the columns of a table as (n_times, n_values)."""
    if not path.is_file():
        raise NeurodecError(f"The series {path} do not exist; correct the column `array`, or --data-root.")
    if path.suffix.lower() in _TABLES:
        with reading(path, "a table of series", "save one column of numbers per series"):
            table = pd.read_csv(path, sep=_TABLES[path.suffix.lower()])
            table = table.select_dtypes("number") if key is None else table[[key]]
            return table.to_numpy(dtype=np.float64)
    content = ArrayContent.read(path)
    if key is None and len(content.arrays) > 1:
        raise NeurodecError(f"{path} holds {', '.join(sorted(content.arrays)[:8])}; say which by `key`.")
    return content.value(key or next(iter(content.arrays)))


def _entry(arrays: Any, row: float, path: Path) -> np.ndarray:
    """Return one series of an array: a MATLAB cell, or an entry of the first axis; all of it without a row."""
    values = np.asarray(arrays)
    if np.isnan(row):
        return np.squeeze(values) if 1 in values.shape else values
    entries = np.ravel(values) if values.dtype == object else values
    if not 0 <= row < len(entries):
        raise NeurodecError(
            f"{path} has {len(entries)} series, and a stimulus names row {row:g}; correct `row`."
        )
    own = np.asarray(entries[int(row)])
    return np.squeeze(own) if 1 in own.shape else own
