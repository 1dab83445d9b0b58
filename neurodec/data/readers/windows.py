"""Windows of continuous EEG, for training without labels: whatever a folder of recordings holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.patterns import all_fields, files_below, find_files
from neurodec.data.readers.labelled.labelled_eeg import clean, require_microvolts, values_of
from neurodec.data.readers.opening import load_samples, open_raw, source_files
from neurodec.data.stretches import mark_seams, untouched
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.files import key_of
from neurodec.preprocessing.channels import HUNDRED_MICROVOLTS, standard_positions
from neurodec.preprocessing.electrodes import modern_name, plain_name, region_of

_SUBJECT = re.compile(r"(?:^|[^A-Za-z])(?:sub|subj|subject)[-_]?([A-Za-z0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class EEGWindows(Dataset):
    """Cut every recording below the data root into windows that follow each other.

    In the order of CSBrain and CBraMod: resample, then filter; drop the first and the last minute; drop windows that
    reach 100 microvolts.

    Parameters
    ----------
    files : str
        Which ones, with ``*`` and the fields ``{subject}``, ``{session}``, ``{run}``: EDF, BDF, FIF, BrainVision and
        all else that MNE opens. ``**/*.edf`` finds them at any depth; whose they are must then be told by ``sub-...``
        in the path.
    exclude : list of str
        Parts of paths that are left out, such as a reference, or people who are tested elsewhere.
    ch_names : list of str, optional
        Channels that every recording must have, under old or new names and with what recorders add
        (``EEG T3-REF``); recordings without are left out. By default all channels whose names tell an electrode.
    seconds : float
        Length of a window.
    trim : float
        Seconds left out at both ends.
    least : float
        Shorter recordings are left out (s).
    sfreq : float
        Hz; a recording of a lower rate is left out.
    l_freq, h_freq, notch : float, optional
        Hz.
    reject : float
        Microvolts that no sample of a window may reach.
    held_out : list of str, optional
        Subjects whose windows are for testing (split test); every fifth one, in order of their names, by default.

    Notes
    -----
    Responses are microvolts / 100, and the stimulus is the recording. A recording that cannot be read, or is none of
    EEG in volts, is left out and listed, and the others are read on. One part is one recording; memory is that of one.
    """

    files: str = "**/*.edf"
    exclude: list[str] = field(default_factory=list)
    ch_names: list[str] | None = None
    seconds: float = 30.0
    trim: float = 60.0
    least: float = 300.0
    sfreq: float = 200.0
    l_freq: float | None = 0.3
    h_freq: float | None = 75.0
    notch: float | None = 60.0
    reject: float = 100.0
    held_out: list[str] | None = field(default=None)

    skips_damaged = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {})

    def parts(self, root: Path) -> list[Part]:
        """List the recordings."""
        self._known[root] = self._search(root)  # anew: there may be more of them than last time
        return self._listed(root)

    def _listed(self, root: Path) -> list[Part]:
        found = []
        for path, fields in self._found(root):
            name = path.relative_to(root).with_suffix("").as_posix().replace("/", "_").replace(".", "-")
            files = source_files(path)
            found.append(Part(name, fields["subject"], (*files, *([path] if path not in files else []))))
        return found

    def load(self, part: Part, root: Path) -> Trials:
        """Read one recording."""
        path, account = part.files[-1], Account()
        raw, clock = open_raw(path, account)
        mark_seams(raw, clock)
        account.channels = len(raw.ch_names)
        self._pick(raw, path, account)
        if raw.times[-1] < self.least:
            raise NeurodecError(f"{path} lasts {raw.times[-1]:.0f} s, less than {self.least:g} s (`least`).")
        load_samples(raw, str(path), account)
        clean(raw, self.l_freq, self.h_freq, self.notch, rate=self.sfreq, lowest=self.sfreq)
        values = values_of(raw)
        require_microvolts(values, path)
        windows = self._windows(values, raw, path, account)
        names = [plain_name(name) for name in self.ch_names or raw.ch_names]  # a montage keeps its names
        table = with_defaults(
            pd.DataFrame({"stimulus": [part.name] * len(windows)}),
            subject=part.subject,
            run=part.name,
            split="test" if part.subject in self._tested(root) else "train",
        )
        info = {
            "modality": "eeg",
            "units": HUNDRED_MICROVOLTS,
            "sfreq": self.sfreq,
            "tmin": 0.0,
            "ch_names": names,
            "ch_types": ["eeg"] * len(names),
            "ch_pos": standard_positions(names),
            "space": f"eeg{len(names)}-{key_of(sorted(names))[:6]}",  # people of one montage are read together
            "provenance": {},
            "account": [account.entry(part.name, len(windows), len(names))],
        }
        return Trials(windows, table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """List the recordings."""
        tested = self._tested(root)
        rows = [
            {"stimulus": part.name, "split": "test" if part.subject in tested else "train"}
            for part in self._listed(root)
        ]
        return pd.DataFrame(rows).assign(image="", caption="")

    def _found(self, root: Path) -> list[tuple[Path, dict[str, str]]]:
        """Return the recordings and their fields as listed last: every recording asks who is tested."""
        if root not in self._known:
            self._known[root] = self._search(root)
        return self._known[root]

    def _search(self, root: Path) -> list[tuple[Path, dict[str, str]]]:
        if "{" in self.files:
            found = [(path, all_fields(fields)) for path, fields in find_files(root, self.files)]
        else:
            paths = [path for path in files_below(root, self.files) if not path.is_dir()]
            found = [(path, {"subject": _subject_of(path, root)}) for path in paths]
        kept = [
            (path, fields)
            for path, fields in found
            if not any(text in path.relative_to(root).as_posix() for text in self.exclude)
        ]
        if not kept:
            raise NeurodecError(
                f"No file below {root} fits {self.files} (after `exclude`); correct --data-root or `files`."
            )
        return kept

    def _tested(self, root: Path) -> set[str]:
        subjects = sorted({fields["subject"] for _, fields in self._found(root)})
        if self.held_out is None:
            return set(subjects[4::5]) or set(subjects[-1:] if len(subjects) > 1 else [])
        unknown = set(self.held_out) - set(subjects)
        if unknown:
            raise NeurodecError(
                f"`held_out` names subject {min(unknown)}, and there are {', '.join(subjects[:20])}; correct it."
            )
        return set(self.held_out)

    def _pick(self, raw: mne.io.BaseRaw, path: Path, account: Account) -> None:
        """Keep the channels that are wanted, in the order of `ch_names`, or all electrodes."""
        by_name: dict[str, str] = {}
        unknown = []
        for name in raw.ch_names:
            plain = modern_name(name)
            try:
                region_of(plain)
            except NeurodecError:
                unknown.append(name)
                continue
            if by_name.setdefault(plain, name) != name:
                raise NeurodecError(
                    f"{path} has two channels {plain} ({by_name[plain]} and {name}); rename one."
                )
        if self.ch_names is None:
            chosen = list(by_name.values())
            account.leave_out_channels("no electrode by its name", unknown)
        else:
            missing = [name for name in self.ch_names if modern_name(name) not in by_name]
            if missing:
                raise NeurodecError(f"{path} lacks the channel(s) {', '.join(missing)} of `ch_names`.")
            chosen = [by_name[modern_name(name)] for name in self.ch_names]
            account.leave_out_channels(
                "not in `ch_names`", [one for one in raw.ch_names if one not in chosen]
            )
        if not chosen:
            raise NeurodecError(
                f"{path} has no channel whose name tells an electrode ({', '.join(raw.ch_names[:8])})."
            )
        raw.pick(chosen)
        raw.reorder_channels(chosen)
        raw.set_channel_types(dict.fromkeys(chosen, "eeg"), verbose="error")

    def _windows(self, values: np.ndarray, raw: mne.io.BaseRaw, path: Path, account: Account) -> np.ndarray:
        """Return the windows that are kept (n, n_chans, n_times) in 100 microvolts."""
        n_times, trim = round(self.seconds * self.sfreq), round(self.trim * self.sfreq)
        inner = values[:, trim : values.shape[1] - trim]
        n_windows = inner.shape[1] // n_times
        if not n_windows:
            raise NeurodecError(f"{path} holds no window of {self.seconds:g} s between its ends (`trim`).")
        windows = inner[:, : n_windows * n_times].reshape(len(inner), n_windows, n_times).swapaxes(0, 1)
        whole = untouched(raw, (trim + n_times * np.arange(n_windows)) / self.sfreq, self.seconds, account)
        loud = (np.abs(windows) * 100 >= self.reject).any(axis=(1, 2)) & whole
        flat = (np.ptp(windows, axis=2) == 0).any(axis=1) & ~loud & whole
        account.events = n_windows
        account.leave_out(f"reaching {self.reject:g} microvolts", int(loud.sum()))
        account.leave_out("with a channel that never changes", int(flat.sum()))
        kept = windows[whole & ~(loud | flat)].astype(np.float32)
        if not len(kept):
            raise NeurodecError(
                f"All {n_windows} windows of {path} reach {self.reject:g} microvolts, have a flat channel, or lie in "
                "bad segments; raise `reject`, or leave the channel out."
            )
        return kept


def _subject_of(path: Path, root: Path) -> str:
    """Return whose a recording is, as ``sub-...`` in its path says."""
    named = _SUBJECT.search(path.relative_to(root).as_posix())
    if named is None:
        raise NeurodecError(
            f"The subject of the recording {path} is unknown; put {{subject}} into `files`, such as "
            "edf/*/{subject}/*/*.edf."
        )
    return named[1]
