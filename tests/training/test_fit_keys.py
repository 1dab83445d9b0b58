"""A folder holds one fit: content decides whether it is this one, and another is refused, never given back."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_studies import study_of

from neurodec.data import Study
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.systems import InContextSystem, LightningSystem, RidgeSystem
from neurodec.training import TrainingData, fit_keys
from neurodec.training.fit_keys import content_key, values_key

NICE = {"class_path": "neurodec.encoders.NICE"}


def lightning(max_epochs=1):
    return LightningSystem(
        copy.deepcopy(NICE),
        data=TrainingData(batch_size=40),
        trainer={"max_epochs": max_epochs, "accelerator": "cpu"},
    )


def unit(targets):
    own = targets["image"]
    values = own.values / np.linalg.norm(own.values, axis=1, keepdims=True)
    return {"image": Features(values.astype(np.float32), own.stimuli, own.info)}


def in_context(max_epochs=1):
    return InContextSystem(way="ridge", inverse="bayes")


@pytest.fixture
def data():
    study, targets = study_of({"anna": 6})
    return study, {"image": targets["image"]}


def changed(study, change):
    """Return the same tables with other responses."""
    spaces = {
        name: replace(trials, responses=change(np.array(trials.responses)))
        for name, trials in study.spaces.items()
    }
    return Study(spaces, study.stimuli)


def one_trial(responses):
    responses[7] += 1
    return responses


@pytest.mark.parametrize("make", [RidgeSystem, lightning], ids=["ridge", "lightning"])
@pytest.mark.parametrize("change", [lambda x: x[::-1].copy(), one_trial], ids=["all", "one"])
def test_other_responses_of_the_same_table_are_another_fit(data, tmp_path, make, change):
    study, targets = data
    make().fit(study, targets, out=tmp_path, name="x")
    make().fit(study, targets, out=tmp_path, name="x")  # the same again is found
    with pytest.raises(
        NeurodecError, match=r"or (to|on|of) other (trials|data); (delete it or )?choose another"
    ):
        make().fit(changed(study, change), targets, out=tmp_path, name="x")
    make().fit(changed(study, change), targets, out=tmp_path / "other", name="x")


def test_other_targets_and_other_settings_too(data, tmp_path):
    study, targets = data
    RidgeSystem().fit(study, targets, out=tmp_path, name="x")
    values = np.array(targets["image"].values)
    values[0] += 1
    others = {"image": Features(values, targets["image"].stimuli, targets["image"].info)}
    for system, own in ((RidgeSystem(), others), (RidgeSystem(per_value=True), targets)):
        with pytest.raises(NeurodecError, match="holds a fit with another configuration or to other trials"):
            system.fit(study, own, out=tmp_path, name="x")


def test_the_in_context_system_too(data, tmp_path):
    study, targets = data
    flat = {
        name: replace(
            trials,
            responses=np.asarray(trials.responses)[..., ::10].reshape(len(trials), -1),
            info={"modality": "fmri", "units": "a.u.", "mask_shape": [60, 1, 1], "affine": None},
        )
        for name, trials in study.spaces.items()
    }
    study = Study(flat, study.stimuli)
    in_context().fit(study, unit(targets), out=tmp_path, name="x")
    in_context().fit(study, unit(targets), out=tmp_path, name="x")
    with pytest.raises(NeurodecError, match="holds a fit with another configuration or to other trials"):
        in_context().fit(changed(study, one_trial), unit(targets), out=tmp_path, name="x")


def test_a_broken_fit_to_other_trials_is_not_gone_on_with(data, tmp_path):
    """Its checkpoint would be taken for the beginning of this one."""
    study, targets = data

    class Killed(BaseException):
        pass

    original = torch.save

    def kill(*args, **kwargs):
        original(*args, **kwargs)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", kill)
        with pytest.raises(Killed):
            lightning(max_epochs=3).fit(study, targets, out=tmp_path, name="x")
    assert (tmp_path / "checkpoints/x/made_with.json").exists()
    with pytest.raises(NeurodecError, match="holds checkpoints of another configuration or of other data"):
        lightning(max_epochs=3).fit(changed(study, one_trial), targets, out=tmp_path, name="x")


def test_large_arrays_are_sampled(monkeypatch, rng):
    values = rng.normal(size=(5000, 4))
    whole = values_key(values)
    monkeypatch.setattr(fit_keys, "_WHOLE", 1000)
    monkeypatch.setattr(fit_keys, "_SAMPLED", 64)
    sampled = values_key(values)
    assert sampled != whole
    assert values_key(values + 1e-3) != sampled
    assert values_key(values[:4999]) != sampled
    assert values_key(values.astype(np.float32)) != sampled


def test_units_and_rate_are_content_too(data):
    study, targets = data
    before = content_key(study, targets)
    for fact in ({"units": "V"}, {"sfreq": 50.0}, {"tmin": 0.1}):
        (name, trials), *_ = study.spaces.items()
        other = Study({name: replace(trials, info={**trials.info, **fact})}, study.stimuli)
        assert content_key(other, targets) != before


def test_calibration_ridge_keeps_every_setting(data, tmp_path):
    """From the folder too, where a user has it from."""
    study, targets = data
    own = {
        "alphas": [3.0],
        "per_value": True,
        "average_repetitions": False,
        "n_folds": 3,
        "data": TrainingData(tmin=0.2, tmax=0.6),
    }
    RidgeSystem(**own).fit(study, targets, out=tmp_path, name="x")
    fewer, out = RidgeSystem.from_pretrained(tmp_path / "models/x").calibration_split(study, targets, 0.25, 0)
    assert (fewer.alphas, fewer.per_value, fewer.average_repetitions) == ([3.0], True, False)
    assert fewer.config["tmin"] == pytest.approx(0.2)
    kept, _ = study.parted(set(out.table["concept"]))
    again = RidgeSystem(**own)
    again.fit(kept, targets, out=tmp_path / "again", name="x")
    np.testing.assert_allclose(fewer.predict(out).of("image"), again.predict(out).of("image"), atol=1e-5)


def fitted(system, data, folder):
    system.fit(*data, out=folder, name="x")
    return system


def test_unseen_predictions_are_of_systems_that_have_not_seen_them(data, tmp_path):
    study, targets = data
    system = fitted(RidgeSystem(), data, tmp_path)
    found = system.unseen(study, targets, seed=0)
    assert sorted(found.table["stimulus"]) == sorted(study.table["stimulus"])

    def error(predictions):
        wanted = targets["image"].of(predictions.table["stimulus"])
        return np.square(predictions.of("image") - wanted).mean()

    assert error(found) > 1.1 * error(system.predict(study))


def test_validation_trials_are_the_unseen_ones_of_a_network(data, tmp_path):
    study, targets = data
    system = fitted(lightning(), data, tmp_path)
    found = system.unseen(study, targets, seed=0)
    assert set(found.table["concept"]) == set(system.config["held_out"])


def test_marked_validation_trials_were_not_learned_from(data, tmp_path):
    study, targets = data
    (name, trials), *_ = study.spaces.items()
    marked = np.where(np.arange(len(trials)) % 4 == 0, "validation", "train")
    study = Study({name: replace(trials, table=trials.table.assign(split=marked))}, study.stimuli)
    system = fitted(lightning(), (study, targets), tmp_path)
    _, out = LightningSystem.from_pretrained(tmp_path / "models/x").calibration_split(study, targets, 0.25, 0)
    assert (out.table["split"] == "validation").all()
    assert len(out) == (marked == "validation").sum()
    assert "chose the epoch" in system.calibration_note
