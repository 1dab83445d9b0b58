"""The prepared store: a folder per space with memory-mapped responses, the stimuli, and where all came from."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import neurodec
from neurodec.class_descriptions import code_of, path_of
from neurodec.data.account import Account, add_note
from neurodec.data.continuous import Windows
from neurodec.data.dataset import Dataset, Part
from neurodec.data.harmonise import common_space, spaces_of, spell_alike
from neurodec.data.noise import write_described
from neurodec.data.own_pictures import with_pictures
from neurodec.data.responses import blocks_of
from neurodec.data.splits import Level, check_leakage, n_overlapping
from neurodec.data.stimuli import FILES, GALLERY, complete_stimuli, file_below
from neurodec.data.study import MARK
from neurodec.data.tables import is_missing
from neurodec.data.trial_tables import require_splits
from neurodec.data.trials import Trials
from neurodec.data.twins import NO_CONCEPTS, check_twins, no_concepts, note_concepts, refuse_twins
from neurodec.errors import NeurodecError, reading, require_fetched
from neurodec.files import (
    atomic_path,
    key_of,
    read_json,
    remove_partials,
    sampled_sha256_of,
    sha256_of,
    track,
    write_json,
    write_table,
)

PARTS = ".parts"
_HASHED_WHOLE = 16 * 2**20  # bytes


def prepare(
    dataset: Dataset,
    root: str | Path,
    folder: str | Path,
    leakage: Level | Collection[Level] = "concept",
    *,
    whole_hashes: bool = False,
) -> Path:
    """Read every part of a dataset into one prepared folder.

    Each part is kept as soon as it is done, so a killed or refused run goes on where it stopped; a part whose files
    have changed since is read again. The finished folder holds one folder per space (`responses.npy`, float32, read
    memory-mapped, or the `signals.npy` that windows are cut from; `trials.csv`; `info.json`), `stimuli.csv`, and
    `study.json`, which names the spaces and carries the provenance: every source file with a SHA-256, every parameter,
    the package version. A space whose folder was deleted is prepared again, alone.

    Parameters
    ----------
    dataset : Dataset
        The reader with its parameters.
    root : str or Path
        Folder of the raw data.
    folder : str or Path
        Where to write.
    leakage : str or collection of str
        What training and test trials must not share; see `check_leakage`.
    whole_hashes : bool
        Hash all of every source file. By default files beyond 16 MB are hashed by their size and 17 stretches, so that
        terabytes need not be read twice; two that are equal by that are compared whole.

    Returns
    -------
    Path
        `folder`.

    Recordings that differ are brought into one space where that is harmless, subjects who were measured otherwise get a
    space each (see `neurodec.data.harmonise`), and ``info["account"]`` tells of every part what was found, left out and
    noted.

    Raises
    ------
    NeurodecError
        If anything cannot be read, the folder was prepared with another configuration or from other files, one
        recording appears twice under two names, or train and test overlap.

    Notes
    -----
    Memory: one part. Disk: twice the responses while the parts are joined.

    Examples
    --------
    >>> from neurodec import Study, prepare
    >>> from neurodec.data import EpochsFiles
    >>> folder = prepare(EpochsFiles("sub-{subject}-epo.fif"), "recordings", "prepared")  # doctest: +SKIP
    >>> Study.load(folder).subjects  # doctest: +SKIP
    ['01', '02']
    """
    root, folder = Path(root), Path(folder)
    if not root.is_dir():
        raise NeurodecError(f"The data folder {root} does not exist; give the right one with --data-root.")
    with reading(root, _kind(dataset), "check --data-root and the recipe's dataset section"):
        parts = dataset.parts(root)
    if not parts:
        raise NeurodecError(
            f"No recording was found below {root}; check --data-root and the recipe's dataset section."
        )
    _require_distinct(parts, root)
    parameters = parameters_of(dataset)
    stamp = {
        "parameters": parameters,
        "code": code_of(parameters["class_path"]),
        "files": _stamps(parts, root),
    }
    before: dict[str, Any] = {"spaces": {}}
    if (folder / MARK).exists():
        before = read_json(folder / MARK)
        missing = [name for name in before["spaces"] if not (folder / name / "info.json").exists()]
        again = {part for name in missing for part in before["spaces"][name]}
        anew = {_relative(file, root) for part in parts if part.name in again for file in part.files}
        _require_same(before["provenance"], stamp, root, folder, anew)
        if not missing:
            return folder
        parts = [part for part in parts if part.name in again]
    begun = folder / PARTS / "provenance.json"
    if begun.exists():
        _discard_changed(read_json(begun), stamp, parts, root, folder / PARTS)
    remove_partials(folder)
    remove_partials(folder / PARTS)
    sources = _hash_sources(parts, root, whole=whole_hashes)
    with reading(root, _kind(dataset), "check its tables and --data-root"):
        stimuli = _checked_stimuli(dataset.stimuli(root), root)
        stimuli = with_pictures(stimuli, dataset.pictures_in_files(root), folder)
    write_json(begun, stamp)
    skipped: dict[str, str] = {}
    for part in track(parts, "preparing"):
        try:
            _prepare_part(dataset, part, root, folder / PARTS / part.name, stimuli)
        except NeurodecError as error:
            if not dataset.skips_damaged:
                raise
            skipped[part.name] = str(error)
    parts = [part for part in parts if part.name not in skipped]
    if not parts:
        raise NeurodecError(
            f"None of {len(skipped)} recordings can be used; the first: {min(skipped.values())}"
        )
    known = {entry["file"]: entry for entry in before.get("provenance", {}).get("sources", [])}
    known |= {entry["file"]: entry for entry in sources}
    provenance = {**stamp, "sources": list(known.values()), "neurodec": neurodec.__version__}
    _join(folder, root, parts, stimuli, provenance, before["spaces"], leakage, skipped)
    shutil.rmtree(folder / PARTS)
    return folder


def parameters_of(dataset: Dataset) -> dict[str, Any]:
    """Return a reader's class path and arguments as plain values."""
    if not dataclasses.is_dataclass(dataset):
        raise NeurodecError(
            f"{type(dataset).__name__} is not a dataclass, so its arguments cannot be kept; write "
            "@dataclass(frozen=True) above it."
        )
    arguments = dataclasses.asdict(dataset)  # type: ignore[call-overload]
    return {"class_path": path_of(type(dataset)), "init_args": arguments}


