import mne
import numpy as np
import pandas as pd
import pytest
from data.readers.recording_files import (
    CH_NAMES,
    SFREQ,
    evoked_signals,
    write_brainvision,
    write_edf,
    write_eeglab,
)

from neurodec import NeurodecError
from neurodec.data import Study, prepare
from neurodec.data.patterns import find_files
from neurodec.data.readers.epochs_files import EpochsFiles
from neurodec.data.readers.recordings import Recording, Recordings
from neurodec.preprocessing.eeg import EEGPreprocessing

ONSETS = np.arange(2, 38, 1.5)
NAMES = np.array(["cat", "dog"] * 12)
SETTINGS = EEGPreprocessing(tmax=0.5)


@pytest.fixture
def signals(rng):
    return evoked_signals(rng, ONSETS, NAMES)


def _fif(path, signals):
    info = mne.create_info(CH_NAMES, SFREQ, "eeg")
    mne.io.RawArray(signals, info, verbose="error").save(path, verbose="error")


def _events(path, **columns):
    pd.DataFrame({"onset": ONSETS, "stimulus": NAMES, **columns}).to_csv(path, index=False)


WRITERS = {
    "raw.fif": _fif,
    "edf": write_edf,
    "bdf": lambda path, signals: write_edf(path, signals, bdf=True),
    "vhdr": write_brainvision,
    "set": write_eeglab,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_trials(tmp_path, signals, suffix):
    WRITERS[suffix](tmp_path / f"s7_{suffix}", signals) if suffix == "raw.fif" else WRITERS[suffix](
        tmp_path / f"s7.{suffix}", signals
    )
    _events(tmp_path / "s7.csv")
    pattern = "s{subject}_raw.fif" if suffix == "raw.fif" else f"s{{subject}}.{suffix}"
    reader = Recordings(files=pattern, events="s{subject}.csv", preprocessing=SETTINGS)
    (part,) = reader.parts(tmp_path)
    trials = reader.load(part, tmp_path)
    assert part.name == "sub-7_ses-01_run-01"
    assert trials.ch_names == CH_NAMES
    assert trials.responses.shape == (24, 4, 176)
    onset = round(ONSETS[5] * SFREQ)
    expected = signals[:, onset - 50 : onset + 126]
    expected = expected - expected[:, :51].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(trials.responses[5], expected, atol=3e-8)  # two EDF steps
    effect = trials.responses[:, :, 80:120].mean(axis=2)
    assert (effect[NAMES == "cat", 2] > 1e-5).mean() > 0.9
    assert (effect[NAMES == "dog", 2] < 1e-5).mean() > 0.9
    assert trials.table["repetition"].max() == 11


def test_prepare_with_pictures_subjects_and_runs(tmp_path, rng):
    for subject in ("01", "02"):
        for run in ("1", "2"):
            (tmp_path / f"sub-{subject}").mkdir(exist_ok=True)
            _fif(tmp_path / f"sub-{subject}/run{run}_raw.fif", evoked_signals(rng, ONSETS, NAMES))
    _events(tmp_path / "events.csv")
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "pictures.csv").write_text(
        "stimulus,image,concept,split,caption\ncat,cat.png,cats,train,a cat\ndog,dog.png,dogs,test,a dog\n"
    )
    reader = Recordings(
        files="sub-{subject}/run{run}_raw.fif",
        events="events.csv",
        stimuli_table="pictures.csv",
        preprocessing=EEGPreprocessing(tmax=0.5, sfreq=125.0, whiten="mvnn-epochs"),
    )
    prepare(reader, tmp_path, tmp_path / "out")
    trials = Study.load(tmp_path / "out").trials
    assert len(trials) == 96
    assert trials.table.groupby(["subject", "run"]).size().tolist() == [24] * 4
    assert trials.table.loc[trials.table["stimulus"] == "dog", "split"].unique() == ["test"]
    assert trials.info["sfreq"] == 125
    assert trials.info["units"] == "a.u."
    assert trials.info["ch_pos"] is not None
    counts = trials.table.groupby(["subject", "stimulus"])["repetition"].max()
    assert (counts == 23).all()


