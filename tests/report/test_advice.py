from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neurodec.data import Study, Trials, with_defaults
from neurodec.evaluation.presentation import Row, Section
from neurodec.report.advice import next_steps, shared_in_words
from neurodec.report.evoked_response import evoked_figure, evoked_of
from neurodec.run.results import shared_of
from neurodec.training.history import nothing_learned


def trials_of(responses):
    names = [f"E{number}" for number in range(responses.shape[1])]
    info = {"modality": "eeg", "units": "V", "sfreq": 100.0, "tmin": -0.1, "ch_names": names}
    table = with_defaults(pd.DataFrame({"stimulus": np.arange(len(responses)).astype(str)}))
    return Trials(responses.astype(np.float32), table, info)


def test_the_average_holds_what_is_locked_and_the_plus_minus_average_what_is_not(rng):
    course = np.where(np.arange(40) == 25, 1.0, 0.0)
    noise = rng.normal(size=(2000, 8, 40))
    evoked = evoked_of(trials_of(noise + course))
    assert np.allclose(evoked.mean, (noise + course).mean(axis=0), atol=1e-5)
    assert np.isclose(evoked.noise.std(), 1 / np.sqrt(2000), rtol=0.15)
    assert evoked.times[evoked.snr.argmax()] == pytest.approx(0.15)
    assert np.isclose(evoked.snr.max(), 2000, rtol=0.25)  # power 1 over noise of 1 / n
    assert 0.5 < np.median(evoked.snr) < 1.6
    assert len(evoked_figure(evoked).axes) == 2


def test_without_time_or_with_one_trial_nothing_is_averaged(rng):
    trials = trials_of(rng.normal(size=(3, 2, 40)))
    assert evoked_of(trials).n_trials == 2
    assert evoked_of(trials.select([0])) is None
    info = {"modality": "fmri", "units": "a.u.", "voxel_indices": [[0, 0, 0], [0, 0, 1]], "affine": np.eye(4)}
    assert evoked_of(Trials(rng.normal(size=(3, 2)).astype(np.float32), trials.table, info)) is None


def test_advice_names_nothing_that_the_recipe_already_does():
    assert "whiten" in nothing_learned({"l_freq": 0.1, "baseline": [None, 0], "whiten": "none"})
    found = nothing_learned({"l_freq": 0.1, "baseline": [None, 0], "whiten": "zscore"})
    assert "whiten" not in found
    assert "l_freq" not in found
    assert found.endswith("What often helps: more trials, more epochs.")
    assert "l_freq" in nothing_learned({"l_freq": None, "baseline": [None, 0], "whiten": "zscore"})
    assert "l_freq" not in nothing_learned(None)  # nothing is known of arrays


def test_next_steps_follow_from_the_scores():
    behind = {"difference": -0.2, "ci95": [-0.3, -0.1], "p_value": 0.01}
    good = Section(rows=[Row("a", 0.4, [0.35, 0.45])], tested="stimuli")
    assert not any("Ridge is ahead" in step for step in next_steps({"seeds": [1]}, good, {}))
    assert any("--seeds [1,2,3]" in step for step in next_steps({"seeds": [1]}, good, {}))
    assert any("Ridge is ahead" in step for step in next_steps({}, replace(good, against=behind), {}))
    lost = replace(good, rows=[Row("a", 0.4, [0.35, 0.45], p=0.3)])
    assert "evoked response" in next_steps({}, lost, {"sfreq": 100.0})[0]
    assert "evoked response" not in next_steps({}, lost, {})[0]
    wide = replace(good, rows=[Row("a", 0.4, [0.2, 0.6])])
    assert any("interval is wide: more test stimuli" in step for step in next_steps({}, wide, {}))
    assert next_steps({"reconstruction": {}}, Section(), {}) == []


def test_what_training_and_test_share_is_counted():
    table = pd.DataFrame(
        {
            "concept": ["cat", "dog", "cat", "cow"],
            "stimulus": ["cat-1", "dog-1", "cat-2", "cow-1"],
            "split": ["train", "validation", "test", "test"],
        }
    )
    found = shared_of(table)
    assert found == {"concepts": 1, "test_concepts": 2, "stimuli": 0, "test_stimuli": 2}
    assert shared_in_words(found) == "Training shows 1 of 2 test concepts too."
    assert shared_of(table.assign(split="cv")) == {}
    assert shared_in_words({}) is None


def test_a_label_on_both_sides_of_a_split_belongs_to_the_test(rng):
    trials = trials_of(rng.normal(size=(4, 2, 40)))
    table = trials.table.assign(
        stimulus=list("abab"), concept=list("abab"), split=["train"] * 2 + ["test"] * 2
    )
    study = Study.of(Trials(trials.responses, table, trials.info))
    assert study.stimuli["split"].tolist() == ["test", "test"]
