"""Loading what strangers made without running what they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
