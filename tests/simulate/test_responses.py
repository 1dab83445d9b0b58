from dataclasses import replace

import numpy as np

from neurodec.simulate.evoked_responses import Responses, add_responses, saturate
from neurodec.simulate.sources import AREAS

SFREQ = 500.0
STEADY = Responses(gain=0.0, jitter=0.0)


def answers(responses, n_trials=400, spacing=500, drive=1.0):
    """One area's currents, cut into trials (n_trials, n_sources, spacing)."""
    area = AREAS[0]
    currents = np.zeros((area.n_sources, n_trials * spacing), dtype=np.float32)
    onsets = np.arange(n_trials) * spacing
    drives = np.full((n_trials, 2 * area.n_sources), drive)
    rng = np.random.default_rng(0)
    add_responses(currents, area, drives, onsets, SFREQ, responses, np.ones(n_trials), rng)
    return currents.reshape(area.n_sources, n_trials, spacing).transpose(1, 0, 2)


def test_saturation_is_a_rate():
    rates = saturate(np.array([-3.0, -0.5, 0.5, 100.0]))
    np.testing.assert_allclose(rates, [0.0, 0.0, 0.5, 1.0], atol=1e-3)


def test_bursts_vanish_in_the_average_and_answers_do_not():
    induced, evoked = (answers(replace(STEADY, **{name: 0.0})) for name in ("evoked", "induced"))
    kept = [np.abs(trials.mean(axis=0)).max() / np.abs(trials).max() for trials in (induced, evoked)]
    assert kept[0] < 0.15
    assert kept[1] > 0.99


def test_an_answer_peaks_near_its_latency_and_has_no_net_current():
    area, trial = AREAS[0], answers(replace(STEADY, induced=0.0), n_trials=1)[0, 0]
    peak = np.abs(trial).argmax() / SFREQ
    assert abs(peak - area.latency) < 1.2 * area.width
    assert abs(trial.sum()) < 1e-3 * np.abs(trial).sum()


def test_jitter_moves_single_trials():
    trials = answers(Responses(gain=0.0, induced=0.0, jitter=3.0))
    zero = np.abs(trials[:, 0]).argmax(axis=1)
    assert 0.5 < zero.std() / (3.0 * AREAS[0].jitter * SFREQ) < 2.0


def test_no_drive_no_answer():
    assert not answers(STEADY, n_trials=3, drive=-5.0).any()


def test_answers_at_the_edges_are_cut_not_wrapped():
    area = AREAS[-1]
    currents = np.zeros((area.n_sources, 120), dtype=np.float32)
    drive = np.ones((2, 2 * area.n_sources))
    add_responses(
        currents, area, drive, np.array([-60, 110]), SFREQ, STEADY, np.ones(2), np.random.default_rng(0)
    )
    assert np.isfinite(currents).all()
