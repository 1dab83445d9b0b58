"""Features: rows by stimulus, and a round trip through the disk."""

import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.features import Features


@pytest.fixture
def features(rng):
    info = {"embedding_space": "x", "key": "k"}
    return Features(rng.standard_normal((3, 4)).astype(np.float32), ["c", "a", "b"], info)


def test_rows_follow_the_asked_order(features):
    assert features.rows(["a", "c", "a"]).tolist() == [1, 0, 1]


def test_unknown_stimulus_is_named(features):
    with pytest.raises(NeurodecError, match="'z'"):
        features.rows(["a", "z"])


def test_round_trip(features, tmp_path):
    features.save(tmp_path / "f")
    loaded = Features.load(tmp_path / "f")
    np.testing.assert_array_equal(loaded.values, features.values)
    assert (loaded.stimuli, loaded.info) == (features.stimuli, features.info)


def test_features_without_what_names_them_are_not_kept(features, tmp_path):
    with pytest.raises(NeurodecError, match="have no key in their info; let the extractor give"):
        Features(features.values, features.stimuli, {"embedding_space": "x"}).save(tmp_path)
    with pytest.raises(NeurodecError, match="of 2 stimuli have 3 rows"):
        Features(features.values, features.stimuli[:2], features.info).save(tmp_path)
    one, other = (Features.given(values, ["a", "b"]) for values in (np.eye(2), 2 * np.eye(2)))
    assert one.info["key"] != other.info["key"]


def test_damage_is_one_sentence(features, tmp_path):
    with pytest.raises(NeurodecError, match="does not exist"):
        Features.load(tmp_path)
    features.save(tmp_path)
    (tmp_path / "values.npy").write_bytes((tmp_path / "values.npy").read_bytes()[:-8])
    with pytest.raises(NeurodecError, match="damaged"):
        Features.load(tmp_path)
    np.save(tmp_path / "values.npy", features.values[:2])
    with pytest.raises(NeurodecError, match="2 rows for 3 stimuli"):
        Features.load(tmp_path)
