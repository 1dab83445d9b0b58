"""A BIDS folder of listeners: windows equal a plain reference, texts are apart, and bad input is one sentence."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest
from listeners import write_listeners
from scipy.io import wavfile

from neurodec.data import BidsSpeech, Study, prepare
from neurodec.data.blocks import split_of_text
from neurodec.errors import NeurodecError
from neurodec.preprocessing.sinc import resample_sinc


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("listeners")
    write_listeners(root)
    return root


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    return prepare(BidsSpeech(), folder, tmp_path_factory.mktemp("out") / "prepared", "block")


def _events(root, subject="01"):
    return root / f"sub-{subject}" / "meg" / f"sub-{subject}_task-story_events.tsv"


def test_windows_equal_a_plain_reference(folder, prepared):
    trials = Study.load(prepared).spaces["sub-01"]
    path = _events(folder).with_name("sub-01_task-story_meg.fif")
    signals = resample_sinc(mne.io.read_raw_fif(path, verbose="error").get_data(), 250, 120)
    onsets = trials.table["onset"].to_numpy()
    cut = np.stack([signals[:, round((t - 0.5) * 120) :][:, :361] for t in onsets])
    cut -= cut[:, :, :61].mean(axis=2, keepdims=True)
    train = np.flatnonzero(trials.table["split"] == "train")
    chosen = np.sort(np.random.default_rng(0).permutation(train)[:200])
    values = np.sort(cut[chosen].swapaxes(0, 1).reshape(len(signals), -1), axis=1)
    low, mid, high = (values[:, int(share * values.shape[1])] for share in (0.25, 0.5, 0.75))
    wanted = ((cut - mid[:, None]) / (high - low)[:, None]).clip(-20, 20)[:, :, 18:]
    np.testing.assert_allclose(np.asarray(trials.responses), wanted, atol=2e-5)
    assert trials.responses.shape[2] == 343
    assert trials.info["tmin"] == pytest.approx(-0.35)


def test_split_follows_from_the_text_and_windows_stay_in_their_block(prepared):
    study = Study.load(prepared)
    stimuli = study.stimuli
    assert all(
        split_of_text(block) == split for block, split in zip(stimuli["block"], stimuli["split"], strict=True)
    )
    spans = study.table.merge(stimuli[["stimulus", "offset", "clip_start", "clip_stop"]], on="stimulus")
    numbers = spans[["offset", "clip_start", "clip_stop"]].astype(float)
    inner = numbers[
        numbers["clip_stop"] < numbers["clip_stop"].max()
    ]  # the last block goes on after the sound
    assert (inner["offset"] + 343 / 120 <= inner["clip_stop"] + 0.02).all()
    test = study.part("test").table
    assert (test.groupby("stimulus")["subject"].nunique() == 2).all()  # heard by both, named alike
    assert set(study.part("train").subjects) == {"01", "02"}


def test_words_are_those_at_the_onset_and_may_be_called_none(prepared):
    test = Study.load(prepared).stimuli.query("split == 'test'")
    assert (test["stimulus"].str.split("-").str[0] == test["word"]).all()
    assert {"none", "null"} & set(test["word"])


def test_signals_are_kept_once_and_read_by_the_window(prepared):
    study = Study.load(prepared)
    for space, trials in study.spaces.items():
        kept = (prepared / space / "signals.npy").stat().st_size
        assert kept < trials.responses.nbytes / 3
        picked = trials.select([3, 1]).pick(trials.ch_names[::-1]).crop(0.0, 1.0)
        whole = np.asarray(trials.responses)
        first = np.searchsorted(trials.times, -1e-9)
        np.testing.assert_array_equal(picked.responses[:], whole[[3, 1]][:, ::-1, first : first + 120])


def test_a_split_that_the_table_gives(folder, tmp_path):
    write_listeners(tmp_path, 1)
    table = pd.read_csv(_events(tmp_path), sep="\t", keep_default_na=False)
    number = table["sentence"].str.extract(r"(\d+)$")[0].fillna("0").astype(int)
    table["part"] = np.where(table["trial_type"] == "sound", "n/a", np.where(number < 30, "train", "test"))
    table.to_csv(_events(tmp_path), sep="\t", index=False)
    study = Study.load(prepare(BidsSpeech(split="part"), tmp_path, tmp_path / "p", "block"))
    assert set(study.stimuli["split"]) == {"train", "test"}
    table.loc[table.index[5], "part"] = "test"
    table.to_csv(_events(tmp_path), sep="\t", index=False)
    with pytest.raises(NeurodecError, match="one split"):
        prepare(BidsSpeech(split="part"), tmp_path, tmp_path / "p2", "block")


def _no_words(table):
    return table[table["trial_type"] == "sound"]


def _no_sound(table):
    return table[table["trial_type"] != "sound"]


def _longer(table):
    return table.assign(duration=table["duration"].mask(table["trial_type"] == "sound", "500"))


def _absent(table):
    return table.assign(stim_file=table["stim_file"].mask(table["trial_type"] == "sound", "other.wav"))


def _elsewhere(table):
    return table.assign(stim_file=table["stim_file"].mask(table["trial_type"] == "sound", "../../etc/passwd"))


def _milliseconds(table):
    return table.assign(onset=(table["onset"].astype(float) * 1000).astype(str))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_no_words, "no word among its"),
        (_no_sound, "no sound that they were heard in"),
        (_absent, "names the audio file"),
        (_elsewhere, "names the audio file"),
        (_milliseconds, "lie outside the recording"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, change, sentence):
    write_listeners(tmp_path, 1, 10)
    table = pd.read_csv(_events(tmp_path), sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(_events(tmp_path), sep="\t", index=False)
    with pytest.raises(NeurodecError, match=sentence):
        prepare(BidsSpeech(), tmp_path, tmp_path / "prepared", "block")


def test_a_sound_that_ends_before_its_events(tmp_path):
    from neurodec.features import Mel

    write_listeners(tmp_path, 1, 12)
    table = pd.read_csv(_events(tmp_path), sep="\t", dtype=str, keep_default_na=False)
    _longer(table).to_csv(_events(tmp_path), sep="\t", index=False)
    rate, sound = wavfile.read(tmp_path / "stimuli" / "story.wav")
    wavfile.write(tmp_path / "stimuli" / "story.wav", rate, sound[: len(sound) // 2])
    study = Study.load(prepare(BidsSpeech(), tmp_path, tmp_path / "prepared", "block"))
    with pytest.raises(NeurodecError, match="the events say that it was heard up to"):
        Mel().extract(study.stimuli, tmp_path)


def test_events_out_of_order_are_sorted_and_told(tmp_path):
    write_listeners(tmp_path, 1, 12)
    whole = Study.load(prepare(BidsSpeech(), tmp_path, tmp_path / "a", "block"))
    table = pd.read_csv(_events(tmp_path), sep="\t", dtype=str, keep_default_na=False)
    table.sample(frac=1.0, random_state=0).to_csv(_events(tmp_path), sep="\t", index=False)
    again = Study.load(prepare(BidsSpeech(), tmp_path, tmp_path / "b", "block"))
    assert again.stimuli["stimulus"].tolist() == whole.stimuli["stimulus"].tolist()
    assert "were not in order of time" in str(again.info["account"])


def test_stretches_of_nan_are_left_out_and_counted(tmp_path):
    write_listeners(tmp_path, 1, 12)
    path = _events(tmp_path).with_name("sub-01_task-story_meg.fif")
    raw = mne.io.read_raw_fif(path, preload=True, verbose="error")
    raw._data[2, 2500:2600] = np.nan
    raw.save(path, overwrite=True, verbose="error")
    study = Study.load(prepare(BidsSpeech(), tmp_path, tmp_path / "p", "block"))
    begins = study.table["onset"] - 0.5
    assert not ((begins < 10.4) & (begins + 361 / 120 > 10.0)).any()
    assert study.info["account"][0]["events"]["left_out"]["with NaN"] > 0


def test_people_who_began_at_other_times_share_blocks_or_are_refused(folder, tmp_path):
    with pytest.raises(NeurodecError, match=r"shown in training under another name|share"):
        prepare(BidsSpeech(same_blocks=False, shortest_block=11.0), folder, tmp_path / "p", "block")


@pytest.mark.parametrize("depth", [np.int32, np.float32])
def test_sounds_of_other_depths_give_the_same_features(tmp_path, depth):
    from neurodec.features import Mel

    write_listeners(tmp_path / "a", 1, 12)
    write_listeners(tmp_path / "b", 1, 12, depth=depth)
    first, second = (
        Mel().extract(BidsSpeech().stimuli(root), root) for root in (tmp_path / "a", tmp_path / "b")
    )
    both = [np.asarray(own.values).ravel() for own in (first, second)]
    assert np.corrcoef(*both)[0, 1] > 0.999


def test_settings_that_do_not_fit_are_refused(folder):
    from neurodec.preprocessing.eeg import EEGPreprocessing

    for settings, sentence in (
        (EEGPreprocessing(sfreq=None), "brought to one rate"),
        (EEGPreprocessing(sfreq=120.0, keep_from=0.0), "set `delay`"),
    ):
        with pytest.raises(NeurodecError, match=sentence):
            BidsSpeech(preprocessing=settings).parts(folder)


def test_removed_texts_are_those_of_the_training_alone(folder, tmp_path):
    whole, fewer = (BidsSpeech(removed=share).stimuli(folder) for share in (0.0, 0.4))
    kept = {split: set(own["stimulus"]) for split, own in whole.groupby("split")}
    left = {split: set(own["stimulus"]) for split, own in fewer.groupby("split")}
    assert left["test"] == kept["test"]
    assert left["validation"] == kept["validation"]
    assert left["train"] < kept["train"]
