"""Tables that say what was shown when: read, checked and completed by the stimulus table."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import stim_events

SPLITS = ("train", "test", "cv")


def read_table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV or TSV file; all columns are text but `onset` and `duration`.

    Raises
    ------
    NeurodecError
        If the file is missing, empty, or lacks a required column.
    """
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise NeurodecError(f"{path} is missing; put the table there or correct its name.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise NeurodecError(f"{path} is not a readable table ({str(error).strip()}).") from None
    missing = [name for name in required if name not in table]
    if missing:
        raise NeurodecError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}."
        )
    for name in {"onset", "duration"} & set(table):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    if "onset" in required and table["onset"].isna().any():
        row = int(np.flatnonzero(table["onset"].isna())[0])
        raise NeurodecError(f"{path} has no number in the column onset at row {row + 2}; give seconds.")
    return table


def table_files(root: Path, *tables: str | None) -> tuple[Path, ...]:
    """Return the named tables below `root` that are there; what reads one tells if it is missing."""
    return tuple(root / table for table in tables if table and (root / table).is_file())


def events_of_raw(
    raw: mne.io.BaseRaw, event_id: dict[str, int | str] | None, stim_channel: str | None, where: str
) -> pd.DataFrame:
    """Take the events from a stimulus channel, or else from the annotations (markers) of the file.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording.
    event_id : dict, optional
        Stimulus name to event code (stimulus channel) or marker text. All events under their own names by default.
    stim_channel : str, optional
        By default the file's channel of type stim, if it has no annotations.
    where : str
        Names the file in messages.

    Returns
    -------
    DataFrame
        Columns `onset` (seconds from the first sample) and `stimulus`.
    """
    stims = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    shown = [text for text in raw.annotations.description if not text.lower().startswith(("bad", "edge"))]
    if stim_channel is None and stims and not shown:
        stim_channel = stims[0]
    if stim_channel is None:
        onsets = raw.annotations.onset - raw.first_time * (raw.annotations.orig_time is not None)
        table = pd.DataFrame({"onset": onsets, "stimulus": raw.annotations.description})
        table = table[table["stimulus"].isin(shown)]
    elif stim_channel in raw.ch_names:
        samples, codes = stim_events(raw.get_data(picks=[stim_channel])[0])
        table = pd.DataFrame({"onset": samples / raw.info["sfreq"], "stimulus": codes.astype(str)})
    else:
        raise NeurodecError(f"{where} has no channel {stim_channel}; correct `stim_channel`.")
    if event_id is not None:
        names = {str(code): name for name, code in event_id.items()}
        found = ", ".join(sorted(set(table["stimulus"]))[:20]) or "none"
        table = table.assign(stimulus=table["stimulus"].map(names)).dropna(subset="stimulus")
        if table.empty:
            raise NeurodecError(
                f"{where} holds none of the events {', '.join(names)} (found: {found}); correct `event_id`."
            )
    return table.reset_index(drop=True)


def complete_events(events: pd.DataFrame, stimuli: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Give every event its concept and split, from its own row, the stimulus table, or the defaults.

    Raises
    ------
    NeurodecError
        If there is no event, an event shows an unknown stimulus, or a split has another name.
    """
    if events.empty:
        raise NeurodecError(
            f"{where} has no event; check its table, its markers, or leave the recording out."
        )
    events = events.reset_index(drop=True)
    if stimuli is not None:
        known = stimuli.set_index("stimulus")
        unknown = np.flatnonzero(~events["stimulus"].isin(known.index))
        if len(unknown):
            raise NeurodecError(
                f"{where} shows {events['stimulus'][unknown[0]]} (event {unknown[0] + 1} of {len(events)}), which the "
                "stimulus table does not list; add it there or correct its name."
            )
        for name in ("concept", "split"):
            if name not in events:
                events[name] = events["stimulus"].map(known[name])
    if "concept" not in events:
        events["concept"] = events["stimulus"]
    if "split" not in events:
        events["split"] = "cv"
    wrong = sorted(set(events["split"]) - set(SPLITS))
    if wrong:
        raise NeurodecError(
            f"{where} has the split {wrong[0]!r}; use train, test, or cv for cross-validation."
        )
    return events


def read_stimuli(path: Path, root: Path) -> pd.DataFrame:
    """Read a stimulus table: columns `stimulus` and `image`, optionally `concept`, `split` and `caption`.

    Parameters
    ----------
    path : Path
        CSV or TSV file.
    root : Path
        Folder that the column `image` is relative to; an empty image is allowed.

    Raises
    ------
    NeurodecError
        If a picture is missing, or a stimulus is listed twice.
    """
    table = read_table(path, ("stimulus",))
    defaults = {"concept": table["stimulus"], "split": "cv", "image": "", "caption": ""}
    for name, value in defaults.items():
        if name not in table:
            table[name] = value
    for row, image in enumerate(table["image"]):
        if image and not (root / image).is_file():
            raise NeurodecError(
                f"{path} names the picture {image} (row {row + 2}), which is not below {root}; correct the table."
            )
    repeated = table["stimulus"][table["stimulus"].duplicated()]
    if len(repeated):
        raise NeurodecError(f"{path} lists the stimulus {repeated.iloc[0]} twice; keep one row.")
    return table[["stimulus", "concept", "split", "image", "caption"]]


def stimuli_of_events(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Make the stimulus table of recordings that come without one: the labels only, no pictures."""
    shown = pd.concat(tables, ignore_index=True).drop_duplicates("stimulus")
    for name in ("image", "caption"):
        if name not in shown:
            shown[name] = ""
    return shown[["stimulus", "concept", "split", "image", "caption"]].reset_index(drop=True)
