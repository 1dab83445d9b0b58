"""What was shown when: events from annotations, stimulus channels and tables, and which of them are stimuli."""

from __future__ import annotations

import re

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import SEAMS, Clock, annotation_seconds
from neurodec.data.tables import is_missing
from neurodec.errors import NeurodecError
from neurodec.preprocessing.triggers import trigger_events

NO_STIMULI = {
    "pause marker": re.compile(r"(bad|edge)?[ _]?boundary$|new segment(/|$)", re.IGNORECASE),
    "bad segment": re.compile(r"bad([ _]|$)", re.IGNORECASE),
    "comment": re.compile(r"comments?(/|$)", re.IGNORECASE),
    "response": re.compile(r"responses?(/|$)", re.IGNORECASE),
    "synchronisation marker": re.compile(r"sync ?status(/|$)", re.IGNORECASE),
}
"""Names of what recorders and people mark besides stimuli (MNE, BrainVision, EEGLAB), by kind."""

_MNE_BAD = (
    "bad",
    "edge",
)  # annotations beginning so are no events to MNE, and spoil the epochs that they touch

_TRIGGER_BITS = 0xFFFF  # BioSemi's bits above are the amplifier's state, not triggers
_BRAINVISION = re.compile(r"Stimulus/[A-Za-z]*\s*(\d+)")
_SHIFT = 1e-4  # seconds; two events nearer than this are one moment


def events_of_raw(
    raw: mne.io.BaseRaw,
    event_id: dict[str, int | str] | None,
    stim_channel: str | None,
    account: Account,
    where: str,
) -> pd.DataFrame:
    """Take the events from a stimulus channel, or else from the annotations (markers) of the file.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    event_id : dict, optional
        Stimulus name to event code (stimulus channel, BrainVision's ``S  1`` is 1) or marker text. Without it, all
        events that are stimuli count under their own names: pause markers, comments, responses and bad segments
        do not.
    stim_channel : str, optional
        By default the file's channel of type stim, if no annotation is a stimulus.
    account : Account
        Gets what is left out.
    where : str
        Names the file in messages.

    Returns
    -------
    DataFrame
        Columns `onset` (seconds from the first sample) and `stimulus`.
    """
    stims = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    if stim_channel is not None and stim_channel not in raw.ch_names:
        raise NeurodecError(f"{where} has no channel {stim_channel}; correct `stim_channel`.")
    marked = pd.DataFrame(
        {
            "onset": annotation_seconds(raw),
            "stimulus": pd.Series([str(text).strip() for text in raw.annotations.description], dtype=str),
        }
    )
    # Which source is meant: the named channel, else the annotations, if one of them is (or, with `event_id`, is
    # named as) a stimulus, else the first stimulus channel.
    if event_id is None:
        bad = marked["stimulus"].str.lower().str.startswith(_MNE_BAD)
        account.events += int(bad.sum())
        account.leave_out("bad segment", int(bad.sum()))
        marked = marked[~bad]
        usable = marked["stimulus"].map(_kind_of).isna() & ~is_missing(marked["stimulus"])
    else:
        usable = _named(marked["stimulus"], event_id).notna()
    if stim_channel is None and stims and not usable.any():
        stim_channel = stims[0]
    if stim_channel is None:
        table = marked
        if stims and usable.any():
            account.note(
                f"events come from the annotations, not from the stimulus channel {stims[0]} (name it in "
                "`stim_channel` to take that)"
            )
    else:
        table = _channel_events(raw, stim_channel, account, where)
    return choose_stimuli(table, event_id, account, where)


def _channel_events(raw: mne.io.BaseRaw, stim_channel: str, account: Account, where: str) -> pd.DataFrame:
    values = np.asarray(raw.get_data(picks=[stim_channel])[0])
    if not np.isfinite(values).all():
        raise NeurodecError(
            f"{where}: the stimulus channel {stim_channel} holds NaN; repair it or give a table."
        )
    codes = np.round(values).astype(np.int64)
    if (codes & ~_TRIGGER_BITS).any() and (codes >= 0).all():
        account.note(
            f"only the lower 16 bits of {stim_channel} are triggers; the status bits above them were ignored"
        )
        codes &= _TRIGGER_BITS
    onsets, shown, told = trigger_events(codes)
    for reason, count in told.items():
        account.events += count
        account.leave_out(reason, count)
    return pd.DataFrame({"onset": onsets / raw.info["sfreq"], "stimulus": shown.astype(str)})


