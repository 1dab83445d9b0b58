"""The one exception that a user is meant to read, the guard that turns any other into it, and Ctrl-C in a training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PANIC = "PanicException"  # of libraries written in Rust (tokenizers, safetensors); no `Exception` to Python
_LONGEST = 200  # characters of a library's own words


class NeurodecError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence without a traceback and exits with code 2; ``--debug`` shows what lies
    underneath.
    """


@contextmanager
def reading(
    source: str | Path, kind: str = "", way_out: str = "check that it is whole, or fetch it again"
) -> Iterator[None]:
    """Tell in one sentence whatever a library raises while it reads somebody's file.

    Parameters
    ----------
    source : str or Path
        The file, or what stands for it, that is read in the block.
    kind : str
        The format it should have, such as "EDF recording".
    way_out : str
        What to do about it.

    Raises
    ------
    NeurodecError
        Instead of any other `Exception`, with the file, the format, the library's own words and the way out. One that
        was raised further inside, where more was known, passes unchanged.
    """
    try:
        yield
    except NeurodecError:
        raise
    except BaseException as error:  # every format fails in its own way; this is the only place that knows it
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        reason = " ".join(str(error).split())[:_LONGEST] or "no reason was given"
        form = f" as {kind}" if kind else ""
        raise NeurodecError(
            f"{source} cannot be read{form} ({type(error).__name__}: {reason}); {way_out}."
        ) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C within a training be a `KeyboardInterrupt`.

    Lightning leaves the process by ``exit(1)`` instead, without a word, and ignores further ones.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
