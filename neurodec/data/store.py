"""The prepared store: one folder with memory-mapped responses, their table, the stimuli and where all came from."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import neurodec
from neurodec.data.dataset import STIMULUS_COLUMNS, Dataset, Part
from neurodec.data.splits import check_leakage
from neurodec.data.trials import Trials, require_same_space
from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, key_of, read_json, remove_partials, sha256_of, track, write_json

PARTS = ".parts"


def prepare(dataset: Dataset, root: str | Path, folder: str | Path) -> Path:
    """Read every part of a dataset into one prepared folder.

    Each part is kept as soon as it is done, so a killed run goes on where it stopped. The finished folder holds
    `responses.npy` (float32, read memory-mapped), `trials.csv`, `stimuli.csv` and `info.json`, which also carries
    the provenance: every source file with its SHA-256, every parameter, the package version.

    Parameters
    ----------
    dataset : Dataset
        The reader with its parameters.
    root : str or Path
        Folder of the raw data.
    folder : str or Path
        Where to write.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    NeurodecError
        If the folder was prepared with another configuration or from other files, if one recording
        appears twice under two names, or if train and test overlap.

    Notes
    -----
    Memory: one part. Disk: twice the responses while the parts are joined.
    """
    root, folder = Path(root), Path(folder)
    if not root.is_dir():
        raise NeurodecError(f"The data folder {root} does not exist; give the right one with --data-root.")
    parts = dataset.parts(root)
    if not parts:
        raise NeurodecError(
            f"No recording was found below {root}; check --data-root and the recipe's dataset section."
        )
    stamp = {"parameters": parameters_of(dataset), "files": _stamps(parts, root)}
    finished = folder / "info.json"
    if finished.exists():
        _require_same(read_json(finished)["provenance"], stamp, folder)
        return folder
    begun = folder / PARTS / "provenance.json"
    if begun.exists():
        _require_same(read_json(begun), stamp, folder)
    remove_partials(folder)
    remove_partials(folder / PARTS)
    sources = _hash_sources(parts, root)
    stimuli = _checked_stimuli(dataset.stimuli(root))
    write_json(begun, stamp)
    for part in track(parts, "preparing"):
        _prepare_part(dataset, part, root, folder / PARTS / part.name)
    provenance = {**stamp, "sources": sources, "neurodec": neurodec.__version__}
    _join([folder / PARTS / part.name for part in parts], folder, stimuli, provenance)
    shutil.rmtree(folder / PARTS)
    return folder


def load_stimuli(folder: str | Path) -> pd.DataFrame:
    """Read the stimulus table of a prepared folder."""
    return pd.read_csv(Path(folder) / "stimuli.csv", dtype=str, keep_default_na=False)


def parameters_of(dataset: Dataset) -> dict[str, Any]:
    """Return a reader's class path and arguments as plain values."""
    kind = type(dataset)
    arguments = dataclasses.asdict(dataset)  # type: ignore[call-overload]
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _stamps(parts: list[Part], root: Path) -> dict[str, list[int]]:
    """Size and modification time of every source: enough to see, without reading it, that a file has changed."""
    files = {file for part in parts for file in part.files}
    return {_relative(file, root): [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)}


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _require_same(found: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    if key_of(found["parameters"]) != key_of(wanted["parameters"]):
        raise NeurodecError(
            f"{folder} was prepared with another configuration ({_first_difference(found, wanted)}); "
            "choose another --out or delete it."
        )
    if found["files"] != wanted["files"]:
        changed = {name for name, _ in set(_items(found["files"])) ^ set(_items(wanted["files"]))}
        raise NeurodecError(
            f"{folder} was prepared from other files ({min(changed)} was added, removed or changed since); "
            "choose another --out or delete it."
        )


def _items(files: dict[str, list[int]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(stamp)) for name, stamp in files.items()]


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    before = pd.json_normalize(found["parameters"]).iloc[0].to_dict()
    after = pd.json_normalize(wanted["parameters"]).iloc[0].to_dict()
    name = next(key for key in sorted({*before, *after}) if str(before.get(key)) != str(after.get(key)))
    return f"{name.removeprefix('init_args.')} was {before.get(name)}, now {after.get(name)}"


def _hash_sources(parts: list[Part], root: Path) -> list[dict[str, str]]:
    """Hash every source file and refuse two recordings with the same content."""
    files = list(dict.fromkeys(file for part in parts for file in part.files))
    recordings = {
        part.files[0] for part in parts
    }  # a part's first file is its recording; others may be shared tables
    with ThreadPoolExecutor() as pool:
        hashes = list(track(pool.map(sha256_of, files), "hashing sources", total=len(files)))
    seen: dict[str, Path] = {}
    for file, digest in zip(files, hashes, strict=True):
        if file in recordings and seen.setdefault(digest, file) != file:
            raise NeurodecError(
                f"{_relative(file, root)} is the same recording as {_relative(seen[digest], root)}; counted twice "
                "it would leak between training and test, so remove one of them."
            )
    return [
        {"file": _relative(file, root), "sha256": digest} for file, digest in zip(files, hashes, strict=True)
    ]


def _checked_stimuli(stimuli: pd.DataFrame) -> pd.DataFrame:
    stimuli = stimuli[list(STIMULUS_COLUMNS)].astype(str)
    repeated = stimuli["stimulus"][stimuli["stimulus"].duplicated()]
    if len(repeated):
        raise NeurodecError(
            f"Stimulus {repeated.iloc[0]} is listed twice in the stimulus table; keep one row."
        )
    return stimuli


def _prepare_part(dataset: Dataset, part: Part, root: Path, target: Path) -> None:
    if target.exists():
        return
    trials = dataset.load(part, root)
    if not len(trials):
        raise NeurodecError(f"{part.name} holds no trial; check its events, or leave it out of the recipe.")
    bad = np.flatnonzero(~np.isfinite(trials.responses).all(axis=tuple(range(1, trials.responses.ndim))))
    if len(bad):
        raise NeurodecError(
            f"{part.name} holds NaN or infinite values (first in trial {bad[0]}, {len(bad)} trials in all); "
            "mark the bad channels or remove the bad segments."
        )
    with atomic_path(target) as partial:
        partial.mkdir()
        trials.save(partial)


def _join(folders: list[Path], folder: Path, stimuli: pd.DataFrame, provenance: dict[str, Any]) -> None:
    """Concatenate the parts; `info.json` comes last and marks the folder finished."""
    parts = [Trials.load(part) for part in track(folders, "joining")]
    for part in parts[1:]:
        require_same_space(parts[0], part)
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table["repetition"] = table.groupby(["subject", "split", "stimulus"]).cumcount()
    unknown = set(table["stimulus"]) - set(stimuli["stimulus"])
    if unknown:
        raise NeurodecError(
            f"The trials show {min(unknown)}, which the stimulus table does not list; add it or correct its name."
        )
    check_leakage(table)
    shape = (len(table), *parts[0].responses.shape[1:])
    with atomic_path(folder / "responses.npy") as partial:
        joined = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        start = 0
        for part in parts:
            joined[start : start + len(part)] = part.responses
            start += len(part)
        joined.flush()
        del joined
    for name, frame in {"trials.csv": table, "stimuli.csv": stimuli}.items():
        with atomic_path(folder / name) as partial:
            frame.to_csv(partial, index=False)
    write_json(folder / "info.json", {**parts[0].info, "provenance": provenance})