def choose_stimuli(
    table: pd.DataFrame, event_id: dict[str, int | str] | None, account: Account, where: str
) -> pd.DataFrame:
    """Keep the events that are stimuli: those that `event_id` names, or else all that are nothing else.

    Parameters
    ----------
    table : DataFrame
        Column `stimulus` and any others.
    event_id : dict, optional
        Stimulus name to event code or marker text.
    account : Account
        Gets what is left out, by kind.
    where : str
        Names the file in messages.

    Raises
    ------
    NeurodecError
        If `event_id` is given and none of it is there.
    """
    account.events += len(table)
    if event_id is not None:
        named = _named(table["stimulus"], event_id)
        found = ", ".join(sorted(set(table["stimulus"]))[:20]) or "none"
        account.leave_out("not named in `event_id`", int(named.isna().sum()))
        table = table.assign(stimulus=named)[named.notna()]
        if table.empty:
            wanted = ", ".join(map(str, event_id.values()))
            raise NeurodecError(
                f"{where} holds none of the events {wanted} (found: {found}); correct `event_id`."
            )
        return table.reset_index(drop=True)
    nameless = is_missing(table["stimulus"])
    account.leave_out("without a name", int(nameless.sum()))
    table = table[~nameless]
    kinds = table["stimulus"].map(_kind_of)
    for kind, count in kinds.value_counts().items():
        account.leave_out(str(kind), int(count))
    table = table[kinds.isna()].reset_index(drop=True)
    _note_spellings(table["stimulus"], account)
    return table


def _kind_of(text: str) -> str | None:
    return next((kind for kind, pattern in NO_STIMULI.items() if pattern.match(text)), None)


def _named(texts: pd.Series, event_id: dict[str, int | str]) -> pd.Series:
    """Return the name that `event_id` gives to every text, missing where it gives none."""
    names = {str(code): name for name, code in event_id.items()}
    numbered = {str(code): name for name, code in event_id.items() if str(code).strip().isdigit()}

    def name_of(text: str) -> str | None:
        match = _BRAINVISION.fullmatch(text)
        return names.get(text) or (numbered.get(str(int(match[1]))) if match else None)

    return texts.map(name_of).astype(object)


def require_all_named(event_id: dict[str, int | str] | None, found: set[str], where: str) -> None:
    """Refuse an `event_id` of which a part is in no recording (as MNE does for a single one).

    Raises
    ------
    NeurodecError
        Naming what no recording holds.
    """
    absent = [name for name in event_id or {} if name not in found]
    if absent and event_id is not None:
        raise NeurodecError(
            f"No recording of {where} holds the event {event_id[absent[0]]!r} ({absent[0]}); correct `event_id`: texts "
            "must agree to the last blank."
        )


def _note_spellings(names: pd.Series, account: Account) -> None:
    spelt: dict[str, str] = {}
    for name in sorted(set(names)):
        other = spelt.setdefault(name.lower(), name)
        if other != name:
            account.note(f"the stimuli {other} and {name} differ in case only, and count as two")


def require_single(events: pd.DataFrame, where: str) -> None:
    """Refuse events that stand there twice: the same row again, or two stimuli at one moment.

    Parameters
    ----------
    events : DataFrame
        `onset` (seconds) and `stimulus`.
    where : str
        Names the events in messages.

    Raises
    ------
    NeurodecError
        Naming the moment. MNE refuses the same (``event_repeated="error"``).
    """
    ordered = events.sort_values("onset", kind="stable")
    close = np.flatnonzero(np.diff(ordered["onset"].to_numpy(dtype=float)) < _SHIFT)
    if len(close):
        first, second = (ordered["stimulus"].iloc[close[0] + step] for step in (0, 1))
        what = f"{first} twice" if first == second else f"both {first} and {second}"
        raise NeurodecError(
            f"{where} has {what} at {ordered['onset'].iloc[close[0]]:g} s ({len(close)} such pair(s)); counted twice, "
            "one response would stand for two trials, so keep one event for each moment."
        )


def annotate_bad(raw: mne.io.BaseRaw, clock: Clock, table: pd.DataFrame) -> None:
    """Add the bad segments of an events table, on the recording's clock, to the annotations of the recording."""
    bad = table[table["stimulus"].map(_kind_of).eq("bad segment") & table["onset"].notna()]
    begins, ends = clock.spans(
        bad["onset"].to_numpy(float), bad.get("duration", bad["onset"] * 0).fillna(0).to_numpy(float)
    )
    for begin, end in zip(begins, ends, strict=True):
        raw.annotations.append(begin + raw.first_time, max(end - begin, 0.0), "BAD_segment")


