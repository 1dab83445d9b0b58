"""Clocks, projectors, bad stretches and tables: what a file says besides its samples is applied, or told."""

import json

import mne
import numpy as np
import pandas as pd
import pytest
from data.readers.recording_files import CH_NAMES, SFREQ, write_bold, write_edf

from neurodec import NeurodecError
from neurodec.data import Recordings, Study, prepare
from neurodec.data.account import Account
from neurodec.data.readers.bids_fmri import BidsFMRI
from neurodec.data.readers.bids_meeg import _compare_samples
from neurodec.data.readers.epochs_files import EpochsFiles
from neurodec.data.readers.labelled.annotated import AnnotatedWindows
from neurodec.data.readers.nifti import start_time
from neurodec.data.readers.windows import EEGWindows
from neurodec.data.readers.xdf import _pieces
from neurodec.data.stretches import n_overlaps, one_class
from neurodec.data.warned import heard
from neurodec.features.clip import embed_captions
from neurodec.preprocessing.eeg import EEGPreprocessing


def stamps(n, rate=250.0, lost=(), jitter=0.0, seed=0):
    found = 1000.0 + np.arange(n) / rate + jitter * np.random.default_rng(seed).uniform(-1, 1, n)
    keep = np.ones(n, bool)
    for begin, end in lost:
        keep[round(begin * rate) : round(end * rate)] = False
    return found[keep]


def test_lost_samples_are_pieces():
    starts, seconds, rate = _pieces(stamps(50_000, lost=[(30, 33), (100, 100.5)]), 250.0)
    np.testing.assert_array_equal(starts, [0, 7500, 7500 + 67 * 250])
    np.testing.assert_allclose(seconds, [0, 33, 100.5], atol=1e-6)
    assert rate == pytest.approx(250.0)


@pytest.mark.parametrize("true", [249.5, 240.0, 250.02])
def test_the_rate_is_that_of_the_stamps(true):
    starts, _, rate = _pieces(stamps(50_000, true, jitter=0.01), 250.0)
    assert rate == pytest.approx(true, abs=2e-3)
    assert len(starts) == 1


def test_a_delay_that_is_made_up_for_loses_nothing():
    found = stamps(5000)
    found[2000:2050] = found[2050]  # 50 samples arrive at once, 0.2 s late
    assert len(_pieces(found, 250.0)[0]) == 1


def test_pieces_lie_where_they_were_recorded_despite_jitter():
    _, seconds, _ = _pieces(stamps(50_000, lost=[(60, 64)], jitter=0.02), 250.0)
    assert seconds[1] - seconds[0] == pytest.approx(64, abs=0.002)


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"StartTime": 1.0, "SliceTimingCorrected": True}, 1.0),
        ({"StartTime": 0}, 0.0),
        ({"VolumeTiming": [0.5, 2.5, 4.5]}, 0.5),
        ({}, 0.0),
    ],
)
def test_the_first_volume_stands_for_its_time(tmp_path, metadata, wanted):
    account = Account()
    assert start_time(tmp_path, metadata, account) == wanted
    assert len(account.notes) == (wanted > 0)


def test_slices_corrected_to_nobody_knows_when(tmp_path):
    account = Account()
    start_time(tmp_path, {"SliceTimingCorrected": True}, account)
    assert "no StartTime says to which time" in account.notes[0]
    for wrong in (-1.0, "1", True, 1e9):
        with pytest.raises(NeurodecError, match="as StartTime; give seconds"):
            start_time(tmp_path, {"StartTime": wrong}, account)


def fmri(root, values=None, **told):
    write_bold(root, 60)
    (root / "sub-01_task-a_bold.json").write_text(json.dumps({"RepetitionTime": 2.0, **told}))
    events = pd.DataFrame(
        {"onset": np.arange(4, 84, 20), "duration": 2.0, "trial_type": ["face", "house"] * 2}
    )
    events.to_csv(root / "sub-01_task-a_events.tsv", sep="\t", index=False)
    if values is not None:
        table = pd.DataFrame({"dvars": values})
        table.to_csv(root / "sub-01_task-a_desc-confounds_timeseries.tsv", sep="\t", index=False)
    reader = BidsFMRI(estimate="lsa", standardise="none", confounds=None if values is None else ["dvars"])
    (part,) = reader.parts(root)
    return reader.load(part, root)


def test_a_start_time_is_as_if_the_events_came_earlier(tmp_path):
    for name in ("stated", "moved"):
        (tmp_path / name).mkdir()
    stated = fmri(tmp_path / "stated", StartTime=1.0)
    fmri(tmp_path / "moved")
    events = pd.read_csv(tmp_path / "moved/sub-01_task-a_events.tsv", sep="\t")
    events.assign(onset=events["onset"] - 1.0).to_csv(
        tmp_path / "moved/sub-01_task-a_events.tsv", sep="\t", index=False
    )
    reader = BidsFMRI(estimate="lsa", standardise="none")
    (part,) = reader.parts(tmp_path / "moved")
    np.testing.assert_allclose(stated.responses, reader.load(part, tmp_path / "moved").responses, rtol=1e-5)


