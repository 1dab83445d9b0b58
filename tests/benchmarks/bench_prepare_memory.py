"""Peak memory of preparing one full-size THINGS-EEG2 session from its raw files; the target is below 4 GB.

Run: ``python tests/benchmarks/bench_prepare_memory.py [--fraction 1.0]``. Needs 5 GB of disk in the temporary folder.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_mvnn import FULL, write_image_folders, write_session

from neurodec.data import prepare
from neurodec.data.readers.datasets.things_eeg2 import ThingsEEG2


def peak_memory() -> float:
    """Return this process's largest resident memory so far, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` starts from the parent's memory on Linux
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fraction", type=float, default=1.0, help="share of a full session's pictures")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(ThingsEEG2(), arguments.prepare, arguments.prepare / "prepared")
        print(peak_memory())
        return
    n_train, n_test = (max(5, int(FULL[split][0] * arguments.fraction)) for split in FULL)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_session(root, n_train, n_test)
        write_image_folders(root, n_train, n_test)
        size = sum(path.stat().st_size for path in root.rglob("raw_eeg_*.npy")) / 1e9
        begin = time.perf_counter()
        # a process of its own: the peak of this one is that of writing the recording
        command = [sys.executable, __file__, "--prepare", folder]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = time.perf_counter() - begin
    print(
        f"prepare one session of {size:.1f} GB raw ({2 * n_train + 20 * n_test} trials): {seconds:.0f} s, "
        f"peak memory {peak:.1f} GB (target below 4 GB)"
    )


if __name__ == "__main__":
    main()
