"""The cocktail party: trials, their streams, filters, and what is refused; on two real trials where they are there."""

import numpy as np
import pytest
from scipy.io import savemat

from neurodec import cross_validate
from neurodec.data import CocktailParty, Study, Trials
from neurodec.data.stimuli import complete_stimuli
from neurodec.errors import NeurodecError
from neurodec.evaluation import Streams
from neurodec.features import Series
from neurodec.systems import LaggedRidgeSystem


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two trials of block 1 and one of block 2, of 11 s, and three streams of every voice."""
    root, rng = tmp_path_factory.mktemp("cocktail"), np.random.default_rng(0)
    for name in ("1_1", "1_10", "2_3"):
        eeg = {"eeg": 10 * rng.normal(size=(1408, 128)), "mast": rng.normal(size=(1408, 2))}
        savemat(root / f"{name}.mat", {key: value.astype(np.float32) for key, value in eeg.items()})
    for voice in "FM":
        cells = np.empty((1, 12), dtype=object)
        cells[0] = [np.abs(rng.normal(size=(1408, 1))) for _ in range(12)]
        savemat(root / f"{voice}_env.mat", {"stim1": cells})
    orders = {"blk1_M_Order": np.r_[7, 2:12][None], "blk2_F_Order": np.arange(1, 12)[None]}
    savemat(root / "order.mat", orders)
    return root


def test_trials_are_runs_of_windows_with_their_streams(folder):
    dataset = CocktailParty()
    parts = dataset.parts(folder)
    assert [part.name for part in parts] == ["sub-01_1_01", "sub-01_1_10", "sub-01_2_03"]
    trials = [dataset.load(part, folder) for part in parts]
    assert trials[0].responses.shape == (2, 128, 320)
    assert trials[0].table["stimulus"].tolist() == ["F01@000.0", "F01@005.0"]
    told = [tuple(own.table[["run", "attended", "ignored", "concept"]].iloc[0]) for own in trials]
    assert told == [
        ("1_01", "F01", "M07", "F01"),
        ("1_10", "F10", "M10", "F10"),
        ("2_03", "M03", "F03", "M03"),
    ]
    assert trials[0].info["ch_names"][0] == "A1"
    assert len(trials[0].info["ch_pos"]) == 128
    stimuli = dataset.stimuli(folder)
    assert len(stimuli) == 2 * 12 * 2
    assert set(stimuli["stream"][stimuli["split"] == "cv"]) == {"F01", "F10", "M03"}


def test_mastoids_are_the_reference_and_the_band_is_kept(folder):
    plain = CocktailParty(l_freq=None, h_freq=None, sfreq=128.0)
    part = plain.parts(folder)[0]
    raw = plain._signals(part.files[0])
    average = CocktailParty(l_freq=None, h_freq=None, sfreq=128.0, mastoids=False)._signals(part.files[0])
    np.testing.assert_allclose(average.mean(axis=0), 0, atol=1e-12)
    assert np.std(raw.mean(axis=0)) > 0.5e-6
    power = np.abs(np.fft.rfft(CocktailParty()._signals(part.files[0]))).mean(axis=0)
    hertz = np.fft.rfftfreq(704, 1 / 64)
    assert power[hertz > 11].max() < 0.05 * power[(hertz > 2) & (hertz < 7)].mean()


def test_refusals(folder, tmp_path):
    with pytest.raises(NeurodecError, match="No trial"):
        CocktailParty().parts(tmp_path)
    savemat(tmp_path / "1_1.mat", {"eeg": np.ones((100, 64)), "mast": np.ones((100, 2))})
    with pytest.raises(NeurodecError, match=r"F_env.mat is not below"):
        CocktailParty().parts(tmp_path)
    with pytest.raises(NeurodecError, match="samples x 128"):
        CocktailParty()._signals(tmp_path / "1_1.mat")
    part = CocktailParty().parts(folder)[0]
    with pytest.raises(NeurodecError, match="shorter than a window"):
        CocktailParty(seconds=60.0).load(part, folder)


def test_ridge_follows_the_attended_voice_of_both_trials(shared):
    root, dataset = shared / "data/cocktail-eeg", CocktailParty()
    if not root.is_dir():
        pytest.skip("needs ../shared/data/cocktail-eeg (two real trials), which only developers and CI have")
    trials = [dataset.load(part, root) for part in dataset.parts(root)[:2]]
    joined = Trials.concatenate(trials)
    study = Study.of(joined, complete_stimuli(dataset.stimuli(root), joined.table))
    envelope = Series(64.0, power=0.3, l_freq=1.0, h_freq=8.0).extract(study.stimuli, root)
    found = cross_validate(
        LaggedRidgeSystem(), study, envelope, Streams(n_permutations=1000), groups="run", n_folds=2
    ).sections["streams"]
    for run in found["per_run"]:
        assert run["r_attended"] >= 0.07
        assert run["rank"] <= 3
        assert abs(run["r_others"]) < 0.02
        assert run["r_ignored"] < 0.05
    assert found["p_value_r_attended"] < 0.01
