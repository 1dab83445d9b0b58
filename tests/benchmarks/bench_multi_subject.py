"""A training step over several brains of unequal sizes, against one brain and against a loop over trials.

Run: ``python tests/benchmarks/bench_multi_subject.py``. MindBridge with 2,048 bins; 96 trials in all. The step over
four brains should cost what one brain's costs plus the cycle; a loop over trials is what code without padding does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from neurodec.encoders import MindBridge
from neurodec.training import BridgeObjective
from neurodec.training.module import heads_of

VOXELS = {"a": 12_682, "b": 14_278, "c": 13_039, "d": 15_724}
N, WIDTH, N_ROUNDS = 96, 256, 5


def step(model: MindBridge, objective: BridgeObjective, parts: dict[str, torch.Tensor]) -> None:
    """Run forward and backward over the trials of every brain, brain by brain."""
    found = [
        heads_of(model, rows, torch.zeros(len(rows), dtype=torch.long), name, "image")
        for name, rows in parts.items()
    ]
    joined = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    space = torch.cat([torch.full((len(rows),), place) for place, rows in enumerate(parts.values())])
    batch = {"image": TARGETS, "text": TARGETS, "space": space}
    terms = objective(joined, batch, 0.0, encoder=model)
    torch.stack(list(terms.values())).sum().backward()


def by_trial(model: MindBridge, objective: BridgeObjective, parts: dict[str, torch.Tensor]) -> None:
    """Run every trial through the network on its own."""
    single = [(name, row[None]) for name, rows in parts.items() for row in rows]
    found = [heads_of(model, row, torch.zeros(1, dtype=torch.long), name, "image") for name, row in single]
    joined = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    space = torch.tensor([list(VOXELS).index(name) for name, _ in single])
    batch = {"image": TARGETS, "text": TARGETS, "space": space}
    torch.stack(list(objective(joined, batch, 0.0, encoder=model).values())).sum().backward()


def timed(run: Callable[[], None]) -> float:
    """Return the median of some rounds after one to warm up, seconds."""
    run()
    seconds = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[N_ROUNDS // 2]


if __name__ == "__main__":
    torch.manual_seed(0)
    TARGETS = torch.randn(N, WIDTH)
    model = MindBridge(VOXELS, {"image": [WIDTH], "text": [WIDTH]}, in_dim=2048, h=512, n_blocks=2)
    objective = BridgeObjective()
    several = {name: torch.randn(N // 4, n_voxels) for name, n_voxels in VOXELS.items()}
    alone = {"a": torch.randn(N, VOXELS["a"])}
    one, four = timed(lambda: step(model, objective, alone)), timed(lambda: step(model, objective, several))
    loop = timed(lambda: by_trial(model, objective, several))
    print(f"step of {N} trials: one brain {one * 1e3:.0f} ms, four brains {four * 1e3:.0f} ms "
          f"({four / one:.2f} times), trial by trial {loop * 1e3:.0f} ms ({loop / four:.1f} times)")  # fmt: skip
