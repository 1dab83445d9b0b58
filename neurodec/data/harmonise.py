"""One space for all parts: the channels, rate and voxels that they share, with every difference told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodec.data.account import add_note
from neurodec.data.continuous import Windows
from neurodec.data.noise import mean_noise
from neurodec.data.trial_tables import has_time, same_rate
from neurodec.data.trials import Trials, require_same_space
from neurodec.errors import NeurodecError
from neurodec.files import file_names, require_file_name
from neurodec.preprocessing.epoching import resample
from neurodec.preprocessing.whitening import inverse_square_root

BLOCK = 256  # trials brought into the common space at a time
_SPARE = 2  # samples by which epochs of different rates may differ in length


@dataclass(frozen=True)
class CommonSpace:
    """What all parts have, and how each gets there.

    Parameters
    ----------
    info : dict
        `Trials.info` of the joined trials.
    shape : tuple of int
        Of one trial.
    columns : list of ndarray
        For every part, which of its channels or voxels to take, in this order.
    turns : list of (ndarray or None)
        For every part, the matrix that its kept channels are multiplied by: where channels were left out after the
        others were whitened or referenced together with them, both are done anew without these.
    """

    info: dict[str, Any]
    shape: tuple[int, ...]
    columns: list[np.ndarray]
    turns: list[np.ndarray | None]

    def blocks(self, part: Trials, columns: np.ndarray, turn: np.ndarray | None) -> Iterator[np.ndarray]:
        """Yield the responses of a part in the common space, a few trials at a time, float32."""
        whole = len(columns) == part.responses.shape[1] and (np.diff(columns) == 1).all()
        ratio = 1.0 if self.info.get("sfreq") is None else self.info["sfreq"] / part.info["sfreq"]
        for start in range(0, len(part), BLOCK):
            block = np.asarray(part.responses[start : start + BLOCK], dtype=np.float32)
            if turn is not None:
                block = (turn @ block.astype(np.float64)).astype(np.float32)
            elif not whole:
                block = block[:, columns]
            if not same_rate(ratio, 1.0):
                block = resample(block, ratio).astype(np.float32)
            yield block[..., : self.shape[-1]] if block.ndim == 3 else block


def spell_alike(parts: Iterable[Trials]) -> None:
    """Give channels that differ in case or blanks alone (``Fp1``, ``FP1``) one name in all parts, the first found."""
    known: dict[str, str] = {}
    for part in parts:
        names = part.info.get("ch_names") or []
        folded = ["".join(name.split()).casefold() for name in names]
        if len(set(folded)) < len(folded):
            continue
        alike = [known.setdefault(plain, name) for plain, name in zip(folded, names, strict=True)]
        changed = [f"{name} as {own}" for name, own in zip(names, alike, strict=True) if name != own]
        if changed:
            part.info["ch_names"] = alike
            if "preprocessing" in part.info:
                part.info["preprocessing"] = {**part.info["preprocessing"], "ch_names": alike}
            _note(part, f"channels are spelt as in the first recording: {', '.join(changed[:8])}")


def spaces_of(parts: dict[str, Trials], owners: dict[str, str]) -> dict[str, list[str]]:
    """Group parts into spaces: one for all, or one per subject where subjects were measured otherwise.

    Subjects are alike if their sensors have the same names, apart from those that some recording marks as bad, or if
    their voxels lie on one grid. A reader whose recordings belong together otherwise names the spaces
    (``info["space"]``).

    Parameters
    ----------
    parts : dict of Trials
        Name of the part to its trials.
    owners : dict of str
        Name of the part to its subject.

    Returns
    -------
    dict
        Name of the space ("all", or "sub-" and the subject) to the names of its parts.
    """
    named = [part.info.get("space") for part in parts.values()]
    if None not in named and len(set(named)) > 1:
        return {
            require_file_name(space, "The space"): [
                name for name, own in zip(parts, named, strict=True) if own == space
            ]
            for space in dict.fromkeys(named)
        }
    members: dict[str, list[str]] = {}
    for name in parts:
        members.setdefault(owners[name], []).append(name)
    kinds = {subject: _kind_of([parts[name] for name in names]) for subject, names in members.items()}
    bads = {bad for part in parts.values() for bad in _bads(part)}
    if len({(kind[0], kind[1] - bads) if kind[0] == "sensors" else kind for kind in kinds.values()}) == 1:
        return {"all": list(parts)}
    for names in members.values():
        _note(
            parts[names[0]],
            "measured with other sensors or on another grid than other subjects: a space of its own",
        )
    folders = file_names(members)
    return {f"sub-{folders[subject]}": names for subject, names in members.items()}


def _kind_of(parts: list[Trials]) -> tuple[Any, ...]:
    """Return what must be equal for two subjects to share a space."""
    info = parts[0].info
    if "voxel_indices" in info:
        return "voxels", tuple(info["mask_shape"]), tuple(np.round(np.ravel(info["affine"]), 2))
    if "ch_names" in info:
        return "sensors", frozenset(name for part in parts for name in part.ch_names)
    return "other", parts[0].responses.shape[1:]


def _bads(part: Trials) -> set[str]:
    return {name for entry in part.info.get("account", []) for name in entry["channels"]["bads"]}


def common_space(parts: Sequence[Trials]) -> CommonSpace:
    """Find what parts that were recorded differently have in common.

    Channels that are marked as bad in some part are left out of all; another order is put right. Recordings of several
    rates are resampled to the lowest. Runs with brain masks of their own on one grid keep the voxels that all have.
    Everything that differs is noted in the account of the part.

    Parameters
    ----------
    parts : sequence of Trials

    Raises
    ------
    NeurodecError
        If parts differ in anything else: modality, unit, channels that nobody marked as bad, window, grid of voxels.
    """
    if "voxel_indices" in parts[0].info:
        return _common_voxels(parts)
    return _common_channels(parts)


def _common_channels(parts: Sequence[Trials]) -> CommonSpace:
    first = parts[0]
    bads = {name for part in parts for name in _bads(part)}
    shared = [name for name in first.ch_names if all(name in part.ch_names for part in parts)]
    dropped = {name for part in parts for name in part.ch_names} - set(shared)
    if not has_time(first.info):
        return _common_parcels(parts, shared)
    sfreq = min(float(part.info["sfreq"]) for part in parts)
    lengths = [round(part.responses.shape[-1] * sfreq / part.info["sfreq"]) for part in parts]
    other = next((part for part in parts if not same_rate(part.info["sfreq"], first.info["sfreq"])), None)
    if other is not None and first.info["modality"] == "fmri":
        where = other.table.iloc[0]
        raise NeurodecError(
            f"Subject {where['subject']}, session {where['session']}, run {where['run']} has a repetition time of "
            f"{1 / other.info['sfreq']:g} s, the first recording {1 / first.info['sfreq']:g} s; prepare them apart."
        )
    for part in parts[1:]:
        alike = part.info
        if not dropped - bads:
            alike = {**alike, "ch_names": first.ch_names}
        if abs(part.info["tmin"] - first.info["tmin"]) <= 0.5 / sfreq:
            alike = {**alike, "tmin": first.info["tmin"]}
        resized = np.broadcast_to(np.float32(0), (len(part), *first.responses.shape[1:]))
        require_same_space(first, Trials(resized, part.table, {**alike, "sfreq": first.info["sfreq"]}))
    if max(lengths) - min(lengths) > _SPARE:
        where = parts[int(np.argmin(lengths))].table.iloc[0]
        raise NeurodecError(
            f"Subject {where['subject']}, session {where['session']}, run {where['run']} has epochs of {min(lengths)} "
            f"samples at {sfreq:g} Hz, others {max(lengths)}; cut all epochs alike."
        )
    if len({float(part.info["sfreq"]) for part in parts}) > 1 and isinstance(first.responses, Windows):
        raise NeurodecError(
            "Recordings have several sampling rates, and windows share samples; set `preprocessing.sfreq` to bring all "
            "to one."
        )
    if not shared:
        raise NeurodecError(
            "No channel is good in every recording; set `interpolate_bads: true`, or leave some out."
        )
    for part in parts:
        if dropped & set(part.ch_names):
            _note(part, f"left out, as they are bad in another recording: {', '.join(sorted(dropped))}")
        if not same_rate(part.info["sfreq"], sfreq):
            _note(part, f"resampled from {part.info['sfreq']:g} to {sfreq:g} Hz, the lowest rate of all")
    columns = [np.array([part.ch_names.index(name) for name in shared]) for part in parts]
    info = {**first.pick(shared).info, "sfreq": sfreq, "account": _accounts(parts)}
    if "preprocessing" in info:
        info["preprocessing"] = {**info["preprocessing"], "ch_names": shared}
    if "noise" in info:
        own = [(part.info.get("noise", {}), chosen) for part, chosen in zip(parts, columns, strict=True)]
        info["noise"] = mean_noise(own)
    turns = [_without_others(part, chosen) for part, chosen in zip(parts, columns, strict=True)]
    return CommonSpace(info, (len(shared), min(lengths)), columns, turns)


def _common_parcels(parts: Sequence[Trials], shared: list[str]) -> CommonSpace:
    first = parts[0]
    for part in parts[1:]:
        require_same_space(first, part)
    info, columns = {**first.info, "account": _accounts(parts)}, np.arange(len(shared))
    return CommonSpace(info, first.responses.shape[1:], [columns] * len(parts), [None] * len(parts))


def _without_others(part: Trials, columns: np.ndarray) -> np.ndarray | None:
    """Return the matrix (n_kept, n_chans) that references and whitens the kept channels without the others, or None.

    Training then equals what a later recording gets, which may lack the others.
    """
    done, n_chans = part.info.get("preprocessing") or {}, part.responses.shape[1]
    if len(columns) == n_chans:
        return None
    averaged = done.get("reference") == "average"
    noise = next(iter(part.info.get("noise", {}).values()), None)
    if averaged and noise is not None:
        _note(
            part,
            "channels were scaled after the average of all good channels, those left out too, was taken off",
        )
    if noise is not None and done.get("whiten", "").startswith("mvnn"):
        covariance = noise[:, 1:]
        kept = inverse_square_root(covariance[np.ix_(columns, columns)])
        return kept @ np.linalg.inv(inverse_square_root(covariance))[columns]
    if averaged and noise is None:
        return np.eye(n_chans)[columns] - np.eye(n_chans)[columns].mean(axis=0)
    return None


def _common_voxels(parts: Sequence[Trials]) -> CommonSpace:
    first = parts[0]
    for part in parts[1:]:
        same_grid = np.allclose(
            part.info.get("affine", first.info["affine"]), first.info["affine"], atol=1e-2
        )
        if not same_grid and part.info.get("mask_shape") == first.info["mask_shape"]:
            where = part.table.iloc[0]
            raise NeurodecError(
                f"Subject {where['subject']}, session {where['session']}, run {where['run']} lies elsewhere than the "
                "first recording (another affine), so its voxels are others; bring all runs into one space, or prepare "
                "the subjects one by one."
            )
        voxels = {"voxel_indices": first.info["voxel_indices"]}
        shape = (len(part), first.responses.shape[1], *part.responses.shape[2:])
        resized = np.broadcast_to(np.float32(0), shape)
        require_same_space(first, Trials(resized, part.table, {**part.info, **voxels}))
    shared = np.asarray(first.info["voxel_indices"])
    for part in parts[1:]:
        shared = np.intersect1d(shared, part.info["voxel_indices"])
    if not len(shared):
        raise NeurodecError("The masks of the runs share no voxel; check that all lie in one space.")
    for part in parts:
        lost = len(part.info["voxel_indices"]) - len(shared)
        if lost:
            _note(part, f"{lost} voxels are left out, as another run's mask lacks them")
    columns = [np.searchsorted(part.info["voxel_indices"], shared) for part in parts]
    info = {**first.info, "voxel_indices": shared.tolist(), "account": _accounts(parts)}
    if "roi" in info and len(shared) != len(first.info["voxel_indices"]):
        kept = {int(column): place for place, column in enumerate(columns[0])}
        info["roi"] = {
            name: [kept[index] for index in indices if index in kept] for name, indices in info["roi"].items()
        }
    return CommonSpace(info, (len(shared), *first.responses.shape[2:]), columns, [None] * len(columns))


def _note(part: Trials, sentence: str) -> None:
    add_note(part.info.get("account", []), sentence)


def _accounts(parts: Sequence[Trials]) -> list[dict[str, Any]]:
    return [entry for part in parts for entry in part.info.get("account", [])]
