"""MOUS, Schoffelen et al. (2019): 96 people hear Dutch sentences and lists of words in a CTF MEG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.clock import Clock
from neurodec.data.readers.bids_meeg import bids_recordings, events_file, recording_name, run_fields
from neurodec.data.readers.opening import source_files
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.readers.speech.sound_files import with_durations
from neurodec.data.readers.speech.textgrid import read_words
from neurodec.data.stimuli import file_below
from neurodec.data.tables import read_table
from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import Kind

EXCLUDED = frozenset({"A2011", "A2036", "A2062", "A2063", "A2076", "A2084"})
"""Listeners with two runs or a broken recording; published results are without them."""
_AUDIO = "stimuli/audio_files"
_ALIGNED = (_AUDIO, "stimuli", "derivatives/phonemes")
_STEM = "EQ_Ramp_Int2_Int1LPF"
_START = re.compile(r"\bStart File (\d{1,4})\.wav", re.IGNORECASE)
_ONSET = "audio onset"


@dataclass(frozen=True)
class Schoffelen2019(SpeechReader):
    """Read ``sub-A2*/meg/*_task-auditory_meg.ds``, its ``*_events.tsv``, the sounds and the words in them.

    What is taken from the release: rows of the events whose `value` is ``... Start File 186.wav`` name the sound, and
    the next row ``... Audio onset`` is when it begins; a sound is
    ``stimuli/audio_files/EQ_Ramp_Int2_Int1LPF186.wav``.

    What is assumed: the release tells the words of a sound (``stimuli/stimuli.txt``), but not when they are said. So
    every sound needs a TextGrid of its name, as a forced aligner writes it from the two, with a tier ``words`` and
    times from the beginning of the file, in ``stimuli/audio_files/``, ``stimuli/`` or ``derivatives/phonemes/``.

    Parameters
    ----------
    subjects : list of str, optional
        Labels to read (``A2002``); by default all listeners but `EXCLUDED`.

    Notes
    -----
    MNE types the 273 axial gradiometers "mag", which `modality` picks, and the 28 references "ref_meg", which stay out.
    A block begins with every sound, and none are joined. The recording may also be of another suffix that MNE opens.

    References
    ----------
    Schoffelen et al. (2019), A 204-subject multimodal neuroimaging dataset to study language processing, Scientific
    Data 6:17; files: https://data.ru.nl/collections/di/dccn/DSC_3011020.09_236.
    """

    subjects: list[str] | None = None
    modality: Kind = "mag"

    blocks_by = "sound"

    def recordings(self, root: Path) -> list[Listened]:
        """List the recordings; each needs its events."""
        found = []
        for path in bids_recordings(root, self.modality, self.subjects, None, ["auditory"], None):
            fields = run_fields(path)
            if self.subjects is None and (
                fields["subject"] in EXCLUDED or not fields["subject"].startswith("A")
            ):
                continue
            files = (*source_files(path), events_file(path, root))
            found.append(Listened(recording_name(path), path, fields, files))
        if not found:
            raise NeurodecError(
                f"All listeners below {root} are among those that published results leave out; name them in `subjects` "
                "to read them nonetheless."
            )
        return found

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read which sounds were heard when, and the words in them."""
        file = listened.files[-1]
        table = read_table(file, ("onset", "value")).sort_values("onset", kind="stable")
        tables = []
        for row, start, number in _sounds(table):
            name = f"{_STEM}{number:03d}"
            audio = file_below(root, f"{_AUDIO}/{name}.wav", file, row, "audio")
            words = read_words(_aligned(name, root, file, row))
            heard = {"kind": "sound", "start": start, "duration": np.nan, "audio": audio, "offset": 0.0}
            words = words.assign(
                kind="word",
                start=words["start"] + start,
                sentence=" ".join(words["word"]),
                word_index=np.arange(len(words)),
            )
            tables += [pd.DataFrame([heard]), words]
        if not tables:
            raise NeurodecError(
                f"{file} has no row that tells of a sound (`value` with Start File 186.wav, say); take the events of "
                "the release."
            )
        events = pd.concat(tables, ignore_index=True)
        events["start"] = clock.places(events["start"].to_numpy(dtype=float))
        return with_durations(events, root, str(file))


def _sounds(table: pd.DataFrame) -> list[tuple[int, float, int]]:
    """Return row, beginning and number of every sound: the trigger in the sound counts, not the order to play it."""
    found: list[tuple[int, float, int]] = []
    waiting = False
    for row, onset, value in zip(table.index, table["onset"], table["value"], strict=True):
        started = _START.search(value)
        if started:
            found.append((row, onset, int(started[1])))
            waiting = True
        elif waiting and _ONSET in value.lower():
            found[-1] = (found[-1][0], onset, found[-1][2])
            waiting = False
    return found


def _aligned(name: str, root: Path, file: Path, row: int) -> Path:
    """Return the TextGrid of a sound."""
    files = [root / folder / f"{name}.TextGrid" for folder in _ALIGNED]
    found = next((own for own in files if own.is_file()), None)
    if found is None:
        raise NeurodecError(
            f"{file} tells that {name}.wav was heard (row {row + 2}), and {name}.TextGrid, which should tell when its "
            f"words are said, lies in none of {', '.join(_ALIGNED)}; make it of the sound and stimuli.txt with a "
            "forced aligner."
        )
    return found
