"""The contract of a decoder: named conditions in, pictures out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image

from neurodec.errors import NeurodecError

VIT_H = "open_clip/ViT-H-14/laion2b_s32b_b79k"
BIG_G = "open_clip/ViT-bigG-14/laion2b_s39b_b160k"


class Decoder(ABC):
    """Draws pictures from named conditions.

    Attributes
    ----------
    reads : dict of str
        Condition to the embedding space that it must be of. The first is what a prior makes.
    optional : tuple of str
        Conditions that may be left out.
    """

    reads: dict[str, str]
    optional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def spaces(cls, arguments: dict[str, Any]) -> dict[str, str] | None:
        """Return `reads` for constructor arguments, without loading anything; None where only an object knows.

        Parameters
        ----------
        arguments : dict of Any
            Of the constructor.
        """
        return None

    @property
    def embedding_space(self) -> str:
        """Space of the first condition."""
        return next(iter(self.reads.values()))

    @abstractmethod
    def decode(
        self,
        conditions: dict[str, Any],
        *,
        generator: Sequence[torch.Generator],
        n_steps: int,
        guidance: float,
        strength: float = 0.5,
    ) -> list[Image.Image]:
        """Draw one picture per row.

        Parameters
        ----------
        conditions : dict
            Name to one row per picture: Tensors, texts or pictures.
        generator : sequence of torch.Generator
            One per row, on the CPU.
        n_steps : int
            Diffusion steps.
        guidance : float
            Classifier-free guidance.
        strength : float
            How much of the diffusion is run where a condition is a first picture.
        """

    def autoencode(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """Encode and decode pictures: the best that any embedding could give.

        Parameters
        ----------
        pictures : Sequence[Image.Image]
        """
        return list(pictures)


def check_conditions(decoder: Decoder | type[Decoder], reads: dict[str, str], spaces: dict[str, str]) -> None:
    """Refuse conditions that a decoder does not read, or of another space, before any training.

    Parameters
    ----------
    decoder : Decoder or its class
    reads : dict of str
        Condition to the space that it reads.
    spaces : dict of str
        Condition to the space that its values will be of.

    Raises
    ------
    NeurodecError
        Naming the condition and both spaces.
    """
    kind = decoder if isinstance(decoder, type) else type(decoder)
    missing = [name for name in reads if name not in spaces and name not in decoder.optional]
    unknown = [name for name in spaces if name not in reads]
    if missing or unknown:
        raise NeurodecError(
            f"{kind.__name__} reads the conditions {', '.join(reads)}, and is given "
            f"{', '.join(spaces) or 'none'}; correct `conditions` of the section reconstruction."
        )
    for name, space in spaces.items():
        if space != reads[name]:
            raise NeurodecError(
                f"The condition {name} will be of {space}, the decoder reads {reads[name]}; train on the "
                "targets that the decoder reads (a name that ends in /unit is normalised: set `normalize: false`), or "
                "choose another decoder."
            )
