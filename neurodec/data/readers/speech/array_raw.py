"""Continuous recordings that are arrays in a file, as MNE has recordings."""

from __future__ import annotations

import mne
import numpy as np

from neurodec.data.clock import Clock, clock_of
from neurodec.data.trial_tables import require_rate
from neurodec.errors import NeurodecError


def array_raw(
    signals: np.ndarray,
    ch_names: list[str],
    ch_types: list[str],
    sfreq: float,
    montage: str | None,
    where: str,
) -> tuple[mne.io.BaseRaw, Clock]:
    """Make a recording of an array.

    Parameters
    ----------
    signals : ndarray, shape (n_chans, n_samples)
        In SI units.
    ch_names, ch_types : list of str
        As MNE names types.
    sfreq : float
        Hertz.
    montage : str, optional
        One that MNE has, for the EEG channels.
    where : str
        Names the file in messages.

    Raises
    ------
    NeurodecError
        If the array has another number of channels, or the rate is none.
    """
    require_rate(sfreq, where)
    if len(signals) != len(ch_names):
        raise NeurodecError(
            f"{where} has {len(signals)} channels, and {len(ch_names)} belong there; it is not of this data set."
        )
    info = mne.create_info(ch_names, sfreq, ch_types, verbose="error")
    raw = mne.io.RawArray(signals, info, copy="auto", verbose="error")
    if montage is not None:
        raw.set_montage(montage, verbose="error")
    return raw, clock_of(raw)
