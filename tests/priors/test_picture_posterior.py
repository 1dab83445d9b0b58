"""The posterior of pictures: perfect predictions pass, noise leads to the mean, and a folder keeps all of it."""

import numpy as np
import pytest
import torch
from simple_pictures import bars

from neurodec.errors import NeurodecError
from neurodec.features.pixel_similarity import squared_error, windowed_ssim
from neurodec.priors import PicturePosterior, load_prior


def fitted(z, pictures, **options):
    return PicturePosterior(**options).fit(z, pictures, embedding_space="pixels/grey")


@pytest.fixture
def pictures(rng):
    return bars(80, rng)[0].astype(np.float32) / 255


def drawn(prior, z):
    return prior.sample(z, torch.Generator()).numpy()


def test_without_noise_it_is_the_identity(pictures):
    prior = fitted(pictures[:60], pictures[:60])
    np.testing.assert_allclose(drawn(prior, pictures), pictures, atol=2e-3)


def test_more_noise_is_nearer_to_the_mean(pictures, rng):
    distances, gains, mean = [], [], pictures[:60].mean(axis=0)
    for level in (0.0, 0.3, 1.0, 4.0):
        z = pictures + level * rng.normal(size=pictures.shape).astype(np.float32)
        prior = fitted(z[:60], pictures[:60], structure=0.0)
        distances.append(np.linalg.norm(drawn(prior, z[60:]) - mean) / np.linalg.norm(pictures[60:] - mean))
        gains.append(float(prior.gains.mean()))
    assert gains == sorted(gains, reverse=True)
    assert (
        distances[0] > distances[2] > distances[3]
    )  # the tone curve may sharpen what little noise has blurred
    assert distances[1] < 1.03 * distances[0]
    assert distances[3] < 0.35 < 0.9 < distances[0]


def test_it_is_nearer_to_what_was_seen_than_the_prediction(pictures, rng):
    """Of new pictures, by error and by structure; `structure` buys SSIM with error."""
    z = pictures + 0.3 * rng.normal(size=pictures.shape).astype(np.float32)
    raw, seen = np.clip(z[60:], 0, 1).astype(np.float64), pictures[60:]
    found = {weight: drawn(fitted(z[:60], pictures[:60], structure=weight), z[60:]) for weight in (0.0, 4.0)}
    assert squared_error(seen, found[0.0]).mean() < 0.7 * squared_error(seen, raw).mean()
    similar = {weight: windowed_ssim(seen, own).mean() for weight, own in found.items()}
    assert similar[4.0] >= similar[0.0] > windowed_ssim(seen, raw).mean() + 0.1


def test_a_row_does_not_depend_on_its_batch_nor_on_where_it_was_kept(pictures, rng, tmp_path):
    z = pictures + 0.3 * rng.normal(size=pictures.shape).astype(np.float32)
    prior = fitted(z[:60], pictures[:60], n_components=7)
    prior.save_pretrained(tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, PicturePosterior)
    assert (again.n_components, again.embedding_space) == (7, "pixels/grey")
    np.testing.assert_array_equal(drawn(again, z), drawn(prior, z))
    np.testing.assert_array_equal(drawn(prior, z[3:4]), drawn(prior, z)[3:4])


def test_what_is_no_picture_is_refused(pictures):
    prior = fitted(pictures, pictures)
    with pytest.raises(NeurodecError, match="12 x 14"):
        drawn(prior, pictures[:, :-1])
    with pytest.raises(NeurodecError, match="Pixels"):
        fitted(pictures.reshape(80, -1), pictures.reshape(80, -1))
    with pytest.raises(NeurodecError, match="never fitted"):
        drawn(PicturePosterior(), pictures)
    with pytest.raises(NeurodecError, match="at least one component"):
        PicturePosterior(n_components=0)
