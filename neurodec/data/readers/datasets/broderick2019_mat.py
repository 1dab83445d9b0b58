"""The Old Man and the Sea, Broderick et al. (2018) as MATLAB files (Dryad 070jc), with words from a forced aligner."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.patterns import files_below, fill_pattern
from neurodec.data.readers.array_content import ArrayContent
from neurodec.data.readers.datasets.broderick2019 import MONTAGE, events_of_run
from neurodec.data.readers.speech.array_raw import array_raw
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.stimuli import file_below
from neurodec.data.tables import same_name
from neurodec.errors import NeurodecError
from neurodec.files import read_json
from neurodec.preprocessing.channels import Kind

_MICROVOLT = 1e-6
_NAME = re.compile(r"Subject(\d+)_Run(\d+)\.mat", re.IGNORECASE)
_ALIGNED = "success"


@dataclass(frozen=True)
class Broderick2019Mat(SpeechReader):
    """Read every ``SubjectN_RunM.mat`` (`eegData`, samples x 128, microvolts; `fs`), and what was heard in run M.

    The archive holds neither sounds nor words. They are expected where `audio` and `words` say: a WAV file, and the
    JSON that the aligner Gentle writes (`transcript`, and `words` with `word`, `case`, `start`, `end`, `startOffset`,
    `endOffset`). `Broderick2019` reads the same recordings, at 512 Hz, with both.

    Parameters
    ----------
    subjects : list of str, optional
        Numbers to read; all by default.
    audio, words : str
        Files of a run, below the data root.
    pause : float
        Where the transcript has no punctuation, a sentence ends where nothing is said for longer than this (s).

    Notes
    -----
    The `mastoids` are not subtracted. Words that were not aligned belong to their sentence, and are counted in the
    account.

    References
    ----------
    Broderick et al. (2018), Current Biology 28; files: Dryad, doi:10.5061/dryad.070jc, folder Natural Speech.
    """

    subjects: list[str] | None = None
    audio: str = "Natural Speech/Stimuli/audio{run}.wav"
    words: str = "Natural Speech/Stimuli/audio{run}.json"
    pause: float = 0.4
    modality: Kind = "eeg"

    def recordings(self, root: Path) -> list[Listened]:
        """List the runs."""
        found = []
        for path in files_below(root, "**/*.mat"):
            named = _NAME.fullmatch(path.name)
            if named is None or not self._wanted(named[1]):
                continue
            fields = {"subject": f"{int(named[1]):02d}", "session": "01", "run": str(int(named[2]))}
            name = f"sub-{fields['subject']}_run-{int(named[2]):02d}"
            words = fill_pattern(root, self.words, fields)
            found.append(Listened(name, path, fields, (path, words)))
        if not found:
            raise NeurodecError(
                f"No SubjectN_RunM.mat of the wanted subjects is below {root}; correct --data-root or `subjects`."
            )
        return sorted(found, key=lambda own: own.name)

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Read a run, and put the electrodes in their places."""
        path, content = listened.path, ArrayContent.read(listened.path)
        if "fs" not in content.arrays:
            raise NeurodecError(f"{path} does not tell its sampling rate; add the variable fs (128 Hz).")
        signals = np.asarray(content.value("eegData"), dtype=np.float64)
        sfreq = float(np.ravel(content.value("fs"))[0])
        names = mne.channels.make_standard_montage(MONTAGE).ch_names
        if signals.ndim != 2 or signals.shape[1] != len(names):
            raise NeurodecError(
                f"{path} has `eegData` of shape {signals.shape}; samples x 128 belong there, so fetch it again."
            )
        return array_raw(signals.T * _MICROVOLT, names, ["eeg"] * len(names), sfreq, MONTAGE, str(path))

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read the words, which count their time from the first sample."""
        source = listened.files[-1]
        audio = file_below(root, self.audio.format(**listened.fields), source, 0, "audio")
        return events_of_run(gentle_words(source), audio, self.pause, root, source)

    def _wanted(self, number: str) -> bool:
        return self.subjects is None or any(same_name(str(own), number) for own in self.subjects)


def gentle_words(path: Path) -> pd.DataFrame:
    """Read the words of an alignment by Gentle: `word` with the punctuation after it, `start`, `duration`.

    Parameters
    ----------
    path : Path

    Raises
    ------
    NeurodecError
        If it is no such JSON.
    """
    content = read_json(path)
    listed = content.get("words") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not all(isinstance(own, dict) and "word" in own for own in listed):
        raise NeurodecError(
            f"{path} holds no list `words` of words, as Gentle writes it; align the sound again."
        )
    transcript = content.get("transcript")
    rows = []
    for place, own in enumerate(listed):
        after = ""
        if isinstance(transcript, str) and isinstance(own.get("endOffset"), int):
            until = listed[place + 1].get("startOffset") if place + 1 < len(listed) else None
            after = "".join(transcript[own["endOffset"] : until if isinstance(until, int) else None].split())
        times = [own.get(name) for name in ("start", "end")]
        timed = own.get("case", _ALIGNED) == _ALIGNED and all(
            isinstance(time, (int, float)) for time in times
        )
        start, stop = times if timed else (np.nan, np.nan)
        rows.append((str(own["word"]) + after, start, stop - start))
    return pd.DataFrame(rows, columns=["word", "start", "duration"])
