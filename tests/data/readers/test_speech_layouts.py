"""Data sets of speech on trees of their layouts: what is read is what was written, bad input is one sentence."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import h5py
import mne
import numpy as np
import pandas as pd
import pytest
import scipy.io
import speech_trees as trees

from neurodec.data import (
    Brennan2019,
    Broderick2019,
    Broderick2019Mat,
    Gwilliams2022,
    LibriBrain,
    Schoffelen2019,
    prepare,
)
from neurodec.data.blocks import split_of_text
from neurodec.data.readers.datasets.gwilliams2022 import printed_dict
from neurodec.data.readers.datasets.schoffelen2019 import EXCLUDED
from neurodec.data.readers.speech.textgrid import read_textgrid, read_words
from neurodec.errors import NeurodecError
from neurodec.preprocessing.sinc import resample_sinc

PREP = Path(__file__).resolve().parents[3] / "data_prep"
MASC = (("01", "0", "0"), ("01", "1", "0"), ("02", "0", "1"))


@pytest.fixture(scope="module")
def masc(tmp_path_factory):
    root = tmp_path_factory.mktemp("masc")
    return root, trees.gwilliams(root, MASC)


@pytest.fixture(scope="module")
def mous(tmp_path_factory):
    root = tmp_path_factory.mktemp("mous")
    heard = list(range(1, 9))
    return root, trees.schoffelen(root, {"A2002": heard, "A2003": heard[::-1], "A2011": heard[:2]})


@pytest.fixture(scope="module")
def sea(tmp_path_factory):
    root = tmp_path_factory.mktemp("sea")
    return root, trees.broderick(root)


@pytest.fixture(scope="module")
def sea_mat(tmp_path_factory):
    root = tmp_path_factory.mktemp("sea_mat")
    return root, trees.broderick_mat(root)


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    root = tmp_path_factory.mktemp("alice")
    return root, trees.brennan(root)


@pytest.fixture(scope="module")
def sherlock(tmp_path_factory):
    root = tmp_path_factory.mktemp("sherlock")
    return root, trees.libribrain(root)


def events_of(reader, root, number=0):
    """Return the events of a recording as the reader gives them."""
    from neurodec.data.account import Account

    listened = reader.recordings(root)[number]
    raw, clock = reader.open(listened, Account())
    return reader.events(listened, root, raw, clock)


def load(reader, root, number=0):
    return reader.load(reader.parts(root)[number], root)


def check_windows(trials, signals, rate):
    """Compare a window with one by hand: resampled whole, cut, baseline, sorted quantiles of training, limit."""
    slow = resample_sinc(signals, rate, 120)
    cut = np.stack([slow[:, round((t - 0.5) * 120) :][:, :361] for t in trials.table["onset"]])
    cut -= cut[:, :, :61].mean(axis=2, keepdims=True)
    train = np.flatnonzero(trials.table["split"] == "train")
    chosen = np.sort(np.random.default_rng(0).permutation(train)[:200])
    values = np.sort(cut[chosen].swapaxes(0, 1).reshape(len(signals), -1), axis=1)
    low, mid, high = (values[:, int(share * values.shape[1])] for share in (0.25, 0.5, 0.75))
    wanted = ((cut[3] - mid[:, None]) / (high - low)[:, None]).clip(-20, 20)[:, 18:]
    np.testing.assert_allclose(np.asarray(trials.responses[np.array([3])])[0], wanted, atol=1e-5)
    assert trials.responses.shape[1:] == (len(signals), 343)


def left_out(trials):
    return trials.info["account"][0]["events"]["left_out"]


def notes(trials):
    return " ".join(trials.info["account"][0]["notes"])


def check_words(events, told, begins):
    """Compare words, moments and sentences with what was told from `begins` on."""
    words = events[(events["kind"] == "word") & events["start"].notna()]
    starts = [own.words["start"] + begin for own, begin in zip(told, begins, strict=True)]
    np.testing.assert_allclose(np.sort(words["start"]), np.concatenate(starts), atol=2e-3)
    texts = [text for own in told for text in trees.texts_of(own)]
    assert words.drop_duplicates("sentence")["sentence"].tolist() == list(dict.fromkeys(texts))
    assert (words["word_index"] == np.tile(range(6), len(words) // 6)).all()
    sounds = events[events["kind"] == "sound"]
    np.testing.assert_allclose(sounds["start"], begins, atol=2e-3)
    np.testing.assert_allclose(sounds["duration"], [own.seconds for own in told], atol=2e-3)


def test_gwilliams_from_tables_and_from_annotations(masc, tmp_path):
    root, stories = masc
    reader = Gwilliams2022()
    assert [part.subject for part in reader.parts(root)] == ["01", "01", "02"]
    first = stories["0"][0].seconds
    check_words(events_of(reader, root), stories["0"], [1.2, 1.2 + first + 0.5])
    trials = load(reader, root)
    assert "sub-01 has 2 of 8 recordings" in notes(trials)
    raw = mne.io.read_raw_fif(reader.recordings(root)[0].path, verbose="error")
    check_windows(trials, raw.get_data(), 250)
    stimuli = reader.stimuli(root)
    assert set(stimuli["audio"]) == {
        f"stimuli/audio/lw{task}_{number}.wav" for task in "01" for number in "01"
    }
    assert all(split_of_text(row.block) == row.split for row in stimuli.itertuples())
    assert set(load(reader, root, 1).table["stimulus"]) == set(trials.table["stimulus"])  # the story again
    assert len(Gwilliams2022(subjects=["02"], tasks=["1"]).parts(root)) == 1
    trees.gwilliams(tmp_path, MASC, marked=True)
    marked = reader.stimuli(tmp_path)
    pd.testing.assert_frame_equal(
        *(own[own["split"] == "test"][["stimulus", "block", "word"]] for own in (marked, stimuli))
    )
    assert set(marked["block"]) == set(stimuli["block"])


def masc_table(root):
    file = root / "sub-01/ses-0/meg/sub-01_ses-0_task-0_events.tsv"
    return file, pd.read_csv(file, sep="\t", keep_default_na=False)


def test_descriptions_that_are_code_are_counted_and_not_run(tmp_path):
    trees.gwilliams(tmp_path, MASC[:1], 6)
    file, table = masc_table(tmp_path)
    trap = tmp_path / "trap"
    codes = [
        f"__import__('pathlib').Path({str(trap)!r}).touch()",
        "{'kind': __import__('os')}",
        "{" * 4000,
        "[1, 2]",
    ]
    strange = pd.DataFrame({"onset": 1.0, "duration": 0.1, "trial_type": codes})
    pd.concat([strange, table]).to_csv(file, sep="\t", index=False)
    trials = load(Gwilliams2022(), tmp_path)
    assert left_out(trials)["whose description is no printed dict"] == 4
    assert not trap.exists()
    assert printed_dict("{'kind': 'word', 'index': nan}") == {"kind": "word", "index": None}
    assert printed_dict(str({"word": "x" * 6000})) is None
    strange.to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="describes no event by a printed dict"):
        Gwilliams2022().stimuli(tmp_path)


def test_events_out_of_order_are_sorted_and_told(tmp_path):
    trees.gwilliams(tmp_path, MASC[:1], 6)
    whole = Gwilliams2022().stimuli(tmp_path)
    file, table = masc_table(tmp_path)
    table.sample(frac=1.0, random_state=0).to_csv(file, sep="\t", index=False)
    pd.testing.assert_frame_equal(Gwilliams2022().stimuli(tmp_path), whole)
    assert "were not in order of time" in notes(load(Gwilliams2022(), tmp_path))


def test_bad_words_and_sounds_of_gwilliams(tmp_path):
    trees.gwilliams(tmp_path, MASC[:1], 6)
    file, table = masc_table(tmp_path)
    sound = tmp_path / "stimuli/audio/lw0_1.wav"
    table[table["trial_type"].str.contains("'kind': 'sound'")].to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="no word among its 2 events"):
        Gwilliams2022().stimuli(tmp_path)
    outside = table.assign(
        trial_type=table["trial_type"].str.replace("stimuli/audio/LW0_1", "/../../../etc/x")
    )
    outside.to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match=r"names the audio file stimuli/audio/x\.wav"):
        Gwilliams2022().stimuli(tmp_path)
    table.to_csv(file, sep="\t", index=False)
    trees.write_sound(sound, 4.0)
    with pytest.raises(NeurodecError, match=r"lw0_1\.wav goes on for 4\.00 s, and .* has words up to"):
        Gwilliams2022().stimuli(tmp_path)
    sound.unlink()
    with pytest.raises(NeurodecError, match="names the audio file"):
        Gwilliams2022().stimuli(tmp_path)


def test_a_sentence_in_two_splits_is_refused(tmp_path):
    trees.gwilliams(tmp_path, (("01", "0", "0"), ("02", "0", "0")))
    assert len(set(Gwilliams2022().stimuli(tmp_path)["split"])) > 1
    with pytest.raises(NeurodecError, match=r"under another name|share|two splits"):
        prepare(Gwilliams2022(same_blocks=False, shortest_block=4.7), tmp_path, tmp_path / "p", "block")


def test_schoffelen_has_a_block_for_every_sound(mous):
    root, told = mous
    reader = Schoffelen2019()
    assert [part.subject for part in reader.parts(root)] == ["A2002", "A2003"]
    assert len(Schoffelen2019(subjects=["A2011"]).parts(root)) == 1
    assert {"A2011", "A2036", "A2062", "A2063", "A2076", "A2084"} == EXCLUDED
    events = events_of(reader, root)
    assert (events["kind"] == "sound").sum() == 8
    assert (events["kind"] == "word").sum() == 8 * 12
    assert set(events["sentence"].dropna()) == {text for own in told.values() for text in trees.texts_of(own)}
    trials = load(reader, root)
    raw = mne.io.read_raw_fif(reader.recordings(root)[0].path, verbose="error")
    check_windows(trials, raw.get_data(picks="mag"), 240)
    assert trials.info["account"][0]["channels"]["found"] == 301
    wanted = {"train": 0, "validation": 0, "test": 0}
    begins = 2.05 + 7.0 * np.arange(8)
    for number, begin, end in zip(range(1, 9), begins, [*begins[1:], raw.n_times / 240], strict=True):
        split = split_of_text(trees.texts_of(told[number])[0])
        moments = told[number].words["start"] + begin if split == "test" else np.arange(0, 60, 0.5)
        stop = begin + told[number].seconds
        for t in moments:
            inside = (
                t - 0.5 >= begin
                and t + 2.5 - 1 / 240 < end
                and round((t - 0.5) * 120) + 361 <= raw.n_times / 2
            )
            wanted[split] += bool(inside and stop - (t - 0.5) > 0.1)
    assert trials.table["split"].value_counts().to_dict() == {
        name: count for name, count in wanted.items() if count
    }


def test_bad_input_of_schoffelen(tmp_path):
    trees.schoffelen(tmp_path, {"A2002": [1, 2]})
    grid = tmp_path / "stimuli/audio_files/EQ_Ramp_Int2_Int1LPF002.TextGrid"
    content = grid.read_bytes()
    grid.unlink()
    with pytest.raises(NeurodecError, match="make it of the sound and"):
        Schoffelen2019().stimuli(tmp_path)
    (tmp_path / "derivatives/phonemes").mkdir(parents=True)
    (tmp_path / "derivatives/phonemes" / grid.name).write_bytes(content)
    assert len(Schoffelen2019().stimuli(tmp_path))
    file = tmp_path / "sub-A2002/meg/sub-A2002_task-auditory_events.tsv"
    pd.read_csv(file, sep="\t").query("type == 'Nothing'").to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="no row that tells of a sound"):
        Schoffelen2019().stimuli(tmp_path)
    (tmp_path / "sub-A2002").rename(tmp_path / "sub-A2011")
    for path in (tmp_path / "sub-A2011/meg").iterdir():
        path.rename(path.with_name(path.name.replace("A2002", "A2011")))
    with pytest.raises(NeurodecError, match="that published results leave out"):
        Schoffelen2019().parts(tmp_path)


def test_broderick_as_bids(sea):
    root, runs = sea
    reader = Broderick2019()
    assert len(reader.parts(root)) == 4
    check_words(events_of(reader, root), runs[:1], [0.0])
    check_words(events_of(reader, root, 1), runs[1:], [0.0])
    trials = load(reader, root)
    raw = mne.io.read_raw_brainvision(reader.recordings(root)[0].path, verbose="error")
    check_windows(trials, raw.get_data(picks=trees.biosemi()), 512)
    assert trials.info["account"][0]["channels"]["left_out"] == {"of kind misc": ["EXG1", "EXG2"]}
    assert np.isfinite(trials.info["ch_pos"]).all()
    stimuli = reader.stimuli(root)
    assert set(stimuli["audio"]) == {"stimuli/audio01.wav", "stimuli/audio02.wav"}
    assert len(stimuli) == len(trials) + len(load(reader, root, 1))  # both people hear both runs


def test_sentences_end_at_full_stops_where_there_are_any(tmp_path):
    (told,) = trees.broderick(tmp_path, ("001",), 1)
    grid = tmp_path / "stimuli/audio01.TextGrid"
    trees.write_textgrid(grid, told, stop='."'.replace('"', ""))
    events = events_of(Broderick2019(pause=0.01), tmp_path)
    assert events["sentence"].dropna().unique().tolist() == [f"{text}." for text in trees.texts_of(told)]
    trees.write_textgrid(grid, told)
    assert len(events_of(Broderick2019(pause=5.0), tmp_path)["sentence"].dropna().unique()) == 1


def test_broderick_as_matlab(sea_mat):
    root, runs = sea_mat
    reader = Broderick2019Mat()
    events = events_of(reader, root)
    words = events[events["kind"] == "word"]
    assert len(words) == len(runs[0].words)
    assert words["start"].isna().sum() == 1  # the aligner did not find it
    assert words["sentence"].unique().tolist() == [f"{text}." for text in trees.texts_of(runs[0])]
    assert words["word_index"][:6].tolist()[2:] == [1, 2, 3, 4]
    trials = load(reader, root)
    assert left_out(trials)["without onset or duration"] == 1
    path = root / "Natural Speech/EEG/Subject1/Subject1_Run1.mat"
    check_windows(trials, scipy.io.loadmat(path)["eegData"].T * 1e-6, 128)
    assert Broderick2019Mat(subjects=["1"]).parts(root)[1].name == "sub-01_run-02"


def test_bad_input_of_broderick(tmp_path):
    trees.broderick(tmp_path, ("001",), 1)
    sound, grid = tmp_path / "stimuli/audio01.wav", tmp_path / "stimuli/audio01.TextGrid"
    content = grid.read_text("utf-16")
    trees.write_sound(sound, 5.0)
    with pytest.raises(NeurodecError, match=r"audio01\.wav goes on for 5\.00 s"):
        Broderick2019().stimuli(tmp_path)
    sound.unlink()
    with pytest.raises(NeurodecError, match=r"audio01\.wav is missing"):
        Broderick2019().stimuli(tmp_path)
    for damaged, sentence in (
        (content[: len(content) // 2], "is damaged: a"),
        (content.replace("IntervalTier", "OtherTier"), "unknown class OtherTier"),
        (content.replace('"words"', '"other"'), "no tier of words"),
        (content.replace("ooTextFile", "other"), "is no TextGrid"),
        ("", "is damaged: a text should stand at its end"),
    ):
        grid.write_text(damaged, encoding="utf-8")
        with pytest.raises(NeurodecError, match=sentence):
            read_words(grid)
    grid.write_bytes(b"\xe9\xe8")
    with pytest.raises(NeurodecError, match="save it with Praat as a text file in UTF-8"):
        read_words(grid)
    trees.write_textgrid(grid, trees.Told(pd.DataFrame(columns=["start", "duration", "word", "number"]), 2.0))
    trees.write_sound(sound, 5.0)
    with pytest.raises(NeurodecError, match="holds no word"):
        Broderick2019().stimuli(tmp_path)
    grid.unlink()
    with pytest.raises(NeurodecError, match="is run 1, of which no TextGrid"):
        Broderick2019().parts(tmp_path)


def test_bad_input_of_broderick_as_matlab(tmp_path):
    trees.broderick_mat(tmp_path, 1, fs=False)
    with pytest.raises(NeurodecError, match="does not tell its sampling rate"):
        Broderick2019Mat().stimuli(tmp_path)
    trees.broderick_mat(tmp_path, 1)
    words = tmp_path / "Natural Speech/Stimuli/audio1.json"
    words.write_text(json.dumps({"words": ["no"]}))
    with pytest.raises(NeurodecError, match="no list `words` of words"):
        Broderick2019Mat().stimuli(tmp_path)
    words.unlink()
    with pytest.raises(NeurodecError, match=r"audio1\.json is missing"):
        Broderick2019Mat().parts(tmp_path)


@pytest.mark.parametrize(
    ("script", "write", "told"),
    [
        ("gwilliams2022", lambda root: trees.gwilliams(root, MASC), "3 recordings of 2 people, of 196 of 27"),
        (
            "schoffelen2019",
            lambda root: trees.schoffelen(root, {"A2002": [1, 2, 3]}),
            "1 recordings of 1 people",
        ),
        ("broderick2019", lambda root: trees.broderick(root), "4 recordings of 2 people"),
        ("brennan2019", lambda root: trees.brennan(root), "2 recordings of 2 people"),
    ],
)
def test_scripts_tell_what_to_fetch_and_count_it(tmp_path, monkeypatch, capsys, script, write, told):
    monkeypatch.syspath_prepend(str(PREP))
    module = importlib.import_module(script)
    for arguments, code in (([], 0), (["--data-root", str(tmp_path)], 2)):
        monkeypatch.setattr("sys.argv", [script, *arguments])
        assert module.main() == code
        assert "licence" in capsys.readouterr().out
    write(tmp_path)
    assert module.main() == 0
    assert told in capsys.readouterr().out


def test_textgrids_of_both_forms_are_alike(tmp_path):
    told = trees.tell(np.random.default_rng(0), 2)
    told.words.loc[0, "word"] = 'say ""two 2 3"" ! <x>'
    for name, options in (("a", {}), ("b", {"short": True}), ("c", {"encoding": "utf-16"})):
        trees.write_textgrid(tmp_path / f"{name}.TextGrid", told, **options)
    first, *others = (read_textgrid(tmp_path / f"{name}.TextGrid") for name in "abc")
    for other in others:
        for tier, table in first.items():
            pd.testing.assert_frame_equal(table, other[tier])
    assert list(first) == ["words", "phones"]
    assert read_words(tmp_path / "a.TextGrid")["word"][0] == 'say "two 2 3" ! <x>'
    assert len(read_words(tmp_path / "a.TextGrid")) == len(told.words)


def test_brennan(alice):
    root, segments = alice
    reader = Brennan2019()
    assert [part.name for part in reader.parts(root)] == ["sub-S01", "sub-S03"]
    check_words(events_of(reader, root), segments, [1.5, 1.5 + segments[0].seconds + 1.0])
    trials = load(reader, root)
    signals = scipy.io.loadmat(root / "S01.mat", simplify_cells=True)["raw"]["trial"]
    check_windows(trials, signals[:60] * 1e-6, 500)
    assert trials.ch_names == trees.EXPECTED
    assert trials.info["account"][0]["channels"]["left_out"] == {"no electrode": ["VEOG", "AUD"]}
    assert notes(trials) == ""
    heard = reader.stimuli(root)["audio"]
    assert set(heard) == {f"audio/DownTheRabbitHoleFinal_SoundFile{number}.wav" for number in (1, 2)}


def test_brennan_without_all_words_and_with_bad_input(tmp_path):
    trees.brennan(tmp_path, ("S01", "S02"))
    assert [part.subject for part in Brennan2019().parts(tmp_path)] == ["S01"]
    assert [part.subject for part in Brennan2019(subjects=["S02"]).parts(tmp_path)] == ["S02"]
    proc = tmp_path / "proc/S01.mat"
    own = scipy.io.loadmat(proc, simplify_cells=True)["proc"]
    whole = events_of(Brennan2019(), tmp_path)
    scipy.io.savemat(proc, {"proc": {**own, "trl": np.delete(own["trl"], 7, axis=0)}})
    fewer = events_of(Brennan2019(), tmp_path).dropna(subset="start").reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, whole.drop(8).reset_index(drop=True))  # a sound comes before
    scipy.io.savemat(proc, {"proc": {"trl": own["trl"][1:, :3], "varnames": "none"}})
    with pytest.raises(NeurodecError, match="no column Order tells"):
        Brennan2019().stimuli(tmp_path)
    scipy.io.savemat(proc, {"proc": own})
    sound = tmp_path / "audio/DownTheRabbitHoleFinal_SoundFile2.wav"
    sound.unlink()
    with pytest.raises(NeurodecError, match="names the audio file"):
        Brennan2019().stimuli(tmp_path)
    content = scipy.io.loadmat(tmp_path / "S01.mat", simplify_cells=True)["raw"]
    scipy.io.savemat(tmp_path / "S01.mat", {"raw": {**content, "hdr": {"label": content["hdr"]["label"]}}})
    with pytest.raises(NeurodecError, match="does not tell its sampling rate"):
        Brennan2019().stimuli(tmp_path)
    proc.unlink()
    with pytest.raises(NeurodecError, match=r"S01\.mat is missing, which tells when"):
        Brennan2019().parts(tmp_path)


def test_libribrain(sherlock):
    root, runs = sherlock
    reader = LibriBrain()
    assert [part.name for part in reader.parts(root)] == [
        f"sub-0_ses-{n}_task-Sherlock1_run-1" for n in (1, 2)
    ]
    check_words(events_of(reader, root), runs[:1], [2.0])
    trials = load(reader, root)
    with h5py.File(reader.recordings(root)[0].path) as file:
        kinds = np.array(file.attrs["channel_types"].split(", "))
        check_windows(trials, file["data"][kinds == "mag"], 250)
    assert len(trials.ch_names) == 102
    assert np.isfinite(trials.info["ch_pos"]).all()
    assert left_out(trials)["of another kind than word, phoneme and sound"] == 1
    assert LibriBrain(modality="grad").load(reader.parts(root)[0], root).responses.shape[1] == 204
    assert LibriBrain(sessions=["2"]).parts(root)[0].files[-1].name.endswith("_events.tsv")


def test_bad_input_of_libribrain(tmp_path):
    trees.libribrain(tmp_path, 1)
    with pytest.raises(NeurodecError, match="No run of LibriBrain as"):
        LibriBrain(form="fif").parts(tmp_path)
    (file,) = tmp_path.glob("*/derivatives/events/*.tsv")
    table = pd.read_csv(file, sep="\t", keep_default_na=False)
    table[table["kind"] == "word"].to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="no sound that they were heard in"):
        LibriBrain().stimuli(tmp_path)
    table.drop(columns="sentenceidx").to_csv(file, sep="\t", index=False)
    with pytest.raises(NeurodecError, match="no column sentenceidx"):
        LibriBrain().stimuli(tmp_path)
    with h5py.File(LibriBrain().recordings(tmp_path)[0].path, "a") as opened:
        del opened.attrs["sample_frequency"]
    with pytest.raises(NeurodecError, match="does not tell its sampling rate"):
        LibriBrain().stimuli(tmp_path)
    file.unlink()
    with pytest.raises(NeurodecError, match="No events of"):
        LibriBrain().parts(tmp_path)
