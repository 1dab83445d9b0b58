"""Listeners to stories as a BIDS folder: the audio below ``stimuli/``, continuous MEG, every word and phoneme.

Subjects have different sensors: the first all of a CTF-like helmet, the second lacks some of them, the third sits in
another helmet, with other names and positions; so on in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.io import wavfile

from neurodec.files import atomic_path, track, write_json
from neurodec.simulate.meg_recording import ctf_info
from neurodec.simulate.recording import Head, Nuisance, background
from neurodec.simulate.sources import NANO
from neurodec.simulate.speech_audio import AUDIO_SFREQ, Story, draw_lexicon, tell
from neurodec.simulate.speech_drive import AUDITORY, SPEECH_SFREQ, Listener, story_drives

N_SENSORS = 48
N_OTHER_SENSORS = 40
LACKING = 6  # broken sensors of the second subject
KIT_GRADIOMETER = 6001  # coil type of a 50 mm axial gradiometer, FIFFV_COIL_KIT_GRAD
LEAD, TAIL = (2.0, 4.0), 2.0  # seconds before the story, and after it
EVOKED = 0.6 * NANO
"""Standard deviation of the current of a source in the first area, ampere metres."""
NUISANCE = Nuisance(blinks_per_minute=8.0, contact=0.05, unsteadiness=0.3)  # coils touch no skin
_DESCRIPTION = {"Name": "Simulated listeners to stories", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
_ABOUT = {
    "SamplingFrequency": SPEECH_SFREQ,
    "PowerLineFrequency": 50,
    "DewarPosition": "upright",
    "SoftwareFilters": "n/a",
    "DigitizedLandmarks": False,
    "DigitizedHeadPoints": False,
}
_LEXICON, _STORY, _COMMON, _PERSON, _RECORDING = range(5)  # what a random stream is for


@dataclass(frozen=True)
class SpeechSize:
    """How much is simulated.

    Attributes
    ----------
    n_subjects : int
        Everybody hears all stories.
    n_stories : int
    minutes : int
        Length of a story.
    """

    n_subjects: int = 3
    n_stories: int = 4
    minutes: int = 6


def files(root: Path, size: SpeechSize) -> list[Path]:
    """List the files of a finished simulation."""
    stories = range(1, size.n_stories + 1)
    own = [(subject, story) for subject in range(1, size.n_subjects + 1) for story in stories]
    return [
        root / "dataset_description.json",
        *(sidecar_file(root, story) for story in stories),
        *(story_file(root, story) for story in stories),
        *(events_file(root, *numbers) for numbers in own),
        *(recording_file(root, *numbers) for numbers in own),
    ]


def story_file(root: Path, story: int) -> Path:
    """Return the audio of a story, counted from 1."""
    return root / "stimuli" / f"story-{story:02d}.wav"


def sidecar_file(root: Path, story: int) -> Path:
    """Return the metadata of all recordings of a story."""
    return root / f"task-story{story:02d}_meg.json"


def recording_file(root: Path, subject: int, story: int) -> Path:
    """Return the recording of a subject and a story, both counted from 1."""
    return root / f"sub-{subject:02d}" / "meg" / f"sub-{subject:02d}_task-story{story:02d}_meg.fif"


def events_file(root: Path, subject: int, story: int) -> Path:
    """Return the events of a recording."""
    recording = recording_file(root, subject, story)
    return recording.with_name(recording.name.replace("_meg.fif", "_events.tsv"))


def write(root: Path, size: SpeechSize, seed: int) -> None:
    """Write all that is not there, the same bits for the same seed.

    Parameters
    ----------
    root : Path
    size : SpeechSize
    seed : int

    Notes
    -----
    Of events.tsv, rows of `trial_type` ``sound`` tell where a story starts in the recording and which file it is
    (`stim_file`), rows ``word`` have `word`, `sentence` and `word_index`, and rows ``phoneme`` have `phoneme`.
    """
    stories = {
        number: tell_story(number, size.minutes * 60.0, seed) for number in range(1, size.n_stories + 1)
    }
    _write_shared(root, stories)
    drives = {number: story_drives(story) for number, story in stories.items()}
    recordings = [(subject, number) for subject in range(1, size.n_subjects + 1) for number in stories]
    for subject, number in track(recordings, "recording MEG"):
        rng = np.random.default_rng([seed, _RECORDING, subject, number])
        lead = round(rng.uniform(*LEAD) * SPEECH_SFREQ)  # samples
        events, recording = events_file(root, subject, number), recording_file(root, subject, number)
        if not events.exists():
            table = events_of(stories[number], story_file(root, number).name, lead / SPEECH_SFREQ)
            with atomic_path(events) as partial:
                table.to_csv(partial, sep="\t", index=False, na_rep="n/a", float_format="%.6f")
        if not recording.exists():
            raw = record(subject, drives[number], lead, seed, rng)
            with atomic_path(recording) as partial:
                raw.save(partial, fmt="single", split_naming="bids", verbose="error")


def _write_shared(root: Path, stories: dict[int, Story]) -> None:
    """Write the audio and the metadata that all recordings share."""
    for number, story in stories.items():
        audio, sidecar = story_file(root, number), sidecar_file(root, number)
        if not audio.exists():
            with atomic_path(audio) as partial:
                wavfile.write(partial, AUDIO_SFREQ, story.audio)
        if not sidecar.exists():
            write_json(sidecar, {"TaskName": f"story{number:02d}", **_ABOUT})
    description = root / "dataset_description.json"
    if not description.exists():
        write_json(description, _DESCRIPTION)


def tell_story(number: int, seconds: float, seed: int) -> Story:
    """Draw and speak a story, counted from 1; all stories of a seed have the same words."""
    lexicon = draw_lexicon(np.random.default_rng([seed, _LEXICON]))
    return tell(lexicon, seconds, np.random.default_rng([seed, _STORY, number]))


def events_of(story: Story, stim_file: str, start: float) -> pd.DataFrame:
    """Return the rows of events.tsv of a story that starts so many seconds after the recording."""
    sound = pd.DataFrame(
        {
            "onset": [0.0],
            "duration": [len(story.audio) / AUDIO_SFREQ],
            "trial_type": "sound",
            "stim_file": stim_file,
        }
    )
    words = story.words.assign(trial_type="word", word_index=story.words["word_index"].astype(str))
    table = pd.concat([sound, words, story.phonemes.assign(trial_type="phoneme")], ignore_index=True)
    table["onset"] += start
    columns = ["onset", "duration", "trial_type", "word", "phoneme", "sentence", "word_index", "stim_file"]
    return table[columns].sort_values("onset", kind="stable", ignore_index=True)


def sensors(subject: int, rng: np.random.Generator) -> mne.Info:
    """Return the sensors of a subject, counted from 1: a helmet, the same with some broken, another one, in turn."""
    turn = (subject - 1) % 3
    if turn == 2:
        info = ctf_info(SPEECH_SFREQ, N_OTHER_SENSORS)
        mne.rename_channels(
            info, {name: f"MEG {number:03d}" for number, name in enumerate(info["ch_names"], start=1)}
        )
        for channel in info["chs"]:
            channel["coil_type"] = KIT_GRADIOMETER
        return info
    info = ctf_info(SPEECH_SFREQ, N_SENSORS)
    if turn == 0:
        return info
    return mne.pick_info(info, np.sort(rng.permutation(N_SENSORS)[LACKING:]))


def record(
    subject: int,
    drives: list[np.ndarray],
    lead: int,
    seed: int,
    rng: np.random.Generator,
    evoked: float = EVOKED,
) -> mne.io.RawArray:
    """Record a subject who hears a story.

    Parameters
    ----------
    subject : int
        From 1.
    drives : list of ndarray, each (n_features, n_times)
        Of the story, see `story_drives`.
    lead : int
        Samples before the story starts.
    seed : int
        Draws the person, who is the same with every story.
    rng : Generator
        Draws the recording.
    evoked : float
        Deviation of the currents, ampere metres.

    Returns
    -------
    mne.io.RawArray
        Tesla, at 250 Hz.
    """
    person = np.random.default_rng([seed, _PERSON, subject])
    info = sensors(subject, person)
    head = Head.draw(info, person, AUDITORY)
    listener = Listener.draw(np.random.default_rng([seed, _COMMON]), person)
    padding = ((0, 0), (lead, round(TAIL * SPEECH_SFREQ)))
    padded = [np.pad(drive, padding) for drive in drives]
    data = background(head, padded[0].shape[1], SPEECH_SFREQ, NUISANCE, rng)
    for gains, currents in zip(head.areas, listener.currents(padded, rng), strict=True):
        data += gains @ (np.float32(evoked) * currents.astype(np.float32))
    info["line_freq"] = 50.0
    return mne.io.RawArray(data, info, verbose="error")
