import pytest
import torch

from neurodec.errors import NeurodecError
from neurodec.priors import DiffusionPriorUNet

SIZES = {"embed_dim": 20, "cond_dim": 12, "hidden_dim": (24, 16, 8), "time_embed_dim": 10}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DiffusionPriorUNet(**SIZES).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(4, 20), torch.tensor([0, 7, 500, 999]), torch.randn(4, 12)


def test_a_dropped_row_is_unconditional_and_the_others_are_not_touched(network, inputs):
    x, t, c = inputs
    dropped = torch.tensor([False, True, False, True])
    mixed, without, with_all = network(x, t, c, dropped), network(x, t), network(x, t, c)
    torch.testing.assert_close(mixed[dropped], without[dropped])
    torch.testing.assert_close(mixed[~dropped], with_all[~dropped])
    assert (with_all - without).abs().max() > 1e-3


def test_one_time_step_holds_for_all_rows(network, inputs):
    x, _, c = inputs
    torch.testing.assert_close(
        network(x, torch.tensor([321]), c), network(x, torch.full((4,), 321), c), atol=1e-6, rtol=1e-5
    )


def test_every_parameter_learns(network, inputs):
    network(*inputs).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_sizes_follow_from_the_tensors(network, inputs):
    loaded = DiffusionPriorUNet.from_published(network.state_dict()).eval()
    assert (loaded.embed_dim, loaded.cond_dim, loaded.hidden_dim) == (20, 12, [24, 16, 8])
    torch.testing.assert_close(loaded(*inputs), network(*inputs))


def test_the_activation_is_an_option(network, inputs):
    other = DiffusionPriorUNet.from_published(network.state_dict(), act_fn="ReLU").eval()
    assert (other(*inputs) - network(*inputs)).abs().max() > 1e-3


def test_every_mismatch_is_named(network):
    state = network.state_dict()
    state["output_layer.weight"] = torch.zeros(3, 3)
    state["stranger"] = torch.zeros(1)
    del state["decode_cond_embedding.0.bias"]
    with pytest.raises(NeurodecError) as error:
        DiffusionPriorUNet.from_published(state)
    names = ("output_layer.weight", "stranger", "decode_cond_embedding.0.bias")
    assert all(name in str(error.value) for name in names)


def test_another_file_and_a_single_width_are_refused():
    with pytest.raises(NeurodecError, match="not a diffusion prior"):
        DiffusionPriorUNet.from_published({"weight": torch.zeros(2, 2)})
    with pytest.raises(NeurodecError, match="two widths"):
        DiffusionPriorUNet(hidden_dim=[64])
