"""BIDS EEG with the tables that converters and people write; one folder by mne-bids itself."""

import mne
import numpy as np
import pandas as pd
import pytest
from data.readers.recording_files import CH_NAMES, SFREQ, evoked_signals, write_brainvision

from neurodec.data import BidsEEG, Study, prepare
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing

ONSETS = np.arange(2, 38, 1.5)
NAMES = np.array(["cat", "dog"] * 12)
SETTINGS = EEGPreprocessing(tmax=0.5)


def table(**columns):
    return pd.DataFrame({"onset": ONSETS, "duration": 0.0, "trial_type": NAMES, "value": 11, **columns})


def write(root, stem="task-a_run-1", *, events=None, channels=None, seed=0):
    folder = root / "sub-01/eeg"
    folder.mkdir(parents=True, exist_ok=True)
    write_brainvision(
        folder / f"sub-01_{stem}_eeg.vhdr", evoked_signals(np.random.default_rng(seed), ONSETS, NAMES)
    )
    (table() if events is None else events).to_csv(
        folder / f"sub-01_{stem}_events.tsv", sep="\t", index=False
    )
    if channels is not None:
        channels.to_csv(folder / f"sub-01_{stem}_channels.tsv", sep="\t", index=False)


def channels(**columns):
    return pd.DataFrame({"name": CH_NAMES, "type": "EEG", "units": "uV", "status": "good", **columns})


def load(root, **settings):
    dataset = BidsEEG(preprocessing=SETTINGS, **settings)
    return dataset.load(dataset.parts(root)[0], root)


def test_acquisitions_are_recordings_of_their_own(tmp_path):
    for seed, stem in enumerate(("task-a_acq-dry", "task-a", "task-a_acq-wet", "task-b")):
        write(tmp_path, stem, seed=seed)
    trials = Study.load(prepare(BidsEEG(preprocessing=SETTINGS), tmp_path, tmp_path / "out")).trials
    assert trials.table.groupby("run").size().to_dict() == {"a": 24, "b": 24, "dry_a": 24, "wet_a": 24}
    (part,) = BidsEEG(entities={"acq": "dry"}).parts(tmp_path)
    assert part.name == "sub-01_task-a_acq-dry"
    assert len(BidsEEG(entities={"acq": None}, tasks=["a"]).parts(tmp_path)) == 1


@pytest.mark.parametrize(
    ("events", "names", "left_out"),
    [
        (table(trial_type="n/a", value=np.where(NAMES == "cat", 11.0, 12.0)), {"11", "12"}, {}),
        (table().drop(columns="trial_type"), {"11"}, {}),
        (table(stim_file="n/a"), {"cat", "dog"}, {}),
        (table(stim_file=[f"{name}.png" for name in NAMES]), {"cat.png", "dog.png"}, {}),
        (
            table(trial_type=["boundary", "n/a", "response", "STATUS", *NAMES[4:]]),
            {"cat", "dog", "STATUS"},
            {"pause marker": 1, "without a name": 1, "response": 1},
        ),
        (table(onset=["n/a", *ONSETS[1:]]), {"cat", "dog"}, {"without an onset": 1}),
        (table(onset=[-0.5, *ONSETS[1:-1], 39.9]), {"cat", "dog"}, {"at the edge of the recording": 2}),
        (
            table(trial_type=["BAD_jump", *NAMES[1:]], duration=[2.0, *np.zeros(23)]),
            {"cat", "dog"},
            {"bad segment": 1, "in a bad segment": 1},
        ),
    ],
    ids=["value", "only-value", "no-stim-file", "stim-file", "no-stimuli", "no-onset", "edges", "bad"],
)
def test_what_counts_as_a_stimulus(tmp_path, events, names, left_out):
    write(tmp_path, events=events)
    trials = load(tmp_path)
    assert set(trials.table["stimulus"]) == names
    (entry,) = trials.info["account"]
    assert entry["events"] == {"found": 24, "kept": 24 - sum(left_out.values()), "left_out": left_out}


def test_the_same_rows_twice_are_refused(tmp_path):
    write(tmp_path, events=pd.concat([table(), table()]).sort_values("onset"))
    with pytest.raises(NeurodecError, match=r"has cat twice at 2 s \(24 such pair"):
        load(tmp_path)


def test_kinds_and_bad_channels_come_from_the_table(tmp_path):
    write(tmp_path, "task-a_run-1", channels=channels(type=["EEG", "EOG", "EEG", "EEG"]))
    write(tmp_path, "task-a_run-2", channels=channels(status=["n/a", "BAD", "good", "good"]), seed=1)
    trials = Study.load(prepare(BidsEEG(preprocessing=SETTINGS), tmp_path, tmp_path / "out")).trials
    assert trials.ch_names == ["Fp1", "O1", "O2"]
    accounts = {entry["part"]: entry["channels"] for entry in trials.info["account"]}
    assert accounts["sub-01_task-a_run-1"]["left_out"] == {"of kind eog": ["Cz"]}
    assert accounts["sub-01_task-a_run-2"]["bads"] == ["Cz"]


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        (
            channels(name=["FP1", "CZ", "O1", "O2"]),
            "lists the channel FP1, which the recording does not have",
        ),
        (channels(name=["Fp1", "Fp1", "O1", "O2"]), "lists the channel Fp1 twice"),
        (channels().drop(columns="type"), r"lacks the column\(s\) type"),
    ],
)
def test_a_table_of_other_channels_is_refused(tmp_path, listed, sentence):
    write(tmp_path, channels=listed)
    with pytest.raises(NeurodecError, match=sentence):
        load(tmp_path)


def test_a_reference_may_be_listed_that_the_file_does_not_hold(tmp_path):
    extra = pd.DataFrame({"name": ["Cz-ref"], "type": ["REF"], "units": ["uV"], "status": ["n/a"]})
    write(tmp_path, channels=pd.concat([channels(), extra]))
    assert load(tmp_path).ch_names == CH_NAMES


def test_one_events_file_for_all_runs(tmp_path):
    for run in (1, 2):
        write(tmp_path, f"task-a_run-{run}", seed=run)
        (tmp_path / f"sub-01/eeg/sub-01_task-a_run-{run}_events.tsv").unlink()
    table().to_csv(tmp_path / "task-a_events.tsv", sep="\t", index=False)
    assert len(Study.load(prepare(BidsEEG(preprocessing=SETTINGS), tmp_path, tmp_path / "out")).trials) == 48


def test_a_folder_by_mne_bids(tmp_path):
    mne_bids = pytest.importorskip("mne_bids", reason="mne-bids writes the folder")
    signals = evoked_signals(np.random.default_rng(0), ONSETS, NAMES)
    raw = mne.io.RawArray(signals, mne.create_info(CH_NAMES, SFREQ, "eeg", verbose="error"), verbose="error")
    raw.info["line_freq"] = 50
    raw.info["bads"] = ["Fp1"]
    raw.set_annotations(mne.Annotations([*ONSETS, 10.0], [*np.zeros(24), 1.0], [*NAMES, "BAD_jump"]))
    path = mne_bids.BIDSPath(subject="01", task="a", root=tmp_path / "bids", datatype="eeg")
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")
    dataset = BidsEEG(preprocessing=SETTINGS)
    trials = dataset.load(dataset.parts(tmp_path / "bids")[0], tmp_path / "bids")
    assert trials.ch_names == ["Cz", "O1", "O2"]
    assert sorted(set(ONSETS) - set(trials.table["onset"].round(3))) == [9.5, 11.0]
    assert set(trials.table["stimulus"]) == {"cat", "dog"}
