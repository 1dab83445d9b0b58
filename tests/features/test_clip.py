"""Frozen targets: equal to open_clip's own, traceable, and found again in the cache."""

import contextlib
import hashlib

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

from neurodec import NeurodecError
from neurodec.features import AutoencoderLatents, Features, OpenClip, image_layers, load_clip
from neurodec.features.weights import ASSETS
from neurodec.simulate.scenes import caption, concept, draw_scenes, render

FOLDER = f"local-dir:{ASSETS / 'tiny-clip'}"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stimuli(tmp_path):
    scenes = draw_scenes(16, 1, 6, 0, seed=0)[1]
    for scene in scenes:
        render(scene, 80).save(tmp_path / f"{concept(scene)}.png")
    names = [concept(scene) for scene in scenes]
    captions = [caption(scene) for scene in scenes]
    return pd.DataFrame({"stimulus": names, "image": [f"{n}.png" for n in names], "caption": captions})


def stock_features(stimuli, root):
    """The same features in plain open_clip, picture by picture."""
    model, transform = open_clip.create_model_from_pretrained(FOLDER)
    with torch.no_grad():
        rows = [model.eval().encode_image(transform(Image.open(root / i))[None])[0] for i in stimuli["image"]]
    return torch.stack(rows)


@pytest.mark.parametrize("normalize", [True, False])
def test_image_features_equal_open_clip(stimuli, tmp_path, normalize):
    expected = stock_features(stimuli, tmp_path)
    if normalize:
        expected = expected / expected.norm(dim=-1, keepdim=True)
    features = OpenClip(normalize=normalize, batch_size=4, device="cpu").extract(stimuli, tmp_path)
    assert features.stimuli == stimuli["stimulus"].tolist()
    np.testing.assert_allclose(features.values, expected, atol=1e-5)


def test_text_features_equal_open_clip(stimuli):
    model = open_clip.create_model_from_pretrained(FOLDER, return_transform=False).eval()
    with torch.no_grad():
        expected = model.encode_text(
            open_clip.get_tokenizer(FOLDER)(stimuli["caption"].tolist()), normalize=True
        )
    features = OpenClip(of="caption", device="cpu").extract(stimuli, ".")
    np.testing.assert_allclose(features.values, expected, atol=1e-5)
    assert features.stimuli == stimuli["stimulus"].tolist()


def test_layers_are_averaged_maps(stimuli, tmp_path):
    network, transform = load_clip("neurodec/scene-driver")  # a vision transformer
    pictures = torch.stack([transform(Image.open(tmp_path / image)) for image in stimuli["image"]])
    maps = image_layers(network, pictures, [1, 3])
    assert [m.shape for m in maps] == [(6, 128, 8, 8)] * 2
    expected = torch.cat([m.mean((2, 3)) for m in maps], dim=1)
    features = OpenClip(model="neurodec/scene-driver", layer=[1, 3], normalize=False, device="cpu")
    features = features.extract(stimuli, tmp_path)
    np.testing.assert_allclose(features.values, expected, atol=1e-5)
    # The last block is what the network pools: its class token, normalised and projected, is the embedding.
    hooked = {}
    network.visual.transformer.resblocks[1].register_forward_hook(lambda m, i, o: hooked.update(block=o))
    network.encode_image(pictures)
    torch.testing.assert_close(hooked["block"][:, 1:].transpose(1, 2).reshape(6, 128, 8, 8), maps[0])


def test_patches_are_those_that_open_clip_hands_out(stimuli, tmp_path):
    network, transform = load_clip("neurodec/scene-driver")
    pictures = torch.stack([transform(Image.open(tmp_path / image)) for image in stimuli["image"]])
    network.visual.output_tokens = True
    with torch.no_grad():
        _, expected = network.visual(pictures)
    network.visual.output_tokens = False
    settings = {"model": "neurodec/scene-driver", "layer": "patches", "device": "cpu"}
    features = OpenClip(**settings, normalize=False).extract(stimuli, tmp_path)
    np.testing.assert_allclose(features.values, expected, atol=1e-5)
    assert features.embedding_space == "neurodec/scene-driver/patches"
    assert features.values.shape[1:] == (64, 128)
    scaled = OpenClip(**settings).extract(stimuli, tmp_path)
    np.testing.assert_allclose(np.square(scaled.values).sum(axis=(1, 2)), 1, rtol=1e-4)
    with pytest.raises(NeurodecError, match="tokens of this network are not known"):
        OpenClip(layer="patches", device="cpu").extract(stimuli, tmp_path)  # a ResNet
    with pytest.raises(NeurodecError, match="Captions have neither"):
        OpenClip(of="caption", layer="patches")


