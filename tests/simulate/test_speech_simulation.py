"""Simulated listeners: audio and events agree, the brain follows the sound, folders are reproducible and resumed."""

import hashlib

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from neurodec.data.readers.bids_meeg import BidsEEG
from neurodec.data.tables import MISSING
from neurodec.errors import NeurodecError
from neurodec.simulate import command_of, simulate, speech_recording
from neurodec.simulate.speech_audio import AUDIO_SFREQ, N_WORDS, PHONEMES, draw_lexicon, tell
from neurodec.simulate.speech_drive import SPEECH_SFREQ, Listener, band_envelopes, story_drives

TINY = {"n_subjects": 3, "n_stories": 2, "minutes": 1}


def hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated") / "speech", "speech", **TINY)


@pytest.fixture(scope="module")
def story():
    return speech_recording.tell_story(1, 60.0, seed=0)


def raw_of(root, subject, story=1):
    return mne.io.read_raw_fif(speech_recording.recording_file(root, subject, story), verbose="error")


def events_of(root, subject, story=1):
    return pd.read_csv(speech_recording.events_file(root, subject, story), sep="\t")


def level(story, onset, stop):
    return np.sqrt(
        np.mean((story.audio[round(onset * AUDIO_SFREQ) : round(stop * AUDIO_SFREQ)] / 32768) ** 2)
    )


def delay(envelope, signal):
    """Return the lag in seconds, up to 0.4, at which a signal follows the envelope most."""
    lags = np.arange(round(0.4 * SPEECH_SFREQ))
    found = [np.corrcoef(envelope[: len(envelope) - lag], signal[lag:])[0, 1] for lag in lags]
    return lags[np.argmax(np.abs(found))] / SPEECH_SFREQ, np.max(np.abs(found))


def test_words_differ_and_none_reads_as_a_missing_value():
    lexicon = draw_lexicon(np.random.default_rng(0))
    texts = {"".join(word) for word in lexicon}
    assert len(texts) == N_WORDS
    assert not texts & MISSING
    assert {label for word in lexicon for label in word} == set(PHONEMES)
    assert texts != {"".join(word) for word in draw_lexicon(np.random.default_rng(1))}


def test_words_sound_and_pauses_are_silent(story):
    assert story.audio.dtype == np.int16
    assert 45 < len(story.audio) / AUDIO_SFREQ <= 60.6
    assert np.abs(story.audio.astype(int)).max() > 0.8 * 32767
    stops = story.words["onset"] + story.words["duration"]
    loud = [level(story, *times) for times in zip(story.words["onset"], stops, strict=True)]
    first = story.words["word_index"] == 0
    pauses = [
        (stop + 0.02, onset - 0.02)
        for stop, onset in zip(stops.shift()[first][1:], story.words["onset"][first][1:], strict=True)
    ]
    assert all(0.25 < onset - stop < 0.57 for stop, onset in pauses)
    assert max(level(story, *times) for times in pauses) < 0.1 * min(loud)


def test_phonemes_fill_their_words_and_sentences_are_their_words(story):
    words, phonemes = story.words, story.phonemes
    for row in words.itertuples():
        inside = phonemes[phonemes["onset"].between(row.onset - 1e-9, row.onset + row.duration - 1e-6)]
        assert "".join(inside["phoneme"]) == row.word
        assert inside["duration"].sum() == pytest.approx(row.duration)
        assert row.sentence.split()[row.word_index] == row.word
    lengths = words["sentence"].unique()
    assert all(4 <= len(text.split()) <= 9 for text in lengths)
    assert len(lengths) == (words["word_index"] == 0).sum()  # nothing is said twice


def test_a_story_has_at_least_one_sentence():
    rng = np.random.default_rng(0)
    assert len(tell(draw_lexicon(rng), 0.1, rng).words) >= 4


def test_auditory_sources_follow_the_envelope_after_150_ms(story):
    drives = story_drives(story)
    assert all(np.isfinite(drive).all() for drive in drives)
    envelope = band_envelopes(story.audio).mean(axis=0)
    onsets = np.zeros(len(envelope))
    onsets[(story.words["onset"] * SPEECH_SFREQ).astype(int)] = 1.0
    for person in range(1, 4):
        listener = Listener.draw(np.random.default_rng(0), np.random.default_rng(person))
        early, _, late = listener.currents(drives, np.random.default_rng(2))
        lag, strength = delay(envelope, early.mean(axis=0))
        assert 0.13 <= lag <= 0.17
        assert strength > 0.5
        assert 0.28 <= delay(onsets, late.mean(axis=0))[0] <= 0.38


