import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from neurodec.data import ArrayFile, Study, prepare
from neurodec.errors import NeurodecError
from neurodec.evaluation import Classification

AXES = ["subject", "concept", "channel", "time"]
GOOD = {
    "file": "erps.npz",
    "responses": "erp",
    "axes": AXES,
    "labels": {"concept": "categories", "channel": "channels"},
    "times": "times",
}


@pytest.fixture
def content(rng):
    return {
        "erp": rng.normal(size=(3, 2, 4, 50)).astype(np.float32),
        "categories": np.array(["animal", "tool"]),
        "channels": np.array(["Oz", "Pz", "Cz", "Fz"]),
        "times": np.arange(50) / 250 - 0.1,
    }


def load(root, **changes):
    dataset = ArrayFile(**{**GOOD, **changes})
    return dataset.load(dataset.parts(root)[0], root)


def test_named_axes_become_the_table(tmp_path, content):
    np.savez(tmp_path / "erps.npz", **content)
    trials = load(tmp_path)
    assert trials.responses.shape == (6, 4, 50)
    assert np.array_equal(trials.responses[3], content["erp"][1, 1])
    assert trials.table["subject"].tolist() == ["01", "01", "02", "02", "03", "03"]
    assert trials.table["concept"].tolist() == ["animal", "tool"] * 3
    assert (trials.info["sfreq"], trials.info["tmin"]) == (250.0, -0.1)
    assert trials.ch_names == ["Oz", "Pz", "Cz", "Fz"]
    assert len(trials.info["ch_pos"]) == 4


def test_order_of_axes_does_not_matter(tmp_path, content):
    np.savez(tmp_path / "erps.npz", **content)
    before = load(tmp_path).responses
    content["erp"] = content["erp"].transpose(3, 0, 2, 1)
    np.savez(tmp_path / "erps.npz", **content)
    assert np.array_equal(load(tmp_path, axes=["time", "subject", "channel", "concept"]).responses, before)


def test_scale_removes_what_differs_between_subjects(tmp_path, content):
    content["erp"] *= np.array([1, 24, 0.1], np.float32)[:, None, None, None]
    np.savez(tmp_path / "erps.npz", **content)
    trials = load(tmp_path, scale="subject")
    for subject in ("01", "02", "03"):
        rows = (trials.table["subject"] == subject).to_numpy()
        assert trials.responses[rows].std(axis=(0, 2)) == pytest.approx(np.ones(4), abs=1e-3)


def test_resampling_keeps_a_slow_wave(tmp_path, content):
    content["erp"] = np.sin(2 * np.pi * 2 * content["times"]) + 1e-3 * content["erp"]
    np.savez(tmp_path / "erps.npz", **content)
    trials = load(tmp_path, resample=125.0)
    assert trials.responses.shape[-1] == 25
    inner = slice(5, 20)
    assert trials.responses[0, 0, inner] == pytest.approx(
        np.sin(2 * np.pi * 2 * trials.times)[inner], abs=0.1
    )


def test_mat_file_with_columns(tmp_path, rng):
    savemat(
        tmp_path / "x.mat",
        {
            "X": rng.normal(size=(5, 2, 80)),
            "y": np.array(["a", "b", "a", "b", "a"], dtype=object),
            "s": [1, 1, 2, 2, 2],
        },
    )
    trials = load(
        tmp_path,
        file="x.mat",
        responses="X",
        axes=["trial", "channel", "time"],
        labels={},
        columns={"stimulus": "y", "subject": "s"},
        times=None,
        sfreq=100.0,
    )
    assert trials.table["stimulus"].tolist() == ["a", "b", "a", "b", "a"]
    assert trials.table["subject"].tolist() == ["1", "1", "2", "2", "2"]


def test_npy_with_a_table_of_voxels(tmp_path, rng):
    np.save(tmp_path / "betas.npy", rng.normal(size=(4, 9)))
    table = pd.DataFrame({"stimulus": list("abab"), "split": ["train", "test", "train", "test"]})
    table.to_csv(tmp_path / "trials.csv", index=False)
    trials = load(
        tmp_path, file="betas.npy", responses="responses", axes=["trial", "voxel"], labels={}, times=None,
        table="trials.csv", modality="fmri", scale="subject",
    )  # fmt: skip
    assert trials.responses.shape == (4, 9)
    assert trials.table["split"].tolist() == ["train", "test", "train", "test"]
    assert trials.to_nifti().shape == (9, 1, 1, 4)


