"""Loading what strangers made without running what they wrote."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from neurodec.errors import NeurodecError


def refuse_code(folder: Path, name: str) -> None:
    """Refuse a folder of weights that brings Python files: older versions of diffusers import them as components.

    Raises
    ------
    NeurodecError
        Naming the file.
    """
    for file in sorted(folder.rglob("*.py*")):
        if file.suffix in (".py", ".pyc", ".pyd"):
            raise NeurodecError(
                f"{name} brings code ({file.relative_to(folder)}), which a loader might run; weights need none, so "
                "remove it."
            )


@contextmanager
def no_foreign_code() -> Iterator[None]:
    """Let transformers refuse a folder that brings code (``auto_map``), where it would ask whether to run it.

    Raises
    ------
    ValueError
        By transformers, from within the block.
    """
    from transformers import dynamic_module_utils  # not at the top: seconds

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # seconds that it waits for an answer
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Silence the bars, remarks and questions of diffusers and transformers, and give them back as they were.

    Parameters
    ----------
    *libraries : str
        Which of the two; both by default.
    """
    logs = [import_module(f"{name}.utils").logging for name in libraries or ("diffusers", "transformers")]
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings(), no_foreign_code():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for log, (verbosity, bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
