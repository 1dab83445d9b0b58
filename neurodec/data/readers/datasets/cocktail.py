"""Cocktail party: EEG of one of two concurrent speech streams, with the envelopes of all streams (Dryad 070jc)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import files_below
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import sensor_positions

MICROVOLT = 1e-6
_RATE = 128  # Hz, of recordings and envelopes
_NAME = re.compile(r"([12])_(\d+)\.mat")
_VOICES = {"F": "F_env.mat", "M": "M_env.mat"}
_ORDERS = {
    1: ("F", "M", "blk1_M_Order"),
    2: ("M", "F", "blk2_F_Order"),
}  # attended, ignored, order of the latter


@dataclass(frozen=True)
class CocktailParty(Dataset):
    """Read every ``<block>_<trial>.mat`` (`eeg`, `mast`; microvolts at 128 Hz) and cut it into windows in a row.

    In block 1 the woman of ``F_env.mat`` is attended, trial i being her i-th story, while the man of ``M_env.mat``
    tells the story ``order.mat`` gives; in block 2 it is the other way round.

    Parameters
    ----------
    seconds : float
        Length of a window.
    l_freq, h_freq : float, optional
        Edges of a zero-phase FIR band-pass (Hz) of the whole trial, as MNE designs it.
    sfreq : float
        Rate to resample to (Hz); half or a quarter of 128, say.
    mastoids : bool
        Subtract the mean of the two mastoids; the average of all electrodes otherwise.

    Notes
    -----
    Trials of one folder are of one subject, named by it where it is ``sub-...``. A run is a trial, and stimuli are the
    windows of all streams, told or not: `stream` (F01 ... M40), `array`, `row`, `offset`, `duration`, `source_sfreq`.
    Channels are those of the BioSemi cap of 128.

    References
    ----------
    O'Sullivan et al. (2015), Attentional selection in a cocktail party environment can be decoded from single-trial
    EEG, Cerebral Cortex 25; data: Broderick et al. (2018), Dryad, doi:10.5061/dryad.070jc.
    """

    seconds: float = 5.0
    l_freq: float | None = 1.0
    h_freq: float | None = 8.0
    sfreq: float = 64.0
    mastoids: bool = True

    def parts(self, root: Path) -> list[Part]:
        """List the trials."""
        files = [file for file in files_below(root, "**/*.mat") if _NAME.fullmatch(file.name)]
        if not files:
            raise NeurodecError(
                f"No trial (1_1.mat, 1_2.mat, ...) was found below {root}; check --data-root."
            )
        beside = self._beside(root)
        parts = []
        for file in sorted(files, key=lambda own: (own.parent, *_place(own))):
            block, trial = _place(file)
            subject = _subject(file)
            parts.append(Part(f"sub-{subject}_{block}_{trial:02d}", subject, (file, *beside)))
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read, re-reference, filter and resample one trial, and cut it into windows."""
        file = part.files[0]
        eeg = self._signals(file)
        n_times = round(self.seconds * self.sfreq)
        n_windows = eeg.shape[1] // n_times
        if not n_windows:
            raise NeurodecError(f"{file} is shorter than a window of {self.seconds:g} s; lower `seconds`.")
        cut = eeg[:, : n_windows * n_times].reshape(len(eeg), n_windows, n_times).transpose(1, 0, 2)
        info = mne.create_info([*_montage().ch_names], self.sfreq, "eeg").set_montage(_montage())
        attended, ignored = self._streams(file, root)
        offsets = np.arange(n_windows) * self.seconds
        table = pd.DataFrame(
            {
                "stimulus": [_window(attended, offset) for offset in offsets],
                "concept": attended,
                "run": f"{_place(file)[0]}_{_place(file)[1]:02d}",
                "onset": offsets,
                "duration": self.seconds,
                "attended": attended,
                "ignored": ignored,
            }
        )
        account = Account(events=n_windows, channels=len(eeg))
        about = {
            "modality": "eeg",
            "units": "V",
            "sfreq": float(self.sfreq),
            "tmin": 0.0,
            "ch_names": list(info["ch_names"]),
            "ch_types": ["eeg"] * len(eeg),
            "ch_pos": sensor_positions(info),
            "provenance": {},
            "account": [account.entry(part.name, n_windows, len(eeg))],
        }
        responses = np.ascontiguousarray(cut, dtype=np.float32)
        return Trials(responses, with_defaults(table, subject=part.subject), about)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the windows of every stream, whether a trial presents it or not."""
        attended = {self._streams(part.files[0], root)[0] for part in self.parts(root)}
        tables = []
        for voice, file in zip(_VOICES, self._beside(root), strict=False):
            for row, length in enumerate(_lengths(file)):
                stream = f"{voice}{row + 1:02d}"
                offsets = np.arange(int(length / _RATE / self.seconds + 1e-6)) * self.seconds
                tables.append(
                    pd.DataFrame(
                        {
                            "stimulus": [_window(stream, offset) for offset in offsets],
                            "concept": stream,
                            "split": "cv" if stream in attended else "gallery",
                            "stream": stream,
                            "array": file.relative_to(root).as_posix(),
                            "row": row,
                            "offset": offsets,
                            "duration": self.seconds,
                            "source_sfreq": _RATE,
                        }
                    )
                )
        return pd.concat(tables, ignore_index=True).astype(str)

    def _signals(self, file: Path) -> np.ndarray:
        """Return the filtered and resampled electrodes of a trial (n_chans, n_times), in volts."""
        content = ArrayContent.read(file)
        eeg, mastoids = (np.asarray(content.value(name), dtype=np.float64).T for name in ("eeg", "mast"))
        n_chans = len(_montage().ch_names)
        if eeg.ndim != 2 or eeg.shape[0] != n_chans or mastoids.shape != (2, eeg.shape[1]):
            raise NeurodecError(
                f"{file} has `eeg` {eeg.T.shape} and `mast` {mastoids.T.shape}; samples x {n_chans} and samples x 2 "
                "belong there, so fetch it again."
            )
        if not np.isfinite(eeg).all() or not np.isfinite(mastoids).all():
            raise NeurodecError(f"{file} holds NaN or infinity; leave this trial out.")
        eeg = MICROVOLT * (eeg - (mastoids if self.mastoids else eeg).mean(axis=0))
        if self.l_freq is not None or self.h_freq is not None:
            eeg = mne.filter.filter_data(eeg, _RATE, self.l_freq, self.h_freq, verbose="warning")
        whole = round(self.sfreq) if float(self.sfreq).is_integer() else 0
        if whole < 1:
            raise NeurodecError(f"`sfreq` is {self.sfreq:g} Hz; give a whole number above 0.")
        return eeg if whole == _RATE else resample_poly(eeg, whole, _RATE, axis=1, padtype="line")

    def _beside(self, root: Path) -> tuple[Path, ...]:
        """Return the files of the streams, and of their order."""
        names = [*_VOICES.values(), "order.mat"]
        found = {file.name: file for file in reversed(files_below(root, "**/*.mat"))}
        missing = [name for name in names if name not in found]
        if missing:
            raise NeurodecError(f"{missing[0]} is not below {root}; fetch the data set again.")
        return tuple(found[name] for name in names)

    def _streams(self, file: Path, root: Path) -> tuple[str, str]:
        """Return the attended and the ignored stream of a trial."""
        block, trial = _place(file)
        voice, other, key = _ORDERS[block]
        order = np.ravel(ArrayContent.read(self._beside(root)[2]).value(key))
        if not 1 <= trial <= len(order):
            raise NeurodecError(
                f"{file} is trial {trial}, and order.mat tells {len(order)} of block {block}; rename the file."
            )
        return f"{voice}{trial:02d}", f"{other}{int(order[trial - 1]):02d}"


def _place(file: Path) -> tuple[int, int]:
    """Return block and trial."""
    block, trial = file.stem.split("_")
    return int(block), int(trial)


def _subject(file: Path) -> str:
    named = re.search(r"sub(?:ject)?[-_ ]?(\w+)", file.parent.name, re.IGNORECASE)
    return named[1] if named else "01"


def _window(stream: str, offset: float) -> str:
    return f"{stream}@{offset:05.1f}"


def _lengths(file: Path) -> list[int]:
    """Return the samples of every stream of a file."""
    content = ArrayContent.read(file)
    return [np.size(own) for own in np.ravel(content.value(next(iter(content.arrays))))]


def _montage() -> mne.channels.DigMontage:
    return mne.channels.make_standard_montage("biosemi128")
