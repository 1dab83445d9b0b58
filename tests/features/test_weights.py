"""Loading open_clip networks: the packaged one, its tokenizer, and one sentence for everything that is missing."""

import logging
import shutil
import time

import huggingface_hub.constants
import open_clip
import pytest
import torch

from neurodec import NeurodecError
from neurodec.features import load_clip, load_tokenizer, weights_hash
from neurodec.features.weights import ASSETS, activation


def test_packaged_network_is_stock_open_clip():
    network, transform = load_clip("neurodec/tiny-clip")
    stock, stock_transform = open_clip.create_model_from_pretrained(f"local-dir:{ASSETS / 'tiny-clip'}")
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.encode_image(pictures), stock.eval().encode_image(pictures))
    assert repr(transform) == repr(stock_transform)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_packaged_networks_differ():
    """The network that drives the simulated brain must never be the target."""
    target, driver = (load_clip(f"neurodec/{name}")[0] for name in ("tiny-clip", "scene-driver"))
    assert weights_hash(target) != weights_hash(driver)


def test_tokenizer_lies_in_the_folder():
    tokens = load_tokenizer("neurodec/tiny-clip")(["a small red fish on the left, in the sky", "A zebra"])
    network, _ = load_clip("neurodec/tiny-clip")
    assert tokens.shape == (2, network.context_length)
    assert tokens.max() == network.vocab_size - 1  # the end token, where open_clip reads the text
    assert (tokens[:, 0] == 2).all()
    assert tokens[1].tolist()[2] == 1  # zebra is unknown
    assert (tokens[0] != 1).all()


def test_weights_hash_reads_every_number():
    network, _ = load_clip("neurodec/tiny-clip")
    before = weights_hash(network)
    assert before == weights_hash(load_clip("neurodec/tiny-clip")[0])
    network.logit_scale.add_(1e-3)
    assert weights_hash(network) != before


@pytest.mark.parametrize(
    ("model", "pretrained", "size"),
    [
        ("ViT-H-14", "laion2b_s32b_b79k", "3.9 GB"),
        ("RN50", "openai", "0.4 GB"),
        ("ViT-L-14", "openai", "1.7 GB"),
    ],
)
def test_missing_weights_are_one_sentence_without_network(
    tmp_path, monkeypatch, caplog, model, pretrained, size
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with caplog.at_level(logging.INFO), pytest.raises(NeurodecError) as caught:
        load_clip(model, pretrained)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (
        model,
        pretrained,
        size,
        "licence MIT",
        f'open_clip.create_model("{model}", "{pretrained}")',
    ):
        assert part in sentence
    assert time.monotonic() - started < 20
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert logging.root.manager.disable == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "pretrained", "sentence"),
    [
        ("ViT-Z-99", "openai", "knows no model 'ViT-Z-99'"),
        ("ViT-B-32", "", "needs the tag of its weights .* openai"),
        ("ViT-B-32", "nobody", "'nobody' of ViT-B-32 are neither"),
        ("local-dir:/nowhere", "", "has no open_clip_config.json in /nowhere"),
        ("neurodec/huge-clip", "", "neurodec/huge-clip has no"),
    ],
)
def test_wrong_names_are_one_sentence(model, pretrained, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        load_clip(model, pretrained)


def test_truncated_weights_are_refused(tmp_path):
    shutil.copytree(ASSETS / "tiny-clip", tmp_path / "clip")
    weights = tmp_path / "clip" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(NeurodecError, match="clip cannot be loaded"):
        load_clip(f"local-dir:{tmp_path / 'clip'}")


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b79k", False)])
def test_openai_weights_get_their_gelu(monkeypatch, tag, quick):
    """ViT-B-32 with OpenAI's weights needs QuickGELU; open_clip itself only warns."""
    seen = {}

    def create(name, pretrained, force_quick_gelu):
        seen[pretrained] = force_quick_gelu
        return torch.nn.Identity(), None

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", create)
    load_clip("ViT-B-32", tag)
    assert seen == {tag: quick}


@pytest.mark.parametrize(
    ("model", "rebuilt", "other"),
    [("ViT-B-32", "GELU", "ViT-B-32-quickgelu"), ("ViT-B-32-quickgelu", "QuickGELU", "ViT-B-32")],
)
def test_a_file_of_weights_does_not_tell_its_activation(tmp_path, monkeypatch, model, rebuilt, other):
    """OpenAI's weights saved to a file would be rebuilt with GELU, and their features be wrong without a word."""
    monkeypatch.setattr(
        open_clip, "create_model_from_pretrained", lambda *_, **__: (torch.nn.Identity(), None)
    )
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    with pytest.warns(UserWarning, match=rf"{model} has {rebuilt}\. .*name {other}\."):
        load_clip(model, str(file))


def test_models_of_one_activation_and_tags_need_no_warning(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(
        open_clip, "create_model_from_pretrained", lambda *_, **__: (torch.nn.Identity(), None)
    )
    (tmp_path / "weights.pt").write_bytes(b"weights")
    load_clip("ViT-B-32", "openai")
    load_clip("convnext_base", str(tmp_path / "weights.pt"))
    assert not recwarn.list


def test_the_activation_is_told():
    class QuickGELU(torch.nn.Module):
        pass

    assert activation(torch.nn.Sequential(QuickGELU())) == "QuickGELU"
    assert activation(load_clip("neurodec/tiny-clip")[0]) == "GELU"
