"""Preprocessing of trials that are cut already: what MNE and the readers do, without reading anything again."""

import json
from dataclasses import asdict, replace

import mne
import numpy as np
import pandas as pd
import pytest
from command_line import arguments, refused
from linear_studies import write_recipe, write_study

from neurodec import NeurodecError, Study, preprocess
from neurodec.cli import main
from neurodec.data import EpochsFiles, prepare
from neurodec.preprocessing import EEGPreprocessing, VoxelPreprocessing

SFREQ, TMIN = 250.0, -0.4
SETTINGS = EEGPreprocessing(
    tmin=-0.2, tmax=0.8, reference="average", baseline=(None, 0.0), sfreq=100.0, keep_from=0.1
)


def epochs_of(rng, n=24):
    info = mne.create_info(["Fz", "Cz", "Pz", "Oz"], SFREQ, "eeg")
    values = 1e-6 * (rng.normal(size=(n, 4, 401)) + 0.1 * rng.normal(size=(n, 4, 1))).cumsum(axis=-1)
    events = np.column_stack([np.arange(n) * 1000, np.zeros(n, int), np.arange(n) % 8 + 1])
    epochs = mne.EpochsArray(values, info, events, TMIN, baseline=None, verbose="error")
    names = [f"s{number % 8}" for number in range(n)]
    splits = np.where(np.arange(n) % 8 < 6, "train", "test")
    epochs.metadata = pd.DataFrame({"stimulus": names, "split": splits})
    return epochs


def test_equals_mne(rng):
    epochs = epochs_of(rng)
    study = preprocess(Study.from_epochs(epochs), SETTINGS)
    found = study.trials
    wanted = epochs.copy().set_eeg_reference("average", verbose="error").crop(-0.2, 0.8)
    wanted = (
        wanted.apply_baseline((None, 0.0), verbose="error").resample(100.0, verbose="error").crop(tmin=0.1)
    )
    np.testing.assert_allclose(
        found.responses, wanted.get_data(), atol=2e-4 * np.abs(wanted.get_data()).max()
    )
    np.testing.assert_allclose(found.times, wanted.times, atol=1e-9)
    np.testing.assert_array_equal(found.responses[[3, 1]], np.asarray(found.responses)[[3, 1]])


@pytest.mark.parametrize("whiten", ["none", "mvnn-epochs", "zscore"])
def test_equals_the_reader_of_epochs(rng, tmp_path, whiten):
    epochs_of(rng).save(tmp_path / "sub-01-epo.fif", verbose="error")
    settings = replace(SETTINGS, whiten=whiten, clamp=2.5 if whiten == "zscore" else None)
    plain = EEGPreprocessing(tmin=-0.4, tmax=1.2, baseline=None)
    read, cut = (
        Study.load(
            prepare(EpochsFiles("sub-{subject}-epo.fif", preprocessing=own), tmp_path, tmp_path / name)
        )
        for name, own in (("read", settings), ("plain", plain))
    )
    found, wanted = preprocess(cut, settings).trials, read.trials
    size = np.abs(wanted.responses).max()
    np.testing.assert_allclose(found.responses, wanted.responses, atol=1e-3 * size)
    assert found.info["units"] == wanted.info["units"]
    same = ("ch_names", "reference", "sfreq", "keep_from", "whiten", "clamp")
    assert {name: found.info["preprocessing"][name] for name in same} == {
        name: wanted.info["preprocessing"][name] for name in same
    }
    notes = " ".join(preprocess(cut, settings).account[0]["notes"])
    assert "trials of -0.4 to 1.2 s are cut to -0.2 to 0.8 s" in notes
    assert "are cut to" not in " ".join(cut.account[0]["notes"])  # the study itself is as it was
    if whiten != "none":
        for name, own in found.info["noise"].items():
            np.testing.assert_allclose(
                own, wanted.info["noise"][name], rtol=1e-2, atol=1e-4 * np.abs(own).max()
            )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"l_freq": 1.0}, "`l_freq` needs the continuous recording; set it where the recording is read"),
        ({"interpolate_bads": True}, "`interpolate_bads` needs the continuous recording"),
        ({"tmin": 5.0, "tmax": 6.0, "baseline": None}, "which shares nothing with 5 to 6 s"),
        ({"reference": "M1"}, "the reference M1 is not among the channels"),
        ({"ch_names": ["Fz", "T9"]}, "Channel.s. T9 are not in the recording"),
    ],
)
def test_what_cut_trials_cannot_give_is_refused(rng, changes, told):
    with pytest.raises(NeurodecError, match=told):
        preprocess(Study.from_epochs(epochs_of(rng)), EEGPreprocessing(**changes))


