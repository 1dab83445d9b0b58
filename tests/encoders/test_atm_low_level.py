import pytest
import torch
from torch import nn

from neurodec.encoders import ATMLowLevel
from neurodec.errors import NeurodecError

N_CHANS, N_TIMES, N_FEATURES, WIDTHS = 5, 30, 3, (12, 10, 8, 8, 6, 4)


class Published(nn.Module):
    """The authors' order and sizes of layers, with the whole kernel of the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.subject_wise_linear = nn.ModuleList(nn.Linear(N_TIMES, N_FEATURES) for _ in range(2))
        layers, width = [], N_CHANS * N_FEATURES
        for narrower in WIDTHS:
            layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1), nn.BatchNorm2d(narrower), nn.ReLU()]
            width = narrower
        layers += [nn.ConvTranspose2d(width, 16, 1), nn.BatchNorm2d(16), nn.ReLU()]
        self.upsampler = nn.Sequential(*layers, nn.ConvTranspose2d(16, 4, 1))

    def forward(self, x):
        x = self.subject_wise_linear[0](x)
        return self.upsampler(x.reshape(len(x), -1, 1, 1))


@pytest.fixture
def published():
    torch.manual_seed(0)
    return Published()


def test_the_middle_of_the_first_kernel_is_all_of_it(published):
    ours = ATMLowLevel.from_published(published.state_dict())
    response = torch.randn(3, N_CHANS, N_TIMES)
    for model in (published, ours):
        model.train()(response).square().sum().backward()
    theirs = published.upsampler[0].weight.grad
    torch.testing.assert_close(ours.upsampler[0].weight.grad, theirs[..., 1:3, 1:3], atol=1e-4, rtol=1e-4)
    assert theirs.square().sum() == pytest.approx(
        theirs[..., 1:3, 1:3].square().sum()
    )  # the rest learns nothing
    latent = ours.eval()(response)
    torch.testing.assert_close(latent, published.eval()(response), atol=1e-5, rtol=1e-5)
    assert latent.shape == (3, 4, 64, 64)


def test_sizes_follow_from_the_file(published, tmp_path):
    torch.save(published.state_dict(), tmp_path / "low.pth")
    loaded = ATMLowLevel.load_published(tmp_path / "low.pth")
    assert loaded.state_dict().keys() <= published.state_dict().keys()
    response = torch.randn(2, N_CHANS, N_TIMES)
    torch.testing.assert_close(loaded.eval()(response), published.eval()(response), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_chans", "n_times"), [(1, 10), (17, 201)])
def test_any_montage_and_window(n_chans, n_times):
    encoder = ATMLowLevel(n_chans, n_times, widths=(8, 8, 8, 8, 8, 8))
    latent = encoder(torch.randn(2, n_chans, n_times))
    assert latent.shape == (2, 4, 64, 64)
    latent.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_every_mismatch_is_named(published):
    state = published.state_dict()
    state["upsampler.4.weight"] = torch.zeros(3)
    state["stranger"] = torch.zeros(1)
    del state["upsampler.21.bias"]
    with pytest.raises(NeurodecError) as error:
        ATMLowLevel.from_published(state)
    assert all(name in str(error.value) for name in ("upsampler.4.weight", "stranger", "upsampler.21.bias"))


def test_another_file_is_refused():
    with pytest.raises(NeurodecError, match=r"lacks 'upsampler\.0\.weight'"):
        ATMLowLevel.from_published({"weight": torch.zeros(2)})
