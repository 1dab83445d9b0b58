"""Low-level latents and pictures."""

import numpy as np
import pytest
import torch
from decoders.drawing import embeddings, pixels, seeded
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor

from neurodec import NeurodecError
from neurodec.decoders import GuidedDiffusion, images_to_latents, latents_to_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae(sdxl):
    return AutoencoderKL.from_pretrained(sdxl, subfolder="vae").eval()


def latents(n, seed=0):
    return 3 * embeddings(n, 4, 8, 8, seed=seed)


def test_latents_are_decoded_unscaled_and_rounded_as_diffusers_does(vae):
    with torch.no_grad():
        decoded = vae.decode(latents(3)).sample
    expected = VaeImageProcessor().postprocess(decoded, "pil")
    found = latents_to_images(vae, latents(3), CPU, batch_size=2)
    assert np.abs(pixels(found) - pixels(expected)).max() <= 1


def test_pictures_become_mode_latents_unscaled(vae):
    pictures = latents_to_images(vae, latents(3), CPU)
    signed = VaeImageProcessor(do_resize=False).preprocess(pictures)
    with torch.no_grad():
        expected = vae.encode(signed).latent_dist.mode()
    found = images_to_latents(vae, pictures, CPU, batch_size=2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape == (3, 4, 8, 8)


def test_a_low_level_start_is_the_published_chain_up_to_its_noise(sdxl, adapters, vae, monkeypatch):
    """Latents to picture, picture to latents (drawn from the posterior), times the scaling factor, plus noise."""
    decoder = GuidedDiffusion(
        str(sdxl), str(adapters), "sdxl_models", "ip-adapter_sdxl_vit-h.safetensors", device="cpu"
    )
    start = decoder.latents_to_images(latents(2))
    assert [picture.tobytes() for picture in start] == [
        picture.tobytes() for picture in latents_to_images(vae, latents(2), CPU)
    ]
    scheduler, scaled = decoder._from_pictures.scheduler, []
    original = scheduler.add_noise

    def watched(z, noise, steps):
        scaled.append(z)
        return original(z, noise, steps)

    monkeypatch.setattr(scheduler, "add_noise", watched)
    decoder.draw(torch.zeros(2, 20), init_images=start, generator=seeded(range(2)), n_steps=2, guidance=0.0)
    with torch.no_grad():
        posterior = vae.encode(VaeImageProcessor(do_resize=False).preprocess(start)).latent_dist
    factor = vae.config.scaling_factor
    torch.testing.assert_close(images_to_latents(vae, start, CPU), posterior.mean, atol=1e-5, rtol=1e-5)
    assert ((scaled[0] - factor * posterior.mean).abs() <= 5 * factor * posterior.std).all()


def test_bad_latents_are_one_sentence(vae):
    with pytest.raises(NeurodecError, match=r"\(2, 3, 8, 8\), the autoencoder reads \(B, 4, h, w\)"):
        latents_to_images(vae, torch.zeros(2, 3, 8, 8), CPU)
    with pytest.raises(NeurodecError, match=r"\(0, 4, 8, 8\)"):
        latents_to_images(vae, torch.zeros(0, 4, 8, 8), CPU)
    broken = latents(3)
    broken[2, 0, 0, 0] = float("nan")
    with pytest.raises(NeurodecError, match=r"1 latent\(s\), first row 2, hold NaN"):
        latents_to_images(vae, broken, CPU)
