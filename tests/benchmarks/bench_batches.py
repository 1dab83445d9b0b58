"""Batch assembly: one gather per tensor against a per-trial dataset with the default collation."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.data import DataLoader, Dataset

from neurodec.alignment.datamodule import Gather

N_TRIALS, BATCH = 8192, 1024


class PerTrial(Dataset):
    """What the published loops do: one item per trial, with its text and path."""

    def __init__(self, gather: Gather) -> None:
        self.gather = gather

    def __len__(self) -> int:
        return N_TRIALS

    def __getitem__(self, row: int) -> tuple:
        stimulus = self.gather.tensors["stimulus"][row]
        response, target = self.gather.tensors["response"][row], self.gather.tables["target"][stimulus]
        return (
            response,
            int(stimulus),
            "This picture is a thing",
            target,
            f"images/{int(stimulus)}.jpg",
            target,
        )


def seconds_per_batch(loader: DataLoader) -> float:
    """Return the median time between batches."""
    times, started = [], time.perf_counter()
    for _ in loader:
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    return statistics.median(times)


def main() -> None:
    """Compare on 63 channels x 250 samples."""
    tensors = {"response": torch.randn(N_TRIALS, 63, 250), "stimulus": torch.randint(0, 2000, (N_TRIALS,))}
    gather = Gather(tensors, {"target": torch.randn(2000, 1024)})
    items = seconds_per_batch(DataLoader(PerTrial(gather), batch_size=BATCH, shuffle=True))
    whole = DataLoader(gather, batch_size=BATCH, shuffle=True, collate_fn=lambda batch: batch)
    ours = seconds_per_batch(whole)
    line = f"batch of {BATCH}: per trial {items * 1e3:.0f} ms, gather {ours * 1e3:.1f} ms"
    print(f"{line}, ratio {items / ours:.1f} (target 10)")


if __name__ == "__main__":
    main()
