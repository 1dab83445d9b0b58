"""Damaged inputs end in one sentence: ``python tests/fuzz/run_fuzz.py 10000``, or ``--replay TARGET:SEED``.

Prints how many inputs were read all the same, how many were refused, and every one that ended in anything else: another
exception, a hang, too much memory, or a finished folder after a refusal. Each replays from its target and seed.
"""

import argparse
import collections
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

TIMEOUT = 60  # seconds
ROOM = 2 * 2**30  # bytes that one input may ask for


class Hang(BaseException):
    """Raised by the alarm; no guard may swallow it."""


def _ring(*_):
    raise Hang


def _limit_memory():
    """Let the process grow by no more than `ROOM`: an allocation beyond fails, and is found below the refusal."""
    with open("/proc/self/statm") as handle:
        now = int(handle.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def run_one(name, seed, templates, folder):
    """Damage one copy of a target's files and read it; return what came of it, and how it was damaged."""
    from fuzz.mutations import mutate
    from fuzz.targets import TARGETS

    from neurodec.errors import NeurodecError

    target, rng = TARGETS[name], np.random.default_rng([seed, *name.encode()])
    root, out = folder / "data", folder / "out"
    for old in (root, out):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(templates / name, root)
    damage = mutate(sorted(file for file in root.rglob("*") if file.is_file() and file.stat().st_size), rng)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    try:
        with (
            open(os.devnull, "w") as null,
            contextlib.redirect_stdout(null),
            contextlib.redirect_stderr(null),
        ):
            target.run(root, out)
        return "read", damage
    except NeurodecError as error:
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            return f"memory: {error}", damage
        if "\n" in str(error):
            return f"several lines: {error}", damage
        if (out / "info.json").exists() or list(out.glob(".*.partial.*")):
            return f"partial output: {error}", damage
        return "refused", damage
    except Hang:
        return "hang", damage
    except BaseException as error:  # a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(frames) if "neurodec/" in frame.filename), frames[-1])
        place = f"{Path(own.filename).name}:{own.lineno} in {own.name}"
        return f"traceback: {type(error).__name__} at {place}: {str(error)[:120]}", damage
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def schedule(n):
    """Spread `n` inputs over the targets by their weights."""
    from fuzz.targets import TARGETS

    names = [name for name, target in TARGETS.items() for _ in range(target.weight)]
    return [(names[i % len(names)], i) for i in range(n)]


def run(cases, *, told=print):
    """Run the cases; return the counts and the failures as (target, seed, what, damage)."""
    import mne
    from fuzz.targets import TARGETS

    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    before = signal.signal(signal.SIGALRM, _ring)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    counts, failures = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        templates = Path(folder) / "templates"
        for name in sorted({name for name, _ in cases}):
            (templates / name).mkdir(parents=True)
            TARGETS[name].write(templates / name)
            TARGETS[name].run(templates / name, Path(folder) / f"whole-{name}")  # undamaged, it is read
        _limit_memory()
        try:
            for number, (name, seed) in enumerate(cases):
                what, damage = run_one(name, seed, templates, Path(folder))
                kind = what.split(":")[0]
                counts[kind] += 1
                if kind not in ("read", "refused"):
                    failures.append((name, seed, what, damage))
                    told(f"{name}:{seed} {what} ({damage})")
                elif len(cases) == 1:
                    told(f"{name}:{seed} {what} ({damage})")
                if (number + 1) % 1000 == 0:
                    told(f"{number + 1}: {dict(counts)}")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
            signal.signal(signal.SIGALRM, before)
    return counts, failures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", type=int, nargs="?", default=500)
    parser.add_argument("--first", type=int, default=0, help="seed of the first input")
    parser.add_argument("--replay", metavar="TARGET:SEED")
    arguments = parser.parse_args()
    started = time.perf_counter()
    if arguments.replay:
        name, _, seed = arguments.replay.rpartition(":")
        cases = [(name, int(seed))]
    else:
        cases = [(name, seed + arguments.first) for name, seed in schedule(arguments.n)]
    counts, failures = run(cases, told=lambda text: print(text, flush=True))
    print(f"{sum(counts.values())} inputs in {time.perf_counter() - started:.0f} s: {dict(counts)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
