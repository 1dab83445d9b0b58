"""The frozen networks whose features the tables of reconstruction papers compare, read from this machine only.

A network whose weights are absent is absent: nothing is downloaded, and no other network takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.picture_sets import Pictures, Resize
from neurodec.features import OpenClip, load_clip
from neurodec.files import track

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class HubWeights:
    """A file in torch's hub folder, ``torch.hub.get_dir()/checkpoints``, where torchvision and torch.hub put theirs.

    Parameters
    ----------
    build : callable
        Makes the network without weights.
    source : str
        Address of the file; its last part is the name of the file on this machine.
    megabytes : int
        Size of the file.
    licence : str
        Of the weights.
    unused : tuple of str
        Beginnings of the names of tensors that the network has no place for.
    """

    build: Callable[[], nn.Module]
    source: str
    megabytes: int
    licence: str
    unused: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.source.rsplit("/", 1)[-1]

    def load(self, node: str) -> nn.Module:
        """Read the weights and return the network up to `node`, one row of features per picture."""
        if not self.path.is_file():
            command = f'import torch; torch.hub.load_state_dict_from_url("{self.source}", weights_only=True)'
            raise NeurodecError(
                f"The weights {self.path.name} ({self.megabytes} MB, licence {self.licence}) are not on this machine; "
                f"fetch them once with  python -c '{command}'  (without network: elsewhere, and copy the file to "
                "the folder checkpoints in torch.hub.get_dir())."
            )
        state = read_checkpoint(self.path)
        state = {name: value for name, value in state.items() if not name.startswith(self.unused or ("\0",))}
        network = take_exactly(self.build(), state, str(self.path)).eval().requires_grad_(False)
        return nn.Sequential(_Node(network, node), nn.Flatten())


@dataclass(frozen=True)
class ClipWeights:
    """An open_clip network as `neurodec.features.load_clip` finds it.

    Parameters
    ----------
    model, pretrained : str
        As in `load_clip`.
    megabytes : int
    licence : str
    """

    model: str
    pretrained: str
    megabytes: int
    licence: str

    @property
    def source(self) -> str:
        """Name of the model and of its weights."""
        return f"{self.model} {self.pretrained}".strip()

    @property
    def embedding_space(self) -> str:
        """Name of its embeddings, as targets bear it."""
        return OpenClip(model=self.model, pretrained=self.pretrained, normalize=False).embedding_space

    def load(self, node: str) -> nn.Module:
        """Return the picture tower; `node` is always the embedding shared with text."""
        return _ImageTower(load_clip(self.model, self.pretrained)[0])


@dataclass(frozen=True)
class Network:
    """Features of one layer of one network.

    Parameters
    ----------
    title : str
        For people.
    weights : HubWeights or ClipWeights
        Source, size and licence, and how to find them on this machine.
    node : str
        Layer in torchvision's names ("features.4"), or "embedding".
    size : int
        Pixels a side, as MindEye resizes for it; a protocol may want another.
    mean, std : tuple of float
        Of red, green and blue, taken off and divided by.
    classes : bool
        The layer gives one number per class, of which the probabilities are taken.
    """

    title: str
    weights: HubWeights | ClipWeights
    node: str
    size: int
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    classes: bool = False

    def load(self) -> nn.Module:
        """Return a module from normalised pictures (B, 3, size, size) to features (B, D).

        Raises
        ------
        NeurodecError
            If the weights are not on this machine (the sentence says how to fetch them), damaged, or of another
            network.
        """
        loaded = self.weights.load(self.node)
        return nn.Sequential(loaded, nn.Softmax(dim=1)) if self.classes else loaded

    def normalised(self, pictures: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) in 0..1 as the network wants them."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pictures - mean) / std


class _Node(nn.Module):
    """A network cut off behind one of its layers.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    node : str
    """

    def __init__(self, network: nn.Module, node: str) -> None:
        super().__init__()
        self.body = create_feature_extractor(network, {node: "features"}, suppress_diff_warning=True)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the layer's output."""
        return self.body(pictures)["features"]


class _ImageTower(nn.Module):
    """The picture side of a CLIP.

    Parameters
    ----------
    network : nn.Module
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Return embeddings (B, D), not brought to unit length."""
        return self.network.encode_image(pictures)


def _resnet50_trunk() -> nn.Module:
    network = models.resnet50(weights=None)
    network.fc = nn.Identity()  # trained without classes
    return network


