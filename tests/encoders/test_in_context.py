"""The in-context networks: sets without order, padding without effect, chunks without seams, published checkpoints."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_encoder import SetBlock
from neurodec.encoders.in_context.voxel_network import NetworkEncoding, NetworkInversion
from neurodec.errors import NeurodecError
from neurodec.linear.voxel_encoders import VoxelEncoders

SMALL = {"n_embed": 12, "width": 16, "n_layers": 3, "ffn_dim": 24, "n_heads": 4, "hidden": 32}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return InContextEncoder(**SMALL, n_registers=4).eval()


@pytest.fixture
def inverter():
    torch.manual_seed(1)
    return InContextInverter(**SMALL, n_registers=6).eval()


def context(n=20, n_voxels=7, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = F.normalize(torch.randn(n, 12, generator=random), dim=-1)
    return images, torch.randn(n_voxels, n, generator=random)


def close(first, second, tolerance=1e-5):
    assert float((first - second).abs().max()) < tolerance * float(second.abs().max())


@torch.no_grad()
def test_the_order_of_a_context_does_not_matter(encoder, inverter):
    images, responses = context()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    whole = encoder(images, responses)
    close(encoder(images[order], responses[:, order]), whole)
    assert (encoder(images, responses[:, order]) - whole).abs().max() > 1e-2 * whole.abs().max()
    weights, bias, answers = whole[:, :-1], whole[:, -1], torch.randn(3, 7)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    found = inverter(weights, bias, answers)
    close(inverter(weights[order], bias[order], answers[:, order]), found)
    assert (inverter(weights, bias, answers[:, order]) - found).abs().max() > 1e-3


@torch.no_grad()
def test_padding_changes_nothing(encoder, inverter):
    images, responses = context()
    lengths = torch.tensor([1, 2, 5, 8, 13, 19, 20])
    mask = torch.arange(20) < lengths[:, None]
    ragged = encoder(images, responses.masked_fill(~mask, 1e4), mask)
    for row, n in enumerate(lengths):
        close(ragged[row : row + 1], encoder(images[:n], responses[row : row + 1, :n]))
    weights, bias, answers = torch.randn(3, 9, 12), torch.randn(3, 9), torch.randn(3, 9)
    mask = torch.arange(9) < torch.tensor([1, 4, 9])[:, None]
    ragged = inverter(weights, bias, answers, mask)
    for row, n in enumerate((1, 4, 9)):
        part = slice(row, row + 1)
        close(ragged[part], inverter(weights[part, :n], bias[part, :n], answers[part, :n]))


@torch.no_grad()
def test_a_block_that_reads_few_tokens_is_exact_and_attention_is_what_it_says():
    torch.manual_seed(0)
    block = SetBlock(16, 24, 4).eval()
    x = torch.randn(2, 9, 16)
    close(block(x, n_read=2), block(x)[:, :2])
    maps = block.attention(x, n_read=2)
    assert maps.shape == (2, 2, 9)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 2))
    # torch's own module, with the logarithm on the query's input, gives the same attention and output
    h = block.layer_norm_1(x)
    wanted, weights = block.attn(np.log(9) * h, h, h)
    torch.testing.assert_close(maps, weights[:, :2])
    inner = x + wanted
    torch.testing.assert_close(block(x), inner + block.ffn(block.layer_norm_2(inner)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_maps_belong_to_the_context(encoder, inverter):
    images, responses = context()
    maps = encoder.attention_maps(images, responses)
    assert maps.shape == (7, 20)
    assert (maps >= 0).all()
    assert (maps.sum(dim=1) < 1).all()  # registers take their part
    voxels = inverter.attention_maps(torch.randn(9, 12), torch.randn(9), torch.randn(3, 9))
    assert voxels.shape == (3, 9)


def test_chunks_have_no_seams_and_one_picture_works(encoder, inverter):
    images, responses = (part.numpy() for part in context(n_voxels=50))
    whole = NetworkEncoding(encoder, device="cpu").weights(images, responses.T)
    chunked = NetworkEncoding(encoder, tokens_at_once=24 * 3, device="cpu")
    np.testing.assert_allclose(chunked.weights(images, responses.T), whole, atol=1e-5)
    encoders = chunked.encode(images, responses.T, range(50))
    np.testing.assert_allclose(encoders.weights, whole[:, :-1], atol=1e-5)
    answers = np.random.default_rng(0).normal(size=(11, 50))
    found = NetworkInversion(inverter, device="cpu").decode(encoders, answers)
    few = NetworkInversion(inverter, tokens_at_once=2 * 56, device="cpu")
    np.testing.assert_allclose(few.decode(encoders, answers), found, atol=1e-5)
    assert chunked.encode(images[:1], responses.T[:1], range(50)).weights.shape == (50, 12)
    with pytest.raises(
        NeurodecError, match="`tokens_at_once` is 23, and one voxel with 20 pictures takes 24"
    ):
        NetworkEncoding(encoder, tokens_at_once=23, device="cpu").weights(images, responses.T)
    with pytest.raises(NeurodecError, match="one trial with 50 voxels takes 56"):
        NetworkInversion(inverter, tokens_at_once=55, device="cpu").decode(encoders, answers)


def test_another_space_is_refused(encoder, inverter):
    wide = np.eye(3, 20)
    with pytest.raises(NeurodecError, match="embeddings have 20 numbers, the network reads 12"):
        NetworkEncoding(encoder, device="cpu").encode(wide, np.zeros((3, 2)), "ab")
    none = np.zeros((2, 0))
    other = VoxelEncoders(np.zeros((2, 20)), np.zeros(2), np.ones(2), "ab", np.zeros(2), none, np.zeros(2))
    with pytest.raises(NeurodecError, match="encoders have 20 weights, the network reads 12"):
        NetworkInversion(inverter, device="cpu").decode(other, np.zeros((1, 2)))


@torch.no_grad()
def test_the_trunk_in_bfloat16_keeps_the_head_in_single_precision(encoder):
    images, responses = context()
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(images, responses)
    assert found.dtype == torch.float32
    close(found, encoder(images, responses), 0.1)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", [InContextEncoder, InContextInverter])
def test_both_forms_of_checkpoints_load(encoder, inverter, kind, nested, tmp_path):
    model = encoder if kind is InContextEncoder else inverter
    state = model.state_dict()
    torch.save({"state_dict": state, "epoch": 3} if nested else state, tmp_path / "a.ckpt")
    again = kind.load_published(tmp_path / "a.ckpt", n_heads=4)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, state[name])
    with pytest.raises(NeurodecError, match="width 16, which was not published; say `n_heads`"):
        kind.load_published(tmp_path / "a.ckpt")
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.ckpt")
    with pytest.raises(NeurodecError, match="not a checkpoint of an in-context network"):
        kind.load_published(tmp_path / "b.ckpt")


@pytest.mark.parametrize(
    ("kind", "name", "counted"),
    [
        (InContextEncoder, "clip", 97_074_852),
        (InContextEncoder, "dino", 156_000_196),
        (InContextEncoder, "siglip", 277_044_132),
        (InContextInverter, "clip", 55_697_668),
        (InContextInverter, "dino", 88_758_276),
        (InContextInverter, "siglip", 157_354_212),
    ],
)
def test_presets_have_the_counted_parameters(kind, name, counted):
    with torch.device("meta"):
        model = kind.preset(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == counted
