"""Volts train as well as whitened responses, and an encoder that its inputs do not reach is found out."""

from dataclasses import replace

import numpy as np
import pytest
from linear_studies import study_of

from neurodec.data.responses import typical_rms
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Gallery
from neurodec.systems import LightningSystem, lightning_system, load_system
from neurodec.systems.system import facts_of, scales_of
from neurodec.training import TrainingData


def scaled(study, factor):
    spaces = {
        name: replace(trials, responses=np.asarray(trials.responses) * np.float32(factor))
        for name, trials in study.spaces.items()
    }
    return replace(study, spaces=spaces)


def fitted(study, targets, out, **trainer):
    system = LightningSystem(
        {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 16}},
        data=TrainingData(batch_size=40),
        trainer={"max_epochs": 3, "accelerator": "cpu", **trainer},
    )
    system.fit(study, targets, out=out, name="one")
    return load_system(out / "models/one")


@pytest.mark.parametrize("factor", [1e-5, 1e-13, 1e6])  # volts, tesla, and arrays of a scanner's own numbers
def test_the_unit_of_the_responses_does_not_matter(tmp_path, factor, capsys):
    study, targets = study_of({"anna": 6}, n_train=80)
    one, other = (fitted(scaled(study, own), targets, tmp_path / str(own)) for own in (factor, 128 * factor))
    assert capsys.readouterr().out.count("are divided by it") == 2
    found = [
        system.predict(scaled(study, own)).of("image")
        for system, own in ((one, factor), (other, 128 * factor))
    ]
    np.testing.assert_allclose(*found, atol=1e-6)  # a power of two rounds nothing
    assert one.config["rms"] == pytest.approx(typical_rms(scaled(study, factor).trials.responses))


def test_half_precision_does_not_lose_tesla(tmp_path):
    study, targets = study_of({"anna": 6}, n_train=80)
    found = fitted(scaled(study, 1e-13), targets, tmp_path, precision="16-true").predict(scaled(study, 1e-13))
    assert not scored(found.of("image"), targets).collapsed


def scored(z, targets):
    names = list(targets["image"].stimuli)
    gallery = Gallery(np.asarray(targets["image"].values), names, names)
    table = study_of({"anna": 6}, n_train=len(names))[0].table
    return Scored.of(z, table, gallery)


def test_inputs_near_unit_size_stay_as_they_are():
    study, _ = study_of({"anna": 6}, n_train=20)
    assert scales_of(facts_of(study)) == {"of-6": 1.0}
    assert scales_of({"space": "all"}) == {"all": 1.0}  # models of before
    spaces = facts_of(scaled(study_of({"anna": 6, "ben": 9}, n_train=20)[0], 1e-5))
    assert set(scales_of(spaces)) == {"of-6", "of-9"}
    assert all(1e-6 < scale < 1e-4 for scale in scales_of(spaces).values())


def test_a_dead_encoder_is_found_out(tmp_path, monkeypatch):
    study, targets = study_of({"anna": 6}, n_train=80)
    alive = fitted(scaled(study, 1e-6), targets, tmp_path / "alive").predict(scaled(study, 1e-6))
    monkeypatch.setattr(lightning_system, "scales_of", lambda config: {})
    dead = fitted(scaled(study, 1e-6), targets, tmp_path / "dead").predict(scaled(study, 1e-6))
    assert scored(dead.of("image"), targets).collapsed
    assert not scored(alive.of("image"), targets).collapsed
