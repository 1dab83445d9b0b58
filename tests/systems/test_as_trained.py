"""Trials that were measured or cut otherwise than the training are refused where all predictions pass."""

from dataclasses import replace

import numpy as np
import pytest
from linear_studies import study_of

from neurodec.data import Study
from neurodec.errors import NeurodecError
from neurodec.systems.system import as_trained, facts_of


@pytest.fixture(scope="module")
def fitted():
    study, _ = study_of({"anna": 6}, n_train=40)
    return study, facts_of(study.cut(tmin=0.2, tmax=0.7))


def other(study, responses=None, **info):
    (name, trials), *_ = study.spaces.items()
    values = trials.responses if responses is None else responses
    return Study({name: replace(trials, responses=values, info={**trials.info, **info})}, study.stimuli)


def test_a_longer_window_is_cut(fitted):
    study, facts = fitted
    found = as_trained(study, facts).trials
    assert found.responses.shape[-1] == 50
    assert found.times[0] == pytest.approx(0.2)
    np.testing.assert_array_equal(found.responses, np.asarray(study.trials.responses)[..., 20:70])


def test_a_window_of_equal_length_at_another_time_is_refused(fitted):
    study, facts = fitted
    short = np.asarray(study.trials.responses)[..., :50]
    with pytest.raises(NeurodecError, match=r"run from 0 to 0\.5 s, the system was fitted to 0\.2 to 0\.7 s"):
        as_trained(other(study, short), facts)
    found = as_trained(other(study, short, tmin=0.2), facts).trials
    np.testing.assert_array_equal(found.responses, short)


@pytest.mark.parametrize("sfreq", [50.0, 250.0])
def test_another_rate_is_refused(fitted, sfreq):
    study, facts = fitted
    with pytest.raises(NeurodecError, match=f"have {sfreq:g} Hz, the system was fitted at 100 Hz"):
        as_trained(other(study, sfreq=sfreq), facts)


@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e3])
def test_microvolts_are_not_volts(fitted, factor):
    study, facts = fitted
    with pytest.raises(NeurodecError, match="they are in another unit or were whitened otherwise"):
        as_trained(other(study, np.asarray(study.trials.responses) * np.float32(factor)), facts)


def test_another_unit_is_refused_by_its_name(fitted):
    study, facts = fitted
    with pytest.raises(NeurodecError, match=r"are in V, the system was fitted to a\.u\."):
        as_trained(other(study, units="V"), facts)


def test_averages_and_hidden_parts_pass(fitted):
    """Noise is ten times smaller over a hundred trials, and an occluded recording may be zero."""
    study, facts = fitted
    for factor in (0.05, 0.0):
        as_trained(other(study, np.asarray(study.trials.responses) * np.float32(factor)), facts)
