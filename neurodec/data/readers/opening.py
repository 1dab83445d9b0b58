"""Opening recordings and epochs of any format that MNE (or pyxdf) knows, with the clock that their samples keep."""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np

from neurodec.data.account import Account
from neurodec.data.clock import Clock, clock_of
from neurodec.data.readers import edf
from neurodec.data.readers.eeglab import check_set, name_epochs
from neurodec.data.readers.fif import check_fif
from neurodec.data.readers.matlab import check_mat
from neurodec.data.readers.pointers import check_named
from neurodec.data.readers.xdf import read_xdf
from neurodec.data.trial_tables import require_rate
from neurodec.data.warned import heard
from neurodec.errors import NeurodecError, reading, require_fetched

# What MNE warns of when a file is cut short, and goes on with the rest.
_LOST = re.compile("does not match the file size|outside data range")
_SEVERAL = "At least one epoch has multiple events"
_COMPRESSION = 1100  # gzip shrinks nothing further than 1,032-fold
_WAY_OUT = "check that it is whole and that MNE opens it"


def source_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold a recording, the samples first (some formats keep them beside a header)."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return tuple(sorted(files, key=lambda file: -file.stat().st_size))
    beside = {".vhdr": (".eeg", ".vmrk"), ".set": (".fdt",)}.get(path.suffix.lower(), ())
    files = [path.with_suffix(suffix) for suffix in beside]
    return (*(file for file in files if file.is_file() or file.is_symlink()), path)


def open_raw(path: Path, account: Account) -> tuple[mne.io.BaseRaw, Clock]:
    """Open a continuous recording without reading its samples.

    Parameters
    ----------
    path : Path
        FIF, EDF, BDF, BrainVision, EEGLAB, CTF, EGI (MFF), XDF and all else that ``mne.io.read_raw`` opens.
    account : Account
        Gets what a person should know about the file.

    Returns
    -------
    raw : mne.io.BaseRaw
        Its annotations count time in the file, also where the file counts it on a clock that ran on in pauses.
    clock : Clock
        From the recording's clock to the time in the file.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, damaged, or no format that MNE knows.
    """
    suffix = path.suffix.lower()
    with reading(path, _format(path), _WAY_OUT):
        _check_content(path)
        check_named(path)
        header = edf.EdfHeader.read(path) if suffix in edf.SUFFIXES else None
        gaps = marks = None
        on_clock = header is not None and header.kind.upper().endswith("+D")
        with heard(
            account, str(path), "outside data range" if on_clock else "$^"
        ) as told:  # see _to_file_time
            if suffix == ".xdf":
                raw, gaps, marks = read_xdf(path, account)
            else:
                raw = mne.io.read_raw(path, verbose="warning")
        _require_whole(path, told, header)
        _require_bounded(raw, path)
        require_rate(float(raw.info["sfreq"]), str(path))
        if header is not None:
            edf.type_channels(raw, account)
            gaps = edf.piece_starts(path, header, float(raw.info["sfreq"]))
            marks = mne.read_annotations(path) if gaps is not None else None
        clock = clock_of(raw, gaps)
        if marks is not None:
            _to_file_time(raw, clock, marks, account)
    if len(clock.starts) > 1:
        length = f", {clock.paused:g} s in all" if clock.paused > 0 else ""
        times = (
            "onsets are taken on the clock, which ran on"
            if gaps is not None
            else "onsets of tables are taken as time in the file, which does not count the pauses"
        )
        account.note(f"the recorder paused {len(clock.starts) - 1} time(s){length}; {times}")
    return raw, clock


def _to_file_time(raw: mne.io.BaseRaw, clock: Clock, marks: mne.Annotations, account: Account) -> None:
    """Move all annotations from the clock to the file; MNE has cut off those that it took for too late."""
    begins, ends = clock.spans(marks.onset, marks.duration)
    inside = ~np.isnan(clock.places(marks.onset)) & (begins >= 0) & (begins < clock.n_samples / clock.sfreq)
    spans = inside | (marks.duration > 0)
    account.events += int((~spans).sum())
    account.leave_out("within a pause of the recorder", int((~spans).sum()))
    durations = np.maximum(ends - begins, 0)
    raw.set_annotations(
        mne.Annotations(begins[spans], durations[spans], marks.description[spans]), verbose="error"
    )


