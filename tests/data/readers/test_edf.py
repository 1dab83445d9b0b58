"""EDF and BDF, written by pyedflib and edfio, and byte by byte where those know better than recorders do."""

import datetime

import numpy as np
import pytest
from data.readers.recording_files import CH_NAMES, SFREQ, evoked_signals, write_edf

from neurodec.data import Account, Recordings
from neurodec.data.readers.opening import open_raw
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

SETTINGS = EEGPreprocessing(tmax=0.5)
ONSETS = np.arange(2, 38, 1.5)
NAMES = np.array(["cat", "dog"] * 12)


def load(root, file, **more):
    reader = Recordings(file, preprocessing=SETTINGS, **more)
    return reader.load(reader.parts(root)[0], root)


def effect(trials):
    """How far O1 lies above O2 in the window of the response, by stimulus, in volts."""
    difference = (trials.responses[:, -2] - trials.responses[:, -1])[:, 75:125].mean(axis=1)
    return difference[trials.table["stimulus"] == "cat"], difference[trials.table["stimulus"] == "dog"]


def test_kinds_and_units_of_a_polygraph(tmp_path, rng):
    pyedflib = pytest.importorskip("pyedflib", reason="pyedflib writes the file")
    signals = evoked_signals(rng, ONSETS, NAMES)
    seconds = np.arange(signals.shape[1]) / SFREQ
    channels = [
        (f"EEG {name}-Ref", "uV", 500, values * 1e6) for name, values in zip(CH_NAMES, signals, strict=True)
    ]
    channels += [("ECG ECG", "mV", 5, np.sin(seconds)), ("Resp Rib Cage", "", 200, 120 * np.sin(seconds))]
    channels += [("Temp rectal", "DegC", 42, 36 + np.sin(seconds)), ("HEOG", "uV", 500, 90 * np.sin(seconds))]
    channels += [
        ("SpO2", "%", 100, 97 + np.sin(seconds)),
        ("Extra", "uV", 500, 20 * rng.standard_normal(len(seconds))),
    ]
    writer = pyedflib.EdfWriter(str(tmp_path / "a.edf"), len(channels), pyedflib.FILETYPE_EDFPLUS)
    for i, (label, unit, top, _) in enumerate(channels):
        writer.setSignalHeader(
            i,
            {
                "label": label,
                "dimension": unit,
                "sample_frequency": int(SFREQ),
                "physical_min": -top,
                "physical_max": top,
                "digital_min": -32768,
                "digital_max": 32767,
                "transducer": "",
                "prefilter": "",
            },
        )
    writer.writeSamples([np.ascontiguousarray(values) for *_, values in channels])
    for onset, name in zip(ONSETS, NAMES, strict=True):
        writer.writeAnnotation(float(onset), -1, str(name))
    writer.close()
    trials = load(tmp_path, "a.edf")
    assert trials.ch_names == [*(f"EEG {name}-Ref" for name in CH_NAMES), "Extra"]
    assert trials.info["ch_types"] == ["eeg"] * 5
    (entry,) = trials.info["account"]
    left_out = entry["channels"]["left_out"]
    assert {reason: names for reason, names in left_out.items() if "ecg" in reason} == {
        "of kind ecg": ["ECG ECG"]
    }
    assert left_out["of kind misc"] == ["SpO2"]
    assert left_out["of kind eog"] == ["HEOG"]
    assert trials.table["stimulus"].tolist() == NAMES.tolist()
    named = Recordings("a.edf", preprocessing=EEGPreprocessing(tmax=0.5, ch_names=["Resp Rib Cage"]))
    with pytest.raises(NeurodecError, match="Resp Rib Cage is of kind resp, not eeg"):
        named.load(named.parts(tmp_path)[0], tmp_path)


@pytest.mark.parametrize("pause", [0, 5, 30])
@pytest.mark.parametrize("table", [False, True])
def test_a_paused_recording_keeps_true_time(tmp_path, rng, pause, table):
    """The clock runs on in the pause; samples do not."""
    signals = evoked_signals(rng, ONSETS, NAMES)
    clock = np.where(ONSETS < 20, ONSETS, ONSETS + pause)
    starts = [second if second < 20 else second + pause for second in range(40)]
    marks = [(t, name) for t, name in zip(clock, NAMES, strict=True)]
    write_edf(tmp_path / "a.edf", signals, starts=starts, marks=[] if table else marks)
    if table:
        (tmp_path / "a.csv").write_text("onset,stimulus\n" + "".join(f"{t},{name}\n" for t, name in marks))
    trials = load(tmp_path, "a.edf", events="a.csv" if table else None)
    np.testing.assert_allclose(
        trials.table["onset"], [t for t in ONSETS if pause == 0 or not 19.5 < t < 20.2]
    )
    cat, dog = effect(trials)
    assert cat.min() > 1e-5 > -1e-5 > dog.max()
    notes = " ".join(trials.info["account"][0]["notes"])
    assert (f"paused 1 time(s), {pause} s in all" in notes) == (pause > 0)


