"""Encoder, prior and decoder as one object: the same pictures after saving, from any container, in any batch."""

import json

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from neurodec import NeuralDecoder
from neurodec.data import Trials
from neurodec.decoders import GuidedDiffusion
from neurodec.encoders import ATM
from neurodec.errors import NeurodecError
from neurodec.priors import LinearPrior
from neurodec.systems import LightningSystem

CHANS = ["P7", "P3", "Pz", "P4", "P8", "O1", "Oz", "O2"]
SAMPLING = {"n_steps": 2, "guidance": 1.5, "prior_n_steps": 2, "prior_guidance": 1.0}


@pytest.fixture(scope="module")
def decoder():
    """An untrained encoder and a fitted linear prior before the packaged decoder."""
    torch.manual_seed(0)
    sizes = {"n_chans": len(CHANS), "n_times": 80, "n_outputs": 16, "n_subjects": 2, "d_ff": 16}
    encoder = ATM(**sizes).eval()
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 16)).astype(np.float32)
    targets = (z @ rng.normal(size=(16, 128)) * 3).astype(np.float32)
    prior = LinearPrior().fit(z, targets, np.arange(60) % 12, embedding_space="neurodec/tiny-clip")
    config = {
        "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": sizes},
        "modality": "eeg",
        "subjects": ["01", "02"],
        "sfreq": 100.0,
        "tmin": 0.0,
        "ch_names": CHANS,
        "n_times": 80,
        "decoder": {"class_path": "neurodec.decoders.GuidedDiffusion", "init_args": {}},
        "sampling": SAMPLING,
    }
    return NeuralDecoder(LightningSystem.of(encoder, config), prior, GuidedDiffusion(), config)


@pytest.fixture
def responses(rng):
    return rng.normal(size=(4, len(CHANS), 80)).astype(np.float32)


def pixels(pictures):
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)


def test_a_saved_decoder_draws_the_same_pictures(decoder, responses, tmp_path):
    before = pixels(decoder.decode(responses, subject="02"))
    decoder.save_pretrained(tmp_path / "saved")
    again = NeuralDecoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(pixels(again.decode(responses, subject="02")), before)
    assert before.shape == (4, 64, 64, 3)
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "(n, 8, 80)" in card
    assert "01, 02" in card


def test_a_picture_depends_on_its_own_seed_alone(decoder, responses):
    whole = pixels(decoder.decode(responses, seed=5))
    last = pixels(decoder.decode(responses[3:], seed=8))
    assert np.abs(whole[3:] - last).max() <= 1
    assert np.abs(whole[:1] - pixels(decoder.decode(responses[:1], seed=6))).max() > 1


def test_epochs_may_hold_more_channels_in_another_order_and_more_time(decoder, responses, rng):
    names = ["Fz", *reversed(CHANS)]
    data = rng.normal(size=(4, 9, 120))
    data[:, 1:, 20:100] = responses[:, ::-1]
    epochs = mne.EpochsArray(data, mne.create_info(names, 100.0, "eeg"), tmin=-0.2, verbose="error")
    np.testing.assert_allclose(decoder.embed(epochs), decoder.embed(responses), atol=1e-5)
    table = pd.DataFrame({"stimulus": list("abcd"), "concept": "c", "split": "test", "subject": "02"})
    table = table.assign(session="01", run="01", repetition=0)
    trials = Trials(responses, table, {"sfreq": 100.0, "tmin": 0.0, "ch_names": CHANS, "modality": "eeg"})
    np.testing.assert_allclose(decoder.embed(trials), decoder.embed(responses, subject="02"), atol=1e-5)


def test_averaging_takes_all_responses_as_one_picture(decoder, responses):
    repeated = np.repeat(responses[:1], 3, axis=0)
    one, other = decoder.decode(repeated, average=True), decoder.decode(responses[:1])
    assert len(one) == 1
    assert np.abs(pixels(one) - pixels(other)).max() <= 1