def test_labels_in_place_of_stimuli_keep_an_official_split(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.normal(size=(40, 3, 50)))
    table = pd.DataFrame({"stimulus": ["left", "right"] * 20, "split": ["train"] * 24 + ["test"] * 16})
    table.to_csv(tmp_path / "trials.csv", index=False)
    dataset = ArrayFile(file="x.npy", axes=["trial", "channel", "time"], sfreq=100.0, table="trials.csv")
    with pytest.raises(
        NeurodecError, match=r"share 2 stimuli, first left .* by `neurodec.evaluation.Classification`"
    ):
        prepare(dataset, tmp_path, tmp_path / "strict", "concept")
    prepare(dataset, tmp_path, tmp_path / "prepared", Classification().level)
    study = Study.load(tmp_path / "prepared")
    assert study.stimuli["split"].tolist() == ["test", "test"]
    found = Classification(scheme="fixed_split", n_shuffles=0).of_trials(study.trials)["classification"]
    assert found["n_trials"] == 16


def test_several_files_number_their_subjects_apart(tmp_path, content):
    np.savez(tmp_path / "one.npz", **content)
    content["erp"] = content["erp"] + 1
    np.savez(tmp_path / "two.npz", **content)
    dataset = ArrayFile(**{**GOOD, "file": "*.npz"})
    folder = prepare(dataset, tmp_path, tmp_path / "prepared")
    assert pd.read_csv(folder / "all" / "trials.csv")["subject"].nunique() == 6


def nan(content):
    content["erp"][1, 0, 2, 3] = np.nan


def flat(content):
    content["erp"][2, :, 1] = 4.0


@pytest.mark.parametrize(
    ("damage", "changes", "sentence"),
    [
        (None, {"responses": "eeg"}, "has no key eeg; it has categories, channels, erp, times"),
        (None, {"labels": {"concept": "category"}}, "has no key category; it has"),
        (None, {"axes": AXES[1:]}, r"shape \(3, 2, 4, 50\), but the recipe names 3 axes"),
        (
            None,
            {"axes": ["subject", "class", "channel", "time"]},
            r"axes \(subject, class, channel, time\) must be",
        ),
        (None, {"labels": {"concept": "channels"}}, "4 names for the axis concept of length 2"),
        (None, {"times": None}, "neither `times` nor `sfreq`"),
        (None, {"times": "categories"}, "evenly rising|not a"),
        (
            None,
            {"axes": ["subject", "session", "channel", "time"], "labels": {}},
            "The stimuli of the trials of",
        ),
        (None, {"file": "other.npz"}, "does not exist"),
        (nan, {}, r"channel\(s\) Cz of subject 02 hold NaN"),
        (flat, {}, r"channel\(s\) Pz of subject 03 are flat"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, content, damage, changes, sentence):
    if damage:
        damage(content)
    np.savez(tmp_path / "erps.npz", **content)
    with pytest.raises(NeurodecError, match=sentence) as caught:
        load(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_refused(tmp_path, content):
    content["categories"] = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "erps.npz", **content)
    with pytest.raises(NeurodecError, match="pickled objects, which are refused"):
        load(tmp_path)


def test_damaged_matlab_73_is_named(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"  # version 2.0, little endian
    (tmp_path / "erps.mat").write_bytes(header + bytes(512))
    with pytest.raises(
        NeurodecError, match=r"erps.mat cannot be read as a MATLAB file of arrays .*copy it again"
    ):
        load(tmp_path, file="erps.mat")


def test_cut_short(tmp_path, content):
    np.savez(tmp_path / "erps.npz", **content)
    path = tmp_path / "erps.npz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(NeurodecError, match="cannot be read as a file of arrays"):
        load(tmp_path)


def test_parcels_over_volumes_are_read_at_their_own_rate(tmp_path, rng):
    values = rng.normal(size=(12, 20, 5)).astype(np.float32)
    shown = np.array([f"p{number}" for number in range(12)])
    np.savez(
        tmp_path / "parcels.npz", betas=values, shown=shown, names=np.array([f"R{n}" for n in range(20)])
    )
    arguments = {"responses": "betas", "axes": ["trial", "parcel", "time"], "labels": {"parcel": "names"}}
    arguments |= {"columns": {"stimulus": "shown"}, "sfreq": 0.5, "tmin": 4.0, "modality": "fmri"}
    reader = ArrayFile("parcels.npz", **arguments)
    prepare(reader, tmp_path, tmp_path / "prepared")
    trials = Study.load(tmp_path / "prepared").trials
    assert trials.dims == ("trial", "parcel", "time")
    np.testing.assert_array_equal(trials.responses, values)
    np.testing.assert_allclose(trials.times, [4, 6, 8, 10, 12])
    assert trials.ch_names[:2] == ["R0", "R1"]
    with pytest.raises(NeurodecError, match="too low for EEG or MEG"):
        ArrayFile("parcels.npz", **{**arguments, "axes": ["trial", "channel", "time"], "labels": {}}).load(
            reader.parts(tmp_path)[0], tmp_path
        )
