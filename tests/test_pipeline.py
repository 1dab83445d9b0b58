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
    return NeuralDecoder(encoder, prior, GuidedDiffusion(), config)


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
    fmri = NeuralDecoder(voxels, decoder.prior, decoder.decoder, config)
    flat = volumes.reshape(12, 5)[[1, 4, 7, 11]].T
    np.testing.assert_allclose(
        fmri.embed(nibabel.Nifti1Image(volumes, np.eye(4))), fmri.embed(flat), atol=1e-6
    )
    with pytest.raises(NeurodecError, match=r"\(2, 2, 2\) voxels"):
        fmri.embed(nibabel.Nifti1Image(volumes[:2], np.eye(4)))


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
        NeuralDecoder(decoder.encoder, foreign, decoder.decoder, decoder.config)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("pipeline.json", {"decoder": {"class_path": "os.Strange"}}, "--allow os"),
        ("pipeline.json", {"decoder": {"class_path": "torch.load"}}, "no class with a `decode`"),
        ("encoder/config.json", {"encoder": {"class_path": "os.Strange"}}, "--allow os"),
        ("prior/config.json", {"class_path": "os.Strange"}, "os.Strange"),
    ],
)
def test_a_foreign_folder_names_only_allowed_classes(decoder, tmp_path, file, change, expected):
    decoder.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NeurodecError, match=expected):
        NeuralDecoder.from_pretrained(tmp_path / "saved")