def test_strong_responses_reach_the_sensors_after_150_ms(story):
    lead = 600
    rng = np.random.default_rng(0)
    raw = speech_recording.record(1, story_drives(story), lead, 0, rng, evoked=1e-6)
    envelope = band_envelopes(story.audio).mean(axis=0)
    data = raw.get_data()[:, lead : lead + len(envelope)]
    lag, strength = max((delay(envelope, row) for row in data), key=lambda found: found[1])
    assert 0.12 <= lag <= 0.18
    assert strength > 0.4


def test_the_folder_is_bids(speech):
    names = {path.relative_to(speech).as_posix() for path in speech.rglob("*") if path.is_file()}
    own = {
        f"sub-0{subject}/meg/sub-0{subject}_task-story0{story}_{ending}"
        for subject in (1, 2, 3)
        for story in (1, 2)
        for ending in ("meg.fif", "events.tsv")
    }
    shared = {f"stimuli/story-0{story}.wav" for story in (1, 2)}
    shared |= {f"task-story0{story}_meg.json" for story in (1, 2)}
    assert names == own | shared | {"dataset_description.json", "simulation.json"}
    parts = BidsEEG(modality="mag").parts(speech)
    assert len(parts) == 6


def test_events_tell_what_is_heard_when(speech, story):
    starts = []
    for subject in (1, 2, 3):
        events = events_of(speech, subject)
        (sound,) = events[events["trial_type"] == "sound"].to_dict("records")
        rate, audio = wavfile.read(speech / "stimuli" / sound["stim_file"])
        assert rate == AUDIO_SFREQ
        np.testing.assert_array_equal(audio, story.audio)
        assert sound["duration"] == pytest.approx(len(audio) / rate, abs=1e-6)
        words = events[events["trial_type"] == "word"]
        np.testing.assert_allclose(words["onset"] - sound["onset"], story.words["onset"], atol=2e-6)
        assert words["word"].tolist() == story.words["word"].tolist()
        assert words["word_index"].tolist() == story.words["word_index"].tolist()
        assert words[["phoneme", "stim_file"]].isna().all(axis=None)
        phonemes = events[events["trial_type"] == "phoneme"]
        assert phonemes["phoneme"].tolist() == story.phonemes["phoneme"].tolist()
        assert phonemes[["word", "sentence", "word_index", "stim_file"]].isna().all(axis=None)
        assert raw_of(speech, subject).times[-1] > sound["onset"] + sound["duration"] + 1.9
        starts.append(sound["onset"])
    assert len(set(starts)) == 3
    assert all(2 <= start <= 4 for start in starts)


def test_subjects_have_different_sensors(speech):
    first, second, third = (raw_of(speech, subject).info for subject in (1, 2, 3))
    assert [len(info["ch_names"]) for info in (first, second, third)] == [48, 42, 40]
    assert first["sfreq"] == 250
    assert set(second["ch_names"]) < set(first["ch_names"])
    assert not set(third["ch_names"]) & set(first["ch_names"])
    places = [np.stack([channel["loc"][:3] for channel in info["chs"]]) for info in (first, third)]
    apart = np.linalg.norm(places[0][:, None] - places[1], axis=2).min(axis=0)
    assert np.median(apart) > 0.005
    assert set(third.get_channel_types()) == {"mag"}
    assert 1e-14 < raw_of(speech, 3).get_data().std() < 5e-12


def test_same_seed_same_bits_also_after_an_interruption(speech):
    before = hashes(speech)
    lost = [
        speech_recording.recording_file(speech, 2, 1),
        speech_recording.events_file(speech, 3, 2),
        speech_recording.story_file(speech, 2),
    ]
    kept = speech_recording.recording_file(speech, 1, 1)
    written = kept.stat().st_mtime_ns
    for file in lost:
        file.unlink()
    (lost[0].parent / ".1.partial.x").write_text("left by a killed run")
    simulate(speech, "speech", **TINY)
    assert hashes(speech) == before
    assert kept.stat().st_mtime_ns == written


def test_another_seed_tells_another_story(story):
    other = speech_recording.tell_story(1, 60.0, seed=1)
    assert not set(other.words["sentence"]) & set(story.words["sentence"])


def test_mark_and_refusals(speech, tmp_path):
    assert command_of(speech) == "neurodec simulate speech --data-root DIR --n_stories 2 --minutes 1"
    with pytest.raises(NeurodecError, match="n_test_concepts is not a size of a simulation of speech"):
        simulate(tmp_path / "new", "speech", n_test_concepts=2)
    with pytest.raises(NeurodecError, match="at least one of n_stories"):
        simulate(tmp_path / "new", "speech", n_stories=0)
    with pytest.raises(NeurodecError, match="another simulation"):
        simulate(speech, "speech", **TINY, seed=5)
    assert not (tmp_path / "new").exists()
