import numpy as np
import pandas as pd
import pytest
from data.readers.recording_files import CH_NAMES, evoked_signals, write_brainvision, write_edf

from neurodec import NeurodecError
from neurodec.data import Study, prepare
from neurodec.data.readers.bids_meeg import BidsEEG
from neurodec.preprocessing.eeg import EEGPreprocessing

ONSETS = np.arange(2, 38, 1.5)
TYPES = ["cat", "dog", "response"] * 8
SETTINGS = EEGPreprocessing(tmax=0.5)


@pytest.fixture
def root(tmp_path, rng):
    for subject, session in (("01", "a"), ("02", "a"), ("02", "b")):
        for run in ("1", "2"):
            folder = tmp_path / f"sub-{subject}/ses-{session}/eeg"
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"sub-{subject}_ses-{session}_task-view_run-{run}"
            write = write_edf if run == "1" else write_brainvision
            suffix = "edf" if run == "1" else "vhdr"
            write(folder / f"{stem}_eeg.{suffix}", evoked_signals(rng, ONSETS, TYPES))
            table = {"onset": ONSETS, "duration": 0.5, "trial_type": TYPES}
            table["stim_file"] = [f"{kind}.png" if kind != "response" else "n/a" for kind in TYPES]
            pd.DataFrame(table).to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
            channels = {"name": CH_NAMES, "type": ["EOG", "EEG", "EEG", "EEG"], "units": "uV"}
            channels["status"] = ["good", "bad", "good", "good"]
            pd.DataFrame(channels).to_csv(folder / f"{stem}_channels.tsv", sep="\t", index=False)
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli/cat.png").touch()
    return tmp_path


def test_bids_folder(root, tmp_path):
    reader = BidsEEG(preprocessing=SETTINGS)
    parts = reader.parts(root)
    assert [part.name for part in parts][:2] == [f"sub-01_ses-a_task-view_run-{run}" for run in (1, 2)]
    assert len(parts) == 6
    prepare(reader, root, tmp_path / "out")
    trials = Study.load(tmp_path / "out").trials
    assert trials.ch_names == ["O1", "O2"]  # Fp1 is EOG there, Cz is bad
    assert len(trials) == 6 * 16  # responses show nothing
    assert sorted(trials.table["session"].unique()) == ["a", "b"]
    assert trials.table["concept"].unique().tolist() == ["cat", "dog"]
    stimuli = reader.stimuli(root).set_index("stimulus")
    assert stimuli.loc["cat.png", "image"] == "stimuli/cat.png"
    assert stimuli.loc["dog.png", "image"] == ""


def test_choosing_subjects_sessions_and_trial_types(root):
    reader = BidsEEG(subjects=["02"], sessions=["b"], trial_types=["cat"], preprocessing=SETTINGS)
    parts = reader.parts(root)
    assert [part.subject for part in parts] == ["02", "02"]
    trials = reader.load(parts[1], root)
    assert trials.table["stimulus"].unique().tolist() == ["cat.png"]
    assert trials.table["run"].unique().tolist() == ["2"]
    by_type = BidsEEG(subjects=["01"], stimulus="no_such_column", preprocessing=SETTINGS)
    assert set(by_type.stimuli(root)["stimulus"]) == {"cat", "dog"}  # a response is no stimulus


def test_bad_folders_are_named(root):
    with pytest.raises(NeurodecError, match="No eeg recording of sub-09"):
        BidsEEG(subjects=["01", "09"]).parts(root)
    with pytest.raises(NeurodecError, match="No meg recording"):
        BidsEEG(modality="meg").parts(root)
    reader = BidsEEG(trial_types=["horse"], preprocessing=SETTINGS)
    part = reader.parts(root)[0]
    with pytest.raises(NeurodecError, match="has no event"):
        reader.load(part, root)
    events = root / "sub-01/ses-a/eeg/sub-01_ses-a_task-view_run-1_events.tsv"
    events.unlink()
    with pytest.raises(NeurodecError, match=r"run-1_events.tsv is missing"):
        BidsEEG().parts(root)
