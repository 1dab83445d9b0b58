"""Feature networks, proven on random weights under the real file names; and what is said of absent ones."""

import shutil

import numpy as np
import open_clip
import pytest
import torch
from torchvision import models

from neurodec import NeurodecError
from neurodec.evaluation.reconstruction.judging_networks import (
    NETWORKS,
    HubWeights,
    network_features,
    network_named,
)
from neurodec.evaluation.reconstruction.picture_sets import Resize, as_pictures
from neurodec.features import load_clip

SIZE = 96  # smaller than the protocols': the layers are the same
STOCK = {
    "alexnet_2": (models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1, lambda net: net.features[4]),
    "alexnet_5": (models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1, lambda net: net.features[11]),
    "alexnet_pool2": (models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1, lambda net: net.features[5]),
    "alexnet_pool5": (models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1, lambda net: net.features[12]),
    "alexnet_fc7": (models.alexnet, models.AlexNet_Weights.IMAGENET1K_V1, lambda net: net.classifier[5]),
    "inception_v3": (models.inception_v3, models.Inception_V3_Weights.DEFAULT, lambda net: net.avgpool),
    "efficientnet_b1": (
        models.efficientnet_b1,
        models.EfficientNet_B1_Weights.DEFAULT,
        lambda net: net.avgpool,
    ),
    "efficientnet_b1_v1": (
        models.efficientnet_b1,
        models.EfficientNet_B1_Weights.IMAGENET1K_V1,
        lambda net: net.avgpool,
    ),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub folder with random weights, also those that torchvision's own builders would download."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        torch.manual_seed(0)
        for weights in {NETWORKS[name].weights.path: NETWORKS[name].weights for name in STOCK}.values():
            weights.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(weights.build().state_dict(), weights.path)
        swav = {f"module.{name}": value for name, value in models.resnet50().state_dict().items()}
        heads = ("projection_head.0.weight", "projection_head.1.running_mean", "prototypes.weight")
        swav |= {f"module.{name}": torch.zeros(3) for name in heads}
        swav = {name: value for name, value in swav.items() if ".fc." not in name}
        torch.save(swav, NETWORKS["swav_resnet50"].weights.path)
        yield folder
    shutil.rmtree(folder)  # half a gigabyte


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def pictures(rng):
    return rng.random((3, 3, SIZE, SIZE)).astype(np.float32)


def features(name, pictures, **settings):
    network = NETWORKS[name]
    size = 64 if name == "tiny_clip" else SIZE
    return network_features(
        network, network.load(), as_pictures(pictures, "targets"), [Resize(size)], **settings
    )


@torch.no_grad()
def hooked(network, layer, pictures):
    """Run a whole network on ImageNet-normalised pictures and listen to a layer, as the papers' scripts do."""
    heard = []
    layer.register_forward_hook(lambda module, inputs, output: heard.append(output.clone().flatten(1)))
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    network.eval()((torch.from_numpy(pictures) - mean) / std)
    return heard[0].numpy()


@pytest.mark.parametrize("name", STOCK)
def test_layers_are_those_of_torchvisions_own_loader(hub, name, pictures):
    build, weights, layer = STOCK[name]
    stock = build(weights=weights)  # reads the random file: torchvision checks hashes of downloads only
    expected = hooked(stock, layer(stock), pictures)
    assert expected.std() > 0
    np.testing.assert_allclose(features(name, pictures), expected, atol=1e-5 * np.abs(expected).max())


def test_swav_is_read_as_its_authors_do(hub, pictures):
    state = torch.load(NETWORKS["swav_resnet50"].weights.path, weights_only=True)
    stock = models.resnet50()
    stock.load_state_dict({name.replace("module.", ""): value for name, value in state.items()}, strict=False)
    expected = hooked(stock, stock.avgpool, pictures)
    np.testing.assert_allclose(features("swav_resnet50", pictures), expected, atol=1e-5 * expected.max())


def test_alexnet_has_the_published_width(hub, pictures):
    assert network_features(
        NETWORKS["alexnet_2"],
        NETWORKS["alexnet_2"].load(),
        as_pictures(pictures[:1], "targets"),
        [Resize(256)],
    ).shape == (1, 184_512)


@torch.no_grad()
def test_the_embedded_clip_embeds_as_open_clip_does(rng):
    pictures = rng.random((2, 3, 64, 64)).astype(np.float32)
    network, transform = load_clip("neurodec/tiny-clip")
    expected = network.encode_image(transform.transforms[-1](torch.from_numpy(pictures)))
    np.testing.assert_allclose(features("tiny_clip", pictures), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["tiny_clip", "efficientnet_b1"])
def test_batches_and_places_do_not_matter(hub, name, pictures):
    repeated = pictures[[0, 1, 0, 2, 1, 1]]
    found = {size: features(name, repeated, batch_size=size) for size in (1, 2, 64)}
    scale = np.abs(found[64]).max()
    for values in found.values():
        np.testing.assert_allclose(values, found[64], atol=1e-5 * scale)
        np.testing.assert_array_equal(values[[0, 1, 1]], values[[2, 4, 5]])  # equal to the last bit
        assert not np.array_equal(values[0], values[1])
    np.testing.assert_array_equal(found[2], features(name, repeated, batch_size=2))


def test_global_precision_is_left_as_it_was(pictures):
    torch.set_float32_matmul_precision("medium")
    try:
        features("tiny_clip", pictures)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if isinstance(NETWORKS[name].weights, HubWeights)]
)
def test_absent_weights_are_one_sentence(empty_hub, name):
    with pytest.raises(NeurodecError) as error:
        NETWORKS[name].load()
    weights = NETWORKS[name].weights
    for part in (weights.source, f"{weights.megabytes} MB", weights.licence, "not on this machine"):
        assert part in str(error.value)
    assert list(empty_hub.rglob("*")) == []  # nothing was fetched


def test_an_absent_clip_is_one_sentence():
    with pytest.raises(NeurodecError, match=r"ViT-L-14 openai \(about 1\.7 GB, licence MIT\)"):
        NETWORKS["clip_vit_l_14"].load()


@pytest.mark.parametrize("damage", ["truncated", "stranger", "other network"])
def test_damaged_weights_are_one_sentence(empty_hub, damage):
    weights = NETWORKS["efficientnet_b1"].weights
    weights.path.parent.mkdir(parents=True)
    torch.save(Stranger() if damage == "stranger" else models.squeezenet1_1().state_dict(), weights.path)
    if damage == "truncated":
        weights.path.write_bytes(weights.path.read_bytes()[:1000])
    with pytest.raises(NeurodecError, match=weights.path.name):
        NETWORKS["efficientnet_b1"].load()


class Stranger:
    """Something that a pickle could run."""


def test_scaling_and_sizes_are_the_publishers():
    for name, (_, weights, _) in STOCK.items():
        network, transform = NETWORKS[name], weights.transforms()
        assert (list(network.mean), list(network.std)) == (transform.mean, transform.std)
        assert network.weights.megabytes == round(weights.meta["_file_size"] * 1.048576)
        assert network.weights.source == weights.url
    clip = NETWORKS["clip_vit_l_14"]
    published = open_clip.get_pretrained_cfg("ViT-L-14", "openai")
    assert (clip.mean, clip.std) == (published["mean"], published["std"])


def test_an_unknown_network_is_named():
    with pytest.raises(NeurodecError, match=r"no network 'vgg'.*alexnet_2"):
        network_named("vgg")