def test_the_other_modality_and_a_second_whitening_are_refused(rng):
    study = Study.from_epochs(epochs_of(rng))
    with pytest.raises(NeurodecError, match="VoxelPreprocessing is for voxels and parcels"):
        preprocess(study, VoxelPreprocessing("run"))
    voxels = Study.from_arrays(rng.normal(size=(8, 5)), list("abcdabcd"))
    with pytest.raises(NeurodecError, match="EEGPreprocessing is for channels over time"):
        preprocess(voxels, EEGPreprocessing())
    with pytest.raises(NeurodecError, match="`standardise` is block; choose none, run, session, subject"):
        preprocess(voxels, VoxelPreprocessing("block"))
    once = preprocess(study, EEGPreprocessing(whiten="zscore"))
    before = {**asdict(EEGPreprocessing(whiten="zscore")), "ch_names": study.trials.ch_names}
    told = replace(
        once, spaces={n: replace(t, info={**t.info, "preprocessing": before}) for n, t in once.spaces.items()}
    )
    with pytest.raises(NeurodecError, match="were whitened by their reader"):
        preprocess(told, EEGPreprocessing(whiten="zscore"))
    with pytest.raises(NeurodecError, match="after which no reference can be subtracted"):
        preprocess(told, EEGPreprocessing(reference="average"))


@pytest.mark.parametrize("group", ["run", "session", "subject"])
def test_voxels_are_scaled_by_the_training_trials_of_their_group(rng, group):
    n = 40
    columns = {
        "subject": np.repeat(["anna", "ben"], 20),
        "session": np.repeat(["1", "2", "1", "2"], 10),
        "run": np.tile(np.repeat(["1", "2"], 5), 4),
        "split": np.where(np.arange(n) % 5 < 4, "train", "test"),
    }
    columns["split"][35:] = "test"  # one run without a training trial
    values = rng.normal(size=(n, 6)) * rng.uniform(1, 50, size=6) + 300
    values[:, 2] = 7.0
    study = Study.from_arrays(values, [f"s{i}" for i in range(n)], **columns)
    found = preprocess(study, VoxelPreprocessing(group)).trials
    by = ["subject", "session", "run"][: ["subject", "session", "run"].index(group) + 1]
    values = values.astype(np.float32).astype(float)
    for _, rows in found.table.groupby(by).indices.items():
        trains = rows[columns["split"][rows] == "train"]
        own = values[trains if len(trains) else rows]
        scale = np.where(own.std(axis=0) > 1e-9, own.std(axis=0), np.inf)
        np.testing.assert_allclose(
            found.responses[rows], (values[rows] - own.mean(axis=0)) / scale, atol=1e-4
        )
    assert not found.responses[:, 2].any()


def test_regions_are_kept(rng):
    study = Study.from_arrays(rng.normal(size=(4, 6)), list("abcd"))
    trials = study.trials
    study = Study.of(replace(trials, info={**trials.info, "roi": {"V1": [4, 1], "V2": [1, 2], "IT": [0]}}))
    found = preprocess(study, VoxelPreprocessing(regions=["V1", "V2"])).trials
    np.testing.assert_array_equal(found.responses, np.asarray(trials.responses)[:, [1, 2, 4]])
    assert found.info["roi"] == {"V1": [2, 0], "V2": [0, 1], "IT": []}
    without = preprocess(study, VoxelPreprocessing(regions_left_out=["V2"])).trials
    np.testing.assert_array_equal(without.responses, np.asarray(trials.responses)[:, [0, 3, 4, 5]])
    with pytest.raises(NeurodecError, match="have no region V4; there are V1, V2, IT"):
        preprocess(study, VoxelPreprocessing(regions=["V4"]))


def test_a_recipe_changes_it_without_preparing_again(tmp_path):
    write_study(tmp_path / "data", {"ben": 9}, noise=2.0)
    ridge = {"system": {"class_path": "neurodec.systems.RidgeSystem"}}

    def run(**settings):
        write_recipe(tmp_path / "recipe.yaml", preprocessing=settings, **ridge)
        assert main(arguments("run", tmp_path / "data")) == 0
        return json.loads((tmp_path / "out/results.json").read_text())["retrieval"]["top1"]

    whole = run(tmin=0.0, baseline=None)
    written = (tmp_path / "out/prepared/all/responses.npy").stat().st_mtime_ns
    assert "not whitened" in (tmp_path / "out/report.html").read_text()
    (tmp_path / "out/models").rename(tmp_path / "models")
    (tmp_path / "out/stages.json").unlink()
    short = run(tmin=0.0, tmax=0.04, baseline=None, whiten="zscore")
    assert (tmp_path / "out/prepared/all/responses.npy").stat().st_mtime_ns == written
    assert short < whole
    page = (tmp_path / "out/report.html").read_text()
    assert "epochs from 0 to 0.04 s" in page
    assert "trials of 0 to 0.99 s are cut to 0 to 0.04 s" in page
    assert "channels z-scored" in page


def test_a_recipe_with_other_settings_is_refused_in_one_sentence(tmp_path, capsys):
    write_study(tmp_path / "data", {"ben": 9})
    settings = {"standardise": "run"}
    ridge = {"class_path": "neurodec.systems.RidgeSystem"}
    write_recipe(tmp_path / "recipe.yaml", preprocessing=settings, system=ridge)
    assert "VoxelPreprocessing is for voxels" in refused(capsys, arguments("run", tmp_path / "data"))


def test_a_crop_is_told_in_python_too(rng):
    with pytest.warns(UserWarning, match="trials of -0.4 to 1.2 s are cut to -0.2 to 1 s"):
        preprocess(Study.from_epochs(epochs_of(rng)), EEGPreprocessing())
