"""CLIP embeddings of images and captions through open_clip: the frozen targets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.features.cache import cached_blocks
from neurodec.features.table import Features
from neurodec.files import key_of, sha256_of

ASSETS = Path(__file__).resolve().parents[1] / "assets"
EMBEDDED = "neurodec/"
# Approximate size in GB and licence of the weights that the published systems use.
_KNOWN = {
    ("ViT-H-14", "laion2b_s32b_b79k"): (3.9, "MIT"),
    ("ViT-bigG-14", "laion2b_s39b_b160k"): (10.2, "MIT"),
    ("ViT-L-14", "openai"): (1.7, "MIT"),
    ("ViT-B-32", "openai"): (0.6, "MIT"),
    ("RN50", "openai"): (0.4, "MIT"),
}


@dataclass(frozen=True)
class OpenClip:
    """A frozen open_clip model.

    Parameters
    ----------
    model : str
        An open_clip architecture (``ViT-H-14``), ``local-dir:FOLDER`` with `open_clip_config.json` and
        `open_clip_model.safetensors`, or ``neurodec/tiny-clip``, the embedded default.
    pretrained : str
        open_clip's weights tag or a weights file; empty for folders, which hold their own.
    layer : "final" or list of int
        The projected embedding, or token maps of these transformer blocks, averaged over space and concatenated.
    normalize : bool
        Scale every embedding to unit length.
    batch_size : int
    device : str
        ``auto`` takes the GPU if there is one.
    """

    model: str = "neurodec/tiny-clip"
    pretrained: str = ""
    layer: Literal["final"] | list[int] = "final"
    normalize: bool = True
    batch_size: int = 64
    device: str = "auto"

    @property
    def embedding_space(self) -> str:
        """A name that priors and decoders can check: ``open_clip/MODEL/TAG``, and the layers if not final."""
        layers = "" if self.layer == "final" else "/layers-" + "-".join(map(str, self.layer))
        return f"open_clip/{self.model}/{self.pretrained or 'folder'}{layers}"

    def image_features(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Embed the pictures of a stimulus table, or find them in the cache.

        Parameters
        ----------
        stimuli : DataFrame
            Columns `stimulus` and `image` (path below `root`).
        root : str or Path

        Raises
        ------
        NeurodecError
            If a picture is missing or unreadable, or the weights are not on this machine.

        Notes
        -----
        Cost: one forward pass per picture, once; blocks of 512 are kept, so a killed run goes on.
        """
        files = [Path(root) / image for image in stimuli["image"]]
        absent = [file for file, image in zip(files, stimuli["image"], strict=True) if not image or not file.is_file()]
        if absent:
            raise NeurodecError(f"The picture {absent[0]} does not exist; correct the stimulus table or --data-root.")
        with ThreadPoolExecutor() as pool:
            contents = list(pool.map(sha256_of, files))
        recipe = self._recipe("image")

        def compute(block: slice) -> np.ndarray:
            return self._embed([self._read(file) for file in files[block]], self._image_embedding)

        values = cached_blocks(contents, recipe, compute, "image features")
        info = {"embedding_space": self.embedding_space, "key": key_of([recipe, contents]), **recipe}
        return Features(values, stimuli["stimulus"].tolist(), info)

    def text_features(self, captions: Sequence[str], stimuli: Sequence[str]) -> Features:
        """Embed one caption per stimulus, or find it in the cache; always the projected text embedding."""
        recipe = self._recipe("text")
        tokens = self._tokenizer(list(captions))

        def compute(block: slice) -> np.ndarray:
            return self._embed(list(tokens[block]), lambda batch: self._network.encode_text(batch))

        values = cached_blocks([key_of(caption) for caption in captions], recipe, compute, "text features")
        return Features(values, list(stimuli), {"embedding_space": self.embedding_space, **recipe})

    def _recipe(self, kind: str) -> dict[str, Any]:
        transform = str(self._loaded[1]) if kind == "image" else "tokens"
        layer = self.layer if kind == "image" else "final"
        return {
            "kind": kind,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights": self._weights_hash,
            "layer": layer,
            "transform": transform,
            "normalize": self.normalize,
        }

    @cached_property
    def _device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    @cached_property
    def _loaded(self) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
        model, transform = load_clip(self.model, self.pretrained)
        return model.to(self._device), transform

    @property
    def _network(self) -> nn.Module:
        return self._loaded[0]

    @cached_property
    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        return load_tokenizer(self.model)

    @cached_property
    def _weights_hash(self) -> str:
        """Hash of the tensors in memory: the file's name or format does not matter, its numbers do."""
        state = self._network.state_dict()
        return key_of([[name, state[name].double().sum().item(), state[name].double().norm().item()] for name in state])

    def _read(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as picture:
                return self._loaded[1](picture.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise NeurodecError(f"The picture {file} cannot be read ({error}); replace it.") from None

    @torch.no_grad()
    def _embed(self, items: list[Tensor], embed: Callable[[Tensor], Tensor]) -> np.ndarray:
        batches = torch.stack(items).split(self.batch_size)
        values = torch.cat([embed(batch.to(self._device)).float().cpu() for batch in batches])
        return (F.normalize(values, dim=-1) if self.normalize else values).numpy()

    def _image_embedding(self, batch: Tensor) -> Tensor:
        if self.layer == "final":
            return self._network.encode_image(batch)
        maps = image_layers(self._network, batch, self.layer)
        return torch.cat([layer.mean(dim=(-2, -1)) for layer in maps], dim=-1)


def image_layers(network: nn.Module, pictures: Tensor, layers: list[int]) -> list[Tensor]:
    """Return the token maps (B, width, h, w) of the named transformer blocks."""
    output = network.forward_intermediates(image=pictures, image_indices=layers)
    return output["image_intermediates"]


def load_clip(model: str, pretrained: str = "") -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """Load an open_clip model and its deterministic inference transform.

    Raises
    ------
    NeurodecError
        If the weights are not on this machine, with their size, licence and the command that fetches them.
    """
    name = _location(model)
    if not name.startswith("local-dir:") and not pretrained:
        raise NeurodecError(
            f"{model} needs the weights' tag in `features.pretrained`, such as "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(model)[:3]) or 'a tag that open_clip lists'}."
        )
    try:
        network, transform = open_clip.create_model_from_pretrained(
            name, pretrained=pretrained or None, return_transform=True
        )
    except Exception as error:  # open_clip and the hub raise a dozen kinds for the same plain fact
        raise NeurodecError(_missing_weights(model, pretrained, error)) from None
    return network.eval().requires_grad_(False), transform


