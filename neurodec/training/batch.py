"""What a step of training sees: the rows of its trials, space by space, and their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

BySpace = Mapping[str, Tensor]
Heads = dict[str, Any]
"""Head to Tensor (B, ...); of a head whose rows have another shape in every space, space to Tensor."""


@dataclass
class Batch:
    """Trials of one or several spaces, whose rows follow each other in all but `responses` and `mask`.

    ``batch[name]`` is the target of that name.

    Parameters
    ----------
    responses : dict of Tensor
        Space to its rows (B_space, ...), as the encoder reads them.
    targets : dict of Tensor, shape (B, ...)
        By name.
    stimulus, subject, space : Tensor, shape (B,), int64
        Numbers of the stimulus, of the subject (-1 is unknown), and of the space (its place in the training).
    row : Tensor, shape (B,), int64
        Place of every row among those of all processes.
    mask : dict of Tensor
        Space to what an encoder that takes `mask` may not see there; filled in by `Objective.prepare`.
    extra : dict of Tensor, shape (B, ...)
        What `Objective.prepare` wants its `forward` to find.
    """

    responses: BySpace
    targets: dict[str, Tensor]
    stimulus: Tensor
    subject: Tensor
    space: Tensor
    row: Tensor
    mask: BySpace = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stimulus)

    def __getitem__(self, name: str) -> Tensor:
        """Return a target, or `stimulus`, `subject`, `space` or `row`."""
        return self.targets[name] if name in self.targets else getattr(self, name)

    def rows_of(self) -> Iterator[tuple[str, slice | Tensor]]:
        """Yield every space with the places of its rows."""
        if isinstance(self.responses, Gathered):  # those of one process after those of the other
            numbers = dict.fromkeys(self.space.tolist())  # in the order of `responses`
            for space, number in zip(self.responses, numbers, strict=True):
                yield space, torch.nonzero(self.space == number).flatten()
            return
        first = 0
        for space, own in self.responses.items():
            yield space, slice(first, first + len(own))
            first += len(own)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return a batch with every tensor changed."""
        return Batch(**{name: mapped(value, change) for name, value in vars(self).items()})

    def gathered(self, gather: Callable[[Tensor], Tensor]) -> Batch:
        """Return the rows of all processes, those of one after those of the other."""
        rows = replace(self, responses={}, mask={}).mapped(gather)
        return replace(rows, responses=Gathered(self.responses, gather), mask=Gathered(self.mask, gather))

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Return batches of one space each as one."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        # A GPU holds what fits of every space, so parts may come from two devices.
        tensors = [tensor for part in parts for tensor in (part.stimulus, *part.targets.values())]
        device = next((tensor.device for tensor in tensors if tensor.is_cuda), first.stimulus.device)

        def together(name: str) -> Tensor:
            return torch.cat([part[name].to(device) for part in parts])

        stimulus, subject, space = (together(name) for name in ("stimulus", "subject", "space"))
        targets = {name: together(name) for name in first.targets}
        responses = {name: own for part in parts for name, own in part.responses.items()}
        row = torch.arange(len(space), device=device) + first.row[0].to(device)
        return cls(responses, targets, stimulus, subject, space, row)


class Gathered(Mapping):
    """What other processes hold too, gathered where it is asked for: an objective that never looks pays nothing.

    Parameters
    ----------
    own : dict of Tensor
        Of this process.
    gather : callable
        From the tensor of this process to that of all.
    """

    def __init__(self, own: BySpace, gather: Callable[[Tensor], Tensor]) -> None:
        self.own, self.gather = own, gather

    def __getitem__(self, name: str) -> Tensor:
        return self.gather(self.own[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a tensor, or a dict of such, changed."""
    if isinstance(value, Mapping):
        return {name: mapped(own, change) for name, own in value.items()}
    return change(value)
