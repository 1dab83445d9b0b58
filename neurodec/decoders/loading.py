"""Loading diffusers and transformers folders: whole parts only, no pickles, no foreign code, no network, no chatter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from neurodec.errors import NeurodecError
from neurodec.features.downloads import find_folder, remedy
from neurodec.foreign_code import quiet, refuse_code

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

DType = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["model", "sequential"]

# Not loaded: what it blacks out would be scored as a reconstruction; embeddings come in without an image encoder.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_LIBRARIES = ("diffusers", "transformers")
_HALF = (torch.float16, torch.bfloat16)


def load_pipeline(name: str, kinds: tuple[str, ...], dtype: torch.dtype) -> DiffusionPipeline:
    """Load a pipeline folder on the CPU, in the text-to-image form of its class.

    Parameters
    ----------
    name : str
        As for `neurodec.features.downloads.find_folder`.
    kinds : tuple of str
        Pipeline classes that the caller can run; the folder's own ``model_index.json`` names one.
    dtype : torch.dtype
        Of all networks. Files in half precision (``*.fp16.safetensors``) are taken for half precision, or when there
        are no others.

    Raises
    ------
    NeurodecError
        If the folder is absent, holds another kind of pipeline or foreign code, or a part of it is missing, cut short
        or does not fit its configuration; the part is named.
    """
    folder = find_folder(name)
    refuse_code(folder, name)
    index = _read_config(folder / "model_index.json", name)
    kind = index.get("_class_name")
    if kind not in kinds:
        raise NeurodecError(
            f"{name} holds a {kind}, which is none of {', '.join(kinds)}; name another pipeline."
        )
    networks = _check_parts(folder, name, index)
    variant = _variant(networks, dtype)
    options: dict[str, Any] = {part: None for part in UNUSED if part in index}
    if "safety_checker" in index:
        options["requires_safety_checker"] = False
    # Not at the top: diffusers takes seconds to import, and most commands draw nothing.
    from diffusers import AutoPipelineForText2Image, KandinskyV22Pipeline

    loader = KandinskyV22Pipeline if kind.startswith("Kandinsky") else AutoPipelineForText2Image
    with quiet(), _named(name):
        pipeline = loader.from_pretrained(
            str(folder),
            torch_dtype=dtype,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            **options,
        )
    for part, files in networks.items():
        _check_complete(getattr(pipeline, part), files[variant] or files[None], f"The {part} of {name}", name)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.watermark = None
    return pipeline


def read_shapes(file: Path, what: str, mend: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file from its header, which also tells if it was cut short.

    Parameters
    ----------
    file : Path
    what : str
        How to name it in an error.
    mend : str
        What to do about a damaged file.

    Raises
    ------
    NeurodecError
        If the file is not safetensors, or damaged.
    """
    if file.suffix != ".safetensors":
        raise NeurodecError(f"{what} ({file.name}) is not a safetensors file; take one that is.")
    try:
        with safe_open(file, framework="pt") as handle:
            return {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NeurodecError(f"{what} ({file.name}) is damaged or cut short ({error}); {mend}.") from error


def check_network(folder: Path, what: str, mend: str, stem: str = "model") -> dict[str | None, list[Path]]:
    """Check that a folder holds a network: a readable ``config.json`` and whole safetensors files.

    Parameters
    ----------
    folder : Path
    what, mend : str
        How to name it in an error, and what to do about it.
    stem : str
        Of its files: ``model`` for transformers, ``diffusion_pytorch_model`` for diffusers.

    Returns
    -------
    dict
        The files by variant: None and "fp16"; one of the two may be empty.

    Raises
    ------
    NeurodecError
        If a file is missing or damaged.
    """
    if not folder.is_dir():
        raise NeurodecError(f"{what} is missing (there is no folder {folder.name}); {mend}.")
    refuse_code(folder, what)
    _read_config(folder / "config.json", what, mend)
    found = {variant: _weight_files(folder, stem, variant, what, mend) for variant in (None, "fp16")}
    if not found[None] and not found["fp16"]:
        raise NeurodecError(f"{what} has no {stem}.safetensors in {folder.name}; {mend}.")
    return found


def check_tokenizer(folder: Path, what: str, mend: str) -> None:
    """Check that a folder holds a whole vocabulary; transformers would go on with an empty one.

    Raises
    ------
    NeurodecError
        If it does not.
    """
    complete = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"vocab.txt"})
    files = {file.name for file in folder.glob("*")}
    if not any(needed <= files for needed in complete):
        raise NeurodecError(f"{what} is missing or incomplete in {folder.name}; {mend}.")


