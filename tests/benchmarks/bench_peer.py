"""The side-by-side set-up of a public peer: two long recordings, precomputed targets, one recipe.

Run: ``python tests/benchmarks/bench_peer.py``. Two recordings of 27 minutes, 63 channels at 250 Hz; 400 codes of 1024
numbers, each shown three times in training and once in test per recording, one-second trials, an answer of 2 µV in a
random topography under 1 µV of noise. The peer (neuralset and neuraltrain 0.4.0, convolutional encoder, four epochs)
took 112 s and 2.0 GB on two cores, with about sixty lines of the user's, and found 90.8 % of 400. Here it is one
command. The candidates were seen in training, so the recipe declares ``leakage: none``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import yaml

N_CHANS, SFREQ, N_CODES, WIDTH = 63, 250.0, 400, 1024
PEER_SECONDS, PEER_TOP1 = 112.0, 0.908
RECIPE = {
    "name": "peer",
    "protocol": "joint",
    "selection": "last",
    "dataset": {
        "class_path": "neurodec.data.Recordings",
        "init_args": {
            "files": "sub-{subject}_raw.fif",
            "events": "sub-{subject}_events.csv",
            "preprocessing": {
                "l_freq": 0.5, "h_freq": 40.0, "sfreq": 120.0, "tmin": 0.0, "tmax": 1.0, "baseline": None,
                "whiten": "robust",
            },
        },
    },
    "targets": {
        "image": {
            "class_path": "neurodec.features.FeatureFiles",
            "init_args": {"file": "codes.npz", "ids": "names", "key": "codes"},
        }
    },
    "encoder": {"class_path": "neurodec.encoders.NICE"},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.002}},
    "data": {"batch_size": 128, "validation_fraction": 0.0},
    "trainer": {"max_epochs": 3, "enable_progress_bar": False},
    "evaluation": {
        "class_path": "neurodec.evaluation.Retrieval",
        "init_args": {"leakage": "none", "windows": None, "channels": False, "regions": False},
    },
}  # fmt: skip


def write_recordings(root: Path) -> None:
    """Write both recordings, their events and the codes; both subjects answer alike, as in the peer's set-up."""
    rng = np.random.default_rng(0)
    names = np.array([f"code{i:03d}" for i in range(N_CODES)])
    np.savez(root / "codes.npz", codes=rng.normal(size=(N_CODES, WIDTH)).astype(np.float32), names=names)
    topographies = 2e-6 * rng.normal(size=(N_CODES, N_CHANS))
    wave = np.sin(np.linspace(0, np.pi, 125)) * np.sin(np.linspace(0, 6 * np.pi, 125))
    for subject in ("01", "02"):
        shown = np.concatenate([rng.permutation(np.repeat(np.arange(N_CODES), 3)), rng.permutation(N_CODES)])
        onsets = 2.0 + np.arange(len(shown)) * 1.01
        data = 1e-6 * rng.normal(size=(N_CHANS, int((onsets[-1] + 3) * SFREQ)))
        for code, onset in zip(shown, onsets, strict=True):
            start = int(onset * SFREQ)
            data[:, start : start + 125] += np.outer(topographies[code], wave)
        info = mne.create_info([f"E{i}" for i in range(N_CHANS)], SFREQ, "eeg")
        mne.io.RawArray(data, info, verbose="error").save(root / f"sub-{subject}_raw.fif", verbose="error")
        splits = ["train"] * 3 * N_CODES + ["test"] * N_CODES
        events = pd.DataFrame({"onset": onsets, "stimulus": names[shown], "split": splits})
        events.to_csv(root / f"sub-{subject}_events.csv", index=False)


def main() -> None:
    """Run the command, and hold time, memory and accuracy against the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        write_recordings(root / "data")
        (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        command = [sys.executable, "-m", "neurodec", "run", str(root / "recipe.yaml")]
        started = time.perf_counter()
        subprocess.run([*command, "--data-root", str(root / "data"), "--out", str(root / "out")], check=True)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        found = json.loads((root / "out/results.json").read_text())
    top1, ridge = found["retrieval"]["top1"], found["baselines"]["ridge"]["top1"]
    print(
        f"one command: {seconds:.0f} s, {seconds / PEER_SECONDS:.2f} of the peer's {PEER_SECONDS:g} s (at most 0.33)"
    )
    print(
        f"top-1 of {N_CODES}: {top1:.3f} (ridge {ridge:.3f}), the peer's {PEER_TOP1}; peak memory {peak:.1f} GiB"
    )
    print("parts:", found["speed"]["seconds"])


if __name__ == "__main__":
    main()
