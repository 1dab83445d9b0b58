"""What all readers of EEG with classes share: recordings, windows in microvolts / 100, splits, and the account."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from scipy.signal import resample

from neurodec.data.account import Account
from neurodec.data.clock import annotation_seconds
from neurodec.data.dataset import Dataset, Part
from neurodec.data.readers.labelled.published_splits import Split
from neurodec.data.readers.opening import load_samples, open_raw
from neurodec.data.stretches import mark_seams
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import HUNDRED_MICROVOLTS, standard_positions
from neurodec.preprocessing.electrodes import modern_name

SFREQ = 200
"""Hz: that of CSBrain, CBraMod and LaBraM."""
_SCALE = 1e4  # volts to 100 microvolts
_PLAIN = (0.005, 10.0)  # 100 microvolts; a typical size outside is in another unit, or nothing was connected
_CLIPPED = 0.1  # share of a window's samples at a channel's highest or lowest value


@dataclass(frozen=True)
class Source:
    """One recording, or one file of trials.

    Parameters
    ----------
    name : str
        Unique and safe as a file name.
    subject : str
    files : tuple of Path
        The recording first.
    split : str
        Of all its windows, unless the reader tells it of each.
    session, run : str
    """

    name: str
    subject: str
    files: tuple[Path, ...]
    split: str = "cv"
    session: str = "01"
    run: str = "01"


@dataclass(frozen=True)
class Windows:
    """Windows of one recording.

    Parameters
    ----------
    values : ndarray, shape (n, n_chans, n_times)
        Microvolts / 100 at 200 Hz.
    labels : sequence of str
        The class (or number, as text) of each.
    splits : sequence of str, optional
        Of each, where that is not the recording's.
    """

    values: np.ndarray
    labels: Sequence[str]
    splits: Sequence[str] | None = None


@dataclass(frozen=True)
class LabelledEEG(Dataset):
    """Base of the readers of EEG with classes.

    Parameters
    ----------
    split : {"published", "by_people"}
        Who is trained on, who chooses an epoch and who is tested. "published" is that of CSBrain and CBraMod, which in
        some data sets shares people or windows between them; "by_people" never does, and takes any number of people.

    Notes
    -----
    The stimulus and the concept are the class. Responses are microvolts / 100 at 200 Hz, whole windows in the order of
    their time; nothing is rejected, but dead, clipped and short windows are counted.
    """

    split: Split = "published"

    classes = ()
    """Names of all classes; of data sets of numbers there are none."""
    ch_names = ()
    """Names and order of the channels."""
    layout = ""
    """Where the files lie below the data root, for messages and ``data_prep``."""

    @abstractmethod
    def sources(self, root: Path) -> list[Source]:
        """List the recordings, sorted, with their splits.

        Parameters
        ----------
        root : Path
            Folder of the raw data.
        """

    @abstractmethod
    def windows(self, source: Source, account: Account) -> Windows:
        """Read one recording.

        Parameters
        ----------
        source : Source
            Names the file in messages.
        account : Account
            Gets what is left out.
        """

    def parts(self, root: Path) -> list[Part]:
        """List the recordings; each is one part."""
        found = self.sources(root)
        object.__setattr__(self, "_listed", (root, {source.name: source for source in found}))
        if not found:
            raise NeurodecError(
                f"Nothing below {root} is a recording of {type(self).__name__}, whose files are {self.layout}; correct "
                "--data-root."
            )
        missing = [file for source in found for file in source.files if not file.is_file()]
        if missing:
            raise NeurodecError(
                f"{missing[0]} is missing ({len(missing)} file(s) in all), without which its recording has no labels; "
                "fetch it, or leave the recording out."
            )
        return [Part(source.name, source.subject, source.files) for source in found]

    def load(self, part: Part, root: Path) -> Trials:
        """Read one recording."""
        if getattr(self, "_listed", (None,))[0] != root:  # looking through thousands of files, once
            self.parts(root)
        source = self._listed[1][part.name]
        account = Account()
        found = self.windows(source, account)
        values = np.ascontiguousarray(found.values, dtype=np.float32)
        require_microvolts(values, source.files[0])
        note_dead(values, account)
        unknown = set(found.labels) - set(self.classes) if self.classes else set()
        if unknown:
            raise NeurodecError(
                f"{source.files[-1]} has the label {min(unknown)}, none of {', '.join(self.classes)}; correct it."
            )
        table = with_defaults(
            pd.DataFrame({"stimulus": list(found.labels), "concept": list(found.labels)}),
            subject=source.subject,
            session=source.session,
            run=source.run,
        )
        table["split"] = source.split if found.splits is None else list(found.splits)
        names = list(self.ch_names)
        account.events = max(account.events, len(values))
        info = {
            "modality": "eeg",
            "units": HUNDRED_MICROVOLTS,
            "sfreq": float(SFREQ),
            "tmin": 0.0,
            "ch_names": names,
            "ch_types": ["eeg"] * len(names),
            "ch_pos": standard_positions(names),
            "provenance": {},
            "account": [account.entry(source.name, len(values), len(names))],
        }
        return Trials(values, table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the classes."""
        return pd.DataFrame({"stimulus": list(self.classes), "concept": list(self.classes)})