def parameters_key(parameters: dict[str, Any]) -> str:
    """Return a key of what `parameters_of` tells; where a reader of ours lies in the package does not matter."""
    path = parameters["class_path"]
    return key_of(
        {**parameters, "class_path": path.rpartition(".")[2] if path.startswith("neurodec.") else path}
    )


def _stamps(parts: list[Part], root: Path) -> dict[str, list[int]]:
    """Size and modification time of every source: enough to see, without reading it, that a file has changed."""
    stamps = {}
    for file in sorted({file for part in parts for file in part.files}):
        require_fetched(file)
        with reading(file):
            found = file.stat()
            if file.is_dir():
                raise NeurodecError(f"{file} is a folder, where a file is expected; put the file there.")
        stamps[_relative(file, root)] = [found.st_size, found.st_mtime_ns]
    return stamps


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _require_distinct(parts: list[Part], root: Path) -> None:
    """Refuse two parts of one name: the second would be taken for the first, which is done already."""
    seen: dict[str, Part] = {}
    for part in parts:
        other = seen.setdefault(part.name, part)
        if other is not part:
            names = " and ".join(_relative(twin.files[0], root) for twin in (part, other))
            raise NeurodecError(f"{names} are both {part.name}; remove or rename one of them.")


def _discard_changed(
    before: dict[str, Any], now: dict[str, Any], parts: list[Part], root: Path, folder: Path
) -> None:
    """Delete the parts of an unfinished preparation whose parameters or files are not the same any more."""
    same_parameters = parameters_key(before["parameters"]) == parameters_key(now["parameters"])
    same_parameters &= before.get("code", []) == now["code"]
    for part in parts:
        names = [_relative(file, root) for file in part.files]
        same_files = all(before["files"].get(name) == now["files"][name] for name in names)
        if not (same_parameters and same_files):
            shutil.rmtree(folder / part.name, ignore_errors=True)


def _require_same(
    found: dict[str, Any], wanted: dict[str, Any], root: Path, folder: Path, again: set[str]
) -> None:
    """Refuse another configuration or changed files, but for those that are about to be prepared again.

    A copy of the data has other times; then the content decides.
    """
    if parameters_key(found["parameters"]) != parameters_key(wanted["parameters"]):
        raise NeurodecError(
            f"{folder} was prepared with another configuration ({_first_difference(found, wanted)}); "
            "choose another --out or delete it."
        )
    if found.get("code", []) != wanted["code"]:
        raise NeurodecError(
            f"{folder} was prepared by other code of {wanted['parameters']['class_path']}, whose text changed since; "
            "choose another --out or delete it."
        )
    changed = {name for name, _ in set(_items(found["files"])) ^ set(_items(wanted["files"]))} - again
    known = {entry["file"]: entry for entry in found["sources"]}
    changed = {
        name for name in changed if name not in wanted["files"] or not _same_content(known.get(name), root)
    }
    if changed:
        raise NeurodecError(
            f"{folder} was prepared from other files ({min(changed)} was added, removed or changed since); "
            "choose another --out or delete it."
        )


