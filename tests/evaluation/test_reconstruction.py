"""Scores of pairs of pictures and of features: golden values, other people's code, closed forms, brute force."""

from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms.v2 import functional as V

from neurodec import NeurodecError
from neurodec.evaluation.reconstruction import measures as reconstruction
from neurodec.evaluation.reconstruction import picture_sets as picture_sets
from neurodec.evaluation.reconstruction.measures import (
    correlation_distance,
    correlation_matrix,
    distractors_ahead,
    n_way_top_k,
    pixcorr,
    ssim,
    two_way,
)
from neurodec.evaluation.reconstruction.picture_sets import Resize, as_pictures

SKIMAGE = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


def smooth(rng, n=5, size=48):
    """Pictures with structure at several scales."""
    return V.resize(torch.from_numpy(rng.random((n, 3, 6, 6))), [size, size], antialias=True).numpy()


@pytest.fixture
def pair(rng):
    targets = smooth(rng)
    return targets, 0.6 * targets + 0.4 * smooth(rng)


@pytest.mark.parametrize(
    ("size", "interpolation", "antialias"), [(30, "bilinear", True), (64, "bicubic", False)]
)
def test_pixels_are_those_of_torchvision_and_scikit_image(pair, size, interpolation, antialias):
    resized = [
        V.resize(
            torch.from_numpy(side).float(),
            [size, size],
            V.InterpolationMode(interpolation),
            antialias=antialias,
        ).numpy()
        for side in pair
    ]
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*resized, strict=True)]
    settings = {"interpolation": interpolation, "antialias": antialias}
    np.testing.assert_allclose(pixcorr(*pair, size, **settings), expected, atol=1e-6)
    greys = [[rgb2gray(one.transpose(1, 2, 0).astype(np.float64)) for one in side] for side in resized]
    expected = [structural_similarity(a, b, **SKIMAGE) for a, b in zip(*greys, strict=True)]
    np.testing.assert_allclose(ssim(*pair, size, **settings), expected, atol=1e-9)
    expected = [
        np.mean([structural_similarity(x, y, **SKIMAGE) for x, y in zip(a.T, b.T, strict=True)])
        for a, b in zip(*greys, strict=True)
    ]
    np.testing.assert_allclose(ssim(*pair, size, "columnwise", **settings), expected, atol=1e-9)


def test_ssim_of_bright_smooth_pictures_keeps_its_digits(rng):
    """Variances of 1e-5 beside means of 1: where float32 loses four of its digits."""
    targets, recons = 0.98 + 0.01 * smooth(rng, 2), 0.97 + 0.01 * smooth(rng, 2)
    expected = [
        structural_similarity(*(rgb2gray(one.transpose(1, 2, 0)) for one in both), **SKIMAGE)
        for both in zip(
            *(side.astype(np.float32).astype(np.float64) for side in (targets, recons)), strict=True
        )
    ]
    np.testing.assert_allclose(ssim(targets, recons, 48), expected, atol=1e-10)


@pytest.mark.parametrize("values_at_once", [1, 3 * 40**2 * 2, 2**40])
def test_blocks_do_not_change_pixel_scores(pair, monkeypatch, values_at_once):
    expected = pixcorr(*pair, 40), ssim(*pair, 40)
    monkeypatch.setattr(picture_sets, "_VALUES_AT_ONCE", values_at_once)
    np.testing.assert_allclose((pixcorr(*pair, 40), ssim(*pair, 40)), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("values_at_once", [1, 1000, 2**40])
def test_blocks_do_not_change_identification(rng, monkeypatch, values_at_once):
    targets, recons = rng.standard_normal((2, 30, 400)).astype(np.float32)
    recons[7] = recons[3]
    expected = [two_way(targets, recons, way) for way in ("over_targets", "over_recons")]
    distance = correlation_distance(targets, recons)
    monkeypatch.setattr(reconstruction, "_VALUES_AT_ONCE", values_at_once)
    monkeypatch.setattr(reconstruction, "_VALUES_IN_CACHE", values_at_once)
    found = [two_way(targets, recons, way) for way in ("over_targets", "over_recons")]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(correlation_distance(targets, recons), distance, rtol=0, atol=1e-13)


def test_every_kind_of_picture_gives_one_score(pair):
    eight_bit = [(255 * side).round().astype(np.uint8) for side in pair]
    kinds = [
        eight_bit,
        [side / 255 for side in eight_bit],
        [(side / 255).astype(np.float32) for side in eight_bit],
        [[Image.fromarray(one.transpose(1, 2, 0)) for one in side] for side in eight_bit],
    ]
    scores = [(pixcorr(*kind, 40), ssim(*kind, 40)) for kind in kinds]
    for found in scores[1:]:
        np.testing.assert_allclose(found, scores[0], atol=1e-6)


def test_pil_pictures_may_differ_in_size_and_mode(rng):
    shades = [Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)) for shape in ((20, 31), (50, 40))]
    coloured = [shade.convert("RGBA") for shade in shades]
    np.testing.assert_allclose(pixcorr(shades, coloured, 24), 1)
    assert pixcorr(shades, shades[::-1], 24).max() < 0.9


