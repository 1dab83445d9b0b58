"""Pixels as targets, the decoder that shows them, and scores that equal scikit-image's."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity

from neurodec.decoders import PixelDecoder
from neurodec.errors import NeurodecError
from neurodec.features import Pixels
from neurodec.features.pixel_similarity import (
    gaussian_ssim,
    pixel_correlation,
    squared_error,
    windowed_ssim,
)


@pytest.fixture
def pictures(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    levels = rng.integers(0, 256, (4, 9, 11), dtype=np.uint8)
    for number, own in enumerate(levels):
        Image.fromarray(own).save(tmp_path / f"{number}.png")
    return levels, pd.DataFrame({"stimulus": list("abcd"), "image": [f"{n}.png" for n in range(4)]})


def test_the_true_target_gives_the_true_picture(pictures, tmp_path):
    levels, stimuli = pictures
    features = Pixels().extract(stimuli, tmp_path)
    assert features.dims == ("stimulus", "row", "column")
    np.testing.assert_allclose(features.values, levels / 255, atol=1e-7)
    shown = PixelDecoder().decode({"pixels": torch.as_tensor(np.array(features.values))}, generator=[])
    np.testing.assert_array_equal([np.asarray(one)[..., 0] for one in shown], levels)
    assert PixelDecoder.spaces({}) == {"pixels": features.embedding_space}


def test_a_size_may_be_asked_for(pictures, tmp_path):
    _, stimuli = pictures
    assert Pixels(5, 4).extract(stimuli, tmp_path).values.shape == (4, 5, 4)
    Image.new("L", (3, 3)).save(tmp_path / "0.png")
    with pytest.raises(NeurodecError, match="give `height` and `width`"):
        Pixels().extract(stimuli, tmp_path)
    with pytest.raises(NeurodecError, match="both"):
        Pixels(height=5).extract(stimuli, tmp_path)


def test_the_decoder_refuses_what_is_no_picture():
    with pytest.raises(NeurodecError, match="height, width"):
        PixelDecoder().decode({"pixels": torch.zeros(2, 9)}, generator=[])
    with pytest.raises(NeurodecError, match="NaN"):
        PixelDecoder().decode({"pixels": torch.full((2, 3, 3), torch.nan)}, generator=[])


@pytest.mark.parametrize("shape", [(28, 28), (11, 17)])
def test_scores_are_those_of_scikit_image(rng, shape):
    seen, shown = np.clip(rng.normal(0.3, 0.4, (2, 5, *shape)), 0, 1)
    shown = 0.5 * shown + 0.5 * seen
    default = [structural_similarity(*pair, data_range=1.0) for pair in zip(seen, shown, strict=True)]
    published = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    gaussian = [structural_similarity(*pair, **published) for pair in zip(seen, shown, strict=True)]
    errors = [mean_squared_error(*pair) for pair in zip(seen, shown, strict=True)]
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(seen, shown, strict=True)]
    np.testing.assert_allclose(windowed_ssim(seen, shown), default, atol=1e-10)
    np.testing.assert_allclose(gaussian_ssim(seen, shown), gaussian, atol=1e-10)
    np.testing.assert_allclose(squared_error(seen, shown), errors, atol=1e-12)
    np.testing.assert_allclose(pixel_correlation(seen, shown), correlations, atol=1e-12)


def test_a_black_picture_correlates_with_nothing(rng):
    assert pixel_correlation(rng.random((2, 8, 8)), np.zeros((2, 8, 8))).tolist() == [0.0, 0.0]
    with pytest.raises(NeurodecError, match="at least 7"):
        windowed_ssim(np.zeros((1, 6, 9)), np.zeros((1, 6, 9)))
