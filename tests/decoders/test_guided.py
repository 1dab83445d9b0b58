"""GuidedDiffusion over every kind of checkpoint that a user may have."""

import numpy as np
import pytest
import torch
from decoders.drawing import embeddings, noise_pictures, pixels, seeded

from neurodec import NeurodecError
from neurodec.decoders import Captioner, GuidedDiffusion
from neurodec.decoders.loading import place
from neurodec.neural_decoder import build_decoder

SDXL = {"adapter_subfolder": "sdxl_models", "adapter_weights": "ip-adapter_sdxl_vit-h.safetensors"}
PLUS = {"adapter_subfolder": "sdxl_models", "adapter_weights": "ip-adapter-plus_sdxl_vit-h.safetensors"}
SD15 = {"adapter_subfolder": "models", "adapter_weights": "ip-adapter_sd15.safetensors"}
WIDTH, TOKENS = 20, (17, 32)
VIT_H = "open_clip/ViT-H-14/laion2b_s32b_b79k"


@pytest.fixture(scope="session")
def decoders(sdxl, textless, sd15, adapters):
    """One decoder per kind of checkpoint, by name."""
    folder = str(adapters)
    return {
        "sdxl": GuidedDiffusion(str(sdxl), folder, **SDXL, device="cpu"),
        "textless": GuidedDiffusion(str(textless), folder, **SDXL, device="cpu"),
        "sd15": GuidedDiffusion(str(sd15), folder, **SD15, device="cpu"),
        "plus": GuidedDiffusion(str(sdxl), folder, **PLUS, device="cpu"),
    }


KINDS = ("sdxl", "textless", "sd15", "plus")


def rows(kind, n, seed=0):
    return embeddings(n, *(TOKENS if kind == "plus" else (WIDTH,)), seed=seed)


