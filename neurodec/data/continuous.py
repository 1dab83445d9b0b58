"""Windows of continuous recordings, cut and scaled as they are read: overlapping ones cost no memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neurodec.data.responses import View
from neurodec.files import atomic_path

_SIGNALS, _WINDOWS = "signals.npy", "windows.npz"
_BLOCK = 1 << 16  # samples written at a time


class Windows(View):
    """Windows of one or several recordings that follow each other in one array.

    Parameters
    ----------
    signals : ndarray, shape (n_samples, n_chans), float32
        May be memory-mapped; time first, so that a window is one stretch of the file.
    starts : ndarray of int, shape (n_windows,)
        First sample of every window.
    recording : ndarray of int, shape (n_windows,)
        Row of `centre` and `scale` that belongs to it.
    centre, scale : ndarray, shape (n_recordings, n_chans)
        Taken off, and divided by, after the baseline.
    n_read : int
        Samples of a window.
    n_baseline : int
        First samples whose mean is taken off; 0 for none.
    n_dropped : int
        First samples that are left out at the end, baseline and all.
    clamp : float
        Values are limited to plus or minus this; infinity for none.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        signals: np.ndarray,
        starts: np.ndarray,
        recording: np.ndarray,
        centre: np.ndarray,
        scale: np.ndarray,
        n_read: int,
        n_baseline: int = 0,
        n_dropped: int = 0,
        clamp: float = np.inf,
    ) -> None:
        self.signals, self.starts, self.recording = signals, starts, recording
        self.centre, self.scale = centre.astype(np.float32), scale.astype(np.float32)
        self.n_read, self.n_baseline, self.n_dropped, self.clamp = n_read, n_baseline, n_dropped, clamp
        self.shape = (len(starts), signals.shape[1], n_read - n_dropped)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some windows, shape (len(rows), n_chans, n_times)."""
        samples = self.starts[rows, None] + np.arange(self.n_read)
        block = self.signals[samples]  # (n_rows, n_read, n_chans)
        if self.n_baseline:
            block -= block[:, : self.n_baseline].mean(axis=1, keepdims=True)
        own = self.recording[rows]
        block = block[:, self.n_dropped :]
        block -= self.centre[own, None]
        block /= self.scale[own, None]
        if np.isfinite(self.clamp):
            np.clip(block, -self.clamp, self.clamp, out=block)
        return np.ascontiguousarray(block.swapaxes(1, 2))

    def save(self, folder: Path) -> None:
        """Write ``signals.npy``, then ``windows.npz``."""
        self.joined([self], [np.arange(self.shape[1])], folder)

    @classmethod
    def load(cls, folder: Path, mmap_mode: str | None = "r") -> Windows | None:
        """Read what `save` wrote; None where there is nothing of it."""
        if not (folder / _WINDOWS).exists():
            return None
        with np.load(folder / _WINDOWS, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in ("starts", "recording", "centre", "scale")}
            n_read, n_baseline, n_dropped = (int(number) for number in kept["counts"])
            clamp = float(kept["clamp"])
        signals = np.load(folder / _SIGNALS, mmap_mode=mmap_mode, allow_pickle=False)  # type: ignore[arg-type]
        starts = arrays["starts"]
        if len(starts) and not (starts.min() >= 0 and starts.max() + n_read <= len(signals)):
            raise ValueError("windows reach beyond the signals")
        counts = {"n_read": n_read, "n_baseline": n_baseline, "n_dropped": n_dropped}
        return cls(signals, **arrays, **counts, clamp=clamp)

    @staticmethod
    def joined(parts: Sequence[Windows], columns: Sequence[np.ndarray], folder: Path) -> None:
        """Write the recordings of several parts one after the other, a block in memory at a time.

        Parameters
        ----------
        parts : sequence of Windows
            Cut alike.
        columns : sequence of ndarray
            Channels to keep of every part, in this order.
        folder : Path
        """
        first = parts[0]
        lengths = [len(part.signals) for part in parts]
        rows = [len(part.centre) for part in parts]
        before, above = (np.concatenate([[0], np.cumsum(counts)[:-1]]) for counts in (lengths, rows))
        shape = (sum(lengths), len(columns[0]))
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with atomic_path(folder / _SIGNALS) as partial, partial.open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, header)
            for part, chosen in zip(parts, columns, strict=True):
                for start in range(0, len(part.signals), _BLOCK):
                    block = part.signals[start : start + _BLOCK][:, chosen]
                    handle.write(np.ascontiguousarray(block, dtype="<f4").data)
        arrays = {
            "starts": [part.starts + shift for part, shift in zip(parts, before, strict=True)],
            "recording": [part.recording + shift for part, shift in zip(parts, above, strict=True)],
            "centre": [part.centre[:, chosen] for part, chosen in zip(parts, columns, strict=True)],
            "scale": [part.scale[:, chosen] for part, chosen in zip(parts, columns, strict=True)],
        }
        counts = [first.n_read, first.n_baseline, first.n_dropped]
        joined = {name: np.concatenate(own) for name, own in arrays.items()}
        with atomic_path(folder / _WINDOWS) as partial, partial.open("wb") as handle:
            np.savez(handle, counts=counts, clamp=first.clamp, **joined)
