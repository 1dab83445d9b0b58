"""What was done with what: ``OUT/stages.json``, written by one process alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neurodec.files import read_json, write_json


class Stamps:
    """Keys of what stages were done with, and the seconds that they took.

    A key hashes inputs and parameters, never computed numbers, which differ between devices.

    Parameters
    ----------
    out : Path
    """

    def __init__(self, out: Path) -> None:
        self._file = out / "stages.json"

    def __getitem__(self, name: str) -> Any:
        return self._all().get(name)

    def __setitem__(self, name: str, key: Any) -> None:
        write_json(self._file, {**self._all(), name: key})

    @contextmanager
    def making(self, name: str, key: str) -> Iterator[None]:
        """Write files that a stamp vouches for: it is taken off before, and set once they are there.

        A stage that is killed in between leaves no stamp, neither the old nor the new one.
        """
        if self[name] is not None:
            self[name] = None
        yield
        self[name] = key

    @property
    def seconds(self) -> dict[str, float]:
        """Time that every stage has taken over all runs."""
        return self._all().get("seconds", {})

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self["seconds"] = {**self.seconds, stage: round(self.seconds.get(stage, 0.0) + seconds, 2)}

    def _all(self) -> dict[str, Any]:
        return read_json(self._file) if self._file.exists() else {}
