"""SimpleConv summed over time: heads, poolings, and what a pooled network can tell of when."""

import pytest
import torch

from neurodec.encoders import SimpleConvPooled

SIZES = {"attention_channels": 6, "position_dim": 8, "initial_channels": 6, "hidden": 8, "n_features": 10}
HEADS = {"image": [16], "text": [12], "latents": [2, 4, 4]}


@pytest.mark.parametrize("pooling", ["affine", "mean", "attention"])
def test_heads_have_the_shapes_of_their_targets(pooling):
    torch.manual_seed(0)
    model = SimpleConvPooled(9, 40, 3, HEADS, pooling=pooling, **SIZES).eval()
    found = model(torch.randn(5, 9, 40), torch.tensor([0, 1, 2, -1, 0]), positions=torch.rand(9, 3))
    assert {name: list(own.shape[1:]) for name, own in found.items()} == HEADS


def test_means_do_not_tell_when_and_affine_maps_do():
    """The middle of the window, so that edges of convolutions play no part."""
    torch.manual_seed(0)
    response = torch.zeros(1, 9, 120)
    response[:, :, 50] = 1.0
    later, places = response.roll(10, dims=-1), torch.rand(9, 3)
    for pooling, same in (("mean", True), ("affine", False)):
        model = SimpleConvPooled(9, 120, 1, {"image": [4]}, pooling=pooling, depth=3, **SIZES).eval()
        with torch.no_grad():
            one, two = (
                model(own, torch.zeros(1, dtype=torch.long), positions=places)["image"]
                for own in (response, later)
            )
        assert torch.allclose(one, two, atol=1e-5) == same
