"""Stimulus channels: where a code begins, and what only looks like one."""

from __future__ import annotations

import numpy as np

_REST_SHARE = 0.8  # of all samples; a trigger is short, so a level held that long is none


def stim_events(stim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where a stimulus channel takes a new value other than zero.

    Returns
    -------
    onsets, codes : ndarray of int, shape (n_events,)
        Sample and value of every event.
    """
    values = np.asarray(stim).astype(np.int64)
    onsets = np.flatnonzero((values[1:] != values[:-1]) & (values[1:] != 0)) + 1
    return onsets, values[onsets]


def trigger_events(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Find the triggers of a stimulus channel as ``mne.find_events`` does, and say what is none.

    A trigger begins where the channel leaves its rest level, or steps up to another code (MNE's
    ``consecutive="increasing"``); on a channel that never comes to rest, wherever the code changes. A code that lasts
    one sample on the way to or from another one is the lines of a port switching one after the other.

    Parameters
    ----------
    codes : ndarray of int, shape (n_samples,)
        The channel, status bits removed.

    Returns
    -------
    onsets, shown : ndarray of int, shape (n_events,)
        Sample and code of every trigger.
    left_out : dict
        Reason to count.
    """
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.zeros(0, dtype=int)
    values, lengths = codes[starts], np.diff(np.r_[starts, len(codes)])
    levels, places = np.unique(values, return_inverse=True)
    held = np.bincount(places, weights=lengths)
    rest = int(levels[held.argmax()]) if len(levels) and held.max() >= _REST_SHARE * len(codes) else 0
    active = values != rest
    beside = np.r_[False, active[:-1]] | np.r_[active[1:], False]
    transient = active & (lengths == 1) & beside & (starts > 0)
    starts, values = starts[~transient], values[~transient]
    changed = np.r_[True, values[1:] != values[:-1]] if len(values) else np.zeros(0, dtype=bool)
    starts, values = starts[changed], values[changed]
    active = values != rest
    before = np.r_[rest, values[:-1]]
    rests = (~active[1:]).sum()
    never_rests = rests == 0 or active.sum() > 10 * rests
    up = active & (never_rests | (before == rest) | (values > before))
    up[:1] = False  # what is on when the recording begins did not begin in it
    left_out = {
        "a code of one sample on the way to another": int(transient.sum()),
        "on when the recording began": int(active[:1].sum()),
        "a step down to another code": int((active & ~up)[1:].sum()),
    }
    return starts[up], values[up], {reason: count for reason, count in left_out.items() if count}