def _same_content(entry: dict[str, str] | None, root: Path) -> bool:
    """Return whether a source file still has the content that was hashed when it was prepared."""
    kinds = {"sha256", "sampled_sha256"} & set(entry or {})
    return bool(kinds) and all(_digest_of(root / entry["file"], kind) == entry[kind] for kind in kinds)


def _items(files: dict[str, list[int]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(stamp)) for name, stamp in files.items()]


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(wanted["parameters"], default=str))  # as it was read: lists, no tuples
    before = pd.json_normalize(found["parameters"]).iloc[0].to_dict()
    after = pd.json_normalize(plain).iloc[0].to_dict()
    name = next(key for key in sorted({*before, *after}) if str(before.get(key)) != str(after.get(key)))
    return f"{name.removeprefix('init_args.')} was {before.get(name)}, now {after.get(name)}"


def _hash_sources(parts: list[Part], root: Path, *, whole: bool) -> list[dict[str, str]]:
    """Hash every source file and refuse two recordings with the same content."""
    files = list(dict.fromkeys(file for part in parts for file in part.files))
    recordings = {file for part in parts for file in part.files[: part.n_recordings]}
    kinds = [
        "sha256" if whole or file.stat().st_size <= _HASHED_WHOLE else "sampled_sha256" for file in files
    ]
    with ThreadPoolExecutor() as pool:
        found = pool.map(_digest_of, files, kinds)
        hashes = list(track(found, "hashing sources", total=len(files)))
    seen: dict[str, Path] = {}
    for file, digest in zip(files, hashes, strict=True):
        twin = seen.setdefault(digest, file) if file in recordings else file
        if twin != file and sha256_of(file) == sha256_of(twin):
            raise NeurodecError(
                f"{_relative(file, root)} is the same recording as {_relative(twin, root)}; counted twice "
                "it would leak between training and test, so remove one of them."
            )
    return [
        {"file": _relative(file, root), kind: digest}
        for file, kind, digest in zip(files, kinds, hashes, strict=True)
    ]


def _digest_of(file: Path, kind: str) -> str:
    return sha256_of(file) if kind == "sha256" else sampled_sha256_of(file)


