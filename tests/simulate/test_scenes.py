"""Scenes: complete captions, reproducible pictures, and no test combination in training."""

import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from neurodec import NeurodecError
from neurodec.simulate.backdrops import BACKDROPS
from neurodec.simulate.scenes import (
    PLACES,
    SCENE_ATTRIBUTES,
    Scene,
    all_scenes,
    caption,
    concept,
    draw_scenes,
    is_reserved,
    render,
)

FISH = Scene("fish", "red", "left", "small", "sky")


def pixels(scene, size=64):
    return np.asarray(render(scene, size)).astype(float)


def test_enough_attributes():
    counts = {name: len(values) for name, values in SCENE_ATTRIBUTES.items()}
    assert counts == {"kind": 16, "color": 9, "place": 5, "size": 2, "background": 6}


def test_caption_and_concept_tell_every_attribute():
    scenes = all_scenes(False) + all_scenes(True)
    assert len(scenes) == len({caption(s) for s in scenes}) == len({concept(s) for s in scenes}) == 8640
    assert caption(FISH) == "a small red fish on the left, in the sky"
    assert concept(FISH) == "small_red_fish_left_sky"
    assert caption(replace(FISH, variant=7)) == caption(FISH)


def test_every_concept_is_a_safe_file_name():
    assert all(concept(s).replace("_", "").isalnum() for s in all_scenes(True))


def test_unknown_attribute_is_named():
    with pytest.raises(NeurodecError, match="no color 'beige'"):
        Scene("fish", "beige", "left", "small", "sky")


def test_a_scene_always_gives_the_same_bytes():
    digest = hashlib.sha256(render(FISH).tobytes()).hexdigest()
    assert digest == hashlib.sha256(render(Scene(**vars(FISH))).tobytes()).hexdigest()
    assert digest != hashlib.sha256(render(replace(FISH, variant=1)).tobytes()).hexdigest()


def test_picture_format():
    picture = render(FISH, size=96)
    assert picture.mode == "RGB"
    assert picture.size == (96, 96)


def silhouette(scene):
    """Where the picture differs from its own backdrop, (64, 64) bool."""
    rng = np.random.default_rng([zlib.crc32(concept(scene).encode()), scene.variant])
    backdrop = Image.new("RGB", (256, 256))
    BACKDROPS[scene.background](backdrop, rng)
    empty = np.asarray(backdrop.resize((64, 64), Image.Resampling.BOX)).astype(float)
    return np.abs(pixels(scene) - empty).sum(-1) > 0


@pytest.mark.parametrize("kind", SCENE_ATTRIBUTES["kind"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_object_lies_where_the_caption_says_and_is_not_cut(kind, size):
    middle = np.ptp(np.argwhere(silhouette(Scene(kind, "red", "middle", size, "checks"))), axis=0)
    for place, (right, down) in PLACES.items():
        covered = np.argwhere(silhouette(Scene(kind, "red", place, size, "checks")))
        for along, towards in zip(covered.mean(0) - 31.5, (down, right), strict=True):
            assert towards * along > 4 if towards else abs(along) < 5
        np.testing.assert_allclose(np.ptp(covered, axis=0), middle, atol=6)  # jitter of size and tilt


@pytest.mark.parametrize("kind", SCENE_ATTRIBUTES["kind"])
def test_large_objects_cover_more_than_small_ones(kind):
    small, large = (silhouette(Scene(kind, "red", "middle", s, "checks")).sum() for s in ("small", "large"))
    assert 1.7 * small < large < 3.5 * small


@pytest.mark.parametrize("background", SCENE_ATTRIBUTES["background"])
@pytest.mark.parametrize("color", SCENE_ATTRIBUTES["color"])
def test_every_colour_stands_out_from_every_backdrop(color, background):
    """The rim and the outline make a grey edge, whatever the two colours."""
    scene = Scene("hat", color, "middle", "large", background)
    inside = silhouette(scene)
    grey = pixels(scene).mean(-1)
    edges = np.abs(np.diff(grey, axis=1)).max(axis=1)[inside.any(axis=1)]
    assert np.quantile(edges, 0.1) > 60


def test_draw_scenes_counts_and_order():
    train, test, gallery = draw_scenes(40, 3, 30, 2, seed=1)
    assert [len(part) for part in (train, test, gallery)] == [120, 30, 60]
    assert [s.variant for s in train[:3]] == [0, 1, 2]
    assert len({concept(s) for s in train[:3]}) == 1
    assert [s.variant for s in gallery[:2]] == [1, 2]
    assert concept(gallery[0]) == concept(test[0])
    assert len({concept(s) for s in test}) == 30


@pytest.mark.parametrize("seed", range(5))
def test_test_concepts_are_reserved_and_all_values_occur_in_training(seed):
    train, test, gallery = draw_scenes(20, 1, 200, 1, seed)
    assert all(map(is_reserved, test + gallery))
    assert not any(map(is_reserved, train))
    for name, values in SCENE_ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in train} == set(values)


def test_seed_chooses_the_concepts():
    assert draw_scenes(20, 1, 20, 1, 0) == draw_scenes(20, 1, 20, 1, 0)
    assert draw_scenes(20, 1, 20, 1, 0)[1] != draw_scenes(20, 1, 20, 1, 1)[1]


@pytest.mark.parametrize(("n_train", "n_test"), [(10, 10), (20, 5000), (9000, 10), (20, 0)])
def test_impossible_counts_are_refused(n_train, n_test):
    with pytest.raises(NeurodecError, match="concepts were asked"):
        draw_scenes(n_train, 1, n_test, 1, 0)