def test_no_epoch_crosses_a_pause(tmp_path, rng):
    signals = evoked_signals(rng, [19.9, 25.0], ["cat", "dog"])
    starts = [second if second < 20 else second + 7 for second in range(40)]
    marks = [(19.9, "cat"), (23.0, "in the pause"), (32.0, "dog")]
    write_edf(tmp_path / "a.edf", signals, starts=starts, marks=marks)
    trials = load(tmp_path, "a.edf")
    assert trials.table[["onset", "stimulus"]].to_dict("records") == [{"onset": 25.0, "stimulus": "dog"}]
    left_out = trials.info["account"][0]["events"]["left_out"]
    assert left_out == {"across a pause of the recorder": 1}
    # what was marked while nothing was recorded lies in no record, so the file cannot even hold it
    (tmp_path / "a.csv").write_text("onset,stimulus\n19.9,cat\n23,lost\n32,dog\n")
    trials = load(tmp_path, "a.edf", events="a.csv")
    left_out = trials.info["account"][0]["events"]["left_out"]
    assert left_out == {"within a pause of the recorder": 1, "across a pause of the recorder": 1}


def test_edfio_agrees(tmp_path, rng):
    edfio = pytest.importorskip("edfio", reason="edfio writes the file")
    signals = evoked_signals(rng, ONSETS, NAMES)
    channels = [
        edfio.EdfSignal(values * 1e6, SFREQ, label=name, physical_dimension="uV", physical_range=(-500, 500))
        for name, values in zip(CH_NAMES, signals, strict=True)
    ]
    marks = [edfio.EdfAnnotation(float(t), None, str(name)) for t, name in zip(ONSETS, NAMES, strict=True)]
    recording = edfio.Recording(startdate=datetime.date(2020, 1, 1))
    edfio.Edf(channels, annotations=marks, recording=recording).write(tmp_path / "a.edf")
    trials = load(tmp_path, "a.edf")
    np.testing.assert_allclose(trials.table["onset"], ONSETS)
    onset = round(ONSETS[5] * SFREQ)
    expected = signals[:, onset - 50 : onset + 126]
    expected = expected - expected[:, :51].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(trials.responses[5], expected, atol=4e-8)


@pytest.mark.parametrize("bdf", [False, True])
def test_a_recorder_that_did_not_count_its_records(tmp_path, rng, bdf):
    signals = evoked_signals(rng, ONSETS, NAMES)
    name = "a.bdf" if bdf else "a.edf"
    write_edf(tmp_path / name, signals, bdf=bdf, n_records=-1)
    raw, _ = open_raw(tmp_path / name, Account())
    assert raw.n_times == signals.shape[1]
    write_edf(tmp_path / name, signals, bdf=bdf, n_records=60)  # but 60 that are not there are a broken copy
    with pytest.raises(NeurodecError, match="does not fit its header"):
        open_raw(tmp_path / name, Account())


def test_status_bits_are_no_triggers(tmp_path, rng):
    signals = evoked_signals(rng, ONSETS, NAMES)
    status = np.full(signals.shape[1], 1 << 16)
    for onset, name in zip(ONSETS, NAMES, strict=True):
        status[round(onset * SFREQ) :][:5] |= 1 if name == "cat" else 2
    write_edf(tmp_path / "a.bdf", signals, bdf=True, status=status)
    trials = load(tmp_path, "a.bdf", event_id={"cat": 1, "dog": 2})
    assert trials.table["stimulus"].tolist() == NAMES.tolist()
    assert load(tmp_path, "a.bdf").table["stimulus"].unique().tolist() == ["1", "2"]
    assert "status bits" in " ".join(trials.info["account"][0]["notes"])


def test_a_rate_that_no_eeg_has(tmp_path, rng):
    """A record that is said to last 100 s: milliseconds, or kilohertz, taken for seconds."""
    write_edf(tmp_path / "a.edf", evoked_signals(rng, ONSETS, NAMES))
    content = bytearray((tmp_path / "a.edf").read_bytes())
    content[244:252] = b"100".ljust(8)
    (tmp_path / "a.edf").write_bytes(bytes(content))
    with pytest.raises(NeurodecError, match=r"a.edf has a sampling rate of 2.5 Hz, too low .*milliseconds"):
        open_raw(tmp_path / "a.edf", Account())
