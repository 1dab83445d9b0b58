"""The account of a reader: what a part held, what was left out and why, and what a person should know about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Account:
    """Counts of one part, filled while it is read.

    Nothing is dropped without an entry here; the account ends up in ``info.json`` and in the report.

    Parameters
    ----------
    events : int
        Events (or trials) found.
    left_out : Counter
        Reason to the number of events that were left out for it.
    channels : int
        Channels (or voxels) found.
    channels_left_out : dict
        Reason to the names, or for voxels the number, that were left out for it.
    bads : list of str
        Channels that were left out because they are marked as bad in this part.
    notes : list of str
        Sentences for a person.
    """

    events: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    channels: int = 0
    channels_left_out: dict[str, list[str] | int] = field(default_factory=dict)
    bads: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, n_events: int) -> None:
        """Count events that are left out."""
        if n_events:
            self.left_out[reason] += int(n_events)

    def leave_out_channels(self, reason: str, names: Sequence[str]) -> None:
        """Name channels that are left out."""
        if len(names):
            self.channels_left_out[reason] = [*self.channels_left_out.get(reason, []), *names]

    def note(self, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def entry(self, part: str, n_trials: int, n_channels: int) -> dict[str, Any]:
        """Return the account as plain values for ``info.json``."""
        return {
            "part": part,
            "events": {
                "found": max(self.events, n_trials),
                "kept": n_trials,
                "left_out": dict(self.left_out),
            },
            "channels": {
                "found": max(self.channels, n_channels),
                "kept": n_channels,
                "left_out": self.channels_left_out,
                "bads": self.bads,
            },
            "notes": self.notes,
        }


def add_note(entries: Sequence[dict[str, Any]], sentence: str) -> None:
    """Add a note to finished accounts, as ``info["account"]`` has them."""
    for entry in entries:
        entry["notes"].append(sentence)


def summary(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the accounts of all parts as a few lines of text: totals first, then every note once.

    Parameters
    ----------
    entries : sequence of dict
        As `Account.entry` makes them, from ``info["account"]``.
    """
    if not entries:
        return []
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons.update(entry["events"]["left_out"])
    found, kept = (sum(entry["events"][name] for entry in entries) for name in ("found", "kept"))
    why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    lines = [
        f"{len(entries)} recording(s), {found} events found, {kept} kept"
        + (f" (left out: {why})" if why else "")
    ]
    channels: dict[str, list[str] | int] = {}
    for entry in entries:
        for reason, names in entry["channels"]["left_out"].items():
            if isinstance(names, int):
                channels[reason] = max(names, int(channels.get(reason, 0)))
            else:
                channels[reason] = sorted({*channels.get(reason, []), *names})
    for reason, names in channels.items():
        text = str(names) if isinstance(names, int) else ", ".join(names)
        lines.append(f"channels left out, {reason}: {text}")
    notes = Counter(note for entry in entries for note in entry["notes"])
    lines += [note + (f" ({count} parts)" if count > 1 else "") for note, count in notes.items()]
    return lines