def _checked_stimuli(stimuli: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Refuse a stimulus listed twice, an unknown split, and a picture outside the data root."""
    stimuli = stimuli.astype(str).reset_index(drop=True)
    repeated = stimuli["stimulus"][stimuli["stimulus"].duplicated()]
    if len(repeated):
        raise NeurodecError(
            f"Stimulus {repeated.iloc[0]} is listed twice in the stimulus table; keep one row."
        )
    if "split" in stimuli:
        require_splits(stimuli["split"], "The stimulus table", gallery=True)
    for column in set(FILES) & set(stimuli):  # a file may hold thousands of stimuli
        for row, name in stimuli[column].drop_duplicates().items():
            file_below(root, name, "The stimulus table", row, column)
    return stimuli


def _kind(dataset: Dataset) -> str:
    return f"{type(dataset).__name__} data"


def _prepare_part(dataset: Dataset, part: Part, root: Path, target: Path, stimuli: pd.DataFrame) -> None:
    if target.exists():
        return
    with reading(part.files[0] if part.files else part.name, _kind(dataset)):
        trials = dataset.load(part, root)
    if not len(trials):
        raise NeurodecError(f"{part.name} holds no trial; check its events, or leave it out of the recipe.")
    _require_info(trials, dataset)
    trials = _labelled(trials, stimuli)
    axes = tuple(range(1, trials.responses.ndim))
    finite = [np.isfinite(trials.responses[rows]).all(axis=axes) for rows in blocks_of(len(trials))]
    bad = np.flatnonzero(~np.concatenate(finite))
    if len(bad):
        raise NeurodecError(
            f"{part.name} holds NaN or infinite values (first in trial {bad[0]}, {len(bad)} trials in all); "
            "mark the bad channels or remove the bad segments."
        )
    entries = trials.info.get("account") or [Account().entry("", len(trials), trials.responses.shape[1])]
    trials.info["account"] = [{**entry, "part": part.name} for entry in entries]
    with atomic_path(target) as partial:
        partial.mkdir()
        trials.save(partial)


def _require_info(trials: Trials, dataset: Dataset) -> None:
    """Refuse trials whose reader leaves out what everything after it needs."""
    needed = ["modality", "units"]
    needed += ["sfreq", "tmin"] if trials.dims[-1] == "time" else []
    needed += ["ch_names"] if trials.responses.ndim == 3 and "voxel" not in trials.dims else []
    missing = [name for name in needed if trials.info.get(name) is None]
    if missing:
        raise NeurodecError(
            f"{type(dataset).__name__} gives trials whose `info` lacks {', '.join(missing)}; add it where `load` makes "
            "`Trials`."
        )
    if trials.responses.ndim == 2 and "dims" not in trials.info:
        n_voxels = trials.responses.shape[1]
        flat = {"mask_shape": [n_voxels, 1, 1], "voxel_indices": list(range(n_voxels)), "affine": None}
        trials.info.update({name: value for name, value in flat.items() if name not in trials.info})


def _labelled(trials: Trials, stimuli: pd.DataFrame) -> Trials:
    """Let the table of stimuli tell concept and split where the trials hold no more than the defaults."""
    table, known = trials.table, stimuli.set_index("stimulus")
    for name, usual in (("concept", table["stimulus"]), ("split", "cv")):
        if name in known:
            told = table["stimulus"].map(known[name])
            fits = (table[name] == usual) & told.notna() & ~is_missing(told) & (told != GALLERY)
            table = table.assign(**{name: table[name].mask(fits, told)})
    return dataclasses.replace(trials, table=table)


def _join(
    folder: Path,
    root: Path,
    parts: list[Part],
    stimuli: pd.DataFrame,
    provenance: dict[str, Any],
    known: dict[str, list[str]],
    leakage: Level | Collection[Level],
    skipped: dict[str, str],
) -> None:
    """Concatenate the parts of every space; `study.json` comes last and marks the folder finished."""
    loaded = {part.name: Trials.load(folder / PARTS / part.name) for part in track(parts, "joining")}
    refuse_twins(loaded)
    spell_alike(loaded.values())
    table = pd.concat([trials.table for trials in loaded.values()], ignore_index=True)
    _require_known(table, stimuli)
    levels = [leakage] if isinstance(leakage, str) else list(leakage)
    for level in levels:
        check_leakage(table, level, stimuli)
    stimuli = complete_stimuli(stimuli, table)
    told = [*check_twins(table, stimuli, root, levels), *note_concepts(table)]
    told += [NO_CONCEPTS] if "concept" in levels and no_concepts(table) else []
    for sentence in told:
        add_note(next(iter(loaded.values())).info["account"][:1], sentence)
    for trials in loaded.values():
        n = n_overlapping(trials.table, trials.responses.shape[-1] / trials.info.get("sfreq", np.inf))
        if n and levels != ["none"]:
            add_note(
                trials.info["account"],
                f"{n} test windows share time with training windows of the same recording, so what is common to both "
                "can be decoded too; cut shorter epochs, or split by runs",
            )
    owners = {part.name: part.subject for part in parts}
    groups = {name: members for name, members in known.items() if set(members) <= set(loaded)}
    groups = groups or spaces_of(loaded, owners)
    for name, members in groups.items():
        _write_space(folder / name, [loaded[member] for member in members], provenance, skipped)
        skipped = {}  # told once
    if not known:
        write_table(folder / "stimuli.csv", stimuli)
    write_json(folder / MARK, {"spaces": {**known, **groups}, "provenance": provenance})


def _write_space(
    folder: Path, parts: list[Trials], provenance: dict[str, Any], skipped: dict[str, str]
) -> None:
    space = common_space(parts)
    lost = [{**Account(notes=[f"left out: {why}"]).entry(name, 0, 0)} for name, why in skipped.items()]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    table["repetition"] = table.groupby(["subject", "split", "stimulus"]).cumcount()
    windows = [part.responses for part in parts if isinstance(part.responses, Windows)]
    if len(windows) == len(parts):
        Windows.joined(windows, space.columns, folder)
    else:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(table), *space.shape)}
        with atomic_path(folder / "responses.npy") as partial, partial.open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, header)
            for part, columns, turn in zip(parts, space.columns, space.turns, strict=True):
                # Not through a memory map, where a full disk kills the process.
                for block in space.blocks(part, columns, turn):
                    handle.write(np.ascontiguousarray(block, dtype="<f4").data)
    write_table(folder / "trials.csv", table)
    info = {**space.info, "account": [*space.info.get("account", []), *lost], "provenance": provenance}
    write_described(folder / "info.json", info)


def _require_known(table: pd.DataFrame, stimuli: pd.DataFrame) -> None:
    """Hold all trials against the stimulus table: what it does not list, or says otherwise, is refused."""
    known = stimuli.set_index("stimulus")
    wrong = [(~table["stimulus"].isin(known.index), "which the stimulus table does not list; add it there")]
    for name in {"concept", "split"} & set(stimuli):
        told = table["stimulus"].map(known[name])
        differs = told.notna() & (told != table[name]) & ~is_missing(told)
        wrong.append((differs, f"whose {name} is another one in the stimulus table; make them agree"))
    for rows, what in wrong:
        if rows.any():
            row = rows.idxmax()
            where = "subject {}, session {}, run {}".format(*table.loc[row, ["subject", "session", "run"]])
            raise NeurodecError(
                f"Trial {row} ({where}) shows {table.loc[row, 'stimulus']}, {what} or correct its name."
            )