def _require_whole(path: Path, told: list[str], header: edf.EdfHeader | None) -> None:
    """Refuse a file that is shorter than its header says; a recorder that was stopped writes -1 and loses nothing."""
    lost = [text for text in told if _LOST.search(text)]
    if header is not None and header.n_records == -1:
        lost = [text for text in lost if "file size" not in text]
    if header is not None and header.kind.upper().endswith("+D"):
        lost = [text for text in lost if "outside data range" not in text]  # on the clock, not in the file
    if lost and path.suffix.lower() in (*edf.SUFFIXES, ".vhdr"):
        reason = lost[0].split(" (")[0]
        raise NeurodecError(
            f"The length of {path} does not fit its header or its markers ({reason}); copy it again, or export it anew "
            "if the recording was broken off."
        )


def _require_bounded(raw: mne.io.BaseRaw, path: Path) -> None:
    """Refuse a header that promises more samples than the file can hold, before any memory is asked for."""
    files = [Path(name) for name in raw.filenames if name is not None] or [path]
    size = sum(file.stat().st_size for file in {*files, *source_files(path)} if file.is_file())
    size *= _COMPRESSION if path.suffix == ".gz" else 1
    if raw.n_times > max(size, 1) * 8:
        raise NeurodecError(
            f"{path} promises {raw.n_times} samples of each channel, more than its {size} bytes can hold; fetch it "
            "again."
        )


def open_epochs(path: Path, account: Account) -> mne.BaseEpochs:
    """Open an epochs file, FIF or EEGLAB, without reading its samples where the format allows.

    Parameters
    ----------
    path : Path
    account : Account
        Gets what a person should know about the file.

    Raises
    ------
    NeurodecError
        If the file is missing, cut short, or not in the format.
    """
    with reading(path, "MNE epochs", _WAY_OUT):
        _check_content(path)
        is_set = path.suffix.lower() == ".set"
        with heard(account, str(path)) as told:
            if is_set:
                epochs = mne.io.read_epochs_eeglab(path, verbose="warning")
            else:
                epochs = mne.read_epochs(path, preload=False, verbose="warning")
        if any(text.startswith(_SEVERAL) for text in told):
            name_epochs(path, epochs, account)
        n_values = len(epochs.events) * len(epochs.ch_names) * len(epochs.times)
        held = path.stat().st_size * (_COMPRESSION if path.suffix == ".gz" else 1)
        held += sum(file.stat().st_size for file in path.parent.glob(f"{path.name.split('.')[0]}-*.fif"))
        held += path.with_suffix(".fdt").stat().st_size if path.with_suffix(".fdt").is_file() else 0
        if n_values > held:
            raise NeurodecError(f"{path} promises {n_values} values, more than it can hold; fetch it again.")
        require_rate(float(epochs.info["sfreq"]), str(path))
        return epochs


def load_samples(recording: mne.io.BaseRaw | mne.BaseEpochs, where: str, account: Account) -> None:
    """Read the samples of an opened file into memory, and apply its projectors, as ``mne.Epochs`` does.

    Raises
    ------
    NeurodecError
        If the file is cut short.
    """
    with reading(where, "", _WAY_OUT), heard(account, where):
        recording.load_data()
        waiting = [projector["desc"] for projector in recording.info["projs"] if not projector["active"]]
        if waiting:
            recording.apply_proj()
            account.note(f"{len(waiting)} projector(s) of the file were applied: {', '.join(waiting[:6])}")
    grade = recording.compensation_grade
    if grade:
        account.note(f"the file's gradient compensation is of grade {grade}, and was left as it is")


def _check_content(path: Path) -> None:
    """Refuse what was not fetched, and FIF or EEGLAB that would keep MNE busy for ever, or lead it elsewhere."""
    for file in source_files(path):
        require_fetched(file)
    if path.suffix.lower() in (".fif", ".gz"):
        check_fif(path)
    elif path.suffix.lower() == ".set":
        check_mat(path)
        check_set(path)


def _format(path: Path) -> str:
    names = {".vhdr": "a BrainVision recording", ".set": "an EEGLAB recording", ".gz": "a FIF recording"}
    return names.get(path.suffix.lower(), f"a recording ({path.suffix or 'no suffix'})")
