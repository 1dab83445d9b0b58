"""Kandinsky 2.2, text-free: embedding to picture."""

import numpy as np
import pytest
import torch
from decoders.drawing import embeddings, noise_pictures, pixels, seeded
from diffusers import KandinskyV22Pipeline
from transformers import CLIPVisionModelWithProjection

from neurodec import NeurodecError
from neurodec.decoders import Kandinsky, images_to_latents

WIDTH = 20


@pytest.fixture(scope="session")
def decoder(kandinsky, kandinsky_prior):
    return Kandinsky(str(kandinsky), str(kandinsky_prior), device="cpu", batch_size=4)


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_one_row_is_the_stock_pipeline(decoder, kandinsky, kandinsky_prior, guidance):
    stock = KandinskyV22Pipeline.from_pretrained(kandinsky)
    stock.set_progress_bar_config(disable=True)
    encoder = CLIPVisionModelWithProjection.from_pretrained(kandinsky_prior / "image_encoder").eval()
    with torch.no_grad():  # what KandinskyV22PriorPipeline.get_zero_embed computes
        empty = encoder(torch.zeros(1, 3, 16, 16)).image_embeds
    expected = stock(
        image_embeds=embeddings(1, WIDTH),
        negative_image_embeds=empty,
        height=16,
        width=16,
        generator=seeded([3]),
        num_inference_steps=3,
        guidance_scale=guidance,
    ).images
    found = decoder.draw(embeddings(1, WIDTH), generator=seeded([3]), n_steps=3, guidance=guidance)
    assert np.array_equal(pixels(found), pixels(expected))
    assert pixels(found).shape == (1, 16, 16, 3)


@pytest.mark.parametrize("start", [False, True])
def test_a_picture_depends_on_its_row_only(decoder, start, monkeypatch):
    z, settings = embeddings(5, WIDTH), {"n_steps": 4, "guidance": 3.0}
    init = noise_pictures(5) if start else None
    together = pixels(decoder.draw(z, init_images=init, generator=seeded(range(5)), **settings))
    monkeypatch.setattr(decoder, "batch_size", 3)
    turned = decoder.draw(
        z.flip(0), init_images=init and init[::-1], generator=seeded(range(4, -1, -1)), **settings
    )
    assert np.abs(together - pixels(turned[::-1])).max() <= 1
    assert len(np.unique(together.reshape(5, -1), axis=0)) == 5


def test_a_start_picture_is_kept_at_low_strength(decoder):
    start = noise_pictures(1)
    ceiling = pixels(decoder.autoencode(start))
    away = [
        np.abs(
            pixels(
                decoder.draw(
                    embeddings(1, WIDTH),
                    init_images=start,
                    strength=strength,
                    generator=seeded([0]),
                    n_steps=20,
                    guidance=0.0,
                )
            )
            - ceiling
        ).mean()
        for strength in (0.05, 1.0)
    ]
    assert away[0] < away[1]


def test_latents_are_not_quantised(decoder):
    """The pipeline decodes continuous latents; so do we."""
    movq = decoder._pipeline.movq
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        signed = movq.decode(latents, force_not_quantize=True).sample
    expected = ((signed / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).int().numpy()
    assert np.array_equal(pixels(decoder.latents_to_images(latents)), expected)
    pictures = decoder.latents_to_images(latents)
    with torch.no_grad():
        wanted = movq.encode(torch.from_numpy(pixels(pictures)).permute(0, 3, 1, 2) / 127.5 - 1).latents
    torch.testing.assert_close(images_to_latents(movq, pictures, torch.device("cpu")), wanted)


def test_half_precision_draws_the_same_pictures(decoder, kandinsky):
    half = Kandinsky(str(kandinsky), device="cpu", dtype="bfloat16")
    for init in (None, noise_pictures(2)):
        rounded, exact = (
            pixels(
                each.draw(
                    embeddings(2, WIDTH), init_images=init, generator=seeded([0, 1]), n_steps=2, guidance=0.0
                )
            )
            for each in (half, decoder)
        )
        assert np.abs(rounded - exact).mean() < 5


def test_guidance_without_the_image_encoder_is_a_sentence(kandinsky, tmp_path):
    decoder = Kandinsky(str(kandinsky), str(tmp_path), device="cpu")
    z, settings = embeddings(1, WIDTH), {"generator": seeded([0]), "n_steps": 1}
    assert len(decoder.draw(z, guidance=1.0, **settings)) == 1
    with pytest.raises(NeurodecError, match=r"The image encoder of .* is missing"):
        decoder.draw(z, guidance=2.0, **settings)


def test_bad_input_is_one_sentence(decoder, sdxl):
    settings = {"n_steps": 1, "guidance": 0.0}
    with pytest.raises(NeurodecError, match="cannot use captions"):
        decoder.draw(embeddings(1, WIDTH), captions=["a dog"], generator=seeded([0]), **settings)
    with pytest.raises(NeurodecError, match=r"\(B, 20\) of open_clip/ViT-bigG-14/laion2b_s39b_b160k"):
        decoder.draw(torch.ones(1, 16), generator=seeded([0]), **settings)
    with pytest.raises(NeurodecError, match="2 embeddings but 1 generators"):
        decoder.draw(embeddings(2, WIDTH), generator=seeded([0]), **settings)
    with pytest.raises(NeurodecError, match="holds a StableDiffusionXLPipeline, which is none of Kandinsky"):
        Kandinsky(str(sdxl))
