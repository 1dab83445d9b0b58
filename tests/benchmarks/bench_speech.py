"""Speech: resampling against a loop over channels, batches against their step, scoring in bounded memory.

Run: ``python tests/benchmarks/bench_speech.py``.
"""

import math
import resource
import time

import numpy as np
import pandas as pd
import torch

from neurodec.data.continuous import Windows
from neurodec.encoders import SimpleConv
from neurodec.evaluation.retrieval.similarity import Centre
from neurodec.evaluation.segments.segment_scores import _lengths, sequence_products
from neurodec.features.clips import ClipWindows
from neurodec.preprocessing.sinc import _kernels, resample_sinc
from neurodec.training.objectives import SequenceContrast


def seconds(function):
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def by_channel(signals, old, new):
    """The same kernel, channel by channel as one strided convolution each over all of the recording."""
    shared = math.gcd(old, new)
    old, new = old // shared, new // shared
    kernels, width = _kernels(old, new, 24, 0.945)
    weights = torch.from_numpy(kernels)[:, None]
    found = []
    for channel in torch.from_numpy(signals):
        padded = torch.nn.functional.pad(channel[None, None], (width, width + old), mode="replicate")
        phases = torch.nn.functional.conv1d(padded, weights, stride=old)[0]
        found.append(phases.T.reshape(-1)[: new * signals.shape[1] // old])
    return torch.stack(found).numpy()


def resampling():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((208, 60_000), dtype=np.float32)  # a minute of KIT at 1000 Hz
    slow, wanted = seconds(lambda: by_channel(signals, 1000, 120))
    fast, found = seconds(lambda: resample_sinc(signals, 1000, 120))
    assert np.abs(found - wanted).max() < 1e-4
    print(
        f"resampling 208 channels x 60 s: {slow:.2f} s by channel, {fast:.2f} s in blocks: {slow / fast:.1f} x"
    )
    print(f"  an hour: {60 * fast:.0f} s")


def batches():
    rng = np.random.default_rng(0)
    n, n_chans, size = 400_000, 208, 32
    signals = rng.standard_normal((120 * 600, n_chans), dtype=np.float32)
    starts = rng.integers(0, len(signals) - 361, n)
    flat = np.zeros(n, dtype=int)
    windows = Windows(signals, starts, flat, np.zeros((1, n_chans)), np.ones((1, n_chans)), 361, 61, 18, 20.0)
    clips = pd.DataFrame({"clip_start": np.arange(60) * 10.0, "clip_stop": np.arange(60) * 10.0 + 10.0})
    arrays = [rng.standard_normal((1024, 499)).astype(np.float16) for _ in range(60)]
    place = rng.integers(0, 60, n)
    stimuli = pd.DataFrame({"offset": place * 10.0 + rng.uniform(0, 7, n), "duration": 343 / 120})
    targets = ClipWindows(arrays, clips, place, stimuli, 120.0, 0.15)
    rows = rng.integers(0, n, (6, size))
    reading, _ = seconds(lambda: [(windows.read(own), targets.read(own)) for own in rows])
    network = SimpleConv(n_chans, 27, {"audio": [1024, 343]})
    objective = SequenceContrast()
    optimiser = torch.optim.Adam(network.parameters(), 3e-4)
    positions = torch.rand(n_chans, 3)

    def step():
        own = rows[0]
        found = network(
            torch.from_numpy(windows.read(own)), torch.zeros(size, dtype=torch.long), positions=positions
        )
        loss = objective.loss(found["audio"], torch.from_numpy(targets.read(own)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step()
    whole, _ = seconds(step)
    share = reading / len(rows) / whole
    print(
        f"a step of {size} windows (208 x 343 to 1024 x 343): {whole:.2f} s, of which reading {100 * share:.1f} %"
    )


def scoring(n_windows=1000, n_candidates=1300, n_features=256):
    rng = np.random.default_rng(0)
    candidates = rng.standard_normal((n_candidates, n_features, 343), dtype=np.float32)
    centre = Centre(np.zeros((n_features, 343)), np.zeros((n_features, 343)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lengths = _lengths(candidates, centre)

    def score():
        for start in range(0, n_windows, 250):
            found = np.random.default_rng(start).standard_normal((250, n_features, 343), dtype=np.float32)
            sequence_products(found, candidates, centre, lengths)

    taken, _ = seconds(score)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    whole = 8 * n_windows * n_features * 343 / 2**30
    print(
        f"scoring {n_windows} windows x {n_candidates} candidates of {n_features} x 343: {taken:.1f} s, {grown:.2f} GB "
        f"more memory (all predictions at once in double precision: {whole:.1f} GB)"
    )


if __name__ == "__main__":
    scoring()  # first: the peak of memory is that of the process
    resampling()
    batches()