def test_voxels_come_from_an_image(decoder, rng):
    volumes = rng.normal(size=(3, 2, 2, 5)).astype(np.float32)
    voxels = torch.nn.Sequential(torch.nn.Linear(4, 16))
    config = {**decoder.config, "mask_shape": [3, 2, 2], "voxel_indices": [1, 4, 7, 11], "subjects": ["01"]}
    fmri = NeuralDecoder(LightningSystem.of(voxels, config), decoder.prior, decoder.decoder, config)
    flat = volumes.reshape(12, 5)[[1, 4, 7, 11]].T
    with pytest.warns(UserWarning, match="does not say where its voxels lie"):
        fmri.embed(nibabel.Nifti1Image(volumes, np.eye(4)))
    fmri.config["affine"] = np.eye(4).tolist()
    np.testing.assert_allclose(
        fmri.embed(nibabel.Nifti1Image(volumes, np.eye(4))), fmri.embed(flat), atol=1e-6
    )
    with pytest.raises(NeurodecError, match=r"\(2, 2, 2\) voxels"):
        fmri.embed(nibabel.Nifti1Image(volumes[:2], np.eye(4)))


AFFINE = np.array([[-3.0, 0, 0, 6], [0, 3, 0, -7], [0, 0, 2, 1], [0, 0, 0, 1]])  # LAS


@pytest.fixture
def voxels(decoder):
    """A decoder of four voxels of a grid whose first axis runs from right to left."""
    torch.manual_seed(0)
    config = {**decoder.config, "mask_shape": [3, 2, 2], "voxel_indices": [1, 4, 7, 11], "subjects": ["01"]}
    network = torch.nn.Sequential(torch.nn.Linear(4, 16))
    config = {**config, "affine": AFFINE.tolist()}
    return NeuralDecoder(LightningSystem.of(network, config), decoder.prior, decoder.decoder, config)


def test_an_image_may_be_oriented_otherwise(voxels, rng):
    image = nibabel.Nifti1Image(rng.normal(size=(3, 2, 2, 5)).astype(np.float32), AFFINE)
    turned = nibabel.as_closest_canonical(image)
    assert not np.allclose(turned.affine, image.affine)
    expected = voxels.embed(np.asarray(image.dataobj).reshape(12, 5)[[1, 4, 7, 11]].T)
    np.testing.assert_allclose(voxels.embed(image), expected, atol=1e-6)
    np.testing.assert_allclose(voxels.embed(turned), expected, atol=1e-6)
    single = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., 2], AFFINE)
    np.testing.assert_allclose(voxels.embed(single), expected[2:3], atol=1e-6)


def test_another_place_is_refused(voxels, rng):
    moved = AFFINE + 40 * np.eye(4, k=3)  # 40 mm to the right
    image = nibabel.Nifti1Image(rng.normal(size=(3, 2, 2, 5)).astype(np.float32), moved)
    with pytest.raises(NeurodecError, match="lies elsewhere than those of the training"):
        voxels.embed(image)
    with pytest.raises(NeurodecError, match=r"\(3, 2, 3\) voxels"):
        voxels.embed(nibabel.Nifti1Image(rng.normal(size=(3, 2, 3)).astype(np.float32), AFFINE))


def test_trials_of_more_voxels_give_those_of_the_training(voxels, rng):
    responses = rng.normal(size=(2, 12)).astype(np.float32)
    table = pd.DataFrame({"stimulus": list("ab"), "concept": "c", "split": "test", "subject": "01"})
    table = table.assign(session="01", run="01", repetition=0)
    info = {
        "modality": "fmri",
        "mask_shape": [3, 2, 2],
        "voxel_indices": list(range(12)),
        "affine": AFFINE.tolist(),
    }
    expected = voxels.embed(responses[:, [1, 4, 7, 11]])
    np.testing.assert_allclose(voxels.embed(Trials(responses, table, info)), expected, atol=1e-6)
    others = Trials(
        responses[:, :4], table, {**info, "voxel_indices": [0, 1, 2, 3]}
    )  # as many, but not these
    with pytest.raises(NeurodecError, match="hold other voxels than the decoder was trained on"):
        voxels.embed(others)


