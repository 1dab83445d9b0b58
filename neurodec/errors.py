"""The one exception that a user is meant to read, the guard that turns any other into it, and Ctrl-C in a training."""

from __future__ import annotations

import os
import re
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
    underneath. Line breaks, which names from damaged files bring along, become blanks.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(re.sub(r"\s*[\r\n]+\s*", " ", sentence))


@contextmanager
def reading(
    source: str | Path, kind: str = "", way_out: str = "check that it is whole, or fetch it again"
) -> Iterator[None]:
    """Tell in one sentence whatever a library raises while it reads a person's file.

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
        if isinstance(source, Path):
            require_fetched(source)
        reason = " ".join(str(error).split())[:_LONGEST] or "no reason was given"
        form = f" as {kind}" if kind else ""
        raise NeurodecError(
            f"{source} cannot be read{form} ({type(error).__name__}: {reason}); {way_out}."
        ) from error


def require_fetched(path: Path) -> None:
    """Refuse a file whose content was never fetched (git-annex, Git LFS), or a link to nothing.

    Raises
    ------
    NeurodecError
        With the command that fetches it.
    """
    target = os.readlink(path) if path.is_symlink() and not path.exists() else ""
    head = path.read_bytes()[:64] if not target and path.is_file() and path.stat().st_size < 1024 else b""
    if "annex" in Path(target).parts or head.startswith(b"/annex/objects"):
        raise NeurodecError(
            f"{path} is known to git-annex, but its content was not fetched; run  datalad get {path}"
        )
    if head.startswith(b"version https://git-lfs"):
        raise NeurodecError(
            f"{path} is known to Git LFS, but its content was not fetched; run  git lfs pull."
        )
    if target:
        raise NeurodecError(
            f"{path} is a link to a file that is not there ({target}); fetch its content, or restore that file."
        )


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
