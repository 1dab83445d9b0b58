"""Stories in an invented language: pseudo-words, spoken by formant synthesis, with the time of every phoneme.

A voice is a train of glottal pulses, or noise, through resonances (Klatt 1980, doi:10.1121/1.383940). Formants of the
vowels: Peterson & Barney (1952, doi:10.1121/1.1906875).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from neurodec.data.tables import MISSING

AUDIO_SFREQ = 16_000
N_WORDS = 120
WORDS_PER_SENTENCE = (4, 9)
PAUSE = (0.3, 0.6)  # seconds between sentences
_SYLLABLES = (0.3, 0.45, 0.25)  # shares of words of one, two and three
_CODA = 0.3  # share of closed syllables
_BETWEEN_WORDS = (0.01, 0.05)  # seconds
_FADE = 160  # samples by which a phoneme runs into its neighbours
_LOUDNESS = 0.25  # deviation of the logarithm, by syllable and by sentence
_ROOM = 4e-4  # noise of the room, full scale is 1
_UPPER = (3500.0, 4500.0)  # hertz; formants that are the same in all voiced sounds
_BANDWIDTHS = (70.0, 100.0, 150.0, 200.0, 250.0)  # hertz


@dataclass(frozen=True)
class Phoneme:
    """How a phoneme sounds.

    Attributes
    ----------
    manner : str
        Class of the phoneme: how and where it is made.
    formants : tuple of float
        Resonances, hertz; of one noise band for stops and fricatives.
    seconds : float
        Usual duration.
    level : float
        Root mean square relative to an open vowel.
    voiced : bool
    locus : float
        Where the second formant of a following vowel starts, hertz.
    """

    manner: str
    formants: tuple[float, ...]
    seconds: float
    level: float
    voiced: bool = True
    locus: float = 0.0


VOWELS = {
    "a": Phoneme("open", (730.0, 1090.0, 2440.0), 0.13, 1.0),
    "e": Phoneme("front", (530.0, 1840.0, 2480.0), 0.12, 0.85),
    "i": Phoneme("front", (270.0, 2290.0, 3010.0), 0.10, 0.65),
    "o": Phoneme("back", (570.0, 840.0, 2410.0), 0.13, 0.9),
    "u": Phoneme("back", (300.0, 870.0, 2240.0), 0.11, 0.7),
}
CONSONANTS = {
    "p": Phoneme("stop", (900.0,), 0.075, 0.25, False, 800.0),
    "t": Phoneme("stop", (3800.0,), 0.075, 0.35, False, 1800.0),
    "k": Phoneme("stop", (2000.0,), 0.080, 0.35, False, 2200.0),
    "b": Phoneme("voiced stop", (700.0,), 0.065, 0.35, True, 800.0),
    "d": Phoneme("voiced stop", (3200.0,), 0.065, 0.35, True, 1800.0),
    "g": Phoneme("voiced stop", (1700.0,), 0.070, 0.35, True, 2200.0),
    "f": Phoneme("fricative", (1500.0,), 0.090, 0.15, False, 900.0),
    "s": Phoneme("fricative", (6000.0,), 0.100, 0.35, False, 1800.0),
    "sh": Phoneme("fricative", (3200.0,), 0.100, 0.45, False, 2000.0),
    "z": Phoneme("fricative", (5200.0,), 0.080, 0.35, True, 1800.0),
    "m": Phoneme("nasal", (250.0, 1000.0, 2200.0), 0.070, 0.45, True, 900.0),
    "n": Phoneme("nasal", (250.0, 1500.0, 2500.0), 0.065, 0.45, True, 1700.0),
    "l": Phoneme("glide", (360.0, 1100.0, 2600.0), 0.065, 0.6, True, 1100.0),
    "r": Phoneme("glide", (320.0, 1060.0, 1450.0), 0.065, 0.55, True, 1200.0),
    "w": Phoneme("glide", (300.0, 650.0, 2200.0), 0.065, 0.55, True, 650.0),
}
PHONEMES = VOWELS | CONSONANTS
_CODAS = ("n", "m", "l", "r", "s", "t", "k")

Word = tuple[str, ...]
"""The phonemes of a word; joined they are its spelling."""


@dataclass(frozen=True)
class Story:
    """What is heard, and when.

    Attributes
    ----------
    audio : ndarray of int16, shape (n_samples,)
        At 16 kHz.
    words : DataFrame
        `onset` and `duration` in seconds from the start of the audio, `word`, `sentence`, `word_index` from 0.
    phonemes : DataFrame
        `onset`, `duration`, `phoneme`.
    """

    audio: np.ndarray
    words: pd.DataFrame
    phonemes: pd.DataFrame


def draw_lexicon(rng: np.random.Generator, n_words: int = N_WORDS) -> list[Word]:
    """Draw different pseudo-words of one to three syllables, consonant and vowel, some closed by a consonant.

    No word is spelt as what tables take for a missing value ("nan").
    """
    found: dict[str, Word] = {}
    while len(found) < n_words:
        word: Word = ()
        for _ in range(rng.choice(3, p=_SYLLABLES) + 1):
            word += (str(rng.choice(list(CONSONANTS))), str(rng.choice(list(VOWELS))))
            if rng.random() < _CODA:
                word += (str(rng.choice(_CODAS)),)
        text = "".join(word)
        if len(text) > 2 and text not in MISSING:
            found.setdefault(text, word)
    return list(found.values())


def tell(lexicon: list[Word], seconds: float, rng: np.random.Generator) -> Story:
    """Speak sentences of random words until the time is over.

    Parameters
    ----------
    lexicon : list of tuple of str
        As `draw_lexicon` returns it; earlier words are more frequent.
    seconds : float
        The story ends with the last sentence that fits, and has at least one.
    rng : Generator

    Returns
    -------
    Story
    """
    speaker = _Speaker(rng, rng.uniform(100.0, 190.0), rng.uniform(0.92, 1.08))
    chances = 1.0 / (np.arange(len(lexicon)) + 10.0)
    chances /= chances.sum()
    place = _samples(rng.uniform(*PAUSE))
    pieces: list[tuple[int, np.ndarray]] = []
    words, phonemes = [], []
    while True:
        length = rng.integers(WORDS_PER_SENTENCE[0], WORDS_PER_SENTENCE[1] + 1)
        drawn = [lexicon[number] for number in rng.choice(len(lexicon), length, p=chances)]
        sentence = speaker.say(drawn)
        if pieces and place + len(sentence.audio) > seconds * AUDIO_SFREQ:
            break
        text = " ".join("".join(word) for word in drawn)
        for index, (word, start, stop) in enumerate(zip(drawn, sentence.starts, sentence.stops, strict=True)):
            words.append((place + start, stop - start, "".join(word), text, index))
        phonemes += [(place + start, stop - start, label) for start, stop, label in sentence.phonemes]
        pieces.append((place, sentence.audio))
        place += len(sentence.audio) + _samples(rng.uniform(*PAUSE))
    audio = np.zeros(place)
    for start, piece in pieces:
        audio[start : start + len(piece)] = piece
    audio *= 0.9 / np.abs(audio).max()
    audio += _ROOM * rng.standard_normal(len(audio))
    return Story(
        np.round(np.clip(audio, -1.0, 1.0) * 32767).astype(np.int16),
        _table(words, ["word", "sentence", "word_index"]),
        _table(phonemes, ["phoneme"]),
    )


def _table(rows: list[tuple], further: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["onset", "duration", *further])
    return table.assign(onset=table["onset"] / AUDIO_SFREQ, duration=table["duration"] / AUDIO_SFREQ)


def _samples(seconds: float) -> int:
    return round(seconds * AUDIO_SFREQ)


@dataclass
class _Sentence:
    """One sentence; places are samples."""

    audio: np.ndarray
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    phonemes: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Speaker:
    """A voice: usual pitch in hertz, and how long its phonemes are relative to the usual ones."""

    rng: np.random.Generator
    pitch: float
    slowness: float

    def say(self, words: list[Word]) -> _Sentence:
        """Speak the words; pitch and loudness fall towards the end, and the last vowel is long."""
        sentence = _Sentence(np.zeros(0))
        loudness, place, anchors = [], _FADE, []
        for number, word in enumerate(words):
            sentence.starts.append(place)
            accent = self.rng.normal(scale=0.08)
            for label, following in pairwise([*word, ""]):
                closed_by = label in VOWELS and number == len(words) - 1 and following == ""
                length = self._length(label) * (1.4 if closed_by else 1.0)
                stop = place + _samples(length)
                sentence.phonemes.append((place, stop, label))
                if (label in CONSONANTS and following in VOWELS) or not loudness:
                    syllable = self.rng.normal(scale=_LOUDNESS)
                loudness.append(np.exp(syllable))
                anchors.append((place, accent + self.rng.normal(scale=0.03)))
                place = stop
            sentence.stops.append(place)
            place += _samples(self.rng.uniform(*_BETWEEN_WORDS))
        total = sentence.stops[-1] + _FADE
        fall = np.linspace(0.15, -0.2, total)
        pitch = self.pitch * np.exp(fall + np.interp(np.arange(total), *zip(*anchors, strict=True)))
        level = np.exp(self.rng.normal(scale=_LOUDNESS)) * np.exp(fall)
        sentence.audio = level * self._sound(sentence.phonemes, loudness, pitch)
        return sentence

    def _length(self, label: str) -> float:
        return PHONEMES[label].seconds * self.slowness * self.rng.lognormal(0.0, 0.18)

    def _sound(
        self, phonemes: list[tuple[int, int, str]], loudness: list[float], pitch: np.ndarray
    ) -> np.ndarray:
        """Synthesise phonemes that run into each other."""
        voice, breath = _glottal(pitch), self.rng.standard_normal(len(pitch))
        voice += 0.02 * breath
        audio = np.zeros(len(pitch))
        before = 0.0
        for (start, stop, label), strength in zip(phonemes, loudness, strict=True):
            phoneme = PHONEMES[label]
            reach = slice(start - _FADE // 2, stop + _FADE // 2)
            sound = _spoken(phoneme, voice[reach], breath[reach], before)
            sound *= strength * phoneme.level / np.sqrt(np.mean(sound**2))
            audio[reach] += sound * _faded(len(sound))
            before = phoneme.locus
        return audio


def _spoken(phoneme: Phoneme, voice: np.ndarray, breath: np.ndarray, before: float) -> np.ndarray:
    """Filter the sources of one phoneme; `before` is the locus of the consonant in front of a vowel, or 0."""
    if phoneme.manner in ("stop", "voiced stop"):
        opening = int(0.6 * len(voice))
        time = np.arange(len(voice) - opening) / AUDIO_SFREQ
        sound = np.zeros(len(voice))
        sound[opening:] = _hissed(breath[opening:], phoneme.formants[0]) * np.exp(-time / 0.012)
        if phoneme.voiced:  # the voice bar, heard through closed lips
            sound += 0.15 * _resonant(voice, (200.0,)) / np.abs(voice).max()
        return sound
    if phoneme.manner == "fricative":
        hiss = _hissed(breath, phoneme.formants[0])
        if phoneme.voiced:
            hiss += 0.7 * _resonant(voice, (250.0,)) / np.abs(voice).max()
        return hiss
    sound = _resonant(voice, (*phoneme.formants, *_UPPER))
    if phoneme.locus or not before:
        return sound
    first, second, third = phoneme.formants
    moving = _resonant(voice, (0.7 * first, 0.5 * (second + before), third, *_UPPER))
    arrived = np.clip(np.arange(len(voice)) / (0.04 * AUDIO_SFREQ), 0.0, 1.0)
    return (1.0 - arrived) * moving + arrived * sound


def _glottal(pitch: np.ndarray) -> np.ndarray:
    """Return the derivative of the glottal flow, open for 60 % of every period."""
    place = np.cumsum(pitch / AUDIO_SFREQ) % 1.0
    return np.where(place < 0.6, 2 * place - 3 * place**2 / 0.6, 0.0)


def _resonant(source: np.ndarray, formants: tuple[float, ...]) -> np.ndarray:
    """Pass through resonators in a row, each of unit gain at 0 Hz."""
    for frequency, width in zip(formants, _BANDWIDTHS, strict=False):
        radius = np.exp(-np.pi * width / AUDIO_SFREQ)
        back = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / AUDIO_SFREQ), radius**2]
        source = lfilter([sum(back)], back, source)
    return source


def _hissed(breath: np.ndarray, frequency: float) -> np.ndarray:
    """Shape noise to a band around a frequency."""
    radius = np.exp(-np.pi * 0.35 * frequency / AUDIO_SFREQ)
    back = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / AUDIO_SFREQ), radius**2]
    return lfilter([1.0 - radius, 0.0, radius - 1.0], back, breath)


def _faded(length: int) -> np.ndarray:
    """Return a window that rises and falls within the overlap of neighbours."""
    ramp = np.sin(0.5 * np.pi * (np.arange(_FADE) + 0.5) / _FADE) ** 2
    window = np.ones(length)
    window[:_FADE] *= ramp
    window[-_FADE:] *= ramp[::-1]
    return window
