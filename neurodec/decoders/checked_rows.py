"""Checks of what a decoder is given, one row per picture, and drawing in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from neurodec.decoders.loading import memory_advice
from neurodec.errors import NeurodecError
from neurodec.files import track
from neurodec.foreign_code import quiet


def check_space(own: str, given: str | None) -> None:
    """Refuse embeddings of another space than the decoder reads; None is not checked.

    Raises
    ------
    NeurodecError
        Naming both spaces.
    """
    if given is not None and given != own:
        raise NeurodecError(
            f"The embeddings are of {given}, the decoder reads {own}; train on the features that the decoder reads, or "
            "choose another decoder."
        )


def check_embeddings(image_embeds: Tensor, width: int, space: str, tokens: bool = False) -> Tensor:
    """Return image embeddings as float32 on the CPU.

    Parameters
    ----------
    image_embeds : Tensor, shape (B, D) or (B, n_tokens, D)
    width : int
        D that the decoder reads.
    space : str
        The embedding space that it reads, for errors.
    tokens : bool
        Whether it reads tokens.

    Raises
    ------
    NeurodecError
        If there are no rows, they have another shape, or are not finite.
    """
    rows = torch.as_tensor(image_embeds).detach().to("cpu", torch.float32)
    shape = f"(B, {'n_tokens, ' if tokens else ''}{width})"
    if rows.ndim != 2 + tokens or rows.shape[-1] != width:
        raise NeurodecError(
            f"The embeddings have shape {tuple(rows.shape)}, the decoder reads {shape} of {space}; give it those."
        )
    if len(rows) == 0:
        raise NeurodecError("There is no embedding to decode; give at least one row.")
    bad = torch.nonzero(~rows.flatten(1).isfinite().all(dim=1)).flatten()
    if len(bad):
        raise NeurodecError(
            f"{len(bad)} embedding(s), first row {int(bad[0])}, hold NaN or infinity; check the responses and the "
            "prior."
        )
    return rows


def refuse_unit_length(rows: Tensor, space: str) -> None:
    """Refuse embeddings (B, D) that were all brought to unit length: generators read them as the network gives them.

    Raises
    ------
    NeurodecError
        Because pictures would be drawn, and drawn badly.
    """
    if (rows.norm(dim=1) - 1).abs().max() < 1e-3:
        raise NeurodecError(
            f"Every embedding has length 1, but the decoder reads {space} as its network gives it; set `normalize: "
            "false` in the features and train again."
        )


def check_rows(
    n_rows: int,
    generator: Sequence[torch.Generator],
    captions: Sequence[str] | None,
    init_images: Sequence[Image.Image] | None,
) -> None:
    """Check that every row has its own generator on the CPU, and its caption and first picture if any has.

    Raises
    ------
    NeurodecError
        If a list has another length, or rows share a generator, whose picture would depend on the batch.
    """
    if isinstance(generator, torch.Generator):
        raise NeurodecError("One generator was given for all rows; give a list with one per row.")
    if isinstance(captions, str):
        raise NeurodecError("One caption was given for all rows; give a list with one per row.")
    for name, rows in (("generators", generator), ("captions", captions), ("first pictures", init_images)):
        if rows is not None and len(rows) != n_rows:
            raise NeurodecError(
                f"There are {n_rows} embeddings but {len(rows)} {name}; give one per embedding."
            )
    if len({id(own) for own in generator}) < n_rows:
        raise NeurodecError("Several rows share one generator; give every row its own, seeded.")
    if any(own.device.type != "cpu" for own in generator):
        raise NeurodecError(
            "A generator is on the GPU; make all on the CPU, so that pictures repeat anywhere."
        )


def check_steps(n_steps: int, guidance: float, strength: float | None) -> None:
    """Check the settings of the diffusion; `strength` is None without first pictures.

    Raises
    ------
    NeurodecError
        If nothing would be drawn, or a value is out of range.
    """
    if n_steps < 1:
        raise NeurodecError(f"n_steps is {n_steps}; take at least one.")
    if not guidance >= 0:
        raise NeurodecError(f"guidance is {guidance}; take 0 or more (up to 1 is no guidance).")
    if strength is None:
        return
    if not 0 < strength <= 1:
        raise NeurodecError(f"strength is {strength}; take more than 0 and at most 1.")
    if int(n_steps * strength) < 1:
        raise NeurodecError(
            f"{n_steps} step(s) at strength {strength} leave none to run; raise n_steps or the strength."
        )


def square(pictures: Sequence[Image.Image], size: int) -> list[Image.Image]:
    """Return pictures as RGB of `size` x `size` pixels, resized (Lanczos) where they have another size."""
    rgb = (picture.convert("RGB") for picture in pictures)
    return [
        picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.LANCZOS)
        for picture in rgb
    ]


def in_batches(n_rows: int, batch_size: int, draw: Callable[[slice], list[Any]], doing: str) -> list[Any]:
    """Draw rows in batches, with a progress bar.

    Parameters
    ----------
    n_rows, batch_size : int
    draw : callable
        From a slice of rows to one result per row.
    doing : str
        What the bar and an error say.

    Raises
    ------
    NeurodecError
        If the GPU is too small for a batch.
    """
    found = []
    with quiet(), memory_advice(f"{doing} {batch_size} at once"):
        for start in track(range(0, n_rows, batch_size), doing):
            found += draw(slice(start, min(start + batch_size, n_rows)))
    return found
