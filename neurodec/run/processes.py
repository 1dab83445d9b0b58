"""Several processes, one OUT: rank 0 prepares, evaluates and reports, all fit, and a second command is kept out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch.distributed import TCPStore

from neurodec.errors import NeurodecError

_PORT = 7  # ports above the one that trainings meet at
_LONGEST = timedelta(days=30)


class Processes:
    """The processes of one command: one, those that Lightning starts at the fit, or those of torchrun or Slurm.

    Attributes
    ----------
    rank : int
        Of this process; 0 does all that is not fitting.
    """

    def __init__(self) -> None:
        kinds = (TorchElasticEnvironment, SLURMEnvironment)
        found = next((kind() for kind in kinds if kind.detect()), None)
        self._cluster = found if found is not None and found.world_size() > 1 else None
        self.rank = _rank(self._cluster)
        self._store: TCPStore | None = None

    @property
    def first(self) -> bool:
        """Whether this process does what only one may do."""
        return self.rank == 0

    @property
    def n_started(self) -> int:
        """Processes that were started together, before any fit."""
        return self._cluster.world_size() if self._cluster else 1

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let the others wait for `ready`; an error of rank 0 ends them too."""
        if self._cluster is not None:
            port = self._cluster.main_port + _PORT
            self._store = TCPStore(
                self._cluster.main_address, port, None, self.first, _LONGEST, wait_for_workers=False
            )
        try:
            yield
        except BaseException:
            self._tell("failed")
            raise

    def ready(self) -> None:
        """Tell the others that everything before the fit is done; or wait for that.

        Raises
        ------
        SystemExit
            In the others, if rank 0 failed, which has said why.
        """
        if self.first:
            self._tell("ready")
        elif self._store is not None and self._store.get("state") != b"ready":
            raise SystemExit(2)

    def _tell(self, state: str) -> None:
        if self.first and self._store is not None:
            self._store.set("state", state)


def _rank(cluster: ClusterEnvironment | None) -> int:
    if cluster is not None:
        return cluster.global_rank()
    # Set by Lightning in the processes that it starts, or by users who start one per node.
    return int(os.environ.get("NODE_RANK", 0)) + int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold the lock of an OUT while a command works there.

    Raises
    ------
    NeurodecError
        If another command does.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise NeurodecError(
            f"Another command is at work in {out}; wait until it has ended, or choose another --out."
        ) from None
    try:
        yield
    finally:
        lock.release()
