import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neurodec.data import Trials, with_defaults
from neurodec.errors import NeurodecError
from neurodec.evaluation import Classification
from neurodec.linear import ChosenClassifier, RidgeClassifier, WindowMeansClassifier, XdawnClassifier

ONES = np.zeros(400, int)


def recording(seed=0, n=96, n_chans=8, n_times=60, amplitude=0.0, per_run=16):
    """Two classes that differ in a slow potential of one pattern, in noise that channels share and that drifts."""
    rng = np.random.default_rng(seed)
    sources = np.cumsum(rng.normal(size=(n, n_chans, n_times)), axis=2) * 0.2
    sources += rng.normal(size=(n, n_chans, n_times))
    labels = np.tile([0, 1], n // 2)
    course = np.exp(-((np.linspace(0, 1, n_times) - 0.5) ** 2) / 0.02)
    pattern = amplitude * rng.normal(size=n_chans)
    responses = rng.normal(size=(n_chans, n_chans)) @ sources
    responses += (2 * labels - 1)[:, None, None] * pattern[:, None] * course
    table = with_defaults(
        pd.DataFrame({"stimulus": labels.astype(str), "run": (np.arange(n) // per_run).astype(str)})
    )
    info = {"modality": "eeg", "units": "V", "sfreq": 60.0, "tmin": 0.0}
    info["ch_names"] = [f"E{number}" for number in range(n_chans)]
    return Trials(1e-6 * responses.astype(np.float32), table, info), labels


def accuracy(decoder, **settings):
    trials, _ = recording(**settings)
    return Classification(decoder, n_shuffles=0, prestimulus=False).of_trials(trials)["classification"]


def test_window_means_equal_scikit_learns_discriminant_of_plain_means():
    trials, labels = recording(amplitude=0.5)
    responses = np.asarray(trials.responses)
    found = WindowMeansClassifier(n_windows=6).fit(responses[:64], labels[None, :64], ONES[:64], ONES[:64])
    means = responses.astype(np.float64).reshape(96, 8, 6, 10).mean(axis=3).reshape(96, -1)
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    expected.fit(means[:64] / responses[:64].std(), labels[:64])
    scores = found.scores(responses[64:], ONES[64:96])[0]
    wanted = expected.decision_function(means[64:] / responses[:64].std())
    assert np.allclose(scores[:, 1] - scores[:, 0], wanted, rtol=1e-4, atol=1e-6)


def test_noise_that_channels_share_costs_ridge_more():
    ridge = accuracy(RidgeClassifier(), amplitude=0.5)["accuracy"]
    assert accuracy(XdawnClassifier(), amplitude=0.5)["accuracy"] > 0.8 > ridge + 0.1


def test_every_labelling_is_fitted_by_itself(rng):
    trials, labels = recording(amplitude=1.0)
    responses, runs = np.asarray(trials.responses), np.arange(96) // 16
    many = np.stack([labels, rng.permutation(labels)])
    for decoder in (WindowMeansClassifier(), XdawnClassifier()):
        both = decoder.fit(responses, many, runs, ONES[:96]).scores(responses, ONES[:96])
        alone = decoder.fit(responses, many[1:], runs, ONES[:96]).scores(responses, ONES[:96])
        assert np.allclose(both[1], alone[0])


@pytest.mark.parametrize("decoder", [WindowMeansClassifier(), XdawnClassifier()])
def test_a_frequent_class_is_not_favoured(decoder, rng):
    labels = (np.arange(300) % 5 == 0).astype(int)
    responses = rng.normal(size=(300, 3, 24))
    decoder.fit(responses[:200], labels[None, :200], ONES[:200], ONES[:200])
    assert 0.25 < decoder.scores(responses[200:], ONES[:100])[0].argmax(axis=1).mean() < 0.75


@pytest.mark.parametrize("decoder", [WindowMeansClassifier(), XdawnClassifier()])
def test_a_class_that_training_lacks_is_never_named(decoder, rng):
    responses = rng.normal(size=(40, 3, 24))
    labels = np.stack([np.arange(40) % 3, np.arange(40) % 2])
    decoder.fit(responses, labels, ONES[:40], ONES[:40])
    scores = decoder.scores(responses, ONES[:40])
    assert np.isneginf(scores[1, :, 2]).all()
    assert np.isfinite(scores[0]).all()


def test_one_class_too_few_trials_and_voxels_are_refused(rng):
    responses = rng.normal(size=(6, 3, 24))
    with pytest.raises(NeurodecError, match="same label"):
        XdawnClassifier().fit(responses, np.zeros((1, 6), int), ONES[:6], ONES[:6])
    with pytest.raises(NeurodecError, match="6 training trials of 6 classes are too few"):
        WindowMeansClassifier().fit(responses, np.arange(6)[None], ONES[:6], ONES[:6])
    with pytest.raises(NeurodecError, match="needs channels by samples"):
        XdawnClassifier().for_trials({"modality": "fmri"})


def test_the_default_takes_what_decodes_training_best():
    found = accuracy(None, amplitude=0.5)
    assert found["chosen"] == {"xdawn": 6}
    assert found["accuracy"] > 0.8


def test_the_default_of_voxels_and_of_one_candidate_is_that_candidate():
    assert isinstance(ChosenClassifier().for_trials({"modality": "fmri"}), RidgeClassifier)
    only = ChosenClassifier({"means": WindowMeansClassifier()}).for_trials({"sfreq": 100.0})
    assert isinstance(only, WindowMeansClassifier)
    with pytest.raises(NeurodecError, match="needs `candidates`"):
        ChosenClassifier().fit(np.zeros((4, 2, 9)), np.array([[0, 1, 0, 1]]), ONES[:4], ONES[:4])


@pytest.mark.quality
def test_the_choice_is_no_leak_on_null_data():
    found = [accuracy(None, seed=seed, n=48, n_chans=3, n_times=20, per_run=12) for seed in range(60)]
    p = np.array([one["p_value"] for one in found])
    covered = [one["ci95"][0] <= 0.5 <= one["ci95"][1] for one in found]
    assert (p < 0.05).mean() <= 0.1
    assert np.mean(covered) >= 0.9
    assert 0.3 < np.mean(p < 0.5) < 0.7
    assert abs(np.mean([one["accuracy"] for one in found]) - 0.5) < 0.03
