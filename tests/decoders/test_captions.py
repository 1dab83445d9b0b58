"""The caption branch: projector arithmetic, files, and GIT reading tokens instead of pictures."""

import shutil

import pytest
import torch
from decoders.drawing import embeddings
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer, GitForCausalLM

from neurodec import NeurodecError
from neurodec.decoders import Captioner, PixelProjector

WIDTH, N_TOKENS, TOKEN_WIDTH = 20, 17, 32


@pytest.fixture(scope="session")
def captioner(git, projector):
    return Captioner(str(projector), str(git), device="cpu")


def test_published_size():
    projector = PixelProjector()
    assert projector(torch.randn(2, 1024)).shape == (2, 257, 1024)
    linear = 257 + 257 + 1024 * 1024 + 1024
    assert sum(p.numel() for p in projector.parameters()) == linear + 2 * 257 + 2 * 1024


def test_projector_is_the_published_chain(projector, tmp_path):
    """The authors' chain of layers, whose file has their numbers for names."""
    published = nn.ModuleDict(
        {
            "1": nn.Linear(1, N_TOKENS),
            "2": nn.LayerNorm(N_TOKENS),
            "4": nn.Linear(WIDTH, TOKEN_WIDTH),
            "5": nn.LayerNorm(TOKEN_WIDTH),
        }
    )
    for parameter in published.parameters():
        nn.init.normal_(parameter)
    torch.save(published.state_dict(), tmp_path / "PixelProjector_best.bin")
    own = PixelProjector.load_published(tmp_path / "PixelProjector_best.bin")
    z = embeddings(3, WIDTH)
    spread = published["2"](published["1"](z[:, None].transpose(1, 2)))  # one value at a time over all tokens
    torch.testing.assert_close(own(z), published["5"](published["4"](spread.transpose(1, 2))))
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    torch.testing.assert_close(PixelProjector.load_published(tmp_path / "own.safetensors")(z), own(z))


def test_tokens_of_a_picture_give_the_caption_of_the_picture(captioner, git):
    """GIT with its own vision tower, by the book, says the same of the picture as ours of the tower's output."""
    stock = GitForCausalLM.from_pretrained(git).eval()
    tokenizer = AutoTokenizer.from_pretrained(git)
    pictures = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ids = stock.generate(pixel_values=pictures, max_new_tokens=25, do_sample=False)
        tokens = stock.git.image_encoder(pictures).last_hidden_state
    expected = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert captioner.caption_tokens(tokens) == expected
    assert len(set(expected)) > 1
    assert any(len(text.split()) > 2 for text in expected)


def test_a_caption_depends_on_its_row_only(captioner, monkeypatch):
    z = 3 * embeddings(6, WIDTH)
    together = captioner.caption(z, embedding_space="open_clip/ViT-H-14/laion2b_s32b_b79k")
    monkeypatch.setattr(captioner, "batch_size", 4)
    assert captioner.caption(z.flip(0))[::-1] == together
    assert all(len(text.split()) <= 5 for text in captioner.caption(z, max_new_tokens=5))


def test_bad_input_is_one_sentence(captioner):
    with pytest.raises(NeurodecError, match="the decoder reads open_clip/ViT-H-14"):
        captioner.caption(embeddings(1, WIDTH), embedding_space="neurodec/tiny-clip")
    with pytest.raises(NeurodecError, match=r"\(B, 20\)"):
        captioner.caption(torch.ones(1, 21))
    with pytest.raises(NeurodecError, match="first row 0, hold NaN"):
        captioner.caption(torch.full((1, 20), float("nan")))


def test_bad_files_are_one_sentence(git, projector, tmp_path):
    with pytest.raises(NeurodecError, match=r"nowhere\.safetensors does not exist"):
        Captioner(str(tmp_path / "nowhere.safetensors"), str(git))
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(NeurodecError, match="holds no projector"):
        Captioner(str(tmp_path / "other.safetensors"), str(git))
    save_file(PixelProjector(WIDTH, 10, TOKEN_WIDTH).state_dict(), tmp_path / "short.safetensors")
    with pytest.raises(NeurodecError, match=r"makes 10 x 32 tokens, .* reads 17 x 32"):
        Captioner(str(tmp_path / "short.safetensors"), str(git))
    state = load_file(projector)
    state.pop("norm.bias")
    save_file(state, tmp_path / "incomplete.safetensors")
    with pytest.raises(NeurodecError, match=r"norm\.bias is missing"):
        Captioner(str(tmp_path / "incomplete.safetensors"), str(git))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("cut", "is damaged or cut short"),
        ("tensor", r"lacks the tensor git\.visual_projection"),
        ("tokenizer", r"The tokenizer of .* is missing or incomplete"),
    ],
)
def test_a_damaged_git_is_one_sentence(git, projector, tmp_path, harm, message):
    folder = shutil.copytree(git, tmp_path / "git")
    weights = folder / "model.safetensors"
    if harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "tensor":
        state = {name: value for name, value in load_file(weights).items() if "visual_projection" not in name}
        save_file(state, weights, metadata={"format": "pt"})
    else:
        (folder / "vocab.txt").unlink()
    with pytest.raises(NeurodecError, match=message):
        Captioner(str(projector), str(folder), device="cpu")
