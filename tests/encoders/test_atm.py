import pytest
import torch
from torch.nn import functional as F

from neurodec.encoders import ATM
from neurodec.encoders.shallow_conv import KERNEL, N_FILTERS, POOL, STRIDE, ShallowConv
from neurodec.errors import NeurodecError

SIZES = {"n_chans": 7, "n_times": 100, "n_outputs": 12, "n_subjects": 3}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ATM(**SIZES).eval()


def published_order(conv: ShallowConv, tokens: torch.Tensor) -> torch.Tensor:
    """Convolve all 40 maps first, then pool, as the authors do."""
    maps = F.conv2d(tokens[:, None], conv.temporal.weight[:, None, None], conv.temporal.bias)
    maps = F.elu(conv.norm1(F.avg_pool2d(maps, (1, POOL), (1, STRIDE)).transpose(1, 3).flatten(0, 2)))
    batch, n_chans = len(tokens), tokens.shape[1]
    maps = maps.view(batch, -1, n_chans * N_FILTERS)
    return conv.mix(F.elu(conv.norm2(conv.spatial(maps).flatten(0, 1)))).view(batch, -1)


@pytest.mark.parametrize("n_times", [POOL + KERNEL - 1, 100, 201, 250])
def test_box_filter_first_is_exact(n_times):
    torch.manual_seed(1)
    conv = ShallowConv(5, 0.0).train()
    tokens = torch.randn(4, 5, n_times)
    torch.testing.assert_close(conv(tokens), published_order(conv, tokens), atol=1e-5, rtol=1e-4)


def test_an_unknown_subject_takes_the_shared_token_in_its_row_only(model):
    response = torch.randn(3, 7, 100)
    known, mixed = (
        model.embed(response, torch.tensor([0, 1, 2])),
        model.embed(response, torch.tensor([0, -1, 2])),
    )
    torch.testing.assert_close(known[[0, 2]], mixed[[0, 2]])
    torch.testing.assert_close(mixed[1, 0], model.shared_token[0])


def test_an_id_beyond_the_table_turns_the_whole_batch(model):
    embedded = model.embed(torch.randn(3, 7, 100), torch.tensor([0, 1, 3]))
    torch.testing.assert_close(embedded[:, 0], model.shared_token.expand(3, -1))


def test_per_subject_gather_equals_a_loop():
    torch.manual_seed(0)
    model = ATM(**SIZES, per_subject=True).eval()
    response, subject = torch.randn(5, 7, 100), torch.tensor([2, 0, 1, 2, -1])
    layers = [*zip(model.value.weight, model.value.bias, strict=True)]
    layers.append((model.value.weight.mean(0), model.value.bias.mean(0)))
    looped = torch.stack(
        [F.linear(row, *layers[index]) for row, index in zip(response, subject, strict=True)]
    )
    torch.testing.assert_close(model.value(response, subject), looped, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns(model):
    model.train()(torch.randn(8, 7, 100), torch.tensor([0, 1, 2, -1] * 2)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def published_names(model: ATM) -> dict[str, torch.Tensor]:
    """Write a model under the authors' names, by undoing the importer's renames."""
    from neurodec.encoders.atm import _RENAMES

    state = {}
    for name, value in model.state_dict().items():
        if name.startswith("value."):
            state["encoder.enc_embedding.value_embedding." + name[6:]] = value[0]
            continue
        if name == "conv.spatial.weight":
            value = value.unflatten(1, (-1, N_FILTERS)).transpose(1, 2)[..., None]
        elif name.endswith(("up.weight", "down.weight")):
            value = value[..., None]
        elif name in ("conv.mix.weight", "conv.temporal.weight"):
            value = value[..., None, None] if "mix" in name else value[:, None, None]
        for theirs, ours in reversed(_RENAMES.items()):
            if name.startswith(ours) or (ours.startswith(".") and name.startswith("encoder.encoder.")):
                name = name.replace(ours, theirs, 1)
        state[name] = value
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_checkpoint_round_trip(model, tmp_path, prefix):
    torch.save({prefix + name: value for name, value in published_names(model).items()}, tmp_path / "atm.pth")
    loaded = ATM.load_published(tmp_path / "atm.pth", revision="2026").eval()
    response, subject = torch.randn(2, 7, 100), torch.tensor([0, 2])
    torch.testing.assert_close(loaded(response, subject), model(response, subject))


def test_every_mismatch_is_named(model, tmp_path):
    state = published_names(model)
    state["proj_eeg.1.fn.1.weight"] = torch.zeros(3, 3)
    state["stranger"] = torch.zeros(1)
    del state["proj_eeg.0.bias"]
    torch.save(state, tmp_path / "atm.pth")
    with pytest.raises(NeurodecError) as error:
        ATM.load_published(tmp_path / "atm.pth")
    assert all(
        name in str(error.value) for name in ("projector.second.weight", "stranger", "projector.first.bias")
    )


class Stranger:
    """Something that a pickle could run."""


@pytest.mark.parametrize("damage", ["absent", "truncated", "pickle", "other"])
def test_a_bad_file_is_one_sentence(model, tmp_path, damage):
    path = tmp_path / "atm.pth"
    if damage == "pickle":
        torch.save(Stranger(), path)
    elif damage == "other":
        torch.save({"weight": torch.zeros(2)}, path)
    elif damage == "truncated":
        torch.save(model.state_dict(), path)
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(NeurodecError, match=r"atm\.pth"):
        ATM.load_published(path)


def test_a_short_window_is_refused():
    with pytest.raises(NeurodecError, match="75 samples"):
        ATM(n_chans=4, n_times=60)
