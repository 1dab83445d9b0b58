"""The embedded CLIP: the packaged scores hold, and the packaged command makes such a folder."""

import json
import random
from functools import partial

import open_clip
import pytest
import torch

from neurodec.embedded import tiny_clip
from neurodec.features import load_clip, load_tokenizer
from neurodec.features.weights import ASSETS
from neurodec.simulate.scenes import SCENE_ATTRIBUTES, all_scenes, caption, draw_scenes, render, scene_pixels


@pytest.mark.quality
def test_packaged_scores_hold():
    """The model card's numbers, measured again on pictures and captions the network was not trained on."""
    network, _ = load_clip("neurodec/tiny-clip")
    scores = tiny_clip.held_out_scores(network, load_tokenizer("neurodec/tiny-clip"))
    stored = json.loads((ASSETS / "tiny-clip" / "scores.json").read_text())
    assert scores["caption_to_image"] >= 195
    assert scores["same_concept_nearest"] > 0.95
    # A decoder can read everything, place and size included; the kind is the hardest.
    assert scores["best_caption"]["kind"] > 0.95
    assert min(share for name, share in scores["best_caption"].items() if name != "kind") > 0.99
    for name in ("caption_to_image", "image_to_caption"):  # rounding differs a little between processors
        assert scores[name] == pytest.approx(stored[name], abs=2)
    assert scores["best_caption"] == pytest.approx(stored["best_caption"], abs=0.01)


@pytest.mark.parametrize("name", ["tiny-clip", "scene-driver"])
def test_packaged_folder_is_small_and_documented(name):
    folder = ASSETS / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6
    card = (folder / "README.md").read_text()
    assert f"neurodec.embedded.tiny_clip {name} --seed" in card
    assert f"{json.loads((folder / 'scores.json').read_text())['caption_to_image']} of 200" in card


def test_command_writes_a_folder_that_open_clip_loads(tmp_path, monkeypatch):
    few = tuple(random.Random(0).sample(all_scenes(False), 40))
    monkeypatch.setattr(tiny_clip, "all_scenes", lambda reserved: few)
    monkeypatch.setattr(tiny_clip, "BATCH_SIZE", 16)
    monkeypatch.setattr(tiny_clip, "VALUES_PER_BATCH", ({},))
    short = partial(tiny_clip.held_out_scores, n_concepts=10, n_variants=1)
    monkeypatch.setattr(tiny_clip, "held_out_scores", short)
    scores = [tiny_clip.train_tiny_clip(tmp_path / name, seed=0, n_steps=20) for name in ("a", "b")]
    assert scores[0] == scores[1]
    weights = [(tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'a'}")
    picture = transform(render(few[0]))
    expected = tiny_clip.normalised(scene_pixels([few[0]]))[0]
    torch.testing.assert_close(picture, expected)
    assert network.encode_image(picture[None]).shape == (1, 128)


def test_traces_of_resizing_and_decoding_are_forgiven():
    """Half of the pixels' detail gone, or tinted patches: the picture is still found among 200."""
    network, _ = load_clip("neurodec/tiny-clip")
    pixels = scene_pixels(draw_scenes(16, 1, 200, 0, seed=0)[1])
    worn = tiny_clip._worn(tiny_clip.normalised(pixels), torch.Generator().manual_seed(0))
    with torch.no_grad():
        true = network.encode_image(tiny_clip.normalised(pixels), normalize=True)
        found = (network.encode_image(worn, normalize=True) @ true.T).argmax(dim=1)
    assert (found == torch.arange(200)).float().mean() > 0.98


def test_half_of_the_pictures_stay_as_they_are():
    sharp = torch.rand(400, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    worn = tiny_clip._worn(sharp, torch.Generator().manual_seed(1))
    same = (worn == sharp).flatten(1).all(dim=1)
    assert 0.4 < same.float().mean() < 0.6
    detail = [(rows - rows.roll(1, dims=-1)).square().mean() for rows in (worn[~same], sharp[~same])]
    assert detail[0] < 0.7 * detail[1]


def test_batches_need_every_attribute():
    concepts = all_scenes(False)
    for seed in range(3):
        values = tiny_clip.VALUES_PER_BATCH[0]
        rows = tiny_clip._draw_batch(concepts, values, torch.Generator().manual_seed(seed))
        assert len(rows) == len(set(rows.tolist())) == tiny_clip.BATCH_SIZE
        shown = {name: {getattr(concepts[row], name) for row in rows} for name in SCENE_ATTRIBUTES}
        assert {name: len(values) for name, values in shown.items()} == {
            "kind": 4,
            "color": 3,
            "place": 5,
            "size": 2,
            "background": 2,
        }


def test_training_lowers_the_loss_and_leaves_what_is_frozen(monkeypatch):
    monkeypatch.setattr(tiny_clip, "VALUES_PER_BATCH", ({},))
    few = all_scenes(False)[::150]
    images = scene_pixels(few)[None]
    torch.manual_seed(0)
    network = open_clip.CLIP(
        64,
        {"image_size": 64, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        {"context_length": 16, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
    )
    tokens = load_tokenizer("neurodec/tiny-clip")([caption(scene) for scene in few])
    contrast, pixels = tiny_clip.ClipLoss(), tiny_clip.normalised(images[0])

    def loss():
        with torch.no_grad():
            return float(contrast(*network(pixels, tokens)))

    before = loss()
    tiny_clip._optimise(network, few, images, tokens, 40, torch.Generator().manual_seed(0))
    assert loss() < 0.7 * before

    network.visual.requires_grad_(False)
    embedded, before = network.encode_image(pixels), loss()
    tiny_clip._optimise(network, few, images, tokens, 40, torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.encode_image(pixels), embedded, rtol=0, atol=0)
    assert loss() < before
