"""MEG-MASC, Gwilliams et al. (2022): 27 people hear four stories, twice, in a KIT MEG."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock, annotation_seconds
from neurodec.data.events import annotate_bad
from neurodec.data.readers.bids_files import companion, entities
from neurodec.data.readers.bids_meeg import bids_recordings, recording_name, run_fields
from neurodec.data.readers.opening import open_raw, source_files
from neurodec.data.readers.speech.listening import Listened, SpeechReader
from neurodec.data.readers.speech.sound_files import with_durations
from neurodec.data.stimuli import file_below
from neurodec.data.tables import read_table
from neurodec.errors import NeurodecError

SESSIONS, TASKS = ("0", "1"), ("0", "1", "2", "3")
"""Labels of sessions, and of the stories lw1, cable_spool_fort, easy_money, The_Black_Willow."""
_FOLDERS = ("stimuli/audio", "audio")
_LONGEST = 5000  # characters of a description
_NAN = re.compile(r"(?<=: )nan(?=[,}])")
_NO_EVENT = ("bad", "edge")  # how MNE's own annotations begin


@dataclass(frozen=True)
class Gwilliams2022(SpeechReader):
    """Read ``sub-*/ses-{0,1}/meg/*_task-{0,1,2,3}_meg.con`` and the sounds of ``stimuli/audio/``.

    Everything that was heard is a printed Python dict: the description of an annotation of the recording, or, in the
    public release, the column `trial_type` of ``*_events.tsv``. Of its keys `kind`, `word`, `sequence_id`, `condition`,
    `sound` and, of sounds, `start` are read, as literals: nothing is evaluated. A sentence is all words with one
    `sequence_id` of one sound and condition; lists of words and of pseudo-words count as sentences too.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read; all by default.

    Notes
    -----
    Recordings that the release lacks are skipped, and named in the account. Sounds last as long as their files, which
    are looked for by their name alone, its stem in lower case, in ``stimuli/audio/`` and ``audio/``. The file may also
    be ``.fif``.

    References
    ----------
    Gwilliams et al. (2023), Introducing MEG-MASC, Scientific Data 10:862; files: https://osf.io/ag3kj/.
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None

    def recordings(self, root: Path) -> list[Listened]:
        """List the recordings that are there."""
        tasks = self.tasks or list(TASKS)
        found = []
        for path in bids_recordings(root, self.modality, self.subjects, self.sessions, tasks, None):
            table = companion(path, root, "_events.tsv")
            files = (*source_files(path), *([table] if table else []))
            found.append(Listened(recording_name(path), path, run_fields(path), files))
        return found

    def open(self, listened: Listened, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
        """Open a recording; what its subject lacks, and events that are no dict, are counted."""
        raw, clock = open_raw(listened.path, account)
        _note_absent(listened.path, account)
        descriptions = _descriptions(listened, raw)
        strange = sum(printed_dict(text) is None for text in descriptions["text"])
        account.events += strange
        account.leave_out("whose description is no printed dict", strange)
        return raw, clock

    def events(self, listened: Listened, root: Path, raw: mne.io.BaseRaw, clock: Clock) -> pd.DataFrame:
        """Read the annotations, or the table in their place."""
        told = _descriptions(listened, raw)
        source = next((file for file in listened.files if file.name.endswith("_events.tsv")), listened.path)
        if told["in_table"].any():
            annotate_bad(raw, clock, told.assign(stimulus=told["text"]))
            told = told.assign(onset=clock.places(told["onset"].to_numpy()))
        rows = []
        for row in told.itertuples():
            content = printed_dict(row.text)
            if content is not None:
                rows.append(_event(content, row.Index) | {"start": row.onset, "duration": row.duration})
        if not rows:
            raise NeurodecError(
                f"{source} describes no event by a printed dict ({len(told)} of another kind); take the files of the "
                "release, or mne_bids.read_raw_bids and save the recording with its annotations."
            )
        events = pd.DataFrame(rows)
        sounds = events["kind"] == "sound"
        files = {name: _audio(name, root, source, row) for row, name in events["sound"][sounds].items()}
        events = events.assign(audio=events["sound"].where(sounds).map(files))
        return with_durations(_with_sentences(events), root, str(source))


def printed_dict(text: str) -> dict[str, Any] | None:
    """Return a printed dict of literals; None for anything else, and for what is too long.

    Parameters
    ----------
    text : str
        Such as ``{'kind': 'word', 'word': 'sat'}``; ``nan`` as a value is read as None.
    """
    if len(text) > _LONGEST or not text.startswith("{"):
        return None
    try:
        found = ast.literal_eval(_NAN.sub("None", text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _descriptions(listened: Listened, raw: mne.io.BaseRaw) -> pd.DataFrame:
    """Return `onset`, `duration` and `text` of the annotations, if one of them is a dict, else of the table."""
    marks = raw.annotations
    texts = [str(text).strip() for text in marks.description]
    table = next((file for file in listened.files if file.name.endswith("_events.tsv")), None)
    if table is None or any(printed_dict(text) is not None for text in texts):
        found = pd.DataFrame(
            {
                "onset": annotation_seconds(raw),
                "duration": marks.duration,
                "text": pd.Series(texts, dtype=str),
            }
        )
        return found[~found["text"].str.lower().str.startswith(_NO_EVENT)].assign(in_table=False)
    found = read_table(table, ("onset", "duration", "trial_type"))
    return found[["onset", "duration"]].assign(text=found["trial_type"], in_table=True)


def _event(content: dict[str, Any], row: int) -> dict[str, Any]:
    """Return the columns of one event."""
    kind = str(content.get("kind", "")).lower()
    offset = content.get("start") if kind == "sound" else None
    return {
        "kind": kind,
        "word": str(content.get("word") or ""),
        "sequence": str(content.get("sequence_id")),
        "condition": str(content.get("condition")),
        "sound": str(content.get("sound") or ""),
        "offset": float(offset) if isinstance(offset, (int, float)) else np.nan,
        "row": row,
    }


def _with_sentences(events: pd.DataFrame) -> pd.DataFrame:
    """Add `sentence` and `word_index`, in order of time."""
    words = events[events["kind"] == "word"].sort_values("start", kind="stable")
    groups = words.groupby(["sound", "condition", "sequence"], sort=False)
    return events.assign(sentence=groups["word"].transform(" ".join), word_index=groups.cumcount())


def _audio(name: str, root: Path, source: Path, row: int) -> str:
    """Return the path below the root of a sound: whatever folder its name tells, it lies in one of two."""
    told = PurePosixPath(name.replace("\\", "/"))
    own = f"{told.stem.lower()}{told.suffix}"
    below = [f"{folder}/{own}" for folder in _FOLDERS]
    return file_below(
        root, next((file for file in below if (root / file).is_file()), below[0]), source, row, "audio"
    )


def _note_absent(path: Path, account: Account) -> None:
    """Name, once a subject, the recordings that the data set plans and the folder lacks."""
    subject = f"sub-{entities(path)['sub']}"
    folder = next(parent for parent in path.parents if parent.name == subject)
    files = sorted(folder.glob("ses-*/meg/*_meg.*"))
    there = {
        (entities(file).get("ses"), entities(file).get("task")) for file in files if file.suffix != ".json"
    }
    absent = [f"{session}/{task}" for session in SESSIONS for task in TASKS if (session, task) not in there]
    if absent:
        account.note(f"{subject} has {len(there)} of 8 recordings; absent session/task: {', '.join(absent)}")
