import numpy as np
import pandas as pd
import pytest

from neurodec.data import Trials, with_defaults
from neurodec.errors import NeurodecError


def make(rng, n_stimuli=6, n_repetitions=4, n_chans=3, n_times=20):
    """Return trials in shuffled order."""
    names = np.repeat([f"s{index}" for index in range(n_stimuli)], n_repetitions)
    table = pd.DataFrame(
        {"stimulus": names, "concept": names, "split": "train", "subject": "01", "session": "01"}
    )
    table = table.assign(run="1", repetition=np.tile(range(n_repetitions), n_stimuli))
    table = table.iloc[rng.permutation(len(table))]
    info = {
        "modality": "eeg",
        "units": "V",
        "sfreq": 100.0,
        "tmin": -0.05,
        "ch_names": ["O1", "Oz", "O2"][:n_chans],
    }
    info |= {"ch_pos": [[0.01, -0.1, 0.02]] * n_chans, "provenance": {}}
    return Trials(rng.normal(size=(len(table), n_chans, n_times)).astype(np.float32), table, info)


def test_average_is_the_mean_of_each_stimulus(rng):
    trials = make(rng)
    averaged = trials.average()
    for row, stimulus in enumerate(averaged.table["stimulus"]):
        rows = (trials.table["stimulus"] == stimulus).to_numpy()
        np.testing.assert_allclose(averaged.responses[row], trials.responses[rows].mean(axis=0), atol=1e-6)
    assert (averaged.table["n_averaged"] == 4).all()


def test_average_of_some_repetitions_is_seeded_and_within_the_stimulus(rng):
    trials = make(rng)
    trials.responses[:] = trials.table["stimulus"].str[1:].astype(float).to_numpy()[:, None, None]
    averaged = trials.average(2, seed=1)
    np.testing.assert_array_equal(
        averaged.responses[:, 0, 0], averaged.table["stimulus"].str[1:].astype(float)
    )
    with pytest.raises(NeurodecError, match="fewer than the 5"):
        trials.average(5)


def test_crop_and_pick(rng):
    trials = make(rng)
    cropped = trials.crop(0.0, 0.1).pick(["O2", "O1"])
    np.testing.assert_array_equal(cropped.responses, trials.responses[:, [2, 0], 5:15])
    np.testing.assert_allclose(cropped.times, np.arange(10) / 100, atol=1e-12)
    with pytest.raises(NeurodecError, match="Fz"):
        trials.pick(["Fz"])
    with pytest.raises(NeurodecError, match="no sample"):
        trials.crop(3.0, 4.0)


def test_epochs_round_trip(rng):
    trials = make(rng)
    back = Trials.from_epochs(trials.to_epochs())
    np.testing.assert_allclose(back.responses, trials.responses)
    pd.testing.assert_frame_equal(back.table, trials.table)
    assert back.ch_names == trials.ch_names
    np.testing.assert_allclose(back.info["ch_pos"], trials.info["ch_pos"])
    assert back.info["tmin"] == pytest.approx(trials.info["tmin"])


def test_nifti_puts_every_voxel_in_its_place(rng):
    info = {"modality": "fmri", "units": "a.u.", "mask_shape": [2, 3, 2], "voxel_indices": [1, 4, 11]}
    info["affine"] = np.diag([3.0, 3, 3, 1]).tolist()
    table = with_defaults(pd.DataFrame({"stimulus": ["a", "b"]}))
    trials = Trials(rng.normal(size=(2, 3)).astype(np.float32), table, info)
    volume = trials.to_nifti().get_fdata()
    assert volume.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(volume.reshape(12, 2)[[1, 4, 11]].T, trials.responses, atol=1e-6)
    assert np.count_nonzero(volume) == 6


def test_save_and_load(rng, tmp_path):
    trials = make(rng)
    trials.save(tmp_path)
    back = Trials.load(tmp_path)
    assert isinstance(back.responses, np.memmap)
    np.testing.assert_array_equal(back.responses, trials.responses)
    pd.testing.assert_frame_equal(back.table, trials.table)


@pytest.mark.parametrize("name", ["responses.npy", "trials.csv", "info.json"])
def test_a_damaged_folder_is_one_sentence(rng, tmp_path, name):
    make(rng).save(tmp_path)
    (tmp_path / name).write_bytes(b"\x80" if name == "info.json" else (tmp_path / name).read_bytes()[:200])
    with pytest.raises(NeurodecError):
        Trials.load(tmp_path)


def test_a_table_must_fit(rng):
    trials = make(rng)
    with pytest.raises(NeurodecError, match="concept"):
        Trials(trials.responses, trials.table.drop(columns="concept"), trials.info)
    with pytest.raises(NeurodecError, match="every trial needs one row"):
        Trials(trials.responses, trials.table[:-1], trials.info)


def test_defaults_count_repetitions():
    table = with_defaults(pd.DataFrame({"stimulus": list("abab")}), subject="07")
    assert table["repetition"].tolist() == [0, 0, 1, 1]
    assert table["subject"].unique() == ["07"]