def test_a_rate_that_went_through_a_file_is_the_same_rate(decoder, responses, tmp_path):
    config = {**decoder.config, "sfreq": 199.8}
    odd = NeuralDecoder(
        LightningSystem.of(decoder.system.encoder, config), decoder.prior, decoder.decoder, config
    )
    epochs = mne.EpochsArray(responses, mne.create_info(CHANS, 199.8, "eeg"), verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    back = mne.read_epochs(tmp_path / "x-epo.fif", verbose="error")
    assert back.info["sfreq"] != 199.8
    np.testing.assert_allclose(odd.embed(back), odd.embed(responses), atol=1e-5)
    with pytest.raises(NeurodecError, match=r"has 199\.8\d* Hz, the decoder was trained at 100 Hz"):
        decoder.embed(back)


def test_averages_tensors_and_mixed_recordings(decoder, responses, rng):
    info = mne.create_info([*CHANS, "MEG1"], 100.0, ["eeg"] * 8 + ["mag"])
    data = np.concatenate([responses, rng.normal(size=(4, 1, 80))], axis=1)
    epochs = mne.EpochsArray(data, info, verbose="error")
    np.testing.assert_allclose(decoder.embed(epochs), decoder.embed(responses), atol=1e-5)
    average = epochs.average()
    expected = decoder.embed(responses.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(decoder.embed(average), expected, atol=1e-4)
    np.testing.assert_array_equal(decoder.embed(torch.from_numpy(responses)), decoder.embed(responses))
    epochs.info["bads"] = ["Oz"]
    with pytest.raises(NeurodecError, match=r"Oz are marked as bad.*interpolate"):
        decoder.embed(epochs)
    with pytest.raises(NeurodecError, match=r"Oz are not in the recording.*rename_channels"):
        decoder.embed(epochs.rename_channels({"Oz": "OZ"}))
    with pytest.raises(NeurodecError, match="str cannot be decoded here"):
        decoder.embed("epochs.fif")


def test_what_does_not_fit_is_told(decoder, responses):
    with pytest.raises(NeurodecError, match=r"\(n, 7, 80\).*\(n, 8, 80\)"):
        decoder.embed(responses[:, :7])
    with pytest.raises(NeurodecError, match=r"1 response.*number 2.*NaN"):
        decoder.embed(np.where(np.arange(4)[:, None, None] == 2, np.nan, responses))
    epochs = mne.EpochsArray(responses, mne.create_info(CHANS, 200.0, "eeg"), verbose="error")
    with pytest.raises(NeurodecError, match=r"resample\(100\)"):
        decoder.embed(epochs)
    foreign = LinearPrior().fit(np.eye(12, 16), np.eye(12, 128), embedding_space="elsewhere")
    with pytest.raises(NeurodecError, match=r"elsewhere.*neurodec/tiny-clip"):
        NeuralDecoder(decoder.system, foreign, decoder.decoder, decoder.config)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("pipeline.json", {"decoder": {"class_path": "os.Strange"}}, "--allow os"),
        ("pipeline.json", {"decoder": {"class_path": "torch.load"}}, "torch.load is not a class"),
        ("system/config.json", {"encoder": {"class_path": "os.Strange"}}, "--allow os"),
        ("prior/config.json", {"class_path": "os.Strange"}, "os.Strange"),
    ],
)
def test_a_foreign_folder_names_only_allowed_classes(decoder, tmp_path, file, change, expected):
    decoder.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NeurodecError, match=expected):
        NeuralDecoder.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    "content", [[1], {}, {"decoder": {"class_path": "neurodec.decoders.GuidedDiffusion"}}, 3]
)
def test_a_folder_whose_description_is_none(decoder, tmp_path, content):
    decoder.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved/pipeline.json").write_text(json.dumps(content))
    with pytest.raises(NeurodecError, match=r"pipeline.json does not name a decoder"):
        NeuralDecoder.from_pretrained(tmp_path / "saved")


def test_an_encoder_with_its_facts_is_taken(decoder, responses):
    made = NeuralDecoder(decoder.system.encoder, decoder.prior, decoder.decoder, decoder.config)
    np.testing.assert_allclose(made.embed(responses, "01"), decoder.embed(responses, "01"))


def test_an_encoder_alone_is_no_system():
    with pytest.raises(
        NeurodecError, match=r"not of a Linear; wrap an encoder by  neurodec.systems.LightningSystem.of"
    ):
        NeuralDecoder(torch.nn.Linear(6, 16), None, None, {"sampling": {}})