def test_confounds_without_a_first_value_are_at_their_mean(tmp_path):
    values = [f"{500 + i % 7}" for i in range(60)]
    known = np.array(values[1:], dtype=float)
    for name in ("blank", "mean"):
        (tmp_path / name).mkdir()
    blank = fmri(tmp_path / "blank", ["n/a", *values[1:]])
    mean = fmri(tmp_path / "mean", [f"{known.mean():.12f}", *values[1:]])
    np.testing.assert_allclose(blank.responses, mean.responses, rtol=1e-4, atol=1e-5)
    assert "dvars (1)" in blank.info["account"][0]["notes"][0]


@pytest.mark.parametrize("place", [30, 59, slice(None)])
def test_confounds_without_a_value_later_are_refused(tmp_path, place):
    values = np.array([f"{500 + i % 7}" for i in range(60)], dtype=object)
    values[place] = "n/a"
    with pytest.raises(NeurodecError, match="has no number in the column dvars"):
        fmri(tmp_path, values)


def projected(rng):
    info = mne.create_info(list(CH_NAMES), SFREQ, "eeg")
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((4, 5000)) + 3e-5, info, verbose="error")
    raw.set_eeg_reference("average", projection=True, verbose="error")
    return raw.set_annotations(mne.Annotations([4.0, 8.0], 0.0, ["cat", "dog"]))


def test_projectors_are_applied_as_by_mne(tmp_path, rng):
    raw = projected(rng)
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    reader = Recordings("{subject}_raw.fif", preprocessing=EEGPreprocessing(tmin=-0.2, tmax=0.5))
    (part,) = reader.parts(tmp_path)
    trials = reader.load(part, tmp_path)
    events, _ = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, tmin=-0.2, tmax=0.5, proj=True, preload=True, verbose="error")
    np.testing.assert_allclose(trials.responses, epochs.get_data(), atol=2e-11)
    assert any(
        "1 projector(s) of the file were applied" in note for note in trials.info["account"][0]["notes"]
    )
    epochs.save(tmp_path / "a-epo.fif", verbose="error")
    reader = EpochsFiles("{subject}-epo.fif", preprocessing=EEGPreprocessing(tmin=-0.2, tmax=0.5))
    (part,) = reader.parts(tmp_path)
    np.testing.assert_allclose(reader.load(part, tmp_path).responses, trials.responses, atol=2e-11)


def test_windows_keep_away_from_bad_stretches_and_pauses(tmp_path, rng):
    raw = mne.io.RawArray(
        1e-5 * rng.standard_normal((4, 60 * 250)),
        mne.create_info(list(CH_NAMES), 250.0, "eeg"),
        verbose="error",
    )
    marks = mne.Annotations([11.0, 25.0], [3.0, 0.0], ["BAD_muscle", "BAD boundary"])
    raw.set_annotations(marks).save(tmp_path / "sub-01_raw.fif", verbose="error")
    reader = EEGWindows("sub-*_raw.fif", seconds=10.0, trim=0.0, sfreq=200.0, least=10.0, reject=1000.0)
    (part,) = reader.parts(tmp_path)
    trials = reader.load(part, tmp_path)
    left_out = trials.info["account"][0]["events"]["left_out"]
    assert left_out == {"in a bad segment": 1, "across a pause of the recorder": 1}
    assert len(trials) == 4


def test_annotated_windows_across_a_pause_of_an_edf(tmp_path, rng):
    signals = 1e-5 * rng.standard_normal((4, 20 * 250))
    starts = [*range(8), *range(100, 112)]  # 92 s were not recorded
    marks = [(1, "left"), (6, "left"), (103, "left")]
    for subject in ("01", "02", "03"):
        write_edf(tmp_path / f"sub-{subject}_a.edf", signals, starts=starts, marks=marks)
    reader = AnnotatedWindows(
        files="sub-{subject}_a.edf",
        labels={"left": "left"},
        channels=list(CH_NAMES),
        seconds=4.0,
    )
    account = Account()
    windows = reader.windows(reader.sources(tmp_path)[0], account)
    assert len(windows.values) == 2  # the one that begins at 6 s would run across the pause
    assert account.left_out["across a pause of the recorder"] == 1


def test_a_window_of_two_classes_is_left_out():
    onsets, labels = np.array([0.0, 5.0, 20.0, 20.0, 40.0]), np.array(["a", "a", "a", "a", "b"])
    stretches = {"a": [(0, 10), (20, 25), (20, 25)], "b": [(7, 8), (40, 45)]}
    np.testing.assert_array_equal(one_class(onsets, labels, 5.0, stretches), [True, False, True, False, True])
    np.testing.assert_array_equal(
        n_overlaps(np.array([0.0, 5.0]), 5.0, np.array([5.0]), np.array([10.0])), [0, 1]
    )


