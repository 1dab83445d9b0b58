"""Simulated studies on disk: layout, reproducibility, resumption, refusals."""

import hashlib
import json

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest

from neurodec.data.readers.datasets.things_eeg2 import CHANNELS, TARGET
from neurodec.data.unpickle import load_pickled
from neurodec.errors import NeurodecError
from neurodec.simulate import simulate
from neurodec.simulate.eeg_recording import session_files

TINY = {"n_train_concepts": 20, "images_per_concept": 2, "n_test_concepts": 6, "gallery_per_concept": 2}


def hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def eeg(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "eeg"
    return simulate(root, "eeg", **TINY, train_repetitions=2, test_repetitions=4)


def test_eeg_has_the_raw_things_layout(eeg):
    for session in (1, 2):
        for part, file in zip(("training", "test"), session_files(eeg, 1, session), strict=True):
            content = load_pickled(file)
            assert content["ch_names"] == [*CHANNELS, "stim"]
            assert content["ch_types"] == ["eeg"] * 63 + ["stim"]
            assert content["sfreq"] == 1000
            codes = content["raw_eeg_data"][-1]
            onsets = np.flatnonzero(codes)
            np.testing.assert_array_equal(np.diff(onsets), 200)
            shown, counts = np.unique(codes[onsets].astype(int), return_counts=True)
            half = [code for code in range(1, 41) if code % 2 == session % 2]
            assert shown[shown != TARGET].tolist() == (half if part == "training" else [1, 2, 3, 4, 5, 6])
            assert (counts[shown != TARGET] == 2).all()
            assert (TARGET in shown) == (part == "training")  # one per 20 pictures


def test_eeg_is_in_volts_and_looks_like_eeg(eeg):
    signals = load_pickled(session_files(eeg, 1, 1)[0])["raw_eeg_data"][:-1]
    deviations = signals.std(axis=1)
    assert signals.dtype == np.float32
    assert (deviations > 3e-6).all()
    assert (deviations < 150e-6).all()
    frontal, occipital = deviations[CHANNELS.index("Fp1")], deviations[CHANNELS.index("P3")]
    assert frontal > occipital  # blinks


def test_pictures_carry_captions_and_disjoint_concepts(eeg):
    captions = pd.read_csv(eeg / "image_set" / "captions.csv")
    assert len(captions) == 40 + 6 + 12
    assert all((eeg / "image_set" / image).is_file() for image in captions["image"])
    concepts = [
        {folder.name.split("_", 1)[1] for folder in (eeg / "image_set" / name).iterdir()}
        for name in ("training_images", "test_images", "center_images")
    ]
    assert not concepts[0] & concepts[1]
    assert concepts[1] == concepts[2]


def test_same_seed_same_bits_also_after_an_interruption(eeg, tmp_path):
    again = simulate(tmp_path / "again", "eeg", **TINY, train_repetitions=2, test_repetitions=4)
    before = hashes(again)
    assert before == hashes(eeg)
    session_files(again, 1, 2)[1].unlink()
    (session_files(again, 1, 2)[1].parent / ".1.partial.x").write_text("left by a killed run")
    simulate(again, "eeg", **TINY, train_repetitions=2, test_repetitions=4)
    assert hashes(again) == before


def test_another_seed_draws_another_study(eeg, tmp_path):
    other = simulate(tmp_path / "other", "eeg", seed=1, **TINY, train_repetitions=2, test_repetitions=4)
    first, second = (
        load_pickled(session_files(root, 1, 1)[1])["raw_eeg_data"][:63, :1000] for root in (eeg, other)
    )
    assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2


def test_the_mark_says_simulated(eeg):
    assert json.loads((eeg / "simulation.json").read_text())["simulated"] is True


def test_refusals_name_the_folder_or_the_numbers(eeg, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(NeurodecError, match=r"not empty and holds no simulation\.json"):
        simulate(tmp_path, "eeg")
    with pytest.raises(NeurodecError, match="another simulation"):
        simulate(eeg, "eeg", seed=5)
    with pytest.raises(NeurodecError, match="3 training and 4 test repetitions do not fit"):
        simulate(tmp_path / "new", "eeg", train_repetitions=3, test_repetitions=4)
    with pytest.raises(NeurodecError, match="100000 training concepts were asked"):
        simulate(tmp_path / "new", "eeg", n_train_concepts=100_000)
    assert not (tmp_path / "new").exists()


def test_meg_has_the_things_layout(tmp_path):
    root = simulate(tmp_path / "meg", "meg", **TINY, test_repetitions=3)
    epochs = mne.read_epochs(root / "derivatives/preprocessed/preprocessed_P1-epo.fif", verbose="error")
    assert epochs.info["sfreq"] == 200
    assert len(epochs.ch_names) == 91
    np.testing.assert_allclose(epochs.times[[0, -1]], [-0.1, 1.3])
    codes, counts = np.unique(epochs.events[:, 2], return_counts=True)
    np.testing.assert_array_equal(codes, [*range(1, 47), 999999])
    np.testing.assert_array_equal(counts[:-1], [1] * 40 + [3] * 6)
    assert 1e-14 < epochs.get_data().std() < 5e-12
    paths = (root / "image_paths.csv").read_text().split()
    assert all((root / path).is_file() for path in paths)
    assert len((root / "image_concept_index.csv").read_text().split()) == len(paths) == 46


def test_fmri_is_a_bids_folder_with_visible_responses(tmp_path):
    root = simulate(tmp_path / "fmri", "fmri", **TINY, train_repetitions=1, test_repetitions=4)
    folder = root / "sub-01" / "func"
    mask = nibabel.load(folder / "sub-01_desc-brain_mask.nii.gz").get_fdata() > 0
    runs = sorted(folder.glob("*_bold.nii.gz"))
    assert len(runs) == 2
    events = pd.concat(pd.read_csv(str(run).replace("_bold.nii.gz", "_events.tsv"), sep="\t") for run in runs)
    assert len(events) == 40 + 24
    stimuli = pd.read_csv(root / "stimuli.csv")
    assert set(events["stim_file"]) == set(stimuli.query("split != 'gallery'")["stimulus"])
    image = nibabel.load(runs[0])
    np.testing.assert_allclose(image.header.get_zooms(), (6, 6, 6, 1.6), atol=1e-6)
    series = image.get_fdata()
    assert series[mask].mean() > 900
    assert not series[~mask].any()