def opened(
    path: Path,
    names: dict[str, tuple[str, ...]],
    account: Account,
    pairs: Sequence[str] = (),
) -> mne.io.BaseRaw:
    """Open a recording, and keep the channels that are wanted, in their order.

    Parameters
    ----------
    path : Path
    names : dict of tuple of str
        Name to the spellings that stand for it, of which the first found is taken; see `spellings`.
    account : Account
    pairs : sequence of str
        Differences to return (``FP1-F7``) in place of the channels `names`: a channel of that name, or the
        difference of two.

    Raises
    ------
    NeurodecError
        If a channel is missing.
    """
    raw, clock = open_raw(path, account)
    mark_seams(raw, clock)
    account.channels = len(raw.ch_names)
    by_name: dict[str, str] = {}
    for own in raw.ch_names:
        by_name.setdefault(modern_name(own), own)
        by_name.setdefault(own.upper(), own)
    if pairs:
        return _differences(raw, by_name, pairs, path, account)
    chosen = {}
    for wanted, spelled in names.items():
        found = next((by_name[one] for one in spelled if one in by_name), None)
        if found is None:
            raise NeurodecError(
                f"{path} lacks the channel {wanted}; it has {', '.join(raw.ch_names[:12])}. Leave the recording out, "
                "or rename its channels."
            )
        chosen[wanted] = found
    account.leave_out_channels(
        "not among those of the data set", [one for one in raw.ch_names if one not in chosen.values()]
    )
    load_samples(raw, str(path), account)
    marked = [name for name in raw.info["bads"] if name in chosen.values()]
    if marked:
        account.note(f"marked as bad in the file, and read all the same: {', '.join(marked)}")
    raw.pick(list(chosen.values()))
    raw.reorder_channels(list(chosen.values()))
    raw.set_channel_types(dict.fromkeys(raw.ch_names, "eeg"), verbose="error")
    raw.rename_channels({found: wanted for wanted, found in chosen.items()}, verbose="error")
    return raw


def _differences(
    raw: mne.io.BaseRaw, by_name: dict[str, str], pairs: Sequence[str], path: Path, account: Account
) -> mne.io.BaseRaw:
    load_samples(raw, str(path), account)
    rows, used = [], set()
    for pair in pairs:
        direct = [by_name[name] for name in (modern_name(pair), f"{pair}-0") if name in by_name]
        ends = [by_name.get(modern_name(end)) for end in pair.split("-")]
        if direct:
            rows.append(raw.get_data(direct[:1])[0])
            used.add(direct[0])
        elif None not in ends:
            first, second = raw.get_data(ends)
            rows.append(first - second)
            used.update(ends)
        else:
            raise NeurodecError(
                f"{path} has neither {pair} nor both of its electrodes; it has {', '.join(raw.ch_names[:12])}. Leave "
                "the recording out, or rename its channels."
            )
    account.leave_out_channels(
        "not among those of the data set", [one for one in raw.ch_names if one not in used]
    )
    info = mne.create_info(list(pairs), raw.info["sfreq"], "eeg")
    marks = raw.annotations
    found = mne.io.RawArray(np.stack(rows), info, verbose="error")
    return found.set_annotations(
        mne.Annotations(annotation_seconds(raw), marks.duration, marks.description), verbose="error"
    )


