"""Small BIDS folders of listeners: a WAV file whose loudness codes words, and sensors that follow it 150 ms later."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.io import wavfile

WORDS = ("none", "the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "null")
DELAY = 0.15


def story(rng: np.random.Generator, n_sentences: int, rate: int = 8000) -> tuple[np.ndarray, pd.DataFrame]:
    """Return a sound and its words: every word is a tone with an envelope of its own."""
    time, rows, pieces = 0.0, [], []
    for number in range(n_sentences):
        words = [WORDS[place] for place in rng.integers(0, len(WORDS), 6)]
        for place, word in enumerate(words):
            length = 0.35 + 0.05 * rng.integers(0, 4)
            pitch = 200 + 120 * WORDS.index(word)
            times = np.arange(round(length * rate)) / rate
            loud = np.sin(np.pi * times / length) * rng.uniform(0.3, 0.9)
            pieces.append(loud * np.sin(2 * np.pi * pitch * times))
            rows.append(
                {"onset": time, "duration": length, "word": word, "word_index": place}
                | {"sentence": f"{' '.join(words)} {number}"}
            )
            time += len(times) / rate
        pieces.append(np.zeros(round(0.4 * rate)))
        time += len(pieces[-1]) / rate
    return np.concatenate(pieces).astype(np.float32), pd.DataFrame(rows)


def write_listeners(
    root: Path,
    n_subjects: int = 2,
    n_sentences: int = 40,
    seed: int = 0,
    sfreq: float = 250.0,
    depth: type = np.int16,
    lead: float = 2.0,
) -> pd.DataFrame:
    """Write the folder and return its words; the second subject has fewer sensors and begins 0.7 s later."""
    rng = np.random.default_rng(seed)
    sound, words = story(rng, n_sentences)
    (root / "stimuli").mkdir(parents=True)
    scaled = sound if depth is np.float32 else np.round(sound * np.iinfo(depth).max * 0.9)
    wavfile.write(root / "stimuli" / "story.wav", 8000, scaled.astype(depth))
    bands = np.stack(
        [
            np.convolve(np.abs(sound) * (np.arange(len(sound)) % (band + 2) > 0), np.ones(400) / 400, "same")
            for band in range(4)
        ]
    )
    for subject in range(n_subjects):
        n_chans = 10 - 2 * subject
        begin = lead + 0.7 * subject
        n_samples = round((begin + len(sound) / 8000 + 3) * sfreq)
        times = np.arange(n_samples) / sfreq - begin - DELAY
        drive = np.stack([np.interp(times, np.arange(len(sound)) / 8000, own, 0, 0) for own in bands])
        signals = 3e-13 * rng.normal(size=(n_chans, 4)) @ drive + 2e-14 * rng.standard_normal(
            (n_chans, n_samples)
        )
        info = mne.create_info([f"MEG{number:03d}" for number in range(n_chans)], sfreq, "mag")
        for number, channel in enumerate(info["chs"]):
            angle = 2 * np.pi * number / n_chans + subject
            channel["loc"][:3] = [0.08 * np.cos(angle), 0.08 * np.sin(angle), 0.05 + 0.01 * (number % 3)]
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
        folder = root / f"sub-{subject + 1:02d}" / "meg"
        folder.mkdir(parents=True)
        name = folder / f"sub-{subject + 1:02d}_task-story"
        mne.io.RawArray(signals, info, verbose="error").save(f"{name}_meg.fif", verbose="error")
        events = words.assign(onset=words["onset"] + begin, trial_type="word", stim_file="n/a")
        heard = {
            "onset": begin,
            "duration": len(sound) / 8000,
            "trial_type": "sound",
            "stim_file": "story.wav",
        }
        table = pd.concat([pd.DataFrame([heard]), events], ignore_index=True).fillna("n/a")
        table.to_csv(f"{name}_events.tsv", sep="\t", index=False)
    return words
