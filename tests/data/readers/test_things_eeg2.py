import pickle

import numpy as np
import pytest
from benchmarks.bench_mvnn import published_session, write_image_folders, write_session

from neurodec import NeurodecError
from neurodec.data import Study, prepare
from neurodec.data.readers.datasets.things_eeg2 import (
    CHANNELS,
    OCCIPITO_PARIETAL,
    ThingsEEG2,
    choose_repetitions,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One subject, two sessions: 6 training pictures twice (some three times) and 3 test pictures four times."""
    folder = tmp_path_factory.mktemp("eeg2")
    for session in (1, 2):
        write_session(folder, 6, 3, 2, 4, session=session)
    write_image_folders(folder, 6, 3)
    return folder


def _rewrite(root, target, change):
    """Copy the tree with one training file changed."""
    (target / "Raw_data/sub-01").mkdir(parents=True)
    (target / "image_set").symlink_to(root / "image_set")
    folder = target / "Raw_data/sub-01/ses-01"
    folder.mkdir()
    for name in ("training", "test"):
        content = np.load(root / f"Raw_data/sub-01/ses-01/raw_eeg_{name}.npy", allow_pickle=True).item()
        if name == "training":
            change(content)
        np.save(folder / f"raw_eeg_{name}.npy", content, allow_pickle=True)
    return target


def test_raw_form_equals_the_published_loop(root):
    reader = ThingsEEG2()
    part = reader.parts(root)[0]
    trials = reader.load(part, root)
    train, test = published_session(root, 2, 4)
    expected = np.concatenate([part.reshape(-1, 63, 250) for part in (train, test)])
    np.testing.assert_allclose(trials.responses, expected, atol=2e-5 * np.abs(expected).max())
    assert part.name == "sub-01_ses-01"
    assert trials.ch_names == CHANNELS
    assert trials.times[[0, -1]] == pytest.approx([0.0, 0.996])
    assert trials.info["units"] == "a.u."
    assert len(trials.info["ch_pos"]) == 63
    assert trials.table["split"].tolist() == ["train"] * 12 + ["test"] * 12
    assert trials.table["stimulus"].iloc[0] == "tr_concept1_01"


def test_whitening_uses_training_trials_only(root, tmp_path):
    def louder(content):
        content["raw_eeg_data"][:63] *= 10

    whole = ThingsEEG2()
    changed = _rewrite(root, tmp_path, louder)
    before = whole.load(whole.parts(root)[0], root)
    after = whole.load(whole.parts(changed)[0], changed)
    np.testing.assert_allclose(after.split("train").responses, before.split("train").responses, atol=1e-4)
    np.testing.assert_allclose(
        10 * np.asarray(after.split("test").responses), before.split("test").responses, atol=1e-3
    )


def test_volts_channels_and_window_without_whitening(root):
    reader = ThingsEEG2(
        ch_names=OCCIPITO_PARIETAL, sfreq=100.0, tmin=-0.1, tmax=0.5, whiten="none", sessions=[2]
    )
    (part,) = reader.parts(root)
    trials = reader.load(part, root)
    assert part.name == "sub-01_ses-02"
    assert trials.info["units"] == "V"
    assert trials.responses.shape == (24, 17, 60)
    assert trials.times[0] == pytest.approx(-0.1)
    assert 1e-6 < trials.responses.std() < 1e-4


def test_prepared_store_joins_sessions_and_counts_repetitions(root, tmp_path):
    prepare(ThingsEEG2(), root, tmp_path / "prepared")
    trials = Study.load(tmp_path / "prepared").trials
    counts = trials.table.groupby(["split", "stimulus"])["repetition"].agg(["count", "nunique"])
    assert (counts.loc["train"] == 4).all(axis=None)
    assert (counts.loc["test"] == 8).all(axis=None)


def test_the_two_files_of_a_session_share_no_clock(root, tmp_path):
    """Both begin at 0 s, so their onsets were once taken for windows that overlap in time."""
    study = Study.load(prepare(ThingsEEG2(), root, tmp_path / "prepared"))
    runs = study.table.groupby("split")["run"].unique()
    assert runs.map(list).to_dict() == {"test": ["test"], "train": ["training"]}
    assert not any("share time" in note for entry in study.account for note in entry["notes"])


def test_preprocessed_forms_are_read_block_by_block(root, tmp_path, rng):
    train, test = rng.standard_normal((6, 2, 63, 50)), rng.standard_normal((3, 4, 63, 50))
    times = np.round(np.arange(-10, 50) / 250, 6)
    (tmp_path / "image_set").symlink_to(root / "image_set")
    folder = tmp_path / "Preprocessed_data_250Hz/sub-03"
    folder.mkdir(parents=True)
    for name, data in (("training", train), ("test", test)):
        content = {"preprocessed_eeg_data": data, "ch_names": CHANNELS, "times": times}
        with (folder / f"preprocessed_eeg_{name}.npy").open("wb") as handle:
            pickle.dump(content, handle, protocol=4)
    (tmp_path / "sub-03").mkdir()
    np.save(tmp_path / "sub-03/train.npy", train.reshape(3, 2, 2, 63, 50).astype(np.float32))
    np.save(tmp_path / "sub-03/test.npy", test.reshape(3, 1, 4, 63, 50).astype(np.float32))
    (tmp_path / "info.json").write_text(
        f'{{"ch_names": {CHANNELS}, "times": {times.tolist()}}}'.replace("'", '"')
    )
    for form in ("preprocessed", "neurobridge"):
        reader = ThingsEEG2(form=form, ch_names=["Oz", "Fp1"])
        parts = reader.parts(tmp_path)
        assert [part.name for part in parts] == ["sub-03_block-1-of-2", "sub-03_block-2-of-2"]
        second = reader.load(parts[1], tmp_path)
        picks = [CHANNELS.index("Oz"), 0]
        np.testing.assert_allclose(second.split("train").responses, train[:, 1][:, picks], rtol=1e-6)
        np.testing.assert_allclose(
            second.split("test").responses, test[:, 2:][:, :, picks].reshape(6, 2, 50), rtol=1e-6
        )
        assert second.info["tmin"] == 0
        assert second.info["sfreq"] == 250


def test_choice_of_repetitions_is_the_published_one():
    codes = np.array([2, 1, 1, 2, 1, 2, 2])
    kept = choose_repetitions(codes, 2, "x")
    assert codes[kept].tolist() == [1, 1, 2, 2]
    # sklearn.utils.shuffle([1, 2, 4], random_state=20200220, n_samples=2), and of [0, 3, 5, 6]
    assert set(kept[:2]) < {1, 2, 4}
    assert set(kept[2:]) < {0, 3, 5, 6}
    assert len(choose_repetitions(codes, None, "x")) == 6


def test_stimuli_captions_and_gallery(root, tmp_path):
    stimuli = ThingsEEG2().stimuli(root)
    assert stimuli["caption"].iloc[0] == "This picture is tr_concept1"
    assert stimuli["image"].iloc[0] == "image_set/training_images/00001_tr_concept1/tr_concept1_01.jpg"
    write_image_folders(tmp_path, 2, 2)
    for name in ("te_concept1_01", "te_concept1_02"):  # the first one is the stimulus itself
        path = tmp_path / f"image_set/center_images/00001_te_concept1/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "image_set/captions.csv").write_text(
        "image,caption\ntest_images/00001_te_concept1/te_concept1_01.jpg,a red cup\n"
    )
    stimuli = ThingsEEG2().stimuli(tmp_path).set_index("stimulus")
    assert stimuli.index[stimuli["split"] == "gallery"].tolist() == ["te_concept1_02"]
    assert stimuli.loc["te_concept1_02", "concept"] == stimuli.loc["te_concept1_01", "concept"]
    assert stimuli.loc["te_concept1_01", "caption"] == "a red cup"


def _set(key, value):
    return lambda content: content.update({key: value})


def _edit(index, value):
    def change(content):
        content["raw_eeg_data"][index] = value

    return change


def _scale(content):
    content["raw_eeg_data"][:63] *= 1e6


def _drop_row(content):
    content["raw_eeg_data"] = content["raw_eeg_data"][1:]


def _cut_end(content):
    stim = content["raw_eeg_data"][63]
    content["raw_eeg_data"] = content["raw_eeg_data"][:, : np.flatnonzero(stim)[-1] + 100]


def _unknown_picture(content):
    stim = content["raw_eeg_data"][63]
    stim[stim == 6] = 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit((4, slice(700, 800)), np.nan), r"AFz hold NaN"),
        (_edit((61, slice(None)), 1e-3), r"Oz are flat"),
        (_scale, r"units look wrong, often by 10\^6"),
        (_drop_row, r"shape \(63, \d+\) but 64 channel names"),
        (_set("ch_names", [*CHANNELS[:-1], "X1", "stim"]), r"64 channels but not O2"),
        (_set("ch_types", ["eeg"] * 64), r"0 channels of type stim"),
        (_edit((63, slice(None)), 0), r"no picture event"),
        (_unknown_picture, r"picture number 7, but the image set has 6"),
        (_cut_end, r"beyond the recording"),
        (lambda content: content.pop("ch_types"), r"it lacks ch_types"),
    ],
)
def test_bad_recordings_are_named_in_one_sentence(root, tmp_path, change, message):
    reader = ThingsEEG2()
    changed = _rewrite(root, tmp_path, change)
    with pytest.raises(NeurodecError, match=message) as caught:
        reader.load(reader.parts(changed)[0], changed)
    assert "\n" not in str(caught.value)


def test_missing_truncated_and_repetitions(root, tmp_path):
    reader = ThingsEEG2(train_repetitions=3)
    part = reader.parts(root)[0]
    with pytest.raises(NeurodecError, match=r"number 1 only 2 times, fewer than the 3 repetitions"):
        reader.load(part, root)
    with pytest.raises(NeurodecError, match=r"sub-07/ses-01.*missing|holds no ses-01"):
        ThingsEEG2(subjects=[7]).parts(root)
    changed = _rewrite(root, tmp_path, lambda content: None)
    file = changed / "Raw_data/sub-01/ses-01/raw_eeg_training.npy"
    file.write_bytes(file.read_bytes()[:1000])
    reader = ThingsEEG2()
    with pytest.raises(NeurodecError, match="cut short"):
        reader.load(reader.parts(changed)[0], changed)
    file.unlink()
    with pytest.raises(NeurodecError, match=r"raw_eeg_training.npy is missing"):
        reader.parts(changed)


def preprocessed(root, name, content):
    folder = root / "Preprocessed_data_250Hz/sub-01"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(content, protocol=4))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {
                "preprocessed_eeg_data": np.zeros((6, 3, 20)),
                "ch_names": list("abc"),
                "times": np.arange(20) / 250,
            },
            "averaged over repetitions",
        ),
        (np.zeros((6, 2, 3, 20)), "array without channel names and times; put info.json"),
        ({"preprocessed_eeg_data": np.zeros((6, 2, 3, 20))}, "lacks ch_names, times"),
        (
            {
                "preprocessed_eeg_data": np.zeros((6, 2, 3, 20)),
                "ch_names": list("abc"),
                "times": np.arange(20) * 4.0,
            },
            "sampling rate of 0.25 Hz, too low .*milliseconds",
        ),
        (
            {
                "preprocessed_eeg_data": np.zeros((6, 2, 3, 20)),
                "ch_names": list("ab"),
                "times": np.arange(20) / 250,
            },
            "not .conditions, repetitions, 2 channels, times",
        ),
    ],
)
def test_files_as_forks_hand_them_on(tmp_path, content, sentence):
    write_image_folders(tmp_path, 6, 3)
    for name in ("training", "test"):
        preprocessed(tmp_path, f"preprocessed_eeg_{name}.npy", content)
    with pytest.raises(NeurodecError, match=sentence):
        ThingsEEG2(form="preprocessed").parts(tmp_path)


def test_a_torch_file_in_place_of_the_published_one(tmp_path):
    write_image_folders(tmp_path, 6, 3)
    for name in ("training", "test"):
        preprocessed(tmp_path, f"preprocessed_eeg_{name}.pt", {})
    with pytest.raises(
        NeurodecError, match=r"preprocessed_eeg_training.npy is missing; preprocessed_eeg_training.pt"
    ):
        ThingsEEG2(form="preprocessed").parts(tmp_path)
