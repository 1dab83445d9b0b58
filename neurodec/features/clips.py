"""Features of sound over time: computed once per clip, kept on the disk, cut into windows as they are read."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.features.audio import read_sound, require_sound
from neurodec.features.cache import cache_folder, in_memory
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.files import atomic_path, key_of, sha256_of, track

_SCALED_BY = 8000  # training windows that mean and deviation are taken over
_AT_ONCE = 64


class SoundFeatures(Extractor):
    """Base of targets that are sequences of features of what was heard, at the rate of the brain.

    Stimuli are stretches of files (`audio`, `offset`, `duration`; s), each of which lies in a clip (`clip_start`,
    `clip_stop`): features of a clip are computed from its own sound alone, so that none of a test text follows from one
    of the training. Without these columns the stretch is its own clip. Subclasses are dataclasses with the fields
    `sfreq`, `delay`, `scale` and `half`.
    """

    sfreq: float
    delay: float
    scale: bool
    half: bool

    @abstractmethod
    def of_sound(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """Return the features of a sound, shape (n_features, n_frames), frames evenly over its length.

        Parameters
        ----------
        sound : ndarray, shape (n_samples,)
        rate : int
            Hertz.
        """

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Return what the numbers of a clip depend on besides its sound."""

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Compute the features of the clips that the cache lacks, and return windows of them.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus`, `audio`, `offset`, `duration`, and perhaps `clip_start`, `clip_stop` and `spoken`.
        root : str or Path
            Folder of the data set.

        Returns
        -------
        Features
            Values (n_stimuli, n_features, n_times), a view beyond a gigabyte.

        Raises
        ------
        NeurodecError
            If a stimulus has no sound, or its file ends too early.
        """
        stimuli = _required(stimuli)
        names = ["audio", "clip_start", "clip_stop"]
        clips = stimuli[names].drop_duplicates().reset_index(drop=True)
        files = clips["audio"].unique()
        contents = {file: sha256_of(require_sound(Path(root) / file)) for file in files}
        recipe = self.recipe()
        folder = cache_folder() / "clips" / key_of([recipe, self.half])
        arrays = []
        for clip in track(list(clips.itertuples()), "sounds"):
            file = folder / f"{key_of([contents[clip.audio], clip.clip_start, clip.clip_stop])}.npy"
            if not file.exists():
                sound, rate = read_sound(Path(root) / clip.audio, clip.clip_start, clip.clip_stop)
                found = self.of_sound(sound, rate).astype(np.float16 if self.half else np.float32)
                with atomic_path(file) as partial, partial.open("wb") as handle:
                    np.save(handle, found)
            arrays.append(np.load(file, mmap_mode="r"))
        place = pd.MultiIndex.from_frame(clips).get_indexer(pd.MultiIndex.from_frame(stimuli[names]))
        windows = ClipWindows(arrays, clips, place, stimuli, self.sfreq, self.delay)
        centre, spread = _scale_of(windows, stimuli, self.sfreq) if self.scale else (0.0, 1.0)
        values = in_memory(Rescaled(windows, centre, spread))
        columns = [*names, "stimulus", "offset", "duration"]
        columns += [name for name in ("split", "spoken") if self.scale and name in stimuli]
        cut = stimuli[columns].to_numpy().tolist()
        info = {
            "embedding_space": self.embedding_space,
            "key": key_of([recipe, contents, cut, self.sfreq, self.delay, self.scale]),
            "dims": ["stimulus", "value", "time"],
            "sfreq": self.sfreq,
            **recipe,
        }
        return Features(values, stimuli["stimulus"].tolist(), info)


class ClipWindows(View):
    """Stretches of clips, brought to the brain's rate by the nearest frame; 0 where a clip does not reach.

    Parameters
    ----------
    arrays : list of ndarray, each (n_features, n_frames)
        One per clip.
    clips : DataFrame
        `clip_start`, `clip_stop` (s) of each.
    place : ndarray of int, shape (n,)
        The clip of every row.
    stimuli : DataFrame
        `offset` and `duration` (s) of every row.
    sfreq : float
        Hertz of the windows.
    delay : float
        Seconds that a window is longer than its rows: its last samples are left out.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        arrays: list[np.ndarray],
        clips: pd.DataFrame,
        place: np.ndarray,
        stimuli: pd.DataFrame,
        sfreq: float,
        delay: float,
    ) -> None:
        self.arrays, self.place = arrays, place
        lengths = np.round(stimuli["duration"].to_numpy() * sfreq).astype(int)
        if len(set(lengths.tolist())) > 1:
            raise NeurodecError(
                "The stretches of sound have several durations, which would tell candidates apart by their length; cut "
                "windows of one length."
            )
        n_times = int(lengths[0])
        n_whole = n_times + int(delay * sfreq + 1e-6)
        begin = stimuli["offset"].to_numpy(dtype=float)
        end = begin + n_whole / sfreq
        start, stop = (clips[name].to_numpy()[place] for name in ("clip_start", "clip_stop"))
        n_frames = np.array([array.shape[1] for array in arrays])[place]
        rate = n_frames / np.maximum(stop - start, 1e-9)
        first, last = np.maximum(begin, start), np.minimum(end, stop)
        self.frames = np.stack([np.round(rate * (edge - start)) for edge in (first, last)], axis=1).astype(
            int
        )
        self.frames[:, 0] = self.frames[:, 0].clip(0, n_frames - 1)
        self.frames[:, 1] = np.maximum(self.frames[:, 1].clip(max=n_frames), self.frames[:, 0] + 1)
        self.samples = np.stack([np.round((edge - begin) * sfreq) for edge in (first, last)], axis=1).astype(
            int
        )
        self.shape = (len(place), arrays[0].shape[0], n_times)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows, shape (len(rows), n_features, n_times)."""
        found = np.zeros((len(rows), *self.shape[1:]), dtype=np.float32)
        for place, row in enumerate(rows):
            (first, last), (begin, end) = self.frames[row], self.samples[row]
            if end <= begin:
                continue
            nearest = first + np.arange(end - begin) * (last - first) // (end - begin)
            kept = nearest[: max(self.shape[2] - begin, 0)]
            found[place, :, begin : begin + len(kept)] = self.arrays[self.place[row]][:, kept]
        return found


class Rescaled(View):
    """Rows less one number, divided by another, as they are read.

    Parameters
    ----------
    source : View
    centre, spread : float
    """

    dtype = np.dtype(np.float32)

    def __init__(self, source: View, centre: float, spread: float) -> None:
        self.source, self.centre, self.spread, self.shape = source, centre, spread, source.shape

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows."""
        block = self.source.read(rows)
        block -= np.float32(self.centre)
        block /= np.float32(self.spread)
        return block


def _required(stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return the stimuli with numbers for times; a stretch without a clip is one itself."""
    missing = [name for name in ("audio", "offset", "duration") if name not in stimuli]
    if missing:
        raise NeurodecError(
            f"Features of sound need the column(s) {', '.join(missing)} of the stimulus table (a file below the data "
            "root, and seconds in it); take a reader of speech, such as neurodec.data.BidsSpeech."
        )
    silent = stimuli["stimulus"][stimuli["audio"].fillna("") == ""]
    if len(silent):
        raise NeurodecError(
            f"{len(silent)} of {len(stimuli)} stimuli have no sound, first {silent.iloc[0]}; complete the column "
            "`audio`."
        )
    times = {name: pd.to_numeric(stimuli[name]) for name in ("offset", "duration")}
    ends = {"clip_start": times["offset"], "clip_stop": times["offset"] + times["duration"]}
    times |= {
        name: pd.to_numeric(stimuli[name]) if name in stimuli else own.clip(lower=0)
        for name, own in ends.items()
    }
    return stimuli.assign(**times)


def _scale_of(windows: ClipWindows, stimuli: pd.DataFrame, sfreq: float) -> tuple[float, float]:
    """Return mean and deviation over all features of training windows, where words are spoken."""
    known = np.flatnonzero(stimuli["split"] == "train") if "split" in stimuli else np.arange(0)
    known = known if len(known) else np.arange(len(stimuli))
    rows = np.sort(np.random.default_rng(0).permutation(known)[:_SCALED_BY])
    total, squares, count = 0.0, 0.0, 0
    spoken = stimuli["spoken"].to_numpy() if "spoken" in stimuli else None
    for start in range(0, len(rows), _AT_ONCE):
        own = rows[start : start + _AT_ONCE]
        block = windows.read(own)
        mask = np.ones((len(own), windows.shape[2]), dtype=bool)
        if spoken is not None:
            mask = np.stack([_spoken(spoken[row], windows.shape[2], sfreq) for row in own])
        chosen = block.swapaxes(1, 2)[mask].astype(np.float64)  # (n_chosen, n_features)
        total, squares, count = total + chosen.sum(), squares + np.square(chosen).sum(), count + chosen.size
    if not count:
        return 0.0, 1.0
    mean = total / count
    return mean, float(np.sqrt(max(squares / count - mean**2, 1e-12)))


def _spoken(text: str, n_times: int, sfreq: float) -> np.ndarray:
    """Return which samples of a window lie in a word, from ``"0.120-0.340 0.400-0.550"`` (s)."""
    mask = np.zeros(n_times, dtype=bool)
    for stretch in str(text).split():
        begin, _, end = stretch.partition("-")
        mask[round(float(begin) * sfreq) : round(float(end) * sfreq)] = True
    return mask