@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_its_row_only(decoders, kind, guidance, monkeypatch):
    """The same whatever the batch size and the order; another batch size rounds other sums: 1 of 255."""
    decoder, z = decoders[kind], rows(kind, 5)
    settings = {"n_steps": 3, "guidance": guidance}
    together = pixels(decoder.draw(z, generator=seeded(range(5)), **settings))
    monkeypatch.setattr(decoder, "batch_size", 2)
    turned = decoder.draw(z.flip(0), generator=seeded(range(4, -1, -1)), **settings)[::-1]
    monkeypatch.setattr(decoder, "batch_size", 1)
    alone = decoder.draw(z, generator=seeded(range(5)), **settings)
    assert np.abs(together - pixels(turned)).max() <= 1
    assert np.abs(together - pixels(alone)).max() <= 1
    assert len(np.unique(together.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_depends_on_its_embedding_and_seed(decoders, kind):
    decoder, z = decoders[kind], torch.cat([rows(kind, 1)] * 3)
    z[1] = rows(kind, 1, seed=9)[0]
    same, other_embedding, other_seed = pixels(
        decoder.draw(z, generator=seeded([0, 0, 1]), n_steps=3, guidance=0.0)
    )
    assert np.abs(same - other_embedding).mean() > 1
    assert np.abs(same - other_seed).mean() > 1


@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.parametrize("kind", ["sdxl", "textless", "sd15"])
def test_one_row_is_the_stock_pipeline(decoders, kind, guidance, sdxl, textless, sd15, adapters):
    """diffusers' own call, by the book, gives the same pixels."""
    from diffusers import AutoPipelineForText2Image

    folder = {"sdxl": sdxl, "textless": textless, "sd15": sd15}[kind]
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    options = unused if kind == "sd15" else {}
    stock = AutoPipelineForText2Image.from_pretrained(folder, **options)
    where = SD15 if kind == "sd15" else SDXL
    stock.load_ip_adapter(
        str(adapters),
        subfolder=where["adapter_subfolder"],
        weight_name=where["adapter_weights"],
        image_encoder_folder=None,
    )
    stock.set_progress_bar_config(disable=True)
    z = rows(kind, 1)
    guide = torch.cat([torch.zeros(1, 1, WIDTH), z[:, None]]) if guidance > 1 else z[:, None]
    text = {"prompt": ["a small dog"]}
    if kind == "textless":
        text = {
            f"{sign}{name}": torch.zeros(shape)
            for name, shape in (("prompt_embeds", (1, 1, 48)), ("pooled_prompt_embeds", (1, 24)))
            for sign in ("", "negative_")
        }
    expected = stock(
        **text,
        ip_adapter_image_embeds=[guide],
        generator=seeded([5]),
        num_inference_steps=3,
        guidance_scale=guidance,
    ).images
    captions = None if kind == "textless" else ["a small dog"]
    found = decoders[kind].draw(z, captions=captions, generator=seeded([5]), n_steps=3, guidance=guidance)
    assert np.array_equal(pixels(found), pixels(expected))


@pytest.mark.parametrize("kind", ["sdxl", "sd15"])
def test_captions_reach_their_row(decoders, kind):
    z, settings = rows(kind, 2), {"n_steps": 3, "guidance": 0.0}
    plain = pixels(decoders[kind].draw(z, generator=seeded([0, 1]), **settings))
    empty = pixels(decoders[kind].draw(z, captions=["", ""], generator=seeded([0, 1]), **settings))
    said = pixels(decoders[kind].draw(z, captions=["", "a red fish"], generator=seeded([0, 1]), **settings))
    assert np.array_equal(plain, empty)
    assert np.abs(said - plain)[0].max() <= 1
    assert np.abs(said - plain)[1].max() > 1


def test_a_captioner_writes_the_captions_that_nobody_gives(sdxl, adapters, git, projector, decoders):
    """As a recipe names it, below the decoder's arguments."""
    captioner = {
        "class_path": "neurodec.decoders.Captioner",
        "init_args": {"projector": str(projector), "model": str(git), "device": "cpu"},
    }
    arguments = {"pipeline": str(sdxl), "adapter": str(adapters), **SDXL, "device": "cpu"}
    section = {"class_path": "neurodec.decoders.GuidedDiffusion"}
    section |= {"init_args": {**arguments, "captioner": captioner}}
    z, settings = rows("sdxl", 2), {"n_steps": 3, "guidance": 0.0}
    found = build_decoder(section).decode({"image": z}, generator=seeded([0, 1]), **settings)
    said = Captioner(str(projector), str(git), device="cpu").caption(z)
    expected = decoders["sdxl"].draw(z, captions=said, generator=seeded([0, 1]), **settings)
    assert np.array_equal(pixels(found), pixels(expected))
    plain = decoders["sdxl"].draw(z, generator=seeded([0, 1]), **settings)
    assert not np.array_equal(pixels(found), pixels(plain))


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_picture_is_kept_the_more_the_lower_the_strength(decoders, kind):
    decoder, z, start = decoders[kind], rows(kind, 3), noise_pictures(3)
    ceiling = pixels(decoder.autoencode(start))
    away = [
        np.abs(
            pixels(
                decoder.draw(
                    z,
                    init_images=start,
                    strength=strength,
                    generator=seeded(range(3)),
                    n_steps=20,
                    guidance=0.0,
                )
            )
            - ceiling
        ).mean()
        for strength in (0.05, 0.5, 1.0)
    ]
    assert away[0] < away[1] < away[2]


def test_start_pictures_are_resized_and_stay_with_their_row(decoders, monkeypatch):
    decoder, z, start = decoders["textless"], rows("textless", 3), noise_pictures(3, size=24)
    settings = {"strength": 0.5, "n_steps": 4, "guidance": 2.0}
    together = decoder.draw(z, init_images=start, generator=seeded(range(3)), **settings)
    monkeypatch.setattr(decoder, "batch_size", 2)
    turned = decoder.draw(z.flip(0), init_images=start[::-1], generator=seeded([2, 1, 0]), **settings)
    assert {picture.size for picture in together} == {(16, 16)}
    assert np.abs(pixels(together) - pixels(turned[::-1])).max() <= 1


def test_guidance_up_to_one_makes_one_pass(decoders):
    decoder, passes = decoders["sdxl"], []
    handle = decoder._pipeline.unet.register_forward_hook(
        lambda _m, inputs, _o: passes.append(len(inputs[0]))
    )
    for guidance in (0.0, 1.0, 1.5):
        decoder.draw(rows("sdxl", 3), generator=seeded(range(3)), n_steps=1, guidance=guidance)
    handle.remove()
    assert passes == [3, 3, 6]


def test_guidance_with_tokens_leads_away_from_the_empty_picture(decoders, adapters):
    """The tokens of mean pixels, as in the adapter's training, not zeros."""
    from transformers import CLIPVisionModelWithProjection

    encoder = CLIPVisionModelWithProjection.from_pretrained(adapters / "models" / "image_encoder").eval()
    with torch.no_grad():
        wanted = encoder(torch.zeros(1, 3, 16, 16), output_hidden_states=True).hidden_states[-2]
    seen = []
    unet = decoders["plus"]._pipeline.unet
    handle = unet.encoder_hid_proj.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0][0]))
    z = rows("plus", 2)
    decoders["plus"].draw(z, generator=seeded(range(2)), n_steps=1, guidance=2.0)
    handle.remove()
    assert torch.equal(seen[0], torch.cat([wanted, wanted, z])[:, None])
    with pytest.raises(NeurodecError, match=r"have 9 tokens, the image encoder .* makes 17"):
        decoders["plus"].draw(z[:, :9], generator=seeded(range(2)), n_steps=1, guidance=2.0)