def test_libraries_are_heard(tmp_path):
    import logging
    import warnings

    account = Account()
    with heard(account, "x") as told:
        warnings.warn("Something odd in the header", stacklevel=1)
        warnings.warn("The data contains 'boundary' events", stacklevel=1)
        logging.getLogger("nibabel.global").warning("pixdim[1,2,3] should be non-zero")
    assert len(told) == 3
    assert account.notes == [
        "the reading library warned: Something odd in the header",
        "the reading library warned: pixdim[1,2,3] should be non-zero",
    ]
    with pytest.raises(NeurodecError, match="holds samples that cannot be read"), heard(account, "x"):
        warnings.warn("acquisition error likely: 12 samples set to zero", stacklevel=1)


def write_pictures(root, **contents):
    rows = []
    for name, (split, content) in contents.items():
        (root / f"{name}.png").write_bytes(content)
        rows.append((name, f"{name}.png", name, split))
    pd.DataFrame(rows, columns=["stimulus", "image", "concept", "split"]).to_csv(root / "p.csv", index=False)
    info = mne.create_info(list(CH_NAMES), SFREQ, "eeg")
    signals = 1e-5 * np.random.default_rng(0).standard_normal((4, 5000))
    mne.io.RawArray(signals, info, verbose="error").save(root / "a_raw.fif", verbose="error")
    pd.DataFrame({"onset": 1.0 + np.arange(len(rows)), "stimulus": list(contents)}).to_csv(
        root / "a.csv", index=False
    )
    return Recordings(
        "{subject}_raw.fif", "{subject}.csv", stimuli_table="p.csv", preprocessing=EEGPreprocessing(tmax=0.3)
    )


def test_one_picture_on_both_sides_of_a_split(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    reader = write_pictures(root, a=("train", b"12"), b=("train", b"34"), c=("test", b"12"))
    with pytest.raises(
        NeurodecError, match=r"1 test picture.s. were shown in training under another name, first c as a"
    ):
        prepare(reader, root, tmp_path / "prepared")
    study = Study.load(prepare(reader, root, tmp_path / "prepared", "none"))
    assert any("under another name, first c as a" in note for note in study.account[0]["notes"])


def test_one_picture_twice_in_the_test(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    reader = write_pictures(root, a=("train", b"12"), b=("test", b"34"), c=("test", b"34"))
    study = Study.load(prepare(reader, root, tmp_path / "prepared"))
    assert (
        "the test pictures b and c are one and the same, and cannot be distinguished"
        in study.account[0]["notes"]
    )


def test_one_name_under_two_concepts_is_told(tmp_path, rng):
    info = mne.create_info(list(CH_NAMES), SFREQ, "eeg")
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((4, 5000)), info, verbose="error")
    (tmp_path / "data").mkdir()
    raw.save(tmp_path / "data/a_raw.fif", verbose="error")
    table = pd.DataFrame({"onset": [2.0, 4.0], "stimulus": ["1.png", "1.png"], "concept": ["cat", "dog"]})
    table.to_csv(tmp_path / "data/a.csv", index=False)
    reader = Recordings("{subject}_raw.fif", "{subject}.csv", preprocessing=EEGPreprocessing(tmax=0.3))
    study = Study.load(prepare(reader, tmp_path / "data", tmp_path / "prepared"))
    assert "1 stimuli stand under several concepts, first 1.png (cat, dog)" in study.account[0]["notes"][0]


def test_a_copy_of_the_data_is_the_same_data(tmp_path):
    import os
    import shutil

    root = tmp_path / "data"
    root.mkdir()
    reader = write_pictures(root, a=("train", b"12"), b=("test", b"34"))
    prepare(reader, root, tmp_path / "prepared")
    shutil.copytree(root, tmp_path / "copy")
    for file in (tmp_path / "copy").iterdir():
        os.utime(file, (1, 1))
    prepare(reader, tmp_path / "copy", tmp_path / "prepared")
    (tmp_path / "copy/a.csv").write_text("onset,stimulus\n1.5,a\n2.0,b\n")
    with pytest.raises(NeurodecError, match=r"was prepared from other files .a.csv"):
        prepare(reader, tmp_path / "copy", tmp_path / "prepared")


def test_a_sample_that_is_not_at_its_onset_is_told():
    events = pd.DataFrame({"onset": [1.0, 2.0, 3.0], "sample": ["250", "501", "900"]})
    account = Account()
    _compare_samples(events, 250.0, account)
    assert account.notes == ["1 events have a `sample` that is not at their `onset`; the onset counts"]


def test_captions_that_are_cut_are_told():
    with pytest.warns(
        UserWarning, match="1 of 2 captions are longer than the 16 tokens that the network reads"
    ):
        embed_captions(["a cup", "a red cup " * 20], "neurodec/tiny-clip")
