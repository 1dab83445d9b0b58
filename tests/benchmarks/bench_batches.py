"""Batch assembly: one gather per tensor against a per-trial dataset with the default collation."""

from __future__ import annotations

import time

import torch
from torch.utils.data import DataLoader, Dataset

from neurodec.training.gather import Gather
from neurodec.training.steps import Steps

N_TRIALS, BATCH, N_ROUNDS = 8192, 1024, 4


class PerTrial(Dataset):
    """What the published loops do: one item per trial, with its text and path."""

    def __init__(self, gather: Gather) -> None:
        self.gather = gather

    def __len__(self) -> int:
        return N_TRIALS

    def __getitem__(self, row: int) -> tuple:
        stimulus = self.gather.rows["stimulus"][row]
        image, text = (self.gather.tables[name][stimulus] for name in ("target", "text"))
        path = f"images/{int(stimulus)}.jpg"
        return self.gather.responses[row], int(stimulus), "This picture is a thing", text, path, image


def seconds_of_batches(loader: DataLoader) -> list[float]:
    """Return the time before every batch."""
    times, started = [], time.perf_counter()
    for _ in loader:
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    return times


def main() -> None:
    """Compare on 63 channels x 250 samples, in turn; the best times, because other programs only ever slow one down."""
    tensors = {"stimulus": torch.randint(0, 2000, (N_TRIALS,)), "subject": torch.zeros(N_TRIALS, dtype=int)}
    tensors["space"] = tensors["subject"]
    tables = {name: torch.randn(2000, 1024) for name in ("target", "text")}
    gather = Gather(torch.randn(N_TRIALS, 63, 250), torch.arange(N_TRIALS), None, tensors, tables)
    loaders = (
        DataLoader(PerTrial(gather), batch_size=BATCH, shuffle=True),
        DataLoader(Steps({"all": gather}, BATCH, 0, lambda: 0), batch_size=None),
    )
    times: list[list[float]] = [[], []]
    for _ in range(N_ROUNDS):
        for own, loader in zip(times, loaders, strict=True):
            own += seconds_of_batches(loader)
    theirs, ours = (min(own) for own in times)
    line = f"batch of {BATCH}: per trial {theirs * 1e3:.1f} ms, gather {ours * 1e3:.2f} ms"
    print(f"{line}, ratio {theirs / ours:.1f} (target 10)")


if __name__ == "__main__":
    main()
