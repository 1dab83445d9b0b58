"""The embedded CLIP: the packaged scores hold, and the packaged command makes such a folder."""

import json
import random
from functools import partial

import numpy as np
import open_clip
import pytest
import torch

from neurodec.features import load_clip, load_tokenizer
from neurodec.features.weights import ASSETS
from neurodec.simulate import tiny_clip
from neurodec.simulate.scenes import SCENE_ATTRIBUTES, all_scenes, caption, draw_scenes, render


@pytest.fixture(scope="module")
def target():
    return load_clip("neurodec/tiny-clip"), load_tokenizer("neurodec/tiny-clip")


def test_packaged_scores_hold(target):
    """The model card's numbers, measured again on pictures and captions the network was not trained on."""
    (network, _), tokenizer = target
    scores = tiny_clip.held_out_scores(network, tokenizer)
    stored = json.loads((ASSETS / "tiny-clip" / "scores.json").read_text())
    assert scores["caption_to_image"] >= 195
    assert scores["same_concept_nearest"] > 0.95
    for name, value in scores.items():
        assert value == pytest.approx(stored[name], abs=2)  # rounding differs a little between processors


@torch.inference_mode()
def test_embedding_tells_every_attribute(target):
    """The best of all 8,640 captions names object, colour, place, size and backdrop of reserved pictures."""
    (network, transform), tokenizer = target
    candidates = all_scenes(False) + all_scenes(True)
    texts = network.encode_text(tokenizer([caption(scene) for scene in candidates]), normalize=True)
    scenes = draw_scenes(16, 1, 100, 0, seed=3)[1]
    images = network.encode_image(torch.stack([transform(render(scene)) for scene in scenes]), normalize=True)
    best = [candidates[i] for i in (images @ texts.T).argmax(dim=1)]
    for name in SCENE_ATTRIBUTES:
        right = np.mean([getattr(b, name) == getattr(s, name) for b, s in zip(best, scenes, strict=True)])
        assert right > 0.95, name


@pytest.mark.parametrize("name", ["tiny-clip", "scene-driver"])
def test_packaged_folder_is_small_and_documented(name):
    folder = ASSETS / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6
    card = (folder / "README.md").read_text()
    assert "neurodec train-clip" in card
    assert f"{json.loads((folder / 'scores.json').read_text())['caption_to_image']} of 200" in card


def test_command_writes_a_folder_that_open_clip_loads(tmp_path, monkeypatch):
    few = tuple(random.Random(0).sample(all_scenes(False), 40))
    monkeypatch.setattr(tiny_clip, "all_scenes", lambda reserved: few)
    monkeypatch.setattr(tiny_clip, "BATCH_SIZE", 16)
    short = partial(tiny_clip.held_out_scores, n_concepts=10, n_variants=1)
    monkeypatch.setattr(tiny_clip, "held_out_scores", short)
    scores = [tiny_clip.train_tiny_clip(tmp_path / name, seed=0, n_steps=20) for name in ("a", "b")]
    assert scores[0] == scores[1]
    weights = [(tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'a'}")
    picture = transform(render(few[0]))
    expected = tiny_clip._normalised(tiny_clip._pixels([few[0]], ""))[0]
    torch.testing.assert_close(picture, expected)
    assert network.encode_image(picture[None]).shape == (1, 128)


def test_training_lowers_the_loss(monkeypatch):
    few = list(all_scenes(False)[::150])
    images = torch.stack([tiny_clip._pixels(few, "")])
    torch.manual_seed(0)
    network = open_clip.CLIP(
        64,
        {"image_size": 64, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        {"context_length": 16, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
    )
    tokens = load_tokenizer("neurodec/tiny-clip")([caption(scene) for scene in few])
    contrast = tiny_clip.ClipLoss()

    def loss():
        with torch.no_grad():
            return float(contrast(*network(tiny_clip._normalised(images[0]), tokens)))

    before = loss()
    tiny_clip._optimise(network, images, tokens, 40, torch.Generator().manual_seed(0))
    assert loss() < 0.7 * before
