"""BrainVision by pybv, EEGLAB by SciPy and eeglabio, XDF chunk by chunk, MFF by mffpy: what reads is not what wrote."""

import datetime
import importlib
import struct

import mne
import numpy as np
import pytest
import scipy.io
from data.readers.recording_files import (
    CH_NAMES,
    SFREQ,
    evoked_signals,
    write_brainvision,
    write_eeglab,
    write_xdf,
)

from neurodec.data import Account, EpochsFiles, Recordings
from neurodec.data.readers.fif import check_fif
from neurodec.data.readers.matlab import check_mat
from neurodec.data.readers.opening import open_raw
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

SETTINGS = EEGPreprocessing(tmax=0.5)
ONSETS = np.arange(2, 38, 1.5)
NAMES = np.array(["cat", "dog"] * 12)


@pytest.fixture
def signals(rng):
    return evoked_signals(rng, ONSETS, NAMES)


def load(root, file, **more):
    reader = Recordings(file, preprocessing=SETTINGS, **more)
    return reader.load(reader.parts(root)[0], root)


def left_out(trials):
    return trials.info["account"][0]["events"]["left_out"]


def test_brainvision_by_pybv(tmp_path, signals):
    pybv = pytest.importorskip("pybv", reason="pybv writes the file")
    marks = [
        {
            "onset": round(t * SFREQ),
            "duration": 1,
            "description": 1 if name == "cat" else 2,
            "type": "Stimulus",
        }
        for t, name in zip(ONSETS, NAMES, strict=True)
    ]
    marks += [
        {"onset": round(t * SFREQ) + 90, "duration": 1, "description": 1, "type": "Response"} for t in ONSETS
    ]
    marks.append({"onset": 10, "duration": 1, "description": "electrode F3 touched", "type": "Comment"})
    pybv.write_brainvision(
        data=signals,
        sfreq=SFREQ,
        ch_names=CH_NAMES,
        fname_base="a",
        folder_out=tmp_path,
        events=marks,
        unit="µV",
    )
    trials = load(tmp_path, "a.vhdr", event_id={"cat": 1, "dog": 2})
    assert trials.table["stimulus"].tolist() == NAMES.tolist()
    np.testing.assert_allclose(trials.table["onset"], ONSETS)
    freely = load(tmp_path, "a.vhdr")
    assert freely.table["stimulus"].unique().tolist() == ["Stimulus/S  1", "Stimulus/S  2"]
    assert left_out(freely) == {"response": 24, "comment": 1}


def test_no_epoch_crosses_a_new_segment(tmp_path, signals):
    write_brainvision(tmp_path / "a.vhdr", signals, ONSETS, np.where(NAMES == "cat", "S  1", "S  2"))
    file = tmp_path / "a.vmrk"
    seams = [round((ONSETS[5] + 0.12) * SFREQ), round((ONSETS[11] - 0.1) * SFREQ)]
    more = "".join(
        f"Mk{90 + i}=New Segment,,{seam},1,0,2024010112000{i}000000\n" for i, seam in enumerate(seams)
    )
    file.write_text(file.read_text() + more)
    trials = load(tmp_path, "a.vhdr", event_id={"cat": 1, "dog": 2})
    assert sorted(set(ONSETS) - set(trials.table["onset"].round(6))) == [ONSETS[5], ONSETS[11]]
    assert left_out(trials)["across a pause of the recorder"] == 2


def test_eeglab_boundaries_are_seams_and_no_stimuli(tmp_path, signals):
    write_eeglab(tmp_path / "a.set", signals)
    content = scipy.io.loadmat(tmp_path / "a.set", simplify_cells=True)["EEG"]
    events = [
        {"type": name, "latency": t * SFREQ + 1, "duration": 0} for t, name in zip(ONSETS, NAMES, strict=True)
    ]
    events.append({"type": "boundary", "latency": (ONSETS[3] + 0.2) * SFREQ, "duration": 500})
    content["event"] = np.array(
        [(one["type"], one["latency"], one["duration"]) for one in events],
        dtype=[("type", "O"), ("latency", "O"), ("duration", "O")],
    )
    scipy.io.savemat(tmp_path / "a.set", {"EEG": content}, appendmat=False)
    trials = load(tmp_path, "a.set")
    assert trials.table["stimulus"].unique().tolist() == ["cat", "dog"]
    assert left_out(trials) == {"pause marker": 1, "across a pause of the recorder": 1}
    assert ONSETS[3] not in trials.table["onset"].round(6).tolist()


