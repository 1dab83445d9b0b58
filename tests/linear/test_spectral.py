"""Rhythms: steady-state responses of unknown phase, invariances, and what cannot be decoded."""

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.errors import NeurodecError
from neurodec.evaluation import Classification
from neurodec.linear import RidgeClassifier, SpectralClassifier, SpectralFeatures

SFREQ, N_TIMES, N_CHANS = 200.0, 400, 6


def steady_state(rng, n_trials=120, amplitude=0.5):
    """Flicker at 20 or 30 Hz whose phase is new in every trial, in noise of all channels."""
    labels = np.arange(n_trials) % 2
    times = np.arange(N_TIMES) / SFREQ
    phase = rng.uniform(0, 2 * np.pi, n_trials)
    wave = np.sin(2 * np.pi * np.array([20.0, 30.0])[labels][:, None] * times + phase[:, None])
    gains = rng.uniform(0.2, 1.0, N_CHANS)
    noise = rng.standard_normal((n_trials, N_CHANS, N_TIMES))
    responses = (noise + amplitude * gains[None, :, None] * wave[:, None]).astype(np.float32)
    table = with_defaults(
        pd.DataFrame(
            {
                "stimulus": np.array(["20 Hz", "30 Hz"])[labels],
                "run": (np.arange(n_trials) * 12 // n_trials).astype(str),
            }
        )
    )
    info = {"modality": "eeg", "units": "a.u.", "sfreq": SFREQ, "tmin": 0.0, "ch_names": list("abcdef")}
    return Trials(responses, table, info)


def auc(trials, decoder):
    evaluation = Classification(decoder, n_shuffles=0)
    return evaluation.of_trials(trials)["classification"]


def test_steady_state_responses_need_their_power(rng):
    trials = steady_state(rng)
    assert auc(trials, RidgeClassifier())["auc"] < 0.75
    found = auc(trials, SpectralClassifier())
    assert found["auc"] > 0.95
    assert found["ci95_auc"][0] > 0.9


def test_which_channels_go_together_is_decoded_by_the_tangent_space_alone(rng):
    """Both classes have the same power in every channel; in one, two channels share a rhythm of alpha."""
    n_trials = 160
    labels = np.arange(n_trials) % 2
    times = np.arange(N_TIMES) / SFREQ
    waves = np.sin(2 * np.pi * 10 * times + rng.uniform(0, 2 * np.pi, (n_trials, 2, 1)))
    waves[labels == 1, 1] = waves[labels == 1, 0]
    trials = steady_state(rng, n_trials, amplitude=0.0)
    responses = np.array(trials.responses)
    responses[:, :2] += waves
    trials = Trials(responses, trials.table, trials.info)
    assert auc(trials, SpectralClassifier(tangent=False))["auc"] < 0.65
    assert auc(trials, SpectralClassifier())["auc"] > 0.8  # unshared phases may agree by chance


def test_scores_do_not_know_the_sign_or_the_order_of_trials(rng):
    trials = steady_state(rng)
    labels = np.unique(trials.table["concept"], return_inverse=True)[1][None]
    ones = np.zeros(len(trials), dtype=int)
    decoder = SpectralClassifier(sfreq=SFREQ).fit(trials.responses[:80], labels[:, :80], ones[:80], ones[:80])
    scores = decoder.scores(trials.responses[80:], ones[80:])
    flipped = decoder.scores(-np.asarray(trials.responses[80:]), ones[80:])
    np.testing.assert_allclose(flipped, scores, rtol=1e-4)
    backwards = decoder.scores(np.asarray(trials.responses[80:])[::-1], ones[80:])
    np.testing.assert_allclose(backwards[:, ::-1], scores, rtol=1e-6)


def test_power_is_that_of_the_band(rng):
    """A sine of amplitude a at a bin holds all its power in its band, four times as much at twice the amplitude."""
    times = np.arange(N_TIMES) / SFREQ
    wave = np.sin(2 * np.pi * 15 * times)
    powers, _ = SpectralFeatures(SFREQ, bands=[(10, 20), (30, 40)], tangent=False).spectra(
        np.stack([wave, 2 * wave])[:, None]
    )
    assert powers.shape == (2, 2, 1)
    np.testing.assert_allclose(powers[1, 0] / powers[0, 0], 4)
    assert (powers[:, 1] < 1e-6 * powers[:, 0]).all()


def test_dead_channels_and_trials_are_no_trouble(rng):
    trials = steady_state(rng)
    responses = np.array(trials.responses)
    responses[:, 2] = 0
    responses[5] = 0
    assert auc(Trials(responses, trials.table, trials.info), SpectralClassifier())["auc"] > 0.9


@pytest.mark.parametrize(
    ("decoder", "info", "sentence"),
    [
        (SpectralClassifier(), {"sfreq": None}, "use RidgeClassifier"),
        (SpectralClassifier(bands=[(300, 400)]), {}, "No band holds a frequency of trials of 2 s at 200 Hz"),
    ],
)
def test_no_rhythm_to_decode(rng, decoder, info, sentence):
    trials = steady_state(rng)
    with pytest.raises(NeurodecError, match=sentence):
        auc(Trials(trials.responses, trials.table, trials.info | info), decoder)


def test_a_rate_is_needed(rng):
    with pytest.raises(NeurodecError, match="sfreq"):
        SpectralClassifier().fit(np.zeros((2, 3, 50)), np.zeros((1, 2), int), np.zeros(2), np.zeros(2, int))
