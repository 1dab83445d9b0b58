"""The embedded decoder: its card's scores hold, and the packaged commands make such a folder."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from neurodec.decoders import GuidedDiffusion
from neurodec.embedded import tiny_autoencoder, tiny_unet
from neurodec.features.weights import ASSETS
from neurodec.simulate.scenes import all_scenes

FOLDER = ASSETS / "tiny-decoder"


@pytest.mark.quality
def test_packaged_scores_hold():
    """Fewer scenes than on the card: the bounds leave room for that, not for a broken decoder."""
    scores = tiny_unet.held_out_scores(FOLDER, n_scenes=32)
    stored = json.loads((FOLDER / "scores.json").read_text())
    assert scores["pixcorr"] == pytest.approx(stored["pixcorr"], abs=0.05)
    assert scores["two_way"] > 0.97  # chance 0.5
    assert scores["autoencoder"] == pytest.approx(stored["autoencoder"], abs=0.03)


def test_packaged_folder_is_small_and_documented():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 40e6
    card = (FOLDER / "README.md").read_text()
    assert "neurodec.embedded.tiny_unet tiny-decoder vae --seed" in card
    assert str(json.loads((FOLDER / "scores.json").read_text())["pixcorr"]) in card


def test_commands_write_a_folder_that_users_load(tmp_path, monkeypatch):
    few = all_scenes(False)[::600]
    for module in (tiny_autoencoder, tiny_unet):
        monkeypatch.setattr(module, "all_scenes", lambda reserved: few)
        monkeypatch.setattr(module, "BATCH_SIZE", 4)
    short = {module: module.held_out_scores for module in (tiny_autoencoder, tiny_unet)}
    for module, scores in short.items():
        monkeypatch.setattr(module, "held_out_scores", lambda made, n=4, scores=scores: scores(made, n))
    monkeypatch.setattr(tiny_autoencoder, "WIDTHS", (32, 32, 32, 32))
    tiny_autoencoder.train_tiny_autoencoder(tmp_path / "vae", n_steps=2)
    for name in ("a", "b"):
        made = tiny_unet.train_tiny_decoder(tmp_path / name, tmp_path / "vae", n_steps=2)
    assert made["n_steps"] == 2
    assert str(tmp_path) not in (tmp_path / "a" / "vae" / "config.json").read_text()
    adapters = [load_file(tmp_path / name / "ip_adapter" / "ip-adapter.safetensors") for name in ("a", "b")]
    assert all(torch.equal(adapters[0][key], adapters[1][key]) for key in adapters[0])
    decoder = GuidedDiffusion(str(tmp_path / "a"), str(tmp_path / "a"), embedding_space="neurodec/tiny-clip")
    pictures = decoder.draw(
        torch.randn(2, 128), generator=[torch.Generator(), torch.Generator()], n_steps=2, guidance=1.5
    )
    assert [np.asarray(picture).shape for picture in pictures] == [(64, 64, 3)] * 2


def test_training_lowers_the_loss(monkeypatch):
    monkeypatch.setattr(tiny_autoencoder, "WIDTHS", (32, 32, 32, 32))
    pixels = tiny_autoencoder.scene_pixels(all_scenes(False)[::1500])
    torch.manual_seed(0)
    model = tiny_autoencoder.new_autoencoder()

    def error():
        with torch.no_grad():
            pictures = tiny_autoencoder.signed(pixels)
            decoded = model.decode(model.encode(pictures).latent_dist.mode()).sample
            return float((decoded - pictures).square().mean())

    before = error()
    tiny_autoencoder._optimise(model, pixels, 12, torch.Generator().manual_seed(0))
    assert error() < 0.8 * before
