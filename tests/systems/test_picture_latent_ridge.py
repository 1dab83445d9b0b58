"""Ridge to the latents of an autoencoder: pixels in, pixels out, kept in a folder, and left-out trials unseen."""

import numpy as np
import pytest
from simple_pictures import HEIGHT, N_TRAIN, WIDTH, arrays

from neurodec import Features, RidgeSystem, Study
from neurodec.errors import NeurodecError
from neurodec.features.pixel_similarity import pixel_correlation
from neurodec.systems import PictureLatentRidge, load_system
from neurodec.training import TrainingData
from neurodec.training.picture_autoencoder import PictureAutoencoder, latent_shape

BY = TrainingData(held_out_by="stimulus")


@pytest.fixture(scope="module")
def study():
    content, pictures = arrays(np.random.default_rng(0))
    names = [f"figure-{number:02d}" for number in range(len(pictures))]
    responses = np.concatenate([content["fmriTrn"], content["fmriTest"]])
    splits = ["train"] * N_TRAIN + ["test"] * (len(names) - N_TRAIN)
    values = (pictures / 255).astype(np.float32)
    targets = {"pixels": Features(values, names, {"embedding_space": "pixels/grey", "key": "x"})}
    return Study.from_arrays(responses, names, split=splits), targets


@pytest.fixture(scope="module")
def fitted(study):
    whole, targets = study
    return PictureLatentRidge(n_steps=60, data=BY).fit(whole.part("train"), targets)


def test_predictions_are_pictures_that_resemble_what_was_seen(study, fitted):
    whole, targets = study
    test = whole.part("test")
    found = fitted.predict(test).of("pixels")
    seen = targets["pixels"].of(test.table["stimulus"])
    assert found.shape == seen.shape == (len(test), HEIGHT, WIDTH)
    assert 0 <= found.min() <= found.max() <= 1
    own, shuffled = (pixel_correlation(seen, order).mean() for order in (found, np.roll(found, 1, axis=0)))
    assert own > shuffled + 0.15
    known = targets["pixels"].of(whole.part("train").table["stimulus"])
    np.testing.assert_allclose(fitted.mean_target("pixels"), known.mean(axis=0), atol=1e-5)


def test_a_folder_keeps_it(study, fitted, tmp_path):
    whole, _ = study
    fitted.save_pretrained(tmp_path / "kept")
    again = load_system(tmp_path / "kept")
    assert isinstance(again, PictureLatentRidge)
    assert again.n_steps == 60
    test = whole.part("test")
    np.testing.assert_array_equal(again.predict(test).of("pixels"), fitted.predict(test).of("pixels"))


def test_cross_fitting_leaves_out_pictures_and_keeps_the_autoencoder(study, fitted):
    whole, targets = study
    train = whole.part("train")
    unseen = fitted.unseen(train, targets, seed=0)
    assert sorted(unseen.table["stimulus"]) == sorted(train.table["stimulus"])
    known = fitted.predict(train)
    rows = [known.table["stimulus"].tolist().index(name) for name in unseen.table["stimulus"]]
    seen = targets["pixels"].of(unseen.table["stimulus"])
    errors = [np.square(own - seen).mean() for own in (known.of("pixels")[rows], unseen.of("pixels"))]
    assert errors[0] < errors[1]  # what ridge has learned from is predicted better


def test_the_test_pictures_play_no_part(study, fitted):
    """Other test pictures leave every weight as it was."""
    whole, targets = study
    values = np.array(targets["pixels"].values)
    values[N_TRAIN:] = 1 - values[N_TRAIN:]
    changed = {"pixels": Features(values, targets["pixels"].stimuli, {**targets["pixels"].info, "key": "y"})}
    again = PictureLatentRidge(n_steps=60, data=BY).fit(whole.part("train"), changed)
    test = whole.part("test")
    np.testing.assert_allclose(again.predict(test).of("pixels"), fitted.predict(test).of("pixels"), atol=1e-5)


def test_pictures_of_any_size_are_filled_up_and_cut(rng):
    pictures = rng.random((6, 9, 14))
    network = PictureAutoencoder.fit(pictures, n_steps=2, n_copies=0)
    latents = network.encode(pictures)
    assert latents.shape[1:] == latent_shape(9, 14, 2) == (2, 3, 4)
    assert network.decode(latents).shape == pictures.shape


def test_what_is_no_picture_is_refused(study):
    whole, targets = study
    flat = Features(
        np.array(targets["pixels"].values).reshape(len(whole), -1), targets["pixels"].stimuli, {"key": "f"}
    )
    flat.info["embedding_space"] = "flat"
    with pytest.raises(NeurodecError, match="an autoencoder of pictures needs"):
        PictureLatentRidge(n_steps=2).fit(whole.part("train"), {"pixels": flat})


def test_weighing_voxels_finds_those_that_see(study):
    """Two thirds of the voxels are noise: weights bring the left-out pictures nearer, and say so to the key."""
    whole, targets = study
    train, test = whole.part("train"), whole.part("test")
    seen = targets["pixels"].of(test.table["stimulus"])
    plain, weighed = (
        RidgeSystem(head="pixels", weigh_voxels=weigh, data=BY).fit(train, targets) for weigh in (False, True)
    )
    errors = [np.square(own.predict(test).of("pixels") - seen).mean() for own in (plain, weighed)]
    assert errors[1] < errors[0]
    assert "weigh_voxels" not in plain.config["init_args"]
    assert weighed.config["init_args"]["weigh_voxels"]
