"""CLIP embeddings of pictures and captions through open_clip: the frozen targets."""

from __future__ import annotations

import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from neurodec.errors import NeurodecError
from neurodec.features.cache import cached_rows, joined
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features
from neurodec.features.tokens import image_layers, image_patches, image_tokens, text_tokens
from neurodec.features.views import VIEWS, degraded
from neurodec.features.weights import EMBEDDED, activation, load_clip, load_tokenizer, weights_hash
from neurodec.files import key_of, sha256_of
from neurodec.picture_opening import RULES_VERSION, open_picture

_AHEAD = 2  # batches of pictures decoded while the network works
_READERS = 8  # threads that decode pictures
_WORKERS = 32  # processes that do, beside a GPU
_PIECE = 32  # pictures that a process hands over at once: whole batches arrive late and unevenly


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
    of : {"image", "caption"}
        What is embedded: the picture, or its caption.
    layer : "final", "tokens", "patches" or list of int
        The embedding in the space shared by pictures and captions; every token of the last layer, projected into that
        space; the patch tokens of the last layer as they are, without the class token (MindEye2); or the token maps of
        these transformer blocks (counted from 0), averaged over the picture and
        concatenated.
    views : list of str
        Degraded views of the picture whose embeddings are averaged: "blur", "noise", "low_resolution", "mosaic". The
        clean picture by default.
    normalize : bool
        Scale every embedding to unit length; all tokens of a stimulus by the length of its class (or end) token, all
        patches by that of all.
    half : bool
        Keep the targets in half precision.
    batch_size : int
        Pictures or captions per forward pass.
    device : str
        ``auto`` takes the GPU if there is one, where the network runs in half precision (autocast).

    Examples
    --------
    >>> import pandas as pd
    >>> from neurodec import OpenClip
    >>> captions = pd.DataFrame({"stimulus": ["a"], "caption": ["a small red key on bricks"]})
    >>> OpenClip("neurodec/tiny-clip", of="caption").extract(captions, ".").values.shape
    (1, 128)
    """

    model: str = "neurodec/tiny-clip"
    pretrained: str = ""
    of: Literal["image", "caption"] = "image"
    layer: Literal["final", "tokens", "patches"] | list[int] = "final"
    views: list[str] = field(default_factory=list)
    normalize: bool = True
    half: bool = False
    batch_size: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.views) - set(VIEWS))
        if unknown:
            raise NeurodecError(f"There is no view {unknown[0]}; choose among {', '.join(VIEWS)}.")
        if self.of == "caption" and (self.views or self.layer not in ("final", "tokens")):
            raise NeurodecError("Captions have neither views nor picture layers; leave both out.")

    @property
    def embedding_space(self) -> str:
        """A name that priors and decoders can check, such as ``open_clip/ViT-H-14/laion2b_s32b_b79k``.

        A folder is named without its path. Captions, views, layers and unit length are appended.
        """
        name = self.model
        if name.startswith("local-dir:"):
            name = f"open_clip/{Path(name.removeprefix('local-dir:')).name}"
        elif not name.startswith(EMBEDDED):
            name = f"open_clip/{name}/{self.pretrained}"
        name += "/captions" if self.of == "caption" else ""
        name += f"/{'-'.join(self.views)}" if self.views else ""
        if isinstance(self.layer, list):
            name += f"/layers-{'-'.join(map(str, self.layer))}"
        name += f"/{self.layer}" if self.layer in ("tokens", "patches") else ""
        return f"{name}/unit" if self.normalize else name

    def extract(self, stimuli: pd.DataFrame, root: str | Path) -> Features:
        """Embed the pictures or captions of a stimulus table, or find them in the cache.

        Parameters
        ----------
        stimuli : pd.DataFrame
            Columns `stimulus` and `image` (path below `root`) or `caption`.
        root : str or Path
            Folder of the data set.

        Returns
        -------
        Features
            Values (n_stimuli, D) or (n_stimuli, n_tokens, D) in the order of the table; `info` holds the content hash
            of every picture or caption.

        Raises
        ------
        NeurodecError
            If a picture is missing or unreadable, a caption is empty, a layer does not exist, or the weights are not on
            this machine.

        Notes
        -----
        Cost: one forward pass per picture and view, once; finished blocks are kept, so that a killed run goes on.
        """
        return self._of_captions(stimuli) if self.of == "caption" else self._of_pictures(stimuli, Path(root))

    def _of_pictures(self, stimuli: pd.DataFrame, root: Path) -> Features:
        files = [root / image for image in stimuli["image"]]
        for file, stimulus in zip(files, stimuli["stimulus"], strict=True):
            if not file.is_file():
                raise NeurodecError(
                    f"The picture of stimulus '{stimulus}' does not exist ({file}); correct the stimulus table or the "
                    f"data folder."
                )
        with ThreadPoolExecutor() as pool:
            contents = list(pool.map(sha256_of, files))
        recipe = self._recipe()

        def compute(rows: list[int]) -> Iterator[np.ndarray]:
            chosen = [(files[row], int(contents[row][:8], 16)) for row in rows]
            return (self._embed(batch) for batch in self._batches(chosen))

        values = cached_rows(contents, recipe, compute, f"{self.of} features", half=self.half)
        return Features(values, stimuli["stimulus"].tolist(), self._info(recipe, contents))

    def _of_captions(self, stimuli: pd.DataFrame) -> Features:
        empty = stimuli["stimulus"][stimuli["caption"].fillna("").str.strip() == ""]
        if len(empty):
            raise NeurodecError(
                f"{len(empty)} of {len(stimuli)} stimuli have no caption, first {empty.iloc[0]}; complete the column "
                "`caption` of the stimulus table, or leave out the target made of captions."
            )
        tokens = _tokens(load_tokenizer(self.model), stimuli["caption"].tolist())  # (n, context_length)
        contents = [key_of(row) for row in tokens.tolist()]
        recipe = self._recipe()
        embed = text_tokens if self.layer == "tokens" else lambda network, rows: network.encode_text(rows)

        def compute(rows: list[int]) -> Iterator[np.ndarray]:
            for batch in tokens[rows].split(self.batch_size):
                yield self._run(lambda batch=batch: embed(self._network, batch.to(self._device)))

        values = cached_rows(contents, recipe, compute, "caption features", half=self.half)
        return Features(values, stimuli["stimulus"].tolist(), self._info(recipe, contents))

    def _recipe(self) -> dict[str, Any]:
        """Everything but the stimuli that the numbers depend on."""
        transform = re.sub(r" at 0x[0-9a-f]+", "", repr(self._loaded[1])) if self.of == "image" else "tokens"
        return {
            "kind": self.of,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights": self._weights_hash,
            "layer": self.layer,
            "views": self.views,
            "transform": transform,
            "pictures": RULES_VERSION,
            "normalize": self.normalize,
            "precision": "autocast" if self._on_gpu else "float32",
        }

    def _info(self, recipe: dict[str, Any], contents: list[str]) -> dict[str, Any]:
        key = key_of([recipe, contents])
        own = {"embedding_space": self.embedding_space, "key": key, "activation": activation(self._network)}
        return {**own, **recipe, "contents": contents}

    @cached_property
    def _device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device

    @property
    def _on_gpu(self) -> bool:
        return self._device.startswith("cuda")

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

    def _batches(self, files: list[tuple[Path, int]]) -> Iterable[Tensor]:
        """Yield batches (B, n_views, 3, size, size), decoded while the network works on the last one.

        By threads on a CPU, which the network needs itself; by processes beside a GPU, which outruns threads.
        """
        n_workers = min(_WORKERS, os.cpu_count() or 1) if self._on_gpu and len(files) > self.batch_size else 0
        if n_workers:
            options = {"num_workers": n_workers, "prefetch_factor": _AHEAD, "pin_memory": True}
            size = min(_PIECE, self.batch_size)
            pieces = DataLoader(_Pictures(self._loaded[1], self.views, files), size, **options)
            return joined(pieces, self.batch_size, torch.cat)
        return self._by_threads(_Pictures(self._loaded[1], self.views, files))

    def _by_threads(self, pictures: _Pictures) -> Iterator[Tensor]:
        with ThreadPoolExecutor(_READERS) as pool:
            waiting: deque[list[Future]] = deque()
            for start in range(0, len(pictures), self.batch_size):
                rows = range(start, min(start + self.batch_size, len(pictures)))
                waiting.append([pool.submit(pictures.__getitem__, row) for row in rows])
                if len(waiting) > _AHEAD:
                    yield torch.stack([picture.result() for picture in waiting.popleft()])
            for batch in waiting:
                yield torch.stack([picture.result() for picture in batch])

    def _embed(self, pictures: Tensor) -> np.ndarray:
        """Embed views (B, n_views, 3, size, size) and average over them."""
        flat = pictures.flatten(0, 1).to(self._device, non_blocking=True)
        return self._run(
            lambda: self._image_embedding(flat).unflatten(0, pictures.shape[:2]).float().mean(dim=1)
        )

    @torch.inference_mode()
    def _run(self, embed: Callable[[], Tensor]) -> np.ndarray:
        with torch.autocast("cuda", enabled=self._on_gpu):
            values = embed()
        values = values.float()
        if self.normalize:
            lead = values[:, :1] if self.layer == "tokens" else values
            lengths = lead.flatten(1).norm(dim=-1).clamp(min=1e-12)
            values = values / lengths.reshape(-1, *[1] * (values.ndim - 1))
        return values.cpu().numpy()

    def _image_embedding(self, pictures: Tensor) -> Tensor:
        if self.layer == "final":
            return self._network.encode_image(pictures)
        if self.layer == "tokens":
            return image_tokens(self._network, pictures)
        if self.layer == "patches":
            return image_patches(self._network, pictures)
        maps = image_layers(self._network, pictures, self.layer)
        return torch.cat([layer.mean(dim=(-2, -1)) for layer in maps], dim=-1)


@dataclass(frozen=True)
class _Pictures(Dataset):
    """Reads pictures: the transformed views of each, shape (n_views, 3, size, size)."""

    transform: Callable[[Image.Image], Tensor]
    views: list[str]
    files: list[tuple[Path, int]]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        file, seed = self.files[row]
        seen = open_picture(file)
        views = [seen if view is None else degraded(seen, view, seed) for view in self.views or [None]]
        return torch.stack([self.transform(view) for view in views])


def embed_pictures(
    pictures: Sequence[Image.Image | str | Path], embedding_space: str, batch_size: int = 64
) -> np.ndarray:
    """Embed pictures of one's own in a named space, each of unit length, shape (n, D).

    Parameters
    ----------
    pictures : sequence of PIL.Image.Image, str or Path
    embedding_space : str
        As `OpenClip.embedding_space` names it: ``neurodec/tiny-clip`` or ``open_clip/ViT-H-14/laion2b_s32b_b79k``.
    batch_size : int

    Raises
    ------
    NeurodecError
        If a picture cannot be read, the space is no picture embedding of a CLIP, or its weights are not here.
    """
    network, transform = load_clip(*_clip_of(embedding_space, "Pictures"))
    rows = []
    for start in range(0, len(pictures), batch_size):
        batch = []
        for picture in pictures[start : start + batch_size]:
            seen = picture.convert("RGB") if isinstance(picture, Image.Image) else open_picture(picture)
            batch.append(transform(seen))
        with torch.inference_mode():
            rows.append(network.encode_image(torch.stack(batch)).float())
    found = torch.cat(rows)
    return (found / found.norm(dim=-1, keepdim=True)).cpu().numpy()


def _tokens(tokenizer: Callable[..., Tensor], captions: list[str]) -> Tensor:
    """Return the tokens of captions; warn of those that are cut, which the tokenizer does in silence."""
    tokens = tokenizer(captions)
    length = tokens.shape[1]
    full = torch.nonzero(tokens[:, -1] == tokens.max()).flatten().tolist()  # the end token is the highest
    if full:
        longer = tokenizer([captions[row] for row in full], context_length=length + 1)
        n_cut = int((longer[:, -1] == tokens.max()).sum())
        if n_cut:
            warnings.warn(
                f"{n_cut} of {len(captions)} captions are longer than the {length} tokens that the network reads, and "
                "were cut; shorten them.",
                stacklevel=3,
            )
    return tokens


def embed_captions(captions: Sequence[str], embedding_space: str) -> np.ndarray:
    """Embed sentences by the text half of the CLIP that a space of pictures is of, each of unit length, shape (n, D).

    Raises
    ------
    NeurodecError
        If the space is no CLIP's, or its weights are not here.
    """
    model, pretrained = _clip_of(embedding_space, "Sentences")
    network, _ = load_clip(model, pretrained)
    with torch.inference_mode():
        found = network.encode_text(_tokens(load_tokenizer(model), list(captions))).float()
    return (found / found.norm(dim=-1, keepdim=True)).cpu().numpy()


def _clip_of(embedding_space: str, what: str) -> tuple[str, str]:
    """Return model and weights that a space is named after."""
    base = embedding_space.removesuffix("/unit")
    if base.startswith("open_clip/"):
        model, _, pretrained = base.removeprefix("open_clip/").partition("/")
        return model, pretrained
    if not base.startswith(EMBEDDED):
        raise NeurodecError(
            f"{what} cannot be embedded in {embedding_space}, which is no CLIP's; give embeddings in that space."
        )
    return base, ""