def resolve_device(device: str, offload: Offload | None = None) -> torch.device:
    """Return the torch device of a name; "auto" is the first GPU if there is one.

    Raises
    ------
    NeurodecError
        If there is no such device, or parts are to be offloaded from a device that is not a GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise NeurodecError(f"There is no device {device} ({first_line(error)}); name another.") from error
    if offload and found.type == "cpu":
        raise NeurodecError(
            f"offload: {offload} keeps parts off a GPU, and the device is the CPU; leave it out."
        )
    return found


def resolve_dtype(dtype: DType, device: torch.device) -> torch.dtype:
    """Return the torch type of a name; "auto" is half precision on GPUs and float32 elsewhere."""
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return getattr(torch, dtype)


def place(pipeline: DiffusionPipeline, device: torch.device, offload: Offload | None) -> None:
    """Move a pipeline to its device, or let its parts come there when they are used."""
    with memory_advice("loading the decoder"):
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=device)
        else:
            pipeline.to(device)


@torch.inference_mode()
def empty_picture(folder: Path, name: str, tokens: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the embedding of an empty picture (all pixels at the mean): what guidance leads away from.

    Parameters
    ----------
    folder : Path
        Of a CLIP image encoder as transformers saves it (``CLIPVisionModelWithProjection``).
    name : str
        How to name it in an error.
    tokens : bool
        The penultimate layer's tokens, instead of the projected embedding.
    device : torch.device
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (1, D) or (1, n_tokens, D), on the CPU
    """
    what, mend = f"The image encoder of {name}", remedy(name)
    check_network(folder, what, mend)
    from transformers import CLIPVisionModelWithProjection

    with quiet(), _named(name):
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    with memory_advice("embedding the empty picture"):
        encoder = encoder.to(device, dtype).eval()
        size = encoder.config.image_size
        found = encoder(
            torch.zeros(1, 3, size, size, device=device, dtype=dtype), output_hidden_states=tokens
        )
    return (found.hidden_states[-2] if tokens else found.image_embeds).cpu()


@contextmanager
def memory_advice(doing: str) -> Iterator[None]:
    """Turn a full GPU into a sentence.

    Raises
    ------
    NeurodecError
        Instead of PyTorch's out-of-memory error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise NeurodecError(
            f"The GPU ran out of memory while {doing}; lower the decoder's batch_size or set offload: model "
            "(sequential needs least and is slowest)."
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:150]


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the generator whose loading failed for a reason that no check foresaw."""
    try:
        yield
    except Exception as error:  # diffusers and transformers fail in every way
        raise NeurodecError(f"{name} cannot be loaded ({first_line(error)}); {remedy(name)}.") from error


def _check_parts(folder: Path, name: str, index: dict[str, Any]) -> dict[str, dict[str | None, list[Path]]]:
    """Check every part that the index lists and that is loaded; return the weight files of the networks."""
    networks, mend = {}, remedy(name)
    for part, entry in index.items():
        if part in UNUSED or not isinstance(entry, list) or entry[0] is None:
            continue
        library, kind = entry
        what = f"The {part} of {name}"
        if library not in _LIBRARIES:
            raise NeurodecError(
                f"{what} is a class of {library}, whose code is not run; name another pipeline."
            )
        if "Scheduler" in kind:
            _read_config(folder / part / "scheduler_config.json", what, mend)
        elif "Tokenizer" in kind:
            check_tokenizer(folder / part, what, mend)
        else:
            stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
            networks[part] = check_network(folder / part, what, mend, stem)
    return networks


def _weight_files(folder: Path, stem: str, variant: str | None, what: str, mend: str) -> list[Path]:
    """Return the files of a network, one or several shards, all of them whole."""
    whole = folder / (f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors")
    index = folder / f"{stem}.safetensors.index{f'.{variant}' if variant else ''}.json"
    if whole.is_file():
        files = [whole]
    elif index.is_file():
        files = [
            folder / shard for shard in sorted(set(_read_config(index, what, mend)["weight_map"].values()))
        ]
    else:
        return []
    for file in files:
        if not file.is_file():
            raise NeurodecError(f"{what} lacks its file {file.name}; {mend}.")
        read_shapes(file, what, mend)
    return files


def _variant(networks: dict[str, dict[str | None, list[Path]]], dtype: torch.dtype) -> str | None:
    """Choose the files in half precision when they suffice, or are all there is."""
    have_half = any(files["fp16"] for files in networks.values())
    lack_full = any(not files[None] for files in networks.values())
    return "fp16" if lack_full or (have_half and dtype in _HALF) else None


def _check_complete(network: nn.Module, files: list[Path], what: str, name: str) -> None:
    """Refuse a network that lacks tensors: diffusers would draw them at random. Old names differ, counts do not."""
    stored = sum(len(read_shapes(file, what, remedy(name))) for file in files)
    wanted = len(network.state_dict())
    if stored < wanted:
        raise NeurodecError(f"{what} holds {stored} of {wanted} tensors; {remedy(name)}.")


def _read_config(
    file: Path, what: str, mend: str = "name a folder that diffusers can load"
) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NeurodecError(f"{what} has no {file.name}; {mend}.") from error
    except (ValueError, RecursionError) as error:  # no JSON, no text, or nested without end
        raise NeurodecError(f"{what} has an unreadable {file.name}; {mend}.") from error
