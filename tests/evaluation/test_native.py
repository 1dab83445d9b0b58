"""Small pictures at their own size: what scikit-image says of them, and no network."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.picture_scores import score_reconstructions
from neurodec.run.picture_section import undrawable_in_words


def drawn(levels):
    return [Image.fromarray(own).convert("RGB") for own in levels]


@pytest.fixture
def pair(rng):
    seen = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    shown = (0.5 * seen + 0.5 * rng.integers(0, 256, seen.shape)).astype(np.uint8)
    return seen, shown


def test_native_scores_are_those_of_scikit_image(pair):
    seen, shown = pair
    found = score_reconstructions(drawn(seen), drawn(shown), protocol="native", n_permutations=200)
    scaled = list(zip(seen / 255, shown / 255, strict=True))
    wanted = [structural_similarity(*own, data_range=1.0) for own in scaled]
    np.testing.assert_allclose(found.table["ssim"], wanted, atol=1e-6)
    errors = [np.square(a - b).mean() for a, b in scaled]
    np.testing.assert_allclose(found.table["mse"], errors, atol=1e-6)
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in scaled]
    np.testing.assert_allclose(found.table["pixcorr"], correlations, atol=1e-6)
    summary = found.summary()
    assert summary["two_way"] == {"pixels": 1.0}
    assert summary["p_value"]["pixels"] < 0.05
    assert summary["unavailable"] == {}
    for name in ("pixcorr", "mse", "ssim", "ssim_gaussian"):
        low, high = summary["ci95"][name]
        assert low < summary[name] < high


def test_what_was_drawn_larger_is_brought_to_the_size_seen(pair):
    seen, _ = pair
    larger = [one.resize((112, 112), Image.Resampling.NEAREST) for one in drawn(seen)]
    found = score_reconstructions(drawn(seen), larger, protocol="native", n_permutations=20)
    assert found.table["pixcorr"].min() > 0.9


def test_pictures_of_ten_pixels_have_no_gaussian_ssim(pair):
    seen, shown = (side[:, :10, :10] for side in pair)
    table = score_reconstructions(drawn(seen), drawn(shown), protocol="native", n_permutations=20).table
    assert "ssim" in table
    assert "ssim_gaussian" not in table


def test_sizes_that_differ_are_refused(pair):
    seen, shown = pair
    mixed = [*drawn(seen[:5]), Image.new("RGB", (9, 9))]
    with pytest.raises(NeurodecError, match="2 sizes"):
        score_reconstructions(mixed, drawn(shown), protocol="native")


def test_a_low_ceiling_is_told():
    baselines = {"mean_picture": {"pixcorr": 0.6}, "pixel_ridge": {"pixcorr": 0.73}}
    bounds = {"two_way": {"pixels": [0.6, 0.9]}}
    for pixcorr, told in ((0.3, True), (0.95, False)):
        ceiling = {"pixcorr": pixcorr, "two_way": {"pixels": 0.8}, "ci95": bounds}
        found = {"ceilings": {"true_through_decoder": ceiling}, "baselines": baselines}
        assert (undrawable_in_words(found) is not None) == told
