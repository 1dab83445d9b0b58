"""What a story drives in a listener's brain: sound first, then phonemes and words.

Auditory cortex follows the envelope of frequency bands and the edges in it (Oganian & Chang 2019,
doi:10.1126/sciadv.aay6279); classes of phonemes and the onsets of words come later (Brodbeck et al. 2018,
doi:10.1016/j.cub.2018.10.042). None of it is a mel spectrogram or a network of speech, which are what decoders predict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, fftconvolve, sosfilt

from neurodec.simulate.sensor_noise import band, shaped
from neurodec.simulate.sources import Area
from neurodec.simulate.speech_audio import AUDIO_SFREQ, PHONEMES, Story

SPEECH_SFREQ = 250.0
N_BANDS = 10
MANNERS = tuple(dict.fromkeys(phoneme.manner for phoneme in PHONEMES.values()))
# Both sides. A1 follows the envelope after 150 ms, because rising edges precede the envelope by about 25 ms. Nothing
# oscillates here, so the fields of the burst are not used.
AUDITORY = (
    Area("A1", "sound", (0.055, -0.015, 0.005), 12, 0.175, 0.022, 0.0, 0.0, 0.0, 0.008),
    Area("STG", "phonemes", (0.060, -0.025, 0.000), 10, 0.22, 0.035, 0.0, 0.0, 0.0, 0.012),
    Area("MTG", "words", (0.058, -0.035, -0.012), 8, 0.33, 0.050, 0.0, 0.0, 0.0, 0.018),
)
_SHARED = 0.7  # how much of what a source prefers is the same in all people
_ATTENTION = 0.25  # deviation of the logarithm of the response's strength, within seconds
_STRENGTH = {"A1": 1.0, "STG": 0.7, "MTG": 0.6}


@dataclass(frozen=True)
class Listener:
    """What the sources of one person prefer, and how late they are.

    Attributes
    ----------
    weights : tuple of ndarray, each (n_sources, n_features)
        Per area of `AUDITORY`.
    latencies : tuple of ndarray, each (n_sources,)
        Seconds.
    """

    weights: tuple[np.ndarray, ...]
    latencies: tuple[np.ndarray, ...]

    @classmethod
    def draw(cls, common: np.random.Generator, own: np.random.Generator) -> Listener:
        """Draw a person: `common` draws what all people share and must be new for each of them."""
        weights, latencies = [], []
        for area, n_features in zip(AUDITORY, (2 * N_BANDS, len(MANNERS), 2), strict=True):
            shape = (area.n_sources, n_features)
            preferred = common.normal(size=shape) ** 2, own.normal(size=shape) ** 2  # few features, strongly
            weights.append(_SHARED * preferred[0] + (1.0 - _SHARED) * preferred[1])
            late = own.normal(scale=area.jitter) + own.normal(scale=0.5 * area.jitter, size=area.n_sources)
            latencies.append(area.latency + late)
        return cls(tuple(weights), tuple(latencies))

    def currents(self, drives: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """Return the currents of all sources, per area (n_sources, n_times), of about unit variance.

        Parameters
        ----------
        drives : list of ndarray, each (n_features, n_times)
            As `story_drives` returns them, with silence around.
        rng : Generator
            Draws how attention waxes and wanes.
        """
        found = []
        for area, weights, latencies, drive in zip(
            AUDITORY, self.weights, self.latencies, drives, strict=True
        ):
            kernels = _kernels(latencies, area.width)
            currents = fftconvolve(weights @ drive, kernels, axes=1)[:, : drive.shape[1]]
            currents /= np.maximum(currents.std(axis=1, keepdims=True), 1e-12)
            waxing = shaped(1, drive.shape[1], SPEECH_SFREQ, band(0.0, 0.2), rng)[0]
            found.append(_STRENGTH[area.name] * currents * np.exp(_ATTENTION * waxing))
        return found


def story_drives(story: Story) -> list[np.ndarray]:
    """Return what drives each area of `AUDITORY`, at 250 Hz from the start of the story.

    Returns
    -------
    list of ndarray, each (n_features, n_times)
        Envelopes of ten bands and their rising edges; onsets of phonemes of every class; onsets of words, plain and
        weighted by how rare the word is in the story. Every feature has unit variance.
    """
    envelopes = band_envelopes(story.audio)
    n_times = envelopes.shape[1]
    smooth = gaussian_filter1d(envelopes, 0.012 * SPEECH_SFREQ, axis=1)
    edges = np.maximum(np.gradient(smooth, axis=1), 0.0)
    manners = np.zeros((len(MANNERS), n_times))
    for onset, label in zip(story.phonemes["onset"], story.phonemes["phoneme"], strict=True):
        manners[MANNERS.index(PHONEMES[label].manner), int(onset * SPEECH_SFREQ)] += 1.0
    words = np.zeros((2, n_times))
    rarity = -np.log(story.words["word"].map(story.words["word"].value_counts(normalize=True)))
    for onset, rare in zip(story.words["onset"], rarity, strict=True):
        words[:, int(onset * SPEECH_SFREQ)] += 1.0, rare
    found = [np.concatenate([envelopes, edges]), manners, words]
    return [drive / np.maximum(drive.std(axis=1, keepdims=True), 1e-12) for drive in found]


def band_envelopes(audio: np.ndarray) -> np.ndarray:
    """Return compressed envelopes of ten bands from 120 to 6500 Hz, equally far apart for the ear.

    Parameters
    ----------
    audio : ndarray of int16, shape (n_samples,)
        At 16 kHz.

    Returns
    -------
    ndarray, shape (10, n_times)
        At 250 Hz. Bandwidths: Glasberg & Moore (1990, doi:10.1016/0378-5955(90)90170-T).
    """
    step = round(AUDIO_SFREQ / SPEECH_SFREQ)
    signal = np.zeros(-(-len(audio) // step) * step)
    signal[: len(audio)] = audio / 32768
    numbers = np.linspace(*21.4 * np.log10(1 + 0.00437 * np.array([120.0, 6500.0])), N_BANDS)
    centres = (10 ** (numbers / 21.4) - 1) / 0.00437
    found = []
    for centre in centres:
        half = 12.35 * (1 + 0.00437 * centre)
        own = sosfilt(
            butter(2, [centre - half, centre + half], "bandpass", fs=AUDIO_SFREQ, output="sos"), signal
        )
        found.append(np.abs(own).reshape(-1, step).mean(axis=1) ** 0.4)
    return np.stack(found)


def _kernels(latencies: np.ndarray, width: float) -> np.ndarray:
    """Return Gaussian responses (n_sources, n_times) that peak at their latencies, seconds."""
    times = np.arange(round((latencies.max() + 4 * width) * SPEECH_SFREQ)) / SPEECH_SFREQ
    return np.exp(-0.5 * ((times - latencies[:, None]) / width) ** 2)
