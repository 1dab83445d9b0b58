"""Lagged ridge as a system: it finds delayed series, draws windows, tunes by groups, and comes back from its folder."""

import numpy as np
import pytest

from neurodec.data import Study
from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.linear import LaggedRidge
from neurodec.systems import LaggedRidgeSystem, RidgeSystem, linear_baseline, load_system

SERIES = {"embedding_space": "envelope", "dims": ["stimulus", "value", "time"]}


def study_of(n=24, n_times=120, noise=1.0, seed=0, **columns):
    """Five channels that follow two series by 60 ms, and channels of noise."""
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(n, 2, n_times)).astype(np.float32)
    responses = noise * rng.normal(size=(n, 5, n_times))
    responses[..., 6:] += np.einsum("cf,nft->nct", rng.normal(size=(5, 2)), series[..., :-6])
    names = [f"window-{number:03d}" for number in range(n)]
    columns = {"concept": [f"story-{number // 4}" for number in range(n)], "split": "train"} | columns
    study = Study.from_arrays(1e-6 * responses, names, sfreq=100.0, **columns)
    return study, {"audio": Features(series, names, {**SERIES, "key": "x"})}


def correlation(found, true):
    return np.corrcoef(np.ravel(found), np.ravel(true))[0, 1]


def test_predicts_series_at_the_samples_of_the_responses():
    study, targets = study_of()
    system = LaggedRidgeSystem(head="audio", tmax=0.1, stride=1).fit(study, targets)
    found = system.predict(study).of("audio")
    assert found.shape == (24, 2, 120)
    assert found.dtype == np.float32
    assert correlation(found[..., :-6], targets["audio"].values[..., :-6]) > 0.6
    coarse = LaggedRidgeSystem(head="audio").fit(study, targets)  # every 3rd of 26 delays, 60 ms among them
    assert coarse._models["all"]["audio"].lags_.tolist() == list(range(-25, 1, 3))


def test_is_lagged_ridge_on_the_same_windows():
    study, targets = study_of()
    system = LaggedRidgeSystem(head="audio", tmax=0.1, stride=2, n_folds=3).fit(study, targets)
    model = LaggedRidge(-0.1, 0, 100.0, system.alphas, step=2, n_folds=3)
    model.fit(study.trials.responses, targets["audio"].values, study.table["concept"])
    np.testing.assert_allclose(
        system.predict(study).of("audio"), model.predict(study.trials.responses), atol=1e-5
    )
    assert system.config["alpha"]["all/audio"] == pytest.approx(model.alpha_)


def test_draws_windows_and_never_reads_all(tmp_path):
    study, targets = study_of(n=60)
    rows_read = []

    class Counted(View):
        def __init__(self, source):
            self.source, self.shape, self.dtype = source, source.shape, source.dtype

        def read(self, rows):
            rows_read.append(np.asarray(rows))
            return self.source[rows]

    trials = study.trials
    lazy = Study.of(type(trials)(Counted(trials.responses), trials.table, trials.info), study.stimuli)
    system = LaggedRidgeSystem(head="audio", max_windows=10)
    system._fit_space(lazy.trials, lazy.stimuli, targets, tmp_path)
    assert len(np.unique(np.concatenate(rows_read))) == 10
    assert (tmp_path / "audio_lagged.npz").is_file()


@pytest.mark.parametrize("how", ["validation", "one concept"])
def test_the_penalty_is_tuned_on_what_is_marked_or_follows(how):
    if how == "validation":
        study, targets = study_of(split=["train"] * 16 + ["validation"] * 8)
        expected = {"folds": [np.arange(16, 24)]}
    else:
        study, targets = study_of(concept="story")
        expected = {}
    system = LaggedRidgeSystem(head="audio").fit(study, targets)
    model = LaggedRidge(-0.25, 0, 100.0, system.alphas, step=3)
    model.fit(study.trials.responses, targets["audio"].values, **expected)
    assert system.config["alpha"]["all/audio"] == pytest.approx(model.alpha_)


def test_the_folder_brings_it_back_and_is_not_taken_for_another(tmp_path):
    study, targets = study_of()
    system = LaggedRidgeSystem(head="audio").fit(study, targets, out=tmp_path, name="x")
    again = load_system(tmp_path / "models/x")
    assert isinstance(again, LaggedRidgeSystem)
    np.testing.assert_array_equal(again.predict(study).of("audio"), system.predict(study).of("audio"))
    system.save_pretrained(tmp_path / "elsewhere")
    np.testing.assert_array_equal(
        load_system(tmp_path / "elsewhere").predict(study).of("audio"), system.predict(study).of("audio")
    )
    assert again.n_parameters == 5 * 9 * 2
    assert again.mean_target("audio").shape == (2, 120)
    with pytest.raises(NeurodecError, match="another configuration"):
        LaggedRidgeSystem(head="audio", tmax=0.1).fit(study, targets, out=tmp_path, name="x")
    with np.load(tmp_path / "models/x/all/audio_lagged.npz") as kept:
        damaged = dict(kept) | {"coef": np.zeros((2, 2))}
    np.savez(tmp_path / "models/x/all/audio_lagged.npz", **damaged)
    with pytest.raises(NeurodecError, match=r"coef\) is of shape"):
        load_system(tmp_path / "models/x")


def test_targets_without_time_or_of_another_length_are_refused():
    study, targets = study_of()
    names = targets["audio"].stimuli
    for values in (np.zeros((24, 2)), np.zeros((24, 2, 60))):
        with pytest.raises(NeurodecError, match="120 samples"):
            LaggedRidgeSystem(head="audio").fit(study, {"audio": Features(values, names, SERIES)})
    voxels = Study.from_arrays(np.ones((24, 3)), names, split="train")
    with pytest.raises(NeurodecError, match="over time"):
        LaggedRidgeSystem(head="audio").fit(voxels, targets)


def test_the_target_decides_which_linear_system_stands_beside_a_deep_one():
    study, targets = study_of()
    vectors = Features(np.zeros((24, 5)), targets["audio"].stimuli, {"embedding_space": "clip"})
    targets = {**targets, "image": vectors}
    assert isinstance(linear_baseline("audio", targets), LaggedRidgeSystem)
    assert isinstance(linear_baseline("image", targets), RidgeSystem)
    assert linear_baseline("audio", targets).fit(study, targets).config["targets"] == {"audio": [2, 120]}
