"""Several encoders on the same responses, each for a target of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurodec.class_paths import named_classes, resolve_class, takes_argument
from neurodec.errors import NeurodecError, reading


class Together(nn.Module):
    """Run several encoders side by side, such as `ATM` for the embedding and `ATMLowLevel` for a first picture.

    Parameters
    ----------
    parts : dict of str
        Name of a target to the import path of the encoder that predicts it, of an allowed package.
    n_chans, n_times, n_subjects, sfreq, spaces
        Sizes of the data, for the parts that take them; filled in.
    heads : dict of list of int
        Shape of every target, whose product a part is told as `n_outputs`; filled in.
    arguments : dict of dict, optional
        Further arguments of the parts, by the same names.

    Raises
    ------
    NeurodecError
        If a part is not an encoder, does not take its arguments, or is named like no target.
    """

    def __init__(
        self,
        parts: dict[str, str],
        n_chans: int,
        n_times: int,
        heads: Mapping[str, Sequence[int]],
        arguments: dict[str, dict[str, Any]] | None = None,
        n_subjects: int = 1,
        sfreq: float | None = None,
        spaces: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        arguments = arguments or {}
        unknown = sorted({*parts, *arguments} - set(heads))
        if unknown or not parts:
            raise NeurodecError(
                f"`parts` names {', '.join(unknown) or 'nothing'}, and the targets are {', '.join(heads)}; give every "
                "part the name of the target that it predicts."
            )
        sizes = {"n_chans": n_chans, "n_times": n_times, "n_subjects": n_subjects, "sfreq": sfreq}
        sizes |= {"spaces": spaces or {"all": n_chans}, "heads": heads}
        self.parts = nn.ModuleDict(
            {
                name: _built(path, arguments.get(name, {}), {**sizes, "n_outputs": int(np.prod(heads[name]))})
                for name, path in parts.items()
            }
        )

    def forward(
        self, response: Tensor, subject: Tensor | None = None, *, space: str = "all"
    ) -> dict[str, Tensor]:
        """Return the prediction of every target.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times) or (B, n_voxels)
        subject : Tensor of int, shape (B,), optional
        space : str
        """
        if subject is None:
            subject = torch.full((len(response),), -1, device=response.device)
        given = {"subject": subject, "space": space}
        found: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            names = inspect.signature(part.forward).parameters
            options = {key: value for key, value in given.items() if key in names}
            heads = part(response, **options)
            found |= heads if isinstance(heads, dict) else {name: heads}
        return found


def _built(path: str, arguments: Mapping[str, Any], sizes: Mapping[str, Any]) -> nn.Module:
    kind = resolve_class(path, nn.Module, what="encoder")
    taken = {key: value for key, value in sizes.items() if takes_argument(kind, key)}
    with reading(f"The encoder {path}", "", "its arguments do not fit, so correct `arguments`"):
        return kind(**named_classes(kind, {**taken, **arguments}))