def test_missing_layer_is_refused(stimuli, tmp_path):
    with pytest.raises(NeurodecError, match=r"no layers \[9\]"):
        OpenClip(layer=[9], device="cpu").extract(stimuli, tmp_path)


def test_rows_can_be_traced_to_their_files(stimuli, tmp_path):
    info = OpenClip(device="cpu").extract(stimuli, tmp_path).info
    hashes = [hashlib.sha256((tmp_path / image).read_bytes()).hexdigest() for image in stimuli["image"]]
    assert info["contents"] == hashes
    assert info["embedding_space"] == "neurodec/tiny-clip/unit"
    assert "Normalize" in info["transform"]
    assert " at 0x" not in info["transform"]


def test_key_changes_with_content_and_settings_only(stimuli, tmp_path):
    def key(**settings):
        return OpenClip(device="cpu", **settings).extract(stimuli, tmp_path).info["key"]

    first = key()
    assert first == key(batch_size=2)
    assert len({first, key(normalize=False), key(layer=[0]), key(model="neurodec/scene-driver")}) == 4
    render(draw_scenes(16, 1, 7, 0, seed=0)[1][6]).save(tmp_path / stimuli["image"][0])
    assert key() != first


def test_second_call_reads_the_cache(stimuli, tmp_path, monkeypatch):
    first = OpenClip(device="cpu").extract(stimuli, tmp_path)
    monkeypatch.setattr(OpenClip, "_batches", lambda *_: pytest.fail("the pictures were read again"))
    second = OpenClip(device="cpu").extract(stimuli, tmp_path)
    np.testing.assert_array_equal(first.values, second.values)


def test_grey_palette_and_transparent_pictures_are_read(tmp_path):
    for mode in ("L", "RGBA", "CMYK", "1"):
        Image.new("RGB", (90, 70), (200, 30, 30)).convert(mode).save(tmp_path / f"{mode}.tiff")
    table = pd.DataFrame({"stimulus": list("abcd"), "image": ["L.tiff", "RGBA.tiff", "CMYK.tiff", "1.tiff"]})
    assert OpenClip(device="cpu").extract(table, tmp_path).values.shape == (4, 128)


def test_missing_and_damaged_pictures_are_named(stimuli, tmp_path):
    (tmp_path / stimuli["image"][2]).write_bytes((tmp_path / stimuli["image"][2]).read_bytes()[:200])
    with pytest.raises(NeurodecError, match=f"{stimuli['image'][2]} cannot be read"):
        OpenClip(device="cpu").extract(stimuli, tmp_path)
    (tmp_path / stimuli["image"][4]).unlink()
    with pytest.raises(NeurodecError, match=f"stimulus '{stimuli['stimulus'][4]}' does not exist"):
        OpenClip(device="cpu").extract(stimuli, tmp_path)


@pytest.mark.parametrize(
    ("settings", "space"),
    [
        (
            {"model": "ViT-H-14", "pretrained": "laion2b_s32b_b79k"},
            "open_clip/ViT-H-14/laion2b_s32b_b79k/unit",
        ),
        ({"model": "local-dir:/somewhere/my-clip", "normalize": False}, "open_clip/my-clip"),
        ({"layer": [2, 3]}, "neurodec/tiny-clip/layers-2-3/unit"),
        ({"of": "caption", "layer": "tokens"}, "neurodec/tiny-clip/captions/tokens/unit"),
        ({"views": ["blur", "mosaic"], "normalize": False}, "neurodec/tiny-clip/blur-mosaic"),
    ],
)
def test_embedding_space(settings, space):
    assert OpenClip(**settings).embedding_space == space