def test_events_from_markers_and_stim_channel(tmp_path, signals):
    markers = np.where(NAMES == "cat", "S  1", "S  2")
    write_brainvision(tmp_path / "a.vhdr", signals, ONSETS, markers)
    stim = np.zeros((1, signals.shape[1]))
    for onset, name in zip(ONSETS, NAMES, strict=True):
        stim[0, round(onset * SFREQ) :][:5] = 1 if name == "cat" else 2
    info = mne.create_info([*CH_NAMES, "STI"], SFREQ, ["eeg"] * 4 + ["stim"])
    mne.io.RawArray(np.vstack([signals, stim]), info, verbose="error").save(
        tmp_path / "b_raw.fif", verbose="error"
    )
    marked = Recordings(
        "a.vhdr", event_id={"cat": "Stimulus/S  1", "dog": "Stimulus/S  2"}, preprocessing=SETTINGS
    )
    stimmed = Recordings("b_raw.fif", event_id={"cat": 1, "dog": 2}, preprocessing=SETTINGS)
    first, second = (reader.load(reader.parts(tmp_path)[0], tmp_path) for reader in (marked, stimmed))
    assert first.table["stimulus"].tolist() == second.table["stimulus"].tolist() == NAMES.tolist()
    np.testing.assert_allclose(first.responses, second.responses, atol=1e-10)
    assert marked.parts(tmp_path)[0].files[0].name == "a.eeg"  # the samples are what is compared and hashed
    assert marked.stimuli(tmp_path)["stimulus"].tolist() == ["cat", "dog"]


def test_irregular_names_and_bad_segments(tmp_path, signals):
    info = mne.create_info(CH_NAMES, SFREQ, "eeg")
    raw = mne.io.RawArray(signals, info, verbose="error")
    raw.set_annotations(mne.Annotations([3.0], [2.0], ["BAD_movement"]))
    raw.save(tmp_path / "monday_raw.fif", verbose="error")
    _events(tmp_path / "monday.tsv.csv")
    reader = Recordings(
        [Recording("monday_raw.fif", subject="anna", events="monday.tsv.csv")], preprocessing=SETTINGS
    )
    trials = reader.load(reader.parts(tmp_path)[0], tmp_path)
    assert trials.table["onset"].tolist() == [2.0, *ONSETS[3:]]  # 3.5 and 5.0 touch the bad segment
    assert set(trials.table["subject"]) == {"anna"}


def test_unit_scale_mends_a_wrong_header(tmp_path, signals):
    _fif(tmp_path / "a_raw.fif", signals * 1e6)
    _events(tmp_path / "a.csv")
    wrong = Recordings("a_raw.fif", events="a.csv", preprocessing=SETTINGS)
    part = wrong.parts(tmp_path)[0]
    with pytest.raises(NeurodecError, match=r"a_raw.fif: .* often by 10\^6, .* `unit_scale`"):
        wrong.load(part, tmp_path)
    right = Recordings("a_raw.fif", events="a.csv", unit_scale=1e-6, preprocessing=SETTINGS)
    assert right.load(part, tmp_path).responses.std() == pytest.approx(1e-5, rel=0.4)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"onset": ONSETS + 100}, r"beyond the recording of 40 s"),
        ({"onset": ["soon", *ONSETS[1:]]}, r"a.csv has 'soon' in the column onset at row 2"),
        (
            {"stimulus": ["horse", *NAMES[1:]]},
            r"shows horse \(event 1 of 24\), which the stimulus table does not",
        ),
        ({"split": "holdout"}, r"has the split 'holdout'; use train, validation, test"),
        ({"subject": "99"}, r"has no event"),
    ],
)
def test_bad_events_are_named(tmp_path, signals, columns, message):
    _fif(tmp_path / "a_raw.fif", signals)
    _events(tmp_path / "a.csv", **columns)
    (tmp_path / "p.csv").write_text("stimulus,image\ncat,\ndog,\n")
    reader = Recordings("a_raw.fif", events="a.csv", stimuli_table="p.csv", preprocessing=SETTINGS)
    part = reader.parts(tmp_path)[0]
    with pytest.raises(NeurodecError, match=message):
        reader.load(part, tmp_path)


