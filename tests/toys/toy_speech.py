"""A toy of speech decoding in one file: a reader, targets that are sequences, an encoder and an objective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.io import wavfile
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.data import Dataset, Part, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.features import Extractor, Features
from neurodec.training import Objective

SFREQ, WINDOW = 50.0, 3.0  # Hz of the recordings, s
RATE, N_BANDS, N_FRAMES = 800, 4, 15  # Hz of the sounds; the targets


@dataclass(frozen=True)
class ListenedWords(Dataset):
    """Windows of 3 s from word onsets of recordings ``sub-<name>.npy`` (n_chans, n_samples), with ``words.csv``."""

    def parts(self, root: Path) -> list[Part]:
        files = sorted(root.glob("sub-*.npy"))
        return [Part(file.stem, file.stem.removeprefix("sub-"), (file, root / "words.csv")) for file in files]

    def load(self, part: Part, root: Path) -> Trials:
        recording, words = np.load(part.files[0]), pd.read_csv(part.files[1], dtype={"stimulus": str})
        starts = np.round(words["onset"].to_numpy() * SFREQ).astype(int)
        windows = np.stack([recording[:, start : start + round(WINDOW * SFREQ)] for start in starts])
        table = with_defaults(words[["stimulus", "split", "onset"]].assign(subject=part.subject))
        info = {"modality": "meg", "units": "a.u.", "sfreq": SFREQ, "tmin": 0.0, "ch_pos": None}
        info["ch_names"] = [f"MEG{number:03d}" for number in range(len(recording))]
        return Trials(windows.astype(np.float32), table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        words = pd.read_csv(root / "words.csv", dtype=str)
        free = words[["stimulus", "split", "word", "sentence", "audio", "offset"]]
        return free.assign(concept=words["stimulus"], duration=str(WINDOW))


@dataclass(frozen=True)
class Bands(Extractor):
    """Loudness of four bands over 15 frames of the stretch of sound: a sequence (n_stimuli, 4, 15)."""

    embedding_space = "toy/bands"

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        values = np.zeros((len(stimuli), N_BANDS, N_FRAMES), dtype=np.float32)
        for place, row in enumerate(stimuli.itertuples()):
            sound = wavfile.read(Path(root) / row.audio)[1].astype(np.float64)
            start = round(float(row.offset) * RATE)
            frames = sound[start : start + round(float(row.duration) * RATE)].reshape(N_FRAMES, -1)
            power = np.abs(np.fft.rfft(frames, axis=1))[:, 1 : 1 + 20 * N_BANDS].reshape(
                N_FRAMES, N_BANDS, -1
            )
            values[place] = np.log1p(power.mean(axis=2)).T
        values -= values.mean(axis=(0, 2), keepdims=True)
        info = {"embedding_space": self.embedding_space, "key": "toy", "dims": ["stimulus", "band", "frame"]}
        return Features(values, stimuli["stimulus"].tolist(), info)


class Convolutions(nn.Module):
    """From sensors over 3 s to a sequence."""

    def __init__(self, n_chans: int, heads: dict[str, list[int]]) -> None:
        super().__init__()
        n_bands, self.n_frames = heads["sound"]
        self.layers = nn.Sequential(
            nn.Conv1d(n_chans, 32, 1), nn.Conv1d(32, 32, 11, padding=5), nn.GELU(), nn.Conv1d(32, n_bands, 1)
        )

    def forward(self, response: Tensor) -> dict[str, Tensor]:
        return {"sound": F.adaptive_avg_pool1d(self.layers(response), self.n_frames)}


class SequenceContrast(Objective):
    """CLIP's loss of whole sequences, without normalising the brain's side or learning a temperature."""

    head, needs = "sound", ("sound",)

    def forward(self, found: dict[str, Tensor], batch: object, progress: float) -> dict[str, Tensor]:
        sounds = F.normalize(batch["sound"].flatten(1), dim=1)
        scores = found["sound"].flatten(1) @ sounds.T
        return {"contrast": F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))}