def test_epoched_set(tmp_path, signals):
    eeglabio = pytest.importorskip("eeglabio", reason="eeglabio writes the file")
    cut = np.stack([signals[:, round(t * SFREQ) - 50 : round(t * SFREQ) + 126] for t in ONSETS])
    events = np.c_[np.arange(24) * 176 + 50, np.zeros(24, int), np.where(NAMES == "cat", 1, 2)]
    eeglabio.epochs.export_set(
        str(tmp_path / "a.set"),
        cut,
        SFREQ,
        events,
        tmin=-0.2,
        tmax=0.5,
        ch_names=CH_NAMES,
        event_id={"cat": 1, "dog": 2},
    )
    reader = EpochsFiles("a.set", preprocessing=SETTINGS)
    trials = reader.load(reader.parts(tmp_path)[0], tmp_path)
    assert trials.table["stimulus"].tolist() == NAMES.tolist()
    expected = cut[7] - cut[7, :, :51].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(trials.responses[7], expected, atol=1e-9)


def test_xdf(tmp_path, signals):
    pytest.importorskip("pyxdf", reason="pyxdf reads the file")
    write_xdf(tmp_path / "a.xdf", signals, ONSETS, NAMES)
    trials = load(tmp_path, "a.xdf")
    assert trials.ch_names == CH_NAMES
    assert trials.table["stimulus"].tolist() == NAMES.tolist()
    onset = round(ONSETS[5] * SFREQ)
    expected = signals[:, onset - 50 : onset + 126]
    expected = expected - expected[:, :51].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(trials.responses[5], expected, atol=1e-8)
    write_xdf(tmp_path / "a.xdf", signals, ONSETS, NAMES, unit="")
    assert "microvolts are assumed" in " ".join(load(tmp_path, "a.xdf").info["account"][0]["notes"])


def test_a_chain_of_tags_that_runs_in_a_circle(tmp_path, signals):
    info = mne.create_info(CH_NAMES, SFREQ, "eeg")
    path = tmp_path / "a_raw.fif"
    mne.io.RawArray(signals, info, verbose="error").save(path, verbose="error")
    check_fif(path)
    content = bytearray(path.read_bytes())
    place = 16 + 20  # the second tag follows the file's identity
    content[place + 12 : place + 16] = struct.pack(">i", 16)
    path.write_bytes(bytes(content))
    with pytest.raises(
        NeurodecError, match=r"a_raw.fif has a tag at byte 36 that points backwards to byte 16"
    ):
        open_raw(path, Account())


def test_split_files_that_lead_back_to_each_other(tmp_path, rng):
    info = mne.create_info(1, 1000.0, "eeg")
    raw = mne.io.RawArray(rng.standard_normal((1, 600_000)), info, verbose="error")
    raw.save(tmp_path / "a_raw.fif", split_size="2MB", verbose="error")
    check_fif(tmp_path / "a_raw.fif")
    assert open_raw(tmp_path / "a_raw.fif", Account())[0].n_times == 600_000
    second = tmp_path / "a_raw-1.fif"
    first = (tmp_path / "a_raw.fif").read_bytes()
    second.write_bytes(first)  # the second part names itself as the next one
    with pytest.raises(NeurodecError, match=r"a_raw.fif is continued in a_raw-1.fif, which leads back to it"):
        check_fif(tmp_path / "a_raw.fif")


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_are_checked_before_they_are_trusted(tmp_path, compressed):
    content = {
        "numbers": np.arange(12.0).reshape(3, 4),
        "cells": np.array(["a", np.arange(3)], dtype=object),
        "nested": {"text": "abc", "deep": {"z": 1 + 2j}},
        "sparse": scipy.sparse.csc_matrix(np.eye(4)),
        "empty": np.zeros((0, 3)),
    }
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content, do_compression=compressed)
    check_mat(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(NeurodecError, match="an element of the MATLAB file does not fit"):
        check_mat(path)
    if not compressed:
        place = whole.index(struct.pack("<ii", 3, 4))
        path.write_bytes(whole[:place] + struct.pack("<ii", 3, 4000) + whole[place + 8 :])
        with pytest.raises(NeurodecError, match="12 numbers stand for 12000"):
            check_mat(path)


def test_other_kinds_of_channels_and_units(tmp_path, rng):
    names = ["MEG0111", "MEG0112", "MEG0113", "EEG001", "EEG002"]
    info = mne.create_info(names, SFREQ, ["mag", "grad", "grad", "eeg", "eeg"])
    scales = np.array([1e-13, 1e-12, 1e-12, 1e-5, 1e-5])[:, None]
    raw = mne.io.RawArray(scales * rng.standard_normal((5, 5000)), info, verbose="error")
    raw.set_annotations(mne.Annotations(np.arange(2, 18, 1.0), 0.0, ["a", "b"] * 8))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    with pytest.raises(
        NeurodecError, match=r"1 magnetometers \(T\) and 2 gradiometers \(T/m\).*modality: mag"
    ):
        load(tmp_path, "a_raw.fif", modality="meg")
    for modality, kept, unit in (("mag", 1, "T"), ("grad", 2, "T/m"), ("eeg", 2, "V")):
        trials = load(tmp_path, "a_raw.fif", modality=modality)
        assert trials.responses.shape[1] == kept
        assert trials.info["units"] == unit
        assert trials.info["modality"] == ("eeg" if modality == "eeg" else "meg")
        assert set(trials.to_epochs().get_channel_types()) == {modality}


def test_a_scale_that_no_brain_has_is_told(tmp_path, signals):
    info = mne.create_info(CH_NAMES, SFREQ, "eeg")
    raw = mne.io.RawArray(300 * signals, info, verbose="error")
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, NAMES))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    notes = load(tmp_path, "a_raw.fif").info["account"][0]["notes"]
    assert len(notes) == 1
    assert "which no brain does (1e-07 to 0.001 V)" in notes[0]