@pytest.mark.parametrize(("interpolation", "resample"), [("bilinear", 2), ("bicubic", 3)])
def test_eight_bit_resize_is_pillows(pair, interpolation, resample):
    values = (255 * V.resize(torch.from_numpy(pair[0]), [300, 300])).round().to(torch.uint8)
    found = 255 * Resize(224, interpolation, eight_bit=True)(values).numpy().transpose(0, 2, 3, 1)
    expected = [
        np.asarray(Image.fromarray(one).resize((224, 224), resample))
        for one in values.permute(0, 2, 3, 1).numpy()
    ]
    difference = np.abs(found - np.stack(expected).astype(float)).round(3)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01


def test_antialias_is_what_it_says(pair):
    """Where pictures shrink it changes the score; where they grow it must not."""
    shrunk, grown = (
        [pixcorr(*pair, size, antialias=antialias) for antialias in (True, False)] for size in (12, 100)
    )
    assert np.abs(shrunk[0] - shrunk[1]).max() > 1e-3
    np.testing.assert_allclose(*grown, atol=1e-6)


def test_pixel_scores_of_known_pairs(pair):
    targets = pair[0]
    np.testing.assert_allclose(pixcorr(targets, targets, 40), 1)
    np.testing.assert_allclose(ssim(targets, targets, 40), 1)
    np.testing.assert_allclose(pixcorr(targets, 1 - targets, 40), -1)
    np.testing.assert_allclose(
        pixcorr(targets, 0.2 + 0.5 * targets, 40), 1
    )  # blind to brightness and contrast
    assert (ssim(targets, 0.2 + 0.5 * targets, 40) < 0.95).all()
    for constant in (0.0, 0.3, 1.0):
        np.testing.assert_array_equal(pixcorr(targets, np.full_like(targets, constant), 40), 0)


def test_equal_pictures_are_found_by_content(rng):
    values = rng.integers(0, 256, (3, 3, 8, 8)).astype(np.uint8)[[2, 0, 2, 1, 0]]
    images = [Image.fromarray(one.transpose(1, 2, 0)) for one in values]
    for source in (values, images):
        first, place = as_pictures(source, "targets").unique
        assert first.tolist() == [0, 1, 3]
        assert place.tolist() == [0, 1, 0, 2, 1]


def test_correlations_are_numpys(rng):
    a, b = rng.standard_normal((7, 4, 50)), rng.standard_normal((9, 200)).astype(np.float32) + 100
    b[4] = 3.3
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(np.corrcoef(a.reshape(7, -1), b)[:7, 7:])
    np.testing.assert_allclose(correlation_matrix(a, b), expected, atol=1e-6)
    assert (correlation_matrix(a, b)[:, 4] == 0).all()
    np.testing.assert_allclose(correlation_distance(a, b[:7]), 1 - expected.diagonal(), atol=1e-6)


def test_two_way_in_both_directions(rng):
    targets = rng.standard_normal((40, 30))
    recons = 0.3 * targets + rng.standard_normal((40, 30))
    r = np.corrcoef(targets, recons)[:40, 40:]
    own = r.diagonal()
    np.testing.assert_allclose(two_way(targets, recons), (r < own).sum(axis=0) / 39)
    np.testing.assert_allclose(two_way(targets, recons, "over_recons"), (r < own[:, None]).sum(axis=1) / 39)
    np.testing.assert_array_equal(two_way(targets, recons, "over_recons"), two_way(recons, targets))
    np.testing.assert_array_equal(two_way(targets, 7 * targets + 2), 1)
    order = rng.permutation(40)
    np.testing.assert_array_equal(two_way(targets[order], recons[order]), two_way(targets, recons)[order])


def test_one_picture_for_all_cannot_be_told_apart(rng):
    """The control that always shows the same: half of the targets are less alike, no reconstruction is."""
    targets, same = rng.standard_normal((20, 30)), np.broadcast_to(rng.standard_normal(30), (20, 30))
    assert two_way(targets, same).mean() == pytest.approx(0.5)
    assert two_way(targets, same, "over_recons").max() == 0
    assert two_way(targets, np.zeros((20, 30))).max() == 0