def load_tokenizer(model: str) -> Callable[[list[str]], Tensor]:
    """Return open_clip's tokenizer of a model; a folder may carry its own merges in `bpe.txt.gz`."""
    name = _location(model)
    merges = Path(name.removeprefix("local-dir:")) / "bpe.txt.gz"
    if name.startswith("local-dir:") and merges.is_file():
        return open_clip.get_tokenizer(name, bpe_path=str(merges))
    return open_clip.get_tokenizer(name)


def _location(model: str) -> str:
    return f"local-dir:{ASSETS / model.removeprefix(EMBEDDED)}" if model.startswith(EMBEDDED) else model


def _missing_weights(model: str, pretrained: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    if model.startswith(("local-dir:", EMBEDDED)):
        return f"{model} cannot be loaded ({reason}); the folder needs open_clip_config.json and open_clip_model.safetensors."
    if model not in open_clip.list_models():
        return f"open_clip knows no model {model}; `python -c 'import open_clip; print(open_clip.list_models())'` lists them."
    size, licence = _KNOWN.get((model, pretrained), (None, None))
    facts = f"about {size} GB, licence {licence}" if size else "see its model card for size and licence"
    command = f"import open_clip; open_clip.create_model({json.dumps(model)}, {json.dumps(pretrained)})"
    return (
        f"The weights {model} / {pretrained} ({facts}) are not on this machine; fetch them on one with a network by "
        f"python -c '{command}' and copy its Hugging Face cache here."
    )
