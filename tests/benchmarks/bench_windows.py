"""Windows of recordings: our prepared store against one transaction for every window, and what data cost a step.

The published way keeps every window as a pickle in LMDB, one write transaction each. Both sides are given the same
windows, already cut and filtered, and end with what a training can read. Then the time that batches take of a step of
pre-training. Run: ``python tests/benchmarks/bench_windows.py`` (the first half needs lmdb).
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurodec.data import Study, Trials, with_defaults
from neurodec.encoders import CSBrainPretraining
from neurodec.training import HiddenPatchesObjective, TrainingData, TrialBatches

N_RECORDINGS, N_WINDOWS, N_CHANS, N_TIMES = 20, 40, 19, 6000
N_STEPS = 5


def windows() -> list[np.ndarray]:
    """Return the windows of every recording."""
    rng = np.random.default_rng(0)
    return [
        0.2 * rng.normal(size=(N_WINDOWS, N_CHANS, N_TIMES)).astype(np.float32) for _ in range(N_RECORDINGS)
    ]


def trials_of(values: np.ndarray, subject: str) -> Trials:
    """Return windows as a reader does."""
    table = with_defaults(
        pd.DataFrame({"stimulus": [subject] * len(values), "split": "train"}), subject=subject
    )
    names = [f"F{place}" for place in range(1, N_CHANS + 1)]
    info = {"modality": "eeg", "units": "100 uV", "sfreq": 200.0, "tmin": 0.0, "ch_names": names}
    return Trials(values, table, info)


def in_transactions(parts: list[np.ndarray], folder: Path) -> float:
    """Return the seconds that LMDB takes, one transaction for every window."""
    import lmdb

    started = time.perf_counter()
    store = lmdb.open(str(folder), map_size=1 << 34)
    for number, values in enumerate(parts):
        for place, window in enumerate(values):
            with store.begin(write=True) as transaction:
                transaction.put(f"{number}_{place}".encode(), pickle.dumps(window))
    store.close()
    return time.perf_counter() - started


def in_parts(parts: list[np.ndarray], folder: Path) -> float:
    """Return the seconds that our store takes: a folder for every recording, which is there whole or not at all."""
    started = time.perf_counter()
    for number, values in enumerate(parts):
        trials_of(values, f"p{number}").save(folder / f"part{number}")
    return time.perf_counter() - started


def of_a_step() -> float:
    """Return the share of a step of pre-training (12 layers, batch of 8) that gathering its batch takes."""
    torch.set_num_threads(2)
    study = Study.of(trials_of(np.concatenate(windows()[:5]), "p"))
    data = TrialBatches(study, {}, TrainingData(8, 0.0), ["p"])
    data.setup("fit")
    montage = {"all": [f"{side}{place}" for side in ("F", "C") for place in range(1, 11)][:N_CHANS]}
    model, objective = CSBrainPretraining(montage, N_TIMES), HiddenPatchesObjective()
    gathering, working = 0.0, 0.0
    started = time.perf_counter()
    for number, batch in enumerate(data.train_dataloader()):
        taken = time.perf_counter()
        batch = objective.prepare(batch, 0.0, model)
        found = model(batch.responses["all"], space="all", mask=batch.mask["all"])
        objective(found, batch, 0.0, model)["loss"].backward()
        done = time.perf_counter()
        if number:  # the first warms up
            gathering, working = gathering + taken - started, working + done - taken
        if number == N_STEPS:
            break
        started = time.perf_counter()
    return gathering / (gathering + working)


def main() -> None:
    """Print both."""
    parts = windows()
    with tempfile.TemporaryDirectory() as folder:
        ours = in_parts(parts, Path(folder) / "parts")
        try:
            theirs = in_transactions(parts, Path(folder) / "lmdb")
            ratio = f"one transaction each {theirs:.2f} s, ratio {theirs / ours:.1f} (target 10)"
        except ImportError:
            ratio = "lmdb is not installed, so there is nothing to compare with"
    n = N_RECORDINGS * N_WINDOWS
    flushes = f"the disk is asked to flush {3 * N_RECORDINGS} times in place of {n}"
    print(f"{n} windows of {N_CHANS} x {N_TIMES}: {ours:.2f} s, {ratio}; {flushes}")
    print(f"data handling: {100 * of_a_step():.2f} % of a step of pre-training (target 5)")


if __name__ == "__main__":
    sys.exit(main())
