"""Find and load open_clip networks that are on this machine, and say how to fetch those that are not."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn

from neurodec.errors import NeurodecError, reading
from neurodec.files import read_json
from neurodec.foreign_code import no_foreign_code

ASSETS = Path(__file__).resolve().parents[1] / "embedded" / "assets"
EMBEDDED = "neurodec/"
_TOKENIZER_KEYWORDS = {"clean", "strip_sep_token", "context_length", "language", "tokenizer_mode"}
LICENCES = {
    "openai": "MIT",
    "laion": "MIT",
    "datacomp": "MIT",
    "metaclip": "CC-BY-NC-4.0",
    "webli": "Apache-2.0",
}
"""Licence of the weights by the first letters of open_clip's tag."""


def load_clip(model: str, pretrained: str = "") -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """Load an open_clip network and its deterministic inference transform from this machine.

    Nothing is downloaded: a gigabyte is fetched by a command the user types, knowing size and licence.

    Parameters
    ----------
    model : str
        An open_clip architecture (``ViT-H-14``), ``local-dir:FOLDER`` with ``open_clip_config.json`` and
        ``open_clip_model.safetensors``, or a packaged network: ``neurodec/tiny-clip``, ``neurodec/scene-driver``.
    pretrained : str
        open_clip's tag of the weights or a weights file; empty for folders, which hold their own.

    Returns
    -------
    network : nn.Module
        In evaluation mode, float32, on the CPU, without gradients.
    transform : callable
        From a picture to (3, size, size).

    Raises
    ------
    NeurodecError
        If the model is unknown or its weights are not on this machine; the sentence then names their size, their
        licence and the command that fetches them.
    """
    _check_name(model, pretrained)
    # OpenAI's weights were trained with another GELU; open_clip only warns about the wrong one.
    quick_gelu = bool((open_clip.get_pretrained_cfg(model, pretrained) or {}).get("quick_gelu"))
    _warn_of_activation(model, pretrained)
    try:
        with _offline():
            network, transform = open_clip.create_model_from_pretrained(
                _location(model), pretrained=pretrained or None, force_quick_gelu=quick_gelu
            )
    except Exception as error:  # open_clip and the hub raise a dozen kinds for the same plain fact
        raise NeurodecError(_why(model, pretrained, error)) from error
    return network.eval().requires_grad_(False), transform


def _warn_of_activation(model: str, pretrained: str) -> None:
    """Say which of two activations is rebuilt around a file of weights, which does not tell its own."""
    known = set(open_clip.list_models())
    other = model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
    if Path(pretrained).is_file() and other in known and model in known:
        rebuilt, instead = ("QuickGELU", "GELU") if model.endswith("-quickgelu") else ("GELU", "QuickGELU")
        warnings.warn(
            f"The weights in {pretrained} do not say which activation they were trained with; {model} has {rebuilt}. "
            f"For weights with {instead} (OpenAI's and some of MetaCLIP's and DFN's have QuickGELU), name {other}.",
            stacklevel=3,
        )


def activation(network: nn.Module) -> str:
    """Return "QuickGELU" or "GELU", whichever a network was rebuilt with."""
    quick = any(type(part).__name__ == "QuickGELU" for part in network.modules())
    return "QuickGELU" if quick else "GELU"


def load_tokenizer(model: str) -> Callable[[list[str]], Tensor]:
    """Return the tokenizer of a model as in `load_clip`: texts to token ids (n_texts, context_length)."""
    if _is_folder(model):
        _check_folder(Path(_location(model).removeprefix("local-dir:")), model)
    with reading(f"The tokenizer of {model}", "", "restore its files"), _offline():
        tokenizer = open_clip.get_tokenizer(_location(model))
        tokenizer(["a"])  # some damage shows at the first text only
        return tokenizer


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256 of all tensors of a network with their names; the file they came from does not matter."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the hub from the network, which it would try for a minute, and from a folder's code; silence open_clip."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE, logging.root.manager.disable
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    logging.disable(logging.ERROR)
    try:
        with no_foreign_code():
            yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before[0]
        logging.disable(before[1])


def _location(model: str) -> str:
    return f"local-dir:{ASSETS / model.removeprefix(EMBEDDED)}" if model.startswith(EMBEDDED) else model


def _is_folder(model: str) -> bool:
    return model.startswith(("local-dir:", EMBEDDED))


def _check_name(model: str, pretrained: str) -> None:
    if _is_folder(model):
        folder = Path(_location(model).removeprefix("local-dir:"))
        for name in ("open_clip_config.json", "open_clip_model.safetensors"):
            if not (folder / name).is_file():
                raise NeurodecError(
                    f"{model} has no {name} in {folder}; name a folder that open_clip can load."
                )
        _check_folder(folder, model)
    elif model not in open_clip.list_models():
        raise NeurodecError(
            f"open_clip knows no model '{model}'; take one that open_clip.list_models() names, local-dir:FOLDER, or "
            f"the packaged neurodec/tiny-clip."
        )
    elif not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)[:6])
        raise NeurodecError(f"{model} needs the tag of its weights in `features.pretrained`, such as {tags}.")


def _check_folder(folder: Path, model: str) -> None:
    """Refuse a folder that asks its loaders for more than numbers and texts: a keyword of theirs could run code.

    Raises
    ------
    NeurodecError
        Naming the keyword.
    """
    config = read_json(folder / "open_clip_config.json")
    inner = config.get("model_cfg") if isinstance(config, dict) else None
    text = (inner.get("text_cfg") or {}) if isinstance(inner, dict) else None
    if not isinstance(text, dict) or not isinstance(text.get("tokenizer_kwargs") or {}, dict):
        raise NeurodecError(f"{model} has an open_clip_config.json without a model_cfg; restore it.")
    foreign = sorted(set(text.get("tokenizer_kwargs") or {}) - _TOKENIZER_KEYWORDS)
    if foreign:
        raise NeurodecError(
            f"{model} asks for the tokenizer's keyword {foreign[0]} in its open_clip_config.json, which could run code "
            f"of the folder; only {', '.join(sorted(_TOKENIZER_KEYWORDS))} are passed on, so remove it."
        )
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file() and "auto_map" in read_json(tokenizer):
        raise NeurodecError(
            f"{model} brings a tokenizer of its own code (auto_map in {tokenizer.name}); remove that."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]


def _why(model: str, pretrained: str, error: Exception) -> str:
    if _is_folder(model):
        return f"{model} cannot be loaded ({_first_line(error)}); restore its files."
    if pretrained not in open_clip.list_pretrained_tags_by_model(model):
        return (
            f"The weights '{pretrained}' of {model} are neither a tag of open_clip nor a file that fits "
            f"({_first_line(error)})."
        )
    licence = next(
        (text for tag, text in LICENCES.items() if pretrained.startswith(tag)), "in its model card"
    )
    command = f"import open_clip; open_clip.create_model({json.dumps(model)}, {json.dumps(pretrained)})"
    return (
        f"The weights of {model} {pretrained} ({_size(model)}, licence {licence}) are not on this machine; fetch them "
        f"once with  python -c '{command}'  (without network: elsewhere, and copy the Hugging Face cache)."
    )


def _size(model: str) -> str:
    """Size of the weights in float32, counted on a network without storage."""
    try:
        with _offline(), torch.device("meta"):
            network = open_clip.create_model(model, load_weights=False, device="meta")
    except Exception:  # networks with towers from the hub cannot be built without their files
        return "size in its model card"
    return f"about {4 * sum(p.numel() for p in network.parameters()) / 1e9:.1f} GB"