def test_bad_files_are_named(tmp_path, signals):
    _fif(tmp_path / "a_raw.fif", signals)
    _events(tmp_path / "a.csv")
    with pytest.raises(NeurodecError, match=r"No file below .* fits b_\{run\}.edf"):
        Recordings("b_{run}.edf").parts(tmp_path)
    with pytest.raises(NeurodecError, match=r"b.csv is missing"):
        Recordings("a_raw.fif", events="b.csv").parts(tmp_path)
    with pytest.raises(
        NeurodecError, match=r"has the field \{subject\}, which the pattern of the recordings has not"
    ):
        Recordings("a_raw.fif", events="{subject}.csv").parts(tmp_path)
    with pytest.raises(NeurodecError, match=r"field \{day\}"):
        find_files(tmp_path, "{day}.fif")
    with pytest.raises(NeurodecError, match=r"are both sub-01_ses-01_run-01"):
        Recordings([Recording("a_raw.fif"), Recording("a_raw.fif")]).parts(tmp_path)
    (tmp_path / "p.csv").write_text("stimulus,image\ncat,cat.png\n")
    with pytest.raises(NeurodecError, match=r"names the picture cat.png \(row 2\)"):
        Recordings("a_raw.fif", events="a.csv", stimuli_table="p.csv").stimuli(tmp_path)
    (tmp_path / "a_raw.fif").write_bytes((tmp_path / "a_raw.fif").read_bytes()[:2000])
    reader = Recordings("a_raw.fif", events="a.csv", preprocessing=SETTINGS)
    part = reader.parts(tmp_path)[0]
    with pytest.raises(NeurodecError, match=r"a_raw.fif cannot be read"):
        reader.load(part, tmp_path)
    (tmp_path / "a.csv").write_text("time,what\n1,cat\n")
    with pytest.raises(NeurodecError, match=r"a.csv lacks the column"):
        reader.stimuli(tmp_path)