def spellings(names: Sequence[str], references: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return for every electrode how recordings spell it: alone, or with one of some references (``F3-A2``)."""
    return {
        name: (modern_name(name), *(f"{modern_name(name)}-{one}" for one in references)) for name in names
    }


def clean(
    raw: mne.io.BaseRaw,
    l_freq: float | None,
    h_freq: float | None,
    notch: float | None,
    *,
    resample_first: bool = True,
    rate: float | None = SFREQ,
    lowest: float = SFREQ,
) -> mne.io.BaseRaw:
    """Filter a recording, in place, and resample it before or after that, with MNE's defaults.

    Parameters
    ----------
    raw : mne.io.BaseRaw
    l_freq, h_freq, notch : float, optional
        Hz.
    resample_first : bool
    rate : float, optional
        Hz; None leaves the recording's.
    lowest : float
        Hz; recordings of a lower rate are refused.

    Raises
    ------
    NeurodecError
        If the recording was sampled at less.
    """
    if raw.info["sfreq"] < lowest - 0.5:
        raise NeurodecError(
            f"{raw.filenames[0]} has {raw.info['sfreq']:g} Hz, less than the {lowest:g} Hz that are read; leave it out."
        )
    with mne.utils.use_log_level("error"):
        if resample_first and rate is not None:
            raw.resample(rate)
        if l_freq is not None or h_freq is not None:
            raw.filter(l_freq, h_freq)
        if notch is not None:
            raw.notch_filter(notch)
        if not resample_first and rate is not None:
            raw.resample(rate)
    return raw


def values_of(raw: mne.io.BaseRaw) -> np.ndarray:
    """Return a recording's samples (n_chans, n_times) in microvolts / 100."""
    return raw.get_data() * _SCALE


def consecutive(values: np.ndarray, seconds: float, account: Account, sfreq: float = SFREQ) -> np.ndarray:
    """Cut (n_chans, n_times) into windows that follow each other, (n, n_chans, n); a rest is counted.

    Raises
    ------
    NeurodecError
        If there is none.
    """
    n = round(seconds * sfreq)
    n_windows = values.shape[1] // n
    if not n_windows:
        raise NeurodecError(
            f"A recording lasts {values.shape[1] / sfreq:.1f} s, less than a window of {seconds:g} s; leave it out."
        )
    account.leave_out("shorter than a window", int(values.shape[1] % n > 0))
    account.events += n_windows + int(values.shape[1] % n > 0)
    return values[:, : n_windows * n].reshape(len(values), n_windows, n).swapaxes(0, 1)


def resampled(values: np.ndarray, n_times: int) -> np.ndarray:
    """Resample windows (..., n) to `n_times` samples by their Fourier series, as published."""
    return values if values.shape[-1] == n_times else resample(values, n_times, axis=-1)


def at(
    values: np.ndarray, onsets: Sequence[float], seconds: float, account: Account
) -> tuple[np.ndarray, list[int]]:
    """Cut windows of 200 Hz at onsets (s); return them, and which of the onsets they belong to.

    Windows that run past an end are left out and counted.
    """
    n = round(seconds * SFREQ)
    starts = np.round(np.asarray(onsets, dtype=float) * SFREQ).astype(int)
    kept = [place for place, start in enumerate(starts) if start >= 0 and start + n <= values.shape[1]]
    account.events += len(starts)
    account.leave_out("past an end of the recording", len(starts) - len(kept))
    windows = [values[:, starts[place] : starts[place] + n] for place in kept]
    return (np.stack(windows) if windows else np.empty((0, len(values), n))), kept


def require_microvolts(values: np.ndarray, path: Path) -> None:
    """Refuse windows that are not finite, or of a size that no EEG has in microvolts / 100.

    Raises
    ------
    NeurodecError
        Naming the file.
    """
    if not np.isfinite(values).all():
        raise NeurodecError(f"{path} holds NaN or infinity; repair it, or leave it out.")
    size = float(np.median(np.abs(values))) if values.size else _PLAIN[0]
    if not _PLAIN[0] <= size <= _PLAIN[1]:
        raise NeurodecError(
            f"{path}: the values are of typical size {100 * size:.3g} microvolts, which is no EEG (a unit may be wrong "
            "by 100 or by 10^6, or nothing was connected); correct the file, or leave it out."
        )


def note_dead(values: np.ndarray, account: Account) -> None:
    """Note how many windows have a channel that never changes, or one that is clipped."""
    flat = (np.ptp(values, axis=2) == 0).any(axis=1)
    edges = [(values == edge(values, axis=(0, 2), keepdims=True)) for edge in (np.max, np.min)]
    clipped = (np.maximum(*(own.mean(axis=2) for own in edges)) > _CLIPPED).any(axis=1) & ~flat
    for n_windows, what in ((flat.sum(), "never changes"), (clipped.sum(), "is clipped")):
        if n_windows:
            account.note(f"in {n_windows} of {len(values)} windows a channel {what}")


def number(text: str) -> tuple[Any, ...]:
    """Return a key that sorts names by the numbers in them (``S2`` before ``S10``)."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text))


def names(text: str) -> tuple[str, ...]:
    """Return names that blanks part."""
    return tuple(text.split())