def timed_events(events: pd.DataFrame, account: Account) -> pd.DataFrame:
    """Leave out the rows of a table that have no onset."""
    untimed = events["onset"].isna()
    account.events += int(untimed.sum())
    account.leave_out("without an onset", int(untimed.sum()))
    return events[~untimed]


def inside_recording(
    events: pd.DataFrame, clock: Clock, window: tuple[float, float], account: Account, where: str
) -> pd.DataFrame:
    """Leave out the events whose epoch reaches beyond the recording or across a pause.

    Parameters
    ----------
    events : DataFrame
        `onset` in seconds from the first sample; NaN where it lies in a pause.
    clock : Clock
        Of the recording.
    window : tuple of float
        Where the epoch begins and ends around the onset (s).
    account : Account
        Gets the counts.
    where : str
        Names the recording in messages.

    Raises
    ------
    NeurodecError
        If more than half of the events lie outside: then the times are on another clock or in another unit.
    """
    in_pause = events["onset"].isna()
    account.leave_out("within a pause of the recorder", int(in_pause.sum()))
    events = events[~in_pause]
    onsets = np.round(events["onset"].to_numpy(dtype=float) * clock.sfreq).astype(int)
    first, last = onsets + round(window[0] * clock.sfreq), onsets + round(window[1] * clock.sfreq)
    beyond = (first < 0) | (last >= clock.n_samples)
    outside = (onsets < 0) | (onsets >= clock.n_samples)
    if len(events) and (beyond.mean() > 0.5 or outside.mean() >= 0.5):
        require_likely_unit(events["onset"].to_numpy(), clock.n_samples / clock.sfreq, clock.sfreq, where)
        row = int(np.flatnonzero(beyond)[0])
        raise NeurodecError(
            f"{where}: {beyond.sum()} of {len(events)} epoch(s) reach beyond the recording of "
            f"{clock.n_samples / clock.sfreq:g} s, first event {row} at {events['onset'].iloc[row]:g} s with epoch "
            f"{window[0]:g} to {window[1]:g} s; correct the onsets (seconds from the start of the file) or shorten the "
            "epoch."
        )
    account.leave_out("at the edge of the recording", int(beyond.sum()))
    across = clock.crosses(first, last) & ~beyond
    account.leave_out("across a pause of the recorder", int(across.sum()))
    return events[~(beyond | across)]


def require_likely_unit(onsets: np.ndarray, n_seconds: float, sfreq: float | None, where: str) -> None:
    """Refuse onsets that would fit if they were milliseconds or sample numbers.

    Parameters
    ----------
    onsets : ndarray
        As they are given.
    n_seconds : float
        Length of the recording.
    sfreq : float, optional
        Its sampling rate, where samples might be meant.
    where : str
        Names the recording in messages.
    """
    furthest = float(np.max(onsets))
    units = {"milliseconds": 1000.0} | ({"sample numbers": sfreq} if sfreq else {})
    fitting = {name: furthest / factor for name, factor in units.items() if furthest / factor <= n_seconds}
    unit = max(fitting, key=fitting.__getitem__, default=None)  # events fill a recording
    if unit is not None and fitting[unit] > 0.1 * n_seconds:
        raise NeurodecError(
            f"{where}: the onsets run to {furthest:g} s, the recording lasts {n_seconds:g} s; they look like {unit}, "
            f"so divide them by {units[unit]:g}."
        )


def outside_bad_segments(
    events: pd.DataFrame,
    raw: mne.io.BaseRaw,
    window: tuple[float, float],
    account: Account,
    where: str,
) -> pd.DataFrame:
    """Leave out the events whose epoch touches a segment that is annotated as bad.

    Raises
    ------
    NeurodecError
        If no event is left.
    """
    keep = np.ones(len(events), dtype=bool)
    onsets = events["onset"].to_numpy(dtype=float)
    starts = annotation_seconds(raw)
    ends = starts + raw.annotations.duration
    for text, start, end in zip(raw.annotations.description, starts, ends, strict=True):
        if text.lower().startswith("bad") and not text.lower().startswith(SEAMS):
            keep &= (onsets + window[1] < start) | (onsets + window[0] > end)
    account.leave_out("in a bad segment", int((~keep).sum()))
    if not keep.any():
        raise NeurodecError(
            f"{where}: every event lies in a segment annotated as bad; check the annotations."
        )
    return events[keep]
