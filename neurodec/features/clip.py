"""CLIP embeddings of pictures and captions through open_clip: the frozen targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.features.cache import cached_blocks
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.features.weights import EMBEDDED, activation, load_clip, load_tokenizer, weights_hash
from neurodec.files import key_of, sha256_of


@dataclass(frozen=True)
class OpenClip(Extractor):
    """A frozen open_clip network that turns stimuli into targets.

    Parameters
    ----------
    model : str
        An open_clip architecture (``ViT-H-14``), ``local-dir:FOLDER`` with ``open_clip_config.json`` and
        ``open_clip_model.safetensors``, or ``neurodec/tiny-clip``, the embedded default.
    pretrained : str
        open_clip's tag of the weights or a weights file; empty for folders, which hold their own.
    layer : "final" or list of int
        The embedding in the space shared with text, or the token maps of these transformer blocks (counted from 0),
        averaged over the picture and concatenated.
    normalize : bool
        Scale every embedding to unit length.
    batch_size : int
        Pictures or captions per forward pass.
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
        """A name that priors and decoders can check, such as ``open_clip/ViT-H-14/laion2b_s32b_b79k``.

        A folder is named without its path, a choice of layers is appended.
        """
        name = self.model
        if name.startswith("local-dir:"):
            name = f"open_clip/{Path(name.removeprefix('local-dir:')).name}"
        elif not name.startswith(EMBEDDED):
            name = f"open_clip/{name}/{self.pretrained}"
        return name if self.layer == "final" else f"{name}/layers-{'-'.join(map(str, self.layer))}"

    def image_features(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Embed the pictures of a stimulus table, or find them in the cache.

        Parameters
        ----------
        stimuli : pd.DataFrame
            Columns `stimulus` and `image` (path below `root`).
        root : str or Path
            Folder of the data set.

        Returns
        -------
        Features
            Values (n_stimuli, D) in the order of the table; `info` holds the content hash of every picture.

        Raises
        ------
        NeurodecError
            If a picture is missing or unreadable, a layer does not exist, or the weights are not on this machine.

        Notes
        -----
        Cost: one forward pass per picture, once; finished blocks are kept, so that a killed run goes on.
        """
        files = [Path(root) / image for image in stimuli["image"]]
        for file, stimulus in zip(files, stimuli["stimulus"], strict=True):
            if not file.is_file():
                raise NeurodecError(
                    f"The picture of stimulus '{stimulus}' does not exist ({file}); correct the stimulus table or the "
                    f"data folder."
                )
        with ThreadPoolExecutor() as pool:
            contents = list(pool.map(sha256_of, files))
        recipe = self._recipe("image")

        def compute(block: slice) -> np.ndarray:
            return self._embed([self._read(file) for file in files[block]], self._image_embedding)

        values = cached_blocks(contents, recipe, compute, "image features")
        return Features(values, stimuli["stimulus"].tolist(), self._info(recipe, contents))

    def text_features(self, captions: Sequence[str], stimuli: Sequence[str]) -> Features:
        """Embed one caption per stimulus, or find it in the cache; always in the space shared with pictures.

        Parameters
        ----------
        captions : sequence of str
            Texts; too long ones are cut at the network's context length.
        stimuli : sequence of str
            The stimulus of every caption.

        Returns
        -------
        Features
            Values (n_stimuli, D); `info` holds the content hash of every caption.
        """
        tokens = load_tokenizer(self.model)(list(captions))  # (n, context_length)
        contents = [key_of(row) for row in tokens.tolist()]
        recipe = self._recipe("text")

        def compute(block: slice) -> np.ndarray:
            return self._embed(list(tokens[block]), self._network.encode_text)

        values = cached_blocks(contents, recipe, compute, "text features")
        return Features(values, list(stimuli), self._info(recipe, contents))

    def caption_features(self, stimuli: pd.DataFrame, root: str | Path) -> Features | None:
        """Embed the captions of a stimulus table, where every stimulus has one."""
        if not (stimuli["caption"] != "").all():
            return None
        return self.text_features(stimuli["caption"].tolist(), stimuli["stimulus"].tolist())

    def _recipe(self, kind: Literal["image", "text"]) -> dict[str, Any]:
        """Everything but the stimuli that the numbers depend on."""
        transform = re.sub(r" at 0x[0-9a-f]+", "", repr(self._loaded[1])) if kind == "image" else "tokens"
        return {
            "kind": kind,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights": self._weights_hash,
            "layer": self.layer if kind == "image" else "final",
            "transform": transform,
            "normalize": self.normalize,
        }

    def _info(self, recipe: dict[str, Any], contents: list[str]) -> dict[str, Any]:
        key = key_of([recipe, contents])
        own = {"embedding_space": self.embedding_space, "key": key, "activation": activation(self._network)}
        return {**own, **recipe, "contents": contents}

    @cached_property
    def _device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    @cached_property
    def _loaded(self) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
        network, transform = load_clip(self.model, self.pretrained)
        return network.to(self._device), transform

    @property
    def _network(self) -> nn.Module:
        return self._loaded[0]

    @cached_property
    def _weights_hash(self) -> str:
        return weights_hash(self._network)

    def _read(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as picture:
                return self._loaded[1](picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
            raise NeurodecError(f"The picture {file} cannot be read ({error}); replace it.") from error

    @torch.inference_mode()
    def _embed(self, items: list[Tensor], embed: Callable[[Tensor], Tensor]) -> np.ndarray:
        batches = torch.stack(items).split(self.batch_size)
        values = torch.cat([embed(batch.to(self._device)).float().cpu() for batch in batches])
        return (F.normalize(values, dim=-1) if self.normalize else values).numpy()

    def _image_embedding(self, pictures: Tensor) -> Tensor:
        if self.layer == "final":
            return self._network.encode_image(pictures)
        maps = image_layers(self._network, pictures, self.layer)
        return torch.cat([layer.mean(dim=(-2, -1)) for layer in maps], dim=-1)


def image_layers(network: nn.Module, pictures: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Return the token maps of the named transformer blocks.

    Parameters
    ----------
    network : nn.Module
        An open_clip network as `load_clip` returns it.
    pictures : Tensor
        Transformed pictures, shape (B, 3, size, size).
    layers : sequence of int
        Blocks, counted from 0, in rising order.

    Returns
    -------
    list of Tensor
        One (B, width, h, w) per block; the class token is left out.

    Raises
    ------
    NeurodecError
        If the network has no such block.
    """
    try:
        output = network.forward_intermediates(
            image=pictures, image_indices=list(layers), intermediates_only=True
        )
    except (AssertionError, IndexError, AttributeError) as error:
        raise NeurodecError(
            f"The network has no layers {list(layers)} ({error}); correct `layer`."
        ) from error
    return output["image_intermediates"]