@pytest.mark.parametrize("direction", ["over_targets", "over_recons"])
def test_distractors_of_repeated_stimuli_against_brute_force(rng, direction):
    stimuli = np.array([0, 1, 0, 2, 3, 2, 0])
    targets = rng.standard_normal((4, 20))[stimuli]
    recons = targets + 2 * rng.standard_normal((7, 20))
    recons[3] = recons[1]
    r = correlation_matrix(targets, recons)
    ahead, n_others = distractors_ahead(r, direction, stimuli)
    for pair in range(7):
        for true in range(4):
            row = np.flatnonzero(stimuli == true)[0]  # any target of that stimulus
            if direction == "over_targets":
                others = [np.flatnonzero(stimuli == other)[0] for other in range(4) if other != true]
                rivals = r[others, pair]
            else:
                rivals = r[row, [other for other in range(7) if stimuli[other] != stimuli[pair]]]
            assert ahead[pair, true] == (rivals >= r[row, pair] - 1e-10).sum()
            assert n_others[pair] == len(rivals)


def test_n_way_is_the_mean_over_all_draws(rng):
    targets, recons = rng.dirichlet(np.ones(7), size=(2, 12))
    for n, k in ((2, 1), (4, 1), (5, 2), (7, 3)):
        found = n_way_top_k(targets, recons, n, k)
        for row, true in enumerate(targets.argmax(axis=1)):
            others = [name for name in range(7) if name != true]
            better = [
                (recons[row, list(drawn)] > recons[row, true]).sum() < k
                for drawn in combinations(others, n - 1)
            ]
            assert found[row] == pytest.approx(np.mean(better))


def test_n_way_of_known_classes():
    classes = np.eye(1000)[:3]
    np.testing.assert_allclose(n_way_top_k(classes, classes), 1)
    np.testing.assert_allclose(n_way_top_k(classes, np.full((3, 1000), 1e-3), n=50, k=5), 5 / 50)
    tiny = np.full((1, 1000), 1e-30)  # less than any tie of plain probabilities
    tiny[0, 0], tiny[0, 1] = 1e-20, 1.0
    assert n_way_top_k(classes[:1], tiny, n=1000, k=1) == 0
    assert n_way_top_k(classes[:1], tiny, n=1000, k=2) == 1


GOOD = np.full((2, 3, 16, 16), 0.5)


def changed(value):
    broken = GOOD.copy()
    broken[1, 0, 3, 3] = value
    return broken


@pytest.mark.parametrize(
    ("targets", "recons", "said"),
    [
        (GOOD[:0], GOOD[:0], "no targets"),
        ([], [], "no targets"),
        (GOOD, GOOD[:1], "2 targets but 1 reconstructions"),
        (GOOD, changed(np.nan), "1 of the reconstructions, first number 1, hold values from nan"),
        (changed(np.inf), GOOD, "first number 1"),
        (GOOD, changed(1.01), "float pictures go from 0 to 1"),
        (255 * GOOD, GOOD, "2 of the targets, first number 0, hold values from 127.5"),
        (GOOD.transpose(0, 2, 3, 1), GOOD, r"shape \(2, 16, 16, 3\)"),
        (GOOD.astype(int), GOOD, "int64"),
        (["a.png", "b.png"], GOOD, "list of PIL images"),
        ([GOOD[0], GOOD[1][:, :5]], GOOD, "list of PIL images"),
    ],
)
def test_bad_pictures_are_one_sentence(targets, recons, said):
    for metric in (pixcorr, ssim):
        with pytest.raises(NeurodecError, match=said):
            metric(targets, recons)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ssim(GOOD, GOOD, 10), "11 pixels"),
        (lambda: ssim(GOOD, GOOD, form="3d"), '"2d" or "columnwise", not "3d"'),
        (lambda: two_way(np.eye(3), np.eye(4)), "3 features and the reconstructions 4"),
        (lambda: two_way(np.eye(3)[:2], np.eye(3)), "2 targets, of 2 stimuli, and 3 reconstructions"),
        (lambda: two_way(np.eye(3)[:1], np.eye(3)[:1]), "at least two stimuli"),
        (lambda: two_way(np.eye(3), np.eye(3), "sideways"), 'not "sideways"'),
        (lambda: two_way(np.eye(3), np.full((3, 3), np.nan)), "3 reconstructions, first row 0"),
        (lambda: correlation_matrix(np.zeros((0, 3)), np.eye(3)), "no features of targets"),
        (lambda: correlation_distance(np.eye(3), np.eye(4)), "do not pair"),
        (lambda: n_way_top_k(np.eye(3), np.eye(4)), r"\(n_pictures, n_classes\)"),
        (lambda: n_way_top_k(np.eye(3), 2 * np.eye(3)), "softmax"),
        (lambda: n_way_top_k(np.eye(3), np.eye(3), n=50), "50 classes cannot be drawn of 3"),
    ],
)
def test_bad_calls_are_one_sentence(call, said):
    with pytest.raises(NeurodecError, match=said):
        call()