def test_bad_channels_are_interpolated_when_asked(tmp_path, rng):
    names = ["Fz", "Cz", "Pz", "C3", "C4", "O1", "O2", "P3", "P4", "F3", "F4"]
    info = mne.create_info(names, SFREQ, "eeg")
    smooth = np.outer(np.ones(11), rng.standard_normal(5000)) + 0.05 * rng.standard_normal((11, 5000))
    raw = mne.io.RawArray(1e-5 * smooth, info, verbose="error")
    raw._data[1] = 1e-3 * rng.standard_normal(5000)
    raw.info["bads"] = ["Cz"]
    raw.set_annotations(mne.Annotations(np.arange(2, 18, 1.0), 0.0, ["a", "b"] * 8))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    assert "Cz" not in load(tmp_path, "a_raw.fif").ch_names
    reader = Recordings("a_raw.fif", preprocessing=EEGPreprocessing(tmax=0.5, interpolate_bads=True))
    trials = reader.load(reader.parts(tmp_path)[0], tmp_path)
    assert trials.ch_names == names
    found = np.corrcoef(trials.responses[:, 1].ravel(), trials.responses[:, 0].ravel())[0, 1]
    assert found > 0.95


def test_mff(tmp_path, rng):
    """EGI's folders, written by mffpy."""
    writer = pytest.importorskip("mffpy.writer", reason="mffpy writes the folder")
    samples = importlib.import_module("mffpy.bin_writer").BinWriter(sampling_rate=int(SFREQ), data_type="EEG")
    values = 10 * rng.standard_normal((257, 5000)).astype("<f4")  # microvolts
    samples.add_block(values)
    start = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)
    marks = [
        {
            "beginTime": start + datetime.timedelta(seconds=2 + 2 * i),
            "duration": 1000,
            "code": "cat" if i % 2 else "dog",
            "label": "",
            "description": "",
        }
        for i in range(8)
    ]
    folder = writer.Writer(str(tmp_path / "a.mff"))
    folder.addxml("fileInfo", recordTime=start)
    folder.add_coordinates_and_sensor_layout("HydroCel GSN 256 1.0")
    folder.addbin(samples)
    folder.addxml("eventTrack", filename="Events_x.xml", name="x", trackType="EVNT", events=marks)
    folder.write()
    trials = load(tmp_path, "a.mff")
    assert trials.table["stimulus"].tolist() == ["dog", "cat"] * 4
    np.testing.assert_allclose(trials.table["onset"], 2 + 2 * np.arange(8), atol=1 / SFREQ)
    onset = round(trials.table["onset"][3] * SFREQ)
    expected = 1e-6 * values[:, onset - 50 : onset + 126]
    np.testing.assert_allclose(
        trials.responses[3], expected - expected[:, :51].mean(axis=1, keepdims=True), atol=1e-9
    )
