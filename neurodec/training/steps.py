"""The order in which a training sees its trials: steps of every space's share, or all in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import IterableDataset

from neurodec.training.batch import Batch
from neurodec.training.gather import Gather


class Steps(IterableDataset):
    """Steps of one epoch: from every space its share of trials, in an order that follows from seed and epoch alone.

    A resumed run sees the same batches, and so do several processes, each of which takes its part of every share.
    """

    def __init__(
        self,
        gathers: dict[str, Gather],
        share: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        n_processes: int = 1,
        groups: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.gathers, self.share, self.seed, self.epoch = gathers, share, seed, epoch
        self.rank, self.micro, self.groups = rank, share // n_processes, groups

    def __len__(self) -> int:
        if self.groups is not None:
            return len(next(iter(self.orders().values()))) // self.share
        return self._n_steps

    @property
    def _n_steps(self) -> int:
        return max(len(gather) // self.share for gather in self.gathers.values())

    def orders(self) -> dict[str, np.ndarray]:
        """Return the trials of every space in the order of this epoch, whole steps of them."""
        orders = {}
        for number, (name, gather) in enumerate(self.gathers.items()):
            whole = len(gather) // self.share * self.share
            rounds = -(-self._n_steps * self.share // whole)
            drawn = []
            for turn in range(rounds):
                key = [self.seed, self.epoch()] + ([number, turn] if number or turn else [])
                drawn.append(np.random.default_rng(key).permutation(len(gather))[:whole])
            orders[name] = np.concatenate(drawn)
        return orders if self.groups is None else _spread(orders, self.groups, self.share)

    def __iter__(self) -> Iterator[Batch]:
        orders = self.orders()
        row = self.rank * self.micro * len(self.gathers)
        for step in range(len(self)):
            first = step * self.share + self.rank * self.micro
            yield Batch.joined(
                [
                    gather.batch(orders[name][first : first + self.micro], name, row)
                    for name, gather in self.gathers.items()
                ]
            )


def _spread(
    orders: dict[str, np.ndarray], groups: dict[str, np.ndarray], share: int
) -> dict[str, np.ndarray]:
    """Put trials into steps none of which holds a group twice; only steps that all spaces fill are kept.

    Each trial goes to the first step that has room and lacks its group; a group begins to look where it found a place.
    """
    n_steps = max(len(order) for order in orders.values()) // share
    held: list[set[int]] = [set() for _ in range(n_steps)]
    filled = {}
    for name, order in orders.items():
        steps: list[list[int]] = [[] for _ in range(n_steps)]
        looked: dict[int, int] = {}
        first = 0  # all steps before are full
        for trial in order.tolist():
            group = int(groups[name][trial])
            while first < n_steps and len(steps[first]) == share:
                first += 1
            step = max(first, looked.get(group, 0))
            while step < n_steps and (len(steps[step]) == share or group in held[step]):
                step += 1
            if step < n_steps:
                steps[step].append(trial)
                held[step].add(group)
            looked[group] = step + 1
        filled[name] = steps
    whole = [step for step in range(n_steps) if all(len(own[step]) == share for own in filled.values())]
    return {
        name: np.array([trial for step in whole for trial in own[step]], dtype=int)
        for name, own in filled.items()
    }


class InOrder(IterableDataset):
    """All rows of every space, a batch of one space at a time."""

    def __init__(self, gathers: dict[str, Gather], batch_size: int) -> None:
        self.gathers, self.batch_size = gathers, batch_size

    def __len__(self) -> int:
        return sum(-(-len(gather) // self.batch_size) for gather in self.gathers.values())

    def __iter__(self) -> Iterator[Batch]:
        for name, gather in self.gathers.items():
            for start in range(0, len(gather), self.batch_size):
                yield gather.batch(np.arange(start, min(start + self.batch_size, len(gather))), name)
