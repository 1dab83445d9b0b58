"""Ridge as a system: scikit-learn's weights, several targets and spaces, renormalisation, and its folder."""

import numpy as np
import pytest
from linear_studies import WIDTH, study_of
from sklearn.linear_model import Ridge as Reference

from neurodec.data import Study
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.linear.features import linear_features
from neurodec.systems import RidgeSystem, load_system
from neurodec.systems.ridge_system import roi_pattern


def fitted(tmp_path, study, targets, **options):
    system = RidgeSystem(**options)
    system.fit(study, targets, out=tmp_path, name="x")
    return system


def test_predictions_are_scikit_learns(tmp_path):
    study, targets = study_of({"anna": 6})
    alpha = {"image": 300.0, "text": 20.0}
    system = fitted(tmp_path, study, targets, alpha=alpha)
    found = system.predict(study)
    features = linear_features(study.trials).reshape(len(study), -1).astype(float)
    features = (features - features.mean(0)) / features.std(0)
    for name, penalty in alpha.items():
        rows = targets[name].values[targets[name].rows(study.table["stimulus"])]
        expected = Reference(alpha=penalty).fit(features, rows).predict(features)
        np.testing.assert_allclose(found.of(name), expected, atol=2e-4)
        np.testing.assert_allclose(found.of(name).mean(axis=0), rows.mean(axis=0), atol=1e-5)


def test_a_target_of_tokens_is_its_values_side_by_side(tmp_path):
    """Per-value solutions do not know of each other, so the shape of a target changes nothing."""
    study, targets = study_of({"anna": 6})
    values = np.asarray(targets["image"].values)
    tokens = Features(values.reshape(-1, 2, 8), targets["image"].stimuli, {"embedding_space": "t"})
    flat = fitted(tmp_path / "flat", study, {"image": targets["image"]}, alpha={"image": 50.0})
    deep = fitted(tmp_path / "deep", study, {"image": tokens}, alpha={"image": 50.0})
    found = deep.predict(study).of("image")
    assert found.shape == (160, 2, 8)
    np.testing.assert_allclose(found.reshape(160, 16), flat.predict(study).of("image"), atol=1e-5)


def test_every_space_has_weights_of_its_own(tmp_path):
    study, targets = study_of()
    both = fitted(tmp_path / "both", study, targets)
    alone = Study({"of-6": study.spaces["of-6"]}, study.stimuli)
    one = fitted(tmp_path / "one", alone, targets)
    np.testing.assert_allclose(both.predict(alone).of("image"), one.predict(alone).of("image"), atol=1e-6)
    assert both.spaces == ["of-6", "of-9"]
    with pytest.raises(NeurodecError, match="was not fitted to the space of-9"):
        one.predict(study)


@pytest.mark.parametrize("how", ["train", "test-batch"])
def test_renormalised_predictions_have_the_spread_of_the_targets(tmp_path, how):
    study, targets = study_of(noise=3.0)
    plain = fitted(tmp_path / "plain", study, targets).predict(study)
    system = fitted(tmp_path / how, study, targets, renormalise=how)
    found = system.predict(study)
    for space, trials in study.spaces.items():
        rows = (found.table["space"] == space).to_numpy()
        wanted = targets["image"].values[targets["image"].rows(trials.table["stimulus"])]
        mine = found.of("image")[rows]
        assert plain.of("image")[rows].std() < 0.9 * wanted.std()
        if how == "test-batch":
            np.testing.assert_allclose(mine.mean(0), wanted.mean(0), atol=1e-4)
            np.testing.assert_allclose(mine.std(0), wanted.std(0), rtol=1e-3)
            few = system.predict(study.select({space: np.arange(20)})).of("image")
            assert not np.allclose(few, mine[:20])  # the whole batch counts: transductive
        else:
            few = system.predict(study.select({space: np.arange(20)})).of("image")
            np.testing.assert_allclose(few, mine[:20], atol=1e-5)
            slope = np.polyfit(plain.of("image")[rows][:, 0], mine[:, 0], 1)[0]
            assert slope > 1.05


def test_the_folder_brings_it_back(tmp_path):
    study, targets = study_of()
    system = fitted(tmp_path, study, targets, renormalise="train")
    again = load_system(tmp_path / "models/x")
    np.testing.assert_array_equal(again.predict(study).of("text"), system.predict(study).of("text"))
    system.save_pretrained(tmp_path / "elsewhere")
    np.testing.assert_array_equal(
        load_system(tmp_path / "elsewhere").predict(study).of("image"), system.predict(study).of("image")
    )
    assert system.n_parameters == 2 * WIDTH * (6 + 9) * 50


def test_a_penalty_per_value_follows_each_values_noise(tmp_path, rng):
    study, targets = study_of({"anna": 6}, noise=0.3)
    values = np.asarray(targets["image"].values).copy()
    values[:, 8:] = rng.normal(size=values[:, 8:].shape)  # nothing to decode there
    mixed = {"image": Features(values, targets["image"].stimuli, {"embedding_space": "t"})}
    one = fitted(tmp_path / "one", study, mixed).predict(study).of("image")
    own = fitted(tmp_path / "own", study, mixed, per_value=True).predict(study).of("image")
    assert own[:, 8:].std() < one[:, 8:].std()


def test_patterns_of_a_region_have_the_given_length():
    rng = np.random.default_rng(0)
    weights, mean = rng.normal(size=(10, 4)), rng.normal(size=4)
    found = roi_pattern(np.eye(10)[:2], weights, mean, norm=3.0)
    np.testing.assert_allclose(np.linalg.norm(found - mean, axis=1), 3.0)
    np.testing.assert_allclose((found - mean)[0] / 3, weights[0] / np.linalg.norm(weights[0]))


def test_weights_that_were_deleted_are_made_again(tmp_path):
    study, targets = study_of({"ben": 9})
    RidgeSystem().fit(study, targets, out=tmp_path, name="x")
    (file,) = (tmp_path / "models/x").glob("*/image_weights.npy")
    before = np.load(file)
    file.unlink()
    RidgeSystem().fit(study, targets, out=tmp_path, name="x")
    np.testing.assert_array_equal(np.load(file), before)


@pytest.mark.parametrize("damage", [np.zeros(3), np.zeros((2, 2)), np.array(["a"])])
def test_weights_of_another_shape_are_refused_when_they_are_read(tmp_path, damage):
    study, targets = study_of({"ben": 9})
    RidgeSystem().fit(study, targets, out=tmp_path, name="x")
    (file,) = (tmp_path / "models/x").glob("*/image_weights.npy")
    np.save(file, damage)
    with pytest.raises(NeurodecError, match=r"image_weights.npy is of shape"):
        RidgeSystem.from_pretrained(tmp_path / "models/x")