@pytest.mark.parametrize("model", ["neurodec/tiny-clip", "neurodec/scene-driver"])
def test_the_first_image_token_is_the_embedding(stimuli, tmp_path, model):
    """Of a ResNet, whose pooling is asked everywhere, and of a vision transformer."""
    tokens = OpenClip(model=model, layer="tokens", device="cpu").extract(stimuli, tmp_path)
    final = OpenClip(model=model, device="cpu").extract(stimuli, tmp_path)
    assert tokens.values.ndim == 3
    np.testing.assert_allclose(tokens.values[:, 0], final.values, atol=1e-5)
    assert tokens.values[:, 1:].std() > 0


def test_caption_tokens_begin_with_the_embedding_and_hold_it_at_the_end_token(stimuli, tmp_path):
    raw = {"of": "caption", "normalize": False, "device": "cpu"}
    tokens = OpenClip(layer="tokens", **raw).extract(stimuli, tmp_path).values
    final = OpenClip(**raw).extract(stimuli, tmp_path).values
    np.testing.assert_allclose(tokens[:, 0], final, atol=1e-5)
    assert tokens.shape[1] == 1 + 16
    distances = np.abs(tokens[:, 1:] - final[:, None]).max(axis=2)
    assert (distances.min(axis=1) < 1e-5).all()


def test_views_are_degraded_and_averaged(stimuli, tmp_path):
    views = ["blur", "noise", "low_resolution", "mosaic"]
    raw = {"normalize": False, "device": "cpu"}
    single = [OpenClip(views=[view], **raw).extract(stimuli, tmp_path).values for view in views]
    fused = OpenClip(views=views, **raw).extract(stimuli, tmp_path).values
    np.testing.assert_allclose(fused, np.mean(single, axis=0), atol=1e-5)
    clean = OpenClip(**raw).extract(stimuli, tmp_path).values
    assert np.abs(fused - clean).max() > 0.01
    with pytest.raises(NeurodecError, match="no view fog"):
        OpenClip(views=["fog"])


def test_an_empty_caption_is_refused(stimuli):
    stimuli.loc[3, "caption"] = " "
    with pytest.raises(NeurodecError, match="1 of 6 stimuli have no caption"):
        OpenClip(of="caption", device="cpu").extract(stimuli, ".")


def test_half_precision_is_kept_and_written(stimuli, tmp_path):
    found = OpenClip(half=True, device="cpu").extract(stimuli, tmp_path)
    found.save(tmp_path / "out")
    loaded = Features.load(tmp_path / "out")
    assert loaded.values.dtype == np.float16
    np.testing.assert_array_equal(loaded.values, found.values)
    np.testing.assert_allclose(
        found.values, OpenClip(device="cpu").extract(stimuli, tmp_path).values, atol=1e-3
    )


def test_latents_are_those_of_the_autoencoder(stimuli, tmp_path):
    from diffusers import AutoencoderKL

    found = AutoencoderLatents(device="cpu", batch_size=4).extract(stimuli, tmp_path)
    vae = AutoencoderKL.from_pretrained(ASSETS / "tiny-decoder", subfolder="vae").eval()
    pictures = [
        Image.open(tmp_path / image).resize((64, 64), Image.Resampling.LANCZOS) for image in stimuli["image"]
    ]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist.mode()
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert found.embedding_space == "neurodec/tiny-decoder/vae"
    with pytest.raises(NeurodecError, match="huggingface-cli download some/where"):
        AutoencoderLatents("some/where").extract(stimuli, tmp_path)


def test_processes_read_what_threads_read(stimuli, tmp_path, monkeypatch):
    """As beside a GPU; a damaged picture is reported from there too."""
    plain = OpenClip(device="cpu").extract(stimuli, tmp_path).values
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(OpenClip, "_on_gpu", True)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    extractor = OpenClip(device="cpu", batch_size=4)
    np.testing.assert_allclose(extractor.extract(stimuli, tmp_path).values, plain, atol=1e-6)
    (tmp_path / stimuli["image"][2]).write_bytes(b"no picture")
    with pytest.raises(NeurodecError, match=f"{stimuli['image'][2]} cannot be read"):
        OpenClip(device="cpu", batch_size=4).extract(stimuli, tmp_path)
