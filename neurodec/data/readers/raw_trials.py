"""From a continuous recording and its events to trials: what all readers of EEG and MEG share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import Clock
from neurodec.data.events import inside_recording, outside_bad_segments, require_single
from neurodec.data.readers.opening import load_samples
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.preprocessing.channels import UNITS, Kind, Picked, sensor_positions, strange_scale
from neurodec.preprocessing.eeg import EEGPreprocessing, clean_raw, whiten
from neurodec.preprocessing.epoching import cut_epochs, epoch_times


def trials_of_raw(
    raw: mne.io.BaseRaw,
    clock: Clock,
    events: pd.DataFrame,
    settings: EEGPreprocessing,
    modality: Kind,
    fields: dict[str, str],
    where: str,
    account: Account,
    unit_scale: float = 1.0,
) -> Trials:
    """Turn a continuous recording and its events into trials.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording; it is loaded and changed.
    clock : Clock
        Of the recording.
    events : DataFrame
        `onset` in seconds from the first sample, `stimulus`, `concept`, `split` and any others.
    settings : EEGPreprocessing
        What to do.
    modality : str
        Kind of the channels.
    fields : dict
        `subject`, `session` and `run`.
    where : str
        Names the recording in messages.
    account : Account
        Gets what is left out; it goes into ``info["account"]``.
    unit_scale : float
        Multiplies the values first.

    Returns
    -------
    Trials
        In order of onset, without the events at the edges of the recording, across a pause of the recorder, and in
        segments annotated as bad.
    """
    load_samples(raw, where, account)
    account.channels = len(raw.ch_names)
    if unit_scale != 1.0:
        raw.apply_function(lambda signal: signal * unit_scale, picks=modality, verbose="error")
    with _filter_warnings(account):
        note_picked(clean_raw(raw, settings, modality, where), account)
    window = (settings.tmin, settings.tmax)
    events = events.sort_values("onset", kind="stable")
    events = inside_recording(events, clock, window, account, where)
    events = outside_bad_segments(events, raw, window, account, where)
    require_single(events, where)
    sfreq = raw.info["sfreq"]
    onsets = np.round(events["onset"].to_numpy(dtype=float) * sfreq).astype(int)
    responses = cut_epochs(raw.get_data(), onsets, sfreq, settings, where)
    times, rate = epoch_times(sfreq, settings)
    info = sensor_info(raw, modality) | {"sfreq": float(rate), "tmin": float(times[0])}
    if strange := strange_scale(responses, modality):
        account.note(strange)
    if rate > sfreq:
        account.note(
            f"resampled up from {sfreq:g} to {rate:g} Hz, which adds samples but nothing to read in them"
        )
    return accounted(Trials(responses, with_defaults(events, **fields), info), settings, where, account)


def sensor_info(recording: mne.io.BaseRaw | mne.BaseEpochs, modality: Kind) -> dict[str, Any]:
    """Return the fields of ``Trials.info`` that describe the sensors."""
    kinds = recording.get_channel_types()
    return {
        "modality": "meg" if modality in ("mag", "grad") else modality,
        "units": UNITS[kinds[0]],
        "ch_names": list(recording.ch_names),
        "ch_types": kinds,
        "ch_pos": sensor_positions(recording.info),
        "provenance": {},
    }


def note_picked(picked: Picked, account: Account) -> None:
    """Enter the channels that were left out."""
    for reason, names in picked.left_out.items():
        account.leave_out_channels(reason, names)
    account.bads += picked.bads


def accounted(trials: Trials, settings: EEGPreprocessing, where: str, account: Account) -> Trials:
    """Whiten trials in place, and put the account of their part into their `info`."""
    if settings.whiten in ("zscore", "robust") and len(trials) and (trials.table["split"] == "test").all():
        account.note(
            "channels are scaled by the test trials themselves, without labels: none is for training"
        )
    trials = whitened(trials, settings, where)
    entry = account.entry(where, len(trials), trials.responses.shape[1])
    return Trials(trials.responses, trials.table, {**trials.info, "account": [entry]})


def whitened(trials: Trials, settings: EEGPreprocessing, where: str) -> Trials:
    """Normalise trials by `EEGPreprocessing.whiten`, in place, and state the new units and all that was done."""
    is_train = (trials.table["split"] == "train").to_numpy()
    conditions = trials.table["stimulus"].to_numpy(dtype=str)
    noise = whiten(trials.responses, conditions, is_train, settings, where)
    return Trials(trials.responses, trials.table, done_to(trials.info, trials.table, settings, noise))


def done_to(
    info: dict[str, Any], table: pd.DataFrame, settings: EEGPreprocessing, noise: np.ndarray | None
) -> dict[str, Any]:
    """Return the description of trials with what was done to them: `preprocessing`, `noise` and the units."""
    info = {**info, "preprocessing": {**asdict(settings), "ch_names": info["ch_names"]}}
    if noise is None:
        return info
    return {**info, "units": "a.u.", "noise": {str(table["subject"].iloc[0]): noise} if len(table) else {}}


@contextmanager
def _filter_warnings(account: Account) -> Iterator[None]:
    """Note what MNE warns of while it filters: a filter longer than the recording, above all."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RuntimeWarning)
        with mne.utils.use_log_level("warning"):
            yield
    for warning in told:
        text = " ".join(str(warning.message).split())
        if "filter_length" in text:
            account.note(
                "the filter is longer than the recording, which distorts it: raise `l_freq`, or leave it out"
            )