def test_adapter_scale_zero_is_text_alone(sdxl, adapters):
    decoder = GuidedDiffusion(str(sdxl), str(adapters), **SDXL, device="cpu", adapter_scale=0.0)
    first, second = (
        decoder.draw(rows("sdxl", 1, seed), generator=seeded([0]), n_steps=2, guidance=0.0) for seed in (0, 1)
    )
    assert np.array_equal(pixels(first), pixels(second))


def test_facts_follow_from_the_files(decoders):
    assert decoders["sdxl"].embedding_space == decoders["sd15"].embedding_space == VIT_H
    assert decoders["plus"].embedding_space == f"{VIT_H}/penultimate-tokens"
    assert (decoders["sdxl"].width, decoders["plus"].width) == (20, 32)
    assert {decoder.size for decoder in decoders.values()} == {16}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_the_same_pictures(sdxl, adapters, decoders, dtype):
    """Rounded, not black: SDXL's autoencoder overflows in float16 unless it is run in float32."""
    z, start, settings = rows("sdxl", 2), noise_pictures(2), {"n_steps": 2, "guidance": 2.0}
    half = GuidedDiffusion(str(sdxl), str(adapters), **SDXL, device="cpu", dtype=dtype)
    for init in (None, start):
        rounded, exact = (
            pixels(each.draw(z, init_images=init, generator=seeded([0, 1]), **settings))
            for each in (half, decoders["sdxl"])
        )
        assert np.abs(rounded - exact).mean() < 3
    rounded, exact = (pixels(each.autoencode(start)) for each in (half, decoders["sdxl"]))
    assert np.abs(rounded - exact).mean() < 3
    assert half._pipeline.vae.dtype == half._pipeline.unet.dtype == getattr(torch, dtype)


def test_whole_networks_come_and_go(sdxl, adapters, decoders):
    """Model offload, rehearsed on the CPU: the same pictures from both forms of the pipeline, in turn."""
    offloaded = GuidedDiffusion(str(sdxl), str(adapters), **SDXL, device="cpu")
    place(offloaded._pipeline, torch.device("cpu"), "model")
    z, settings = rows("sdxl", 2), {"n_steps": 2, "guidance": 2.0}
    for init in (None, noise_pictures(2), None):
        found, expected = (
            pixels(each.draw(z, init_images=init, generator=seeded([0, 1]), **settings))
            for each in (offloaded, decoders["sdxl"])
        )
        assert np.array_equal(found, expected)


def test_drawing_is_silent(decoders, capfd, caplog):
    """No bars of diffusers, no remark about a long prompt."""
    decoders["sdxl"].draw(
        rows("sdxl", 1), captions=["a fish " * 40], generator=seeded([0]), n_steps=1, guidance=0.0
    )
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
