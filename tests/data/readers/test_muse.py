import gzip

import numpy as np
import pandas as pd
import pytest

from neurodec.data import MuseCSV, Study, Trials, prepare
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

NAMES = ["TP9", "AF7", "AF8", "TP10"]
SETTINGS = EEGPreprocessing(tmin=-0.1, tmax=0.5, baseline=(-0.1, 0.0))


def recording(rng, n_seconds=20, onsets=(2.0, 5.0, 9.0, 14.0), codes=(1, 2, 1, 2)):
    n_samples = int(n_seconds * 256)
    table = pd.DataFrame({"timestamps": np.round(1000 + np.arange(n_samples) / 256, 3)})
    for name in [*NAMES, "Right AUX"]:
        table[name] = rng.normal(30, 15, n_samples).round(3)
    table["Marker0"] = 0
    for onset, code in zip(onsets, codes, strict=True):
        table.loc[int(onset * 256), "Marker0"] = code
    return table


def write(table, root, name="data_1.csv", folder="subject2/session1"):
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table.to_csv(index=False).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def reader(**changes):
    return MuseCSV(**{"event_id": {"house": 1, "face": 2}, "preprocessing": SETTINGS, **changes})


def load(root, **changes):
    dataset = reader(**changes)
    return Trials.concatenate([dataset.load(part, root) for part in dataset.parts(root)])


def test_epochs_are_the_samples_around_the_markers_in_volts(tmp_path, rng):
    table = recording(rng)
    write(table, tmp_path)
    trials = load(tmp_path)
    assert trials.table["concept"].tolist() == ["house", "face", "house", "face"]
    assert trials.table[["subject", "session", "run"]].iloc[0].tolist() == ["2", "1", "data-1"]
    onset, before = 5 * 256, round(0.1 * 256)
    piece = table[NAMES].to_numpy()[onset - before : onset + 129].T * 1e-6
    expected = piece - piece[:, : before + 1].mean(axis=1, keepdims=True)
    assert np.allclose(trials.responses[1], expected, atol=1e-10)
    assert trials.info["units"] == "V"
    assert trials.times[0] == pytest.approx(-26 / 256)


def test_gzip_or_not_whatever_the_name(tmp_path, rng):
    table = recording(rng)
    path = write(table, tmp_path, "recording_1.csv.csv.gz", "subject3/session2")
    packed = load(tmp_path)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert np.array_equal(load(tmp_path).responses, packed.responses)
    assert packed.table["run"].unique().tolist() == ["recording-1"]


def test_marker_held_for_several_samples_is_one_event_and_the_first_sample_counts(tmp_path, rng):
    table = recording(rng, onsets=(0.0, 5.0, 5.01, 9.0), codes=(1, 2, 2, 1))
    table.loc[5 * 256 : 5 * 256 + 4, "Marker0"] = 2
    write(table, tmp_path)
    trials = load(tmp_path)  # the epoch of the event on sample 0 is cut short, so it is left out
    assert trials.table["onset"].tolist() == [5.0, 9.0]


def test_epochs_at_the_ends_and_over_lost_samples_are_left_out(tmp_path, rng):
    table = recording(rng, onsets=(0.05, 5.0, 9.0, 19.8), codes=(1, 2, 1, 2))
    table.loc[int(9.2 * 256) :, "timestamps"] += 3.0
    write(table, tmp_path)
    assert load(tmp_path).table["onset"].tolist() == [5.0]


def test_a_run_without_events_is_left_out_with_a_warning(tmp_path, rng):
    write(recording(rng), tmp_path)
    write(recording(rng, onsets=(), codes=()), tmp_path, "data_2.csv")
    with pytest.warns(UserWarning, match=r"data_2.csv is left out: it has no event of house \(1\) or face"):
        parts = reader().parts(tmp_path)
    assert [part.name for part in parts] == ["sub-2_ses-1_data-1"]


def test_prepared_folder_holds_all_runs(tmp_path, rng):
    for subject in (1, 2):
        write(recording(rng), tmp_path / "raw", folder=f"subject{subject}/session1")
    folder = prepare(reader(), tmp_path / "raw", tmp_path / "prepared")
    assert Study.load(folder).trials.table.groupby("subject").size().to_dict() == {"1": 4, "2": 4}


def with_nan(table):
    return table.assign(AF7=table["AF7"].where(table.index != 500))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="Marker0"), r"lacks the column\(s\) marker"),
        (lambda t: t.drop(columns="TP9"), r"lacks the column\(s\) TP9; it has timestamps, AF7"),
        (lambda t: t.assign(Marker0=0), "No file .* has an event of house"),
        (lambda t: t.assign(Marker0=7), r"marker values found: 7"),
        (with_nan, r"channel\(s\) AF7 hold NaN"),
        (lambda t: t.assign(AF8=12.0), r"channel\(s\) AF8 are flat"),
        (lambda t: t.assign(**{name: t[name] * 1e-6 for name in NAMES}), "units look wrong"),
        (lambda t: t.assign(timestamps=t["timestamps"] * 2), r"sampled at 128 Hz .* not at 256 Hz"),
        (lambda t: t.assign(TP9="high"), "holds text among its numbers"),
        (lambda t: t[:30], "reach beyond the recording|No file"),
    ],
)
def test_bad_recording_is_one_sentence(tmp_path, rng, change, sentence):
    write(change(recording(rng)), tmp_path)
    with pytest.raises(NeurodecError, match=sentence) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_truncated_gzip(tmp_path, rng):
    path = write(recording(rng), tmp_path, "data_1.csv.gz")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(NeurodecError, match=r"data_1.csv.gz cannot be read .*cut short or damaged"):
        load(tmp_path)


def test_same_recording_packed_twice(tmp_path, rng):
    table = recording(rng)
    write(table, tmp_path, "data_1.csv.gz")
    write(table, tmp_path, "copy.csv")
    with pytest.raises(NeurodecError, match=r"data_1.csv.gz is the same recording as .*copy.csv"):
        reader().parts(tmp_path)


def test_no_file_at_all(tmp_path):
    with pytest.raises(NeurodecError, match=r"No .csv"):
        reader().parts(tmp_path)
