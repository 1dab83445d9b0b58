"""Preprocessing of trials that are cut already: the settings of readers, applied as the trials are read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from neurodec.data.account import add_note
from neurodec.data.fold_whitening import whitened
from neurodec.data.responses import View, blocks_of
from neurodec.data.splits import TRAINING, groups_of
from neurodec.data.study import Study
from neurodec.data.trial_tables import has_time, same_rate
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.preprocessing.epoching import resample
from neurodec.preprocessing.settings import Preprocessing, VoxelPreprocessing

_OF_RECORDINGS = ("notch", "l_freq", "h_freq", "interpolate_bads")


def preprocess(study: Study, settings: Preprocessing) -> Study:
    """Return a study whose trials are preprocessed further, as they are read; nothing is copied.

    Parameters
    ----------
    study : Study
    settings : EEGPreprocessing or VoxelPreprocessing
        Of sensors: reference, baseline, rate, window and whitening, in this order, as `EpochsFiles` does to epochs. The
        window is what the trials have of it. What is fitted is fitted to training trials, session by session.

    Raises
    ------
    NeurodecError
        If settings need the continuous recording (filters, interpolation), are of another modality, or repeat what a
        reader did.

    Examples
    --------
    >>> import numpy as np
    >>> from neurodec import Study, preprocess
    >>> from neurodec.preprocessing import EEGPreprocessing
    >>> study = Study.from_arrays(np.random.randn(4, 8, 300), list("abca"), sfreq=250.0, tmin=-0.2)
    >>> preprocess(study, EEGPreprocessing(tmax=0.8, sfreq=125.0, keep_from=0.0)).trials.responses.shape
    (4, 8, 101)
    """
    settings.check()
    spaces = {}
    for name, trials in study.spaces.items():
        account = [{**entry, "notes": [*entry["notes"]]} for entry in trials.info.get("account", [])]
        trials = replace(trials, info={**trials.info, "account": account})
        if isinstance(settings, VoxelPreprocessing):
            spaces[name] = _of_voxels(trials, settings, name)
        elif isinstance(settings, EEGPreprocessing):
            spaces[name] = _recut(trials, settings, name)
        else:
            raise NeurodecError(
                f"{type(settings).__name__} is for continuous recordings; take EEGPreprocessing or VoxelPreprocessing."
            )
        spaces[name].info["preprocessed_by"] = asdict(settings)
    found = replace(study, spaces=spaces)
    return (
        whitened(found, settings.whiten, settings.clamp) if isinstance(settings, EEGPreprocessing) else found
    )


class Recut(View):
    """Responses with another reference, baseline, window and rate.

    Parameters
    ----------
    source : ndarray or View, shape (n, n_chans, n_times)
    window, base : slice
        Samples that are kept, and those whose mean is subtracted (none for an empty one).
    ratio : float
        New over old sampling rate.
    skip : int
        Samples to drop at the beginning, once all else is done.
    reference : ndarray of int, optional
        Channels whose mean is subtracted.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        source: np.ndarray | View,
        window: slice,
        base: slice,
        ratio: float,
        skip: int,
        reference: np.ndarray | None,
    ) -> None:
        self.source, self.window, self.base = source, window, base
        self.ratio, self.skip, self.reference = ratio, skip, reference
        n_times = max(1, round(ratio * (window.stop - window.start)))
        self.shape = (*source.shape[:-1], n_times - skip)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some trials."""
        block = np.asarray(self.source[rows], dtype=np.float64)
        if self.reference is not None:
            block = block - block[:, self.reference].mean(axis=1, keepdims=True)
        if self.base.stop > self.base.start:
            block = block - block[..., self.base].mean(axis=-1, keepdims=True)
        block = block[..., self.window]
        if not same_rate(self.ratio, 1.0):
            block = resample(block, self.ratio)
        return block[..., self.skip :].astype(np.float32)


def _recut(trials: Trials, settings: EEGPreprocessing, space: str) -> Trials:
    """Return trials of sensors with another reference, baseline, window and rate."""
    if not has_time(trials.info) or "channel" not in trials.dims:
        raise NeurodecError(
            f"EEGPreprocessing is for channels over time, and the trials of {space} have the axes "
            f"{', '.join(trials.dims)}; take neurodec.preprocessing.VoxelPreprocessing."
        )
    needs = [name for name in _OF_RECORDINGS if getattr(settings, name)]
    if needs:
        raise NeurodecError(
            f"The trials of {space} are cut already, and `{needs[0]}` needs the continuous recording; set it where the "
            "recording is read (dataset.init_args.preprocessing)."
        )
    before = trials.info.get("preprocessing") or {}
    trials = trials if settings.ch_names is None else trials.pick(settings.ch_names)
    reference = _reference(trials, settings, before, space)
    times, rate = trials.times, float(trials.info["sfreq"])
    half = 0.5 / rate
    first, last = (int(np.searchsorted(times, edge)) for edge in (settings.tmin - half, settings.tmax + half))
    if last <= first:
        raise NeurodecError(
            f"The trials of {space} run from {times[0]:g} to {times[-1]:g} s, which shares nothing with "
            f"{settings.tmin:g} to {settings.tmax:g} s; correct `tmin` or `tmax`."
        )
    if last - first < len(times):
        _tell(
            trials,
            f"trials of {times[0]:g} to {times[-1]:g} s are cut to {times[first]:g} to {times[last - 1]:g} s",
        )
    base = _baseline(trials, times[first:last], settings)
    new_rate = settings.sfreq or rate
    n_times = max(1, round((last - first) * new_rate / rate))
    new_times = times[first] + np.arange(n_times) / new_rate
    skip = 0
    if settings.keep_from is not None:
        skip = int(np.searchsorted(new_times, settings.keep_from - 0.5 / new_rate))
    responses = Recut(trials.responses, slice(first, last), base, new_rate / rate, skip, reference)
    info = {**trials.info, "sfreq": new_rate, "tmin": float(new_times[skip])}
    if before:  # what a raw recording of a later day gets
        done = EEGPreprocessing(**before)
        info["preprocessing"] = {
            **before,
            "ch_names": trials.ch_names,
            "reference": settings.reference or done.reference,
            "baseline": settings.baseline if base.stop > base.start else done.baseline,
            "sfreq": settings.sfreq or done.sfreq,
            "keep_from": max(
                (time for time in (done.keep_from, settings.keep_from) if time is not None), default=None
            ),
        }
    return replace(trials, responses=responses, info=info)


def _tell(trials: Trials, sentence: str) -> None:
    """Note what a person should know in the account of a reader, or warn where there is none, as in Python."""
    if trials.info["account"]:
        add_note(trials.info["account"][:1], sentence)
    else:
        warnings.warn(f"{sentence}.", stacklevel=4)


def _reference(
    trials: Trials, settings: EEGPreprocessing, before: dict[str, object], space: str
) -> np.ndarray | None:
    """Return the channels whose mean is subtracted."""
    if settings.reference is None:
        return None
    if before.get("whiten", "none") != "none":
        raise NeurodecError(
            f"The trials of {space} were whitened by their reader, after which no reference can be subtracted; set "
            "`reference` there."
        )
    if settings.reference == "average":
        return np.arange(len(trials.ch_names))
    names = [settings.reference] if isinstance(settings.reference, str) else settings.reference
    absent = [name for name in names if name not in trials.ch_names]
    if absent:
        raise NeurodecError(
            f"{space}: the reference {', '.join(absent)} is not among the channels; correct it."
        )
    return np.array([trials.ch_names.index(name) for name in names])


def _baseline(trials: Trials, times: np.ndarray, settings: EEGPreprocessing) -> slice:
    """Return the samples of the baseline, as far as the trials hold it; none is noted."""
    if settings.baseline is None:
        return slice(0, 0)
    half = 0.5 / trials.info["sfreq"]
    begin = times[0] if settings.baseline[0] is None else max(settings.baseline[0], times[0])
    end = times[-1] if settings.baseline[1] is None else min(settings.baseline[1], times[-1])
    if end - begin <= half:
        note = f"no baseline is subtracted: the trials begin at {times[0]:g} s"
        _tell(trials, note)
        return slice(0, 0)
    first, last = np.searchsorted(trials.times, [begin - half, end + half])
    return slice(int(first), int(last))


class Standardised(View):
    """Responses of voxels, z-scored within groups of trials.

    Parameters
    ----------
    source : ndarray or View, shape (n, n_voxels, ...)
    codes : ndarray of int, shape (n,)
        Group of every trial.
    means, scales : sequence of ndarray, shape (n_voxels, ...)
        Of every group; a voxel that never changes becomes zero.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        source: np.ndarray | View,
        codes: np.ndarray,
        means: Sequence[np.ndarray],
        scales: Sequence[np.ndarray],
    ) -> None:
        self.source, self.codes, self.shape = source, codes, source.shape
        self.means, self.scales = np.stack(means), np.stack(scales)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some trials."""
        codes = self.codes[rows]
        return (np.asarray(self.source[rows], dtype=np.float32) - self.means[codes]) / self.scales[codes]


def _of_voxels(trials: Trials, settings: VoxelPreprocessing, space: str) -> Trials:
    """Return trials of some regions, z-scored within groups."""
    if "channel" in trials.dims:
        raise NeurodecError(
            f"VoxelPreprocessing is for voxels and parcels, and the trials of {space} are of channels; take "
            "neurodec.preprocessing.EEGPreprocessing."
        )
    if settings.regions is not None or settings.regions_left_out is not None:
        known = trials.info.get("roi") or {}
        named = [*(settings.regions or ()), *(settings.regions_left_out or ())]
        absent = [name for name in named if name not in known]
        if absent:
            raise NeurodecError(
                f"The voxels of {space} have no region {absent[0]}; there are {', '.join(known) or 'none'}."
            )
        kept = np.arange(trials.responses.shape[1])
        if settings.regions is not None:
            kept = np.unique(np.concatenate([known[name] for name in settings.regions]))
        gone = [known[name] for name in settings.regions_left_out or ()]
        trials = trials.take(np.setdiff1d(kept, np.concatenate(gone)) if gone else kept)
    if settings.standardise == "none":
        return trials
    names, codes = np.unique(groups_of(trials.table, settings.standardise).to_numpy(), return_inverse=True)
    trains = trials.table["split"].isin(TRAINING).to_numpy()
    means, scales, unlabelled = [], [], []
    for code, name in enumerate(names):
        rows = np.flatnonzero(codes == code)
        own = rows[trains[rows]]
        unlabelled += [] if len(own) else [str(name)]
        mean, scale = _moments(trials.responses, own if len(own) else rows)
        means.append(mean)
        scales.append(scale)
    if unlabelled and trains.any():
        note = f"scaled by their own test trials, without labels, as none is for training: {', '.join(unlabelled)}"
        _tell(trials, note)
    responses = Standardised(trials.responses, codes, means, scales)
    return replace(trials, responses=responses, info={**trials.info, "units": "a.u."})


def _moments(responses: np.ndarray | View, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of every voxel over some trials, read a few at a time, float32."""
    mean = sum(
        np.asarray(responses[rows[part]], dtype=np.float64).sum(axis=0) for part in blocks_of(len(rows))
    ) / len(rows)
    squares = sum(
        np.square(np.asarray(responses[rows[part]], dtype=np.float64) - mean).sum(axis=0)
        for part in blocks_of(len(rows))
    )
    scale = np.sqrt(squares / len(rows))
    flat = scale <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
    return mean.astype(np.float32), np.where(flat, np.inf, scale).astype(np.float32)