_BSD = "BSD-3-Clause, trained on ImageNet"
_ALEXNET = HubWeights(
    partial(models.alexnet, weights=None), models.AlexNet_Weights.IMAGENET1K_V1.url, 244, _BSD
)
# The published weights expect Inception's own scaling, which the network does itself from ImageNet's.
_INCEPTION = HubWeights(
    partial(models.inception_v3, weights=None, transform_input=True, init_weights=False),
    models.Inception_V3_Weights.IMAGENET1K_V1.url,
    109,
    _BSD,
)
_EFFICIENTNET_V1, _EFFICIENTNET_V2 = (
    HubWeights(partial(models.efficientnet_b1, weights=None), weights.url, 32, _BSD)
    for weights in (
        models.EfficientNet_B1_Weights.IMAGENET1K_V1,
        models.EfficientNet_B1_Weights.IMAGENET1K_V2,
    )
)
_SWAV = HubWeights(
    _resnet50_trunk,
    "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
    113,
    "CC-BY-NC-4.0",
    unused=("projection_head.", "prototypes."),
)
_VIT_H_14 = HubWeights(
    partial(models.vit_h_14, weights=None, image_size=518),
    models.ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1.url,
    2417,
    "CC-BY-NC-4.0, trained on Instagram's and ImageNet's pictures",
)
_VIT_L_14 = ClipWeights("ViT-L-14", "openai", 1710, "MIT")

NETWORKS = {
    "alexnet_2": Network("AlexNet(2), ReLU after the second convolution", _ALEXNET, "features.4", 256),
    "alexnet_5": Network("AlexNet(5), ReLU after the fifth convolution", _ALEXNET, "features.11", 256),
    "inception_v3": Network("Inception v3, average pool", _INCEPTION, "avgpool", 342),
    "clip_vit_l_14": Network(
        "CLIP ViT-L/14, embedding", _VIT_L_14, "embedding", 224, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    ),
    "efficientnet_b1": Network("EfficientNet-B1 (V2), average pool", _EFFICIENTNET_V2, "avgpool", 255),
    "efficientnet_b1_v1": Network("EfficientNet-B1 (V1), average pool", _EFFICIENTNET_V1, "avgpool", 224),
    "swav_resnet50": Network("SwAV ResNet-50, average pool", _SWAV, "avgpool", 224),
    "alexnet_pool2": Network("AlexNet, second pool", _ALEXNET, "features.5", 299),
    "alexnet_pool5": Network("AlexNet, last pool", _ALEXNET, "features.12", 299),
    "alexnet_fc7": Network("AlexNet, ReLU of the second dense layer", _ALEXNET, "classifier.5", 299),
    "vit_h_14": Network("ViT-H/14 (SWAG), classes of ImageNet", _VIT_H_14, "heads", 518, classes=True),
    "tiny_clip": Network(
        "embedded CLIP, embedding",
        ClipWeights("neurodec/tiny-clip", "", 2, "BSD-3-Clause"),
        "embedding",
        64,
        (0.5,) * 3,
        (0.25,) * 3,
    ),
}
"""Every network that a protocol may name. Only "tiny_clip" comes with the package; it knows nothing but rendered
scenes, so its scores compare with nobody else's."""


def sees_as(name: str, embedding_space: str) -> bool:
    """Return whether a network is the very one whose embeddings a system predicts."""
    weights = network_named(name).weights
    if not isinstance(weights, ClipWeights):
        return False
    own = weights.embedding_space
    return embedding_space == own or embedding_space.startswith(f"{own}/")


def network_named(name: str) -> Network:
    """Look a network up.

    Raises
    ------
    NeurodecError
        If there is none of that name.
    """
    if name not in NETWORKS:
        raise NeurodecError(f"There is no network '{name}'; take one of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


@torch.inference_mode()
def network_features(
    network: Network,
    loaded: nn.Module,
    pictures: Pictures,
    resizes: Sequence[Resize],
    batch_size: int = 32,
    device: str = "auto",
) -> np.ndarray:
    """Return the features of every picture.

    Parameters
    ----------
    network : Network
    loaded : nn.Module
        From `network.load()`.
    pictures : Pictures
    resizes : sequence of Resize
        Steps to the network's size.
    batch_size : int
        Pictures per forward pass. Features do not depend on it beyond float32 rounding; equal pictures pass once, so
        their features are equal to the last bit.
    device : str
        A torch device; "auto" is the GPU if there is one.

    Returns
    -------
    ndarray, shape (n, D), float32
        D is 184,512 for AlexNet(2) at 256 pixels: 0.7 GB for 1,000 pictures, the largest.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    loaded = loaded.to(device, memory_format=torch.channels_last)  # convolutions are up to twice as fast
    first, place = pictures.unique
    found: np.ndarray | None = None
    with _exact_arithmetic():
        for start in track(range(0, len(first), batch_size), network.title):
            rows = first[start : start + batch_size]
            batch = network.normalised(pictures.resized(rows, resizes))
            batch = batch.to(device, memory_format=torch.channels_last)
            values = loaded(batch).float().cpu().numpy()
            if found is None:
                found = np.empty((len(first), values.shape[1]), np.float32)
            found[start : start + len(rows)] = values
    return found if len(first) == len(place) else found[place]


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Keep GPUs from ten-bit products and from choosing algorithms by timing."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