def test_recordings_shorter_than_they_say(tmp_path, signals):
    write_edf(tmp_path / "a.edf", signals)
    write_brainvision(tmp_path / "a.vhdr", signals, ONSETS, np.where(NAMES == "cat", "S  1", "S  2"))
    for samples, header in (("a.edf", "a.edf"), ("a.eeg", "a.vhdr")):
        whole = (tmp_path / samples).read_bytes()
        (tmp_path / samples).write_bytes(whole[: len(whole) // 2])
        reader = Recordings(header, preprocessing=SETTINGS)
        part = reader.parts(tmp_path)[0]
        with pytest.raises(
            NeurodecError, match=rf"length of .*{header} does not fit its header or its markers"
        ):
            reader.load(part, tmp_path)


@pytest.fixture
def epochs(rng):
    events = np.column_stack([300 * np.arange(1, 13), np.zeros(12, int), [1, 2] * 6])
    info = mne.create_info(CH_NAMES, SFREQ, "eeg")
    data = 1e-5 * rng.standard_normal((12, 4, 200))
    metadata = pd.DataFrame({"picture": NAMES[:12], "split": ["train", "test"] * 6})
    return mne.EpochsArray(
        data, info, events, tmin=-0.2, event_id={"c": 1, "d": 2}, metadata=metadata, verbose="error"
    )


def test_epochs_files(tmp_path, epochs):
    epochs.save(tmp_path / "s3-epo.fif", verbose="error")
    settings = EEGPreprocessing(tmax=0.4, sfreq=125.0, keep_from=0.0, whiten="zscore")
    reader = EpochsFiles("s{subject}-epo.fif", stimulus="picture", preprocessing=settings)
    (part,) = reader.parts(tmp_path)
    trials = reader.load(part, tmp_path)
    assert trials.table["stimulus"].tolist() == NAMES[:12].tolist()
    assert set(trials.table["subject"]) == {"3"}
    assert trials.info["tmin"] == pytest.approx(0)
    np.testing.assert_allclose(np.asarray(trials.split("train").responses).mean(axis=(0, 2)), 0, atol=1e-5)
    assert reader.stimuli(tmp_path)[["stimulus", "split"]].to_numpy().tolist() == [
        ["cat", "train"],
        ["dog", "test"],
    ]
    plain = EpochsFiles("s{subject}-epo.fif", preprocessing=EEGPreprocessing(tmin=-1, tmax=2, baseline=None))
    trials = plain.load(part, tmp_path)
    assert trials.table["stimulus"].tolist() == ["c", "d"] * 6
    np.testing.assert_allclose(trials.responses, epochs.get_data(), rtol=1e-6)


def test_epochs_files_refuse(tmp_path, epochs):
    epochs.save(tmp_path / "s3-epo.fif", verbose="error")
    for reader, message in (
        (EpochsFiles("*-epo.fif", preprocessing=EEGPreprocessing(l_freq=1.0)), "too short to filter"),
        (EpochsFiles("*-epo.fif", stimulus="image"), "no metadata column image; it has picture, split"),
    ):
        part = reader.parts(tmp_path)[0]
        with pytest.raises(NeurodecError, match=message):
            reader.load(part, tmp_path)


def test_one_table_serves_several_recordings_that_show_different_stimuli(tmp_path, rng):
    rows = []
    for run, names in (("1", ("cat", "dog")), ("2", ("cow", "hen"))):
        info = mne.create_info(CH_NAMES, SFREQ, "eeg")
        raw = mne.io.RawArray(1e-5 * rng.standard_normal((4, 10_000)), info, verbose="error")
        raw.save(tmp_path / f"run-{run}_raw.fif", verbose="error")
        rows += [f"{onset},{names[i % 2]},{int(run)}" for i, onset in enumerate(ONSETS)]
    (tmp_path / "events.csv").write_text("onset,stimulus,run\n" + "\n".join(rows))
    reader = Recordings("run-{run}_raw.fif", events="events.csv", preprocessing=SETTINGS)
    trials = Study.load(prepare(reader, tmp_path, tmp_path / "out")).trials
    assert set(trials.table["stimulus"]) == {"cat", "dog", "cow", "hen"}
    assert len(trials) == 48


@pytest.mark.parametrize(("split", "told"), [("test", True), ("train", False), ("cv", False)])
def test_scaling_by_test_trials_is_told(tmp_path, signals, split, told):
    _fif(tmp_path / "a_raw.fif", signals)
    _events(tmp_path / "a.csv", split=split)
    settings = EEGPreprocessing(tmax=0.5, whiten="zscore")
    dataset = Recordings(files="*_raw.fif", events="a.csv", preprocessing=settings)
    (part,) = dataset.parts(tmp_path)
    notes = dataset.load(part, tmp_path).info["account"][0]["notes"]
    assert any("scaled by the test trials themselves" in note for note in notes) == told


def test_windows_of_training_and_test_that_overlap_are_told(tmp_path, signals):
    _fif(tmp_path / "a_raw.fif", signals)
    _events(tmp_path / "a.csv", split=["train", "test"] * 12, concept=[f"c{row}" for row in range(24)])
    table = pd.read_csv(tmp_path / "a.csv").assign(stimulus=[f"s{row}" for row in range(24)])
    table.to_csv(tmp_path / "a.csv", index=False)
    for tmax, told in ((1.4, True), (0.5, False)):
        settings = EEGPreprocessing(tmin=-0.2, tmax=tmax)
        dataset = Recordings(files="*_raw.fif", events="a.csv", preprocessing=settings)
        study = Study.load(prepare(dataset, tmp_path, tmp_path / f"prepared-{tmax}"))
        notes = study.account[0]["notes"]
        assert any("12 test windows share time" in note for note in notes) == told
