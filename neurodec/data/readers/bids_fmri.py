"""BIDS-like fMRI folders: BOLD runs, events and a brain mask become one response per event."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.dataset import Dataset, Part
from neurodec.data.events import choose_stimuli, require_likely_unit, require_single, timed_events
from neurodec.data.patterns import bids_files
from neurodec.data.readers.atlases import Atlas
from neurodec.data.readers.bids_files import companion, entities, require_one_each, sidecar, wanted
from neurodec.data.readers.nifti import (
    open_image,
    read_mask,
    read_regions,
    read_series,
    repetition_time,
    start_time,
)
from neurodec.data.readers.series_windows import require_held_out, require_window, split_of, window_trials
from neurodec.data.splits import TRAINING
from neurodec.data.stimuli import label_trials, pictures_of, read_stimuli, stimuli_of_trials, table_files
from neurodec.data.tables import is_missing, read_table
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.data.warned import heard
from neurodec.errors import NeurodecError
from neurodec.preprocessing.fmri import (
    Estimate,
    block_means,
    clean_series,
    first_volumes,
    glm_betas,
    has_response,
    volumes_after,
    zscore_rows,
)

_OF_REGIONS = ("desc", "seg", "atlas", "label", "res")
_CONFOUNDS = ("desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv")


@dataclass(frozen=True)
class _Run:
    """A run as it was read: series (n_volumes, n_voxels or n_parcels), confounds, what its trials share."""

    path: Path
    name: str
    series: np.ndarray
    t_r: float
    start: float
    confounds: np.ndarray | None
    info: dict[str, Any]
    fields: dict[str, str]

    @property
    def kind(self) -> str:
        """Name of the second axis."""
        return "parcel" if "brain" in self.info else "voxel"


@dataclass(frozen=True)
class BidsFMRI(Dataset):
    """Read every ``*_bold.nii[.gz]`` below the data root with its ``*_events.tsv`` and brain mask.

    Parameters
    ----------
    subjects, sessions, tasks : list of str, optional
        Labels to read (``"01"`` or ``"sub-01"``); all by default, with as many runs as there are.
    space : str, optional
        Read only the series with this ``space-`` label.
    entities : dict, optional
        Read only the series with these labels, such as ``{desc: preproc, echo: "2"}``; null stands for series without
        the entity. Several files of one scan are refused until this tells them apart.
    mask : str
        File name, or end of it, of the mask: looked for beside each run with the same entities, then above it. Voxels
        above zero count. Where runs have masks of their own, the voxels that all have are kept.
    regions : str, optional
        File name, or end of it, of a segmentation such as ``desc-areas_dseg.nii.gz``: integer labels on the grid of the
        series, named by a table beside it (``.tsv`` in place of ``.nii.gz``, columns `index` and `name`).
    confounds : list of str, optional
        Columns of fMRIPrep's ``desc-confounds_timeseries.tsv`` to regress out.
    atlas : Atlas, optional
        Parcels in place of voxels: what follows is computed from their series. ``{side: 24}`` alone takes cubes.
    estimate : "block_mean", "lsa", "lss", "volumes" or "windows"
        Mean of an event's volumes, or a GLM with all events at once, or one per event (for events that overlap), or
        the volumes themselves: responses (n_trials, n_voxels, n_volumes) over time, every voxel z-scored over its run.
        "windows" takes all volumes of runs that need no events, as at rest.
    hrf_shift : float
        Seconds that the window of "block_mean" and "volumes" lies after its event.
    n_volumes : int
        Length of the window of "volumes" and "windows".
    step : int
        Volumes between the beginnings of "windows".
    held_out : list of str
        Subjects whose "windows" are for testing; a cross-validation needs none.
    hrf_model : str
        Of the GLM; any that nilearn knows.
    detrend : bool
        Remove a straight line from every voxel and run (block means and volumes).
    high_pass : float, optional
        Remove drifts slower than this (Hz); 0.01 for a GLM when not given.
    standardise : "none" or "run"
        Z-score every voxel over the patterns of its run; no labels are used. Volumes are z-scored in any case.
    stimulus, concept : str
        Columns of the events. Where a file has no `stimulus` column, or nothing in it, `concept` names the stimulus as
        well.
    ignore : list of str
        Concepts that are no trials.
    stimuli_table : str, optional
        CSV or TSV below the data root with `stimulus`, `image`, and optionally `concept`, `split`, `caption`.

    Notes
    -----
    One part is one run; memory is that of one run inside the mask. The events, masks and sidecars of a run are found
    by all its entities, also those of a derivative below ``derivatives/``. The repetition time comes from the
    ``_bold.json`` of the run, or else from an image header that states its unit. Onsets count from the start of the
    scan; `StartTime` (fMRIPrep) says what time in it the first volume stands for. Folders that are links are entered;
    ``sourcedata/`` and ``code/`` are not.
    """

    subjects: list[str] | None = None
    sessions: list[str] | None = None
    tasks: list[str] | None = None
    space: str | None = None
    entities: dict[str, str | None] | None = None
    mask: str = "mask.nii.gz"
    regions: str | None = None
    confounds: list[str] | None = None
    atlas: Atlas | None = None
    estimate: Estimate = "lsa"
    hrf_shift: float = 5.0
    n_volumes: int = 5
    step: int = 1
    held_out: list[str] = field(default_factory=list)
    hrf_model: str = "spm"
    detrend: bool = True
    high_pass: float | None = None
    standardise: Literal["none", "run"] = "run"
    stimulus: str = "stim_file"
    concept: str = "trial_type"
    ignore: list[str] = field(default_factory=lambda: ["rest", "fixation", "baseline", "n/a", ""])
    stimuli_table: str | None = None

    def parts(self, root: Path) -> list[Part]:
        """List the runs; each needs events and a mask."""
        if self.high_pass is not None and self.high_pass <= 0:
            raise NeurodecError(
                f"`high_pass` is {self.high_pass:g} Hz; give a number above 0, or leave it out."
            )
        if self.n_volumes < 1:
            raise NeurodecError(f"`n_volumes` is {self.n_volumes}; give the number of volumes of a trial.")
        if self.estimate == "windows":
            require_window(self.n_volumes, self.step)
        if self.atlas is not None and self.regions is not None:
            raise NeurodecError(
                "`regions` are of voxels; with an `atlas`, name networks of its parcels instead."
            )
        shared = [*table_files(root, self.stimuli_table), *(self.atlas.files(root) if self.atlas else [])]
        parts = []
        for path in self._runs(root):
            name = re.sub(r"_bold\.nii(\.gz)?$", "", path.name)
            files = [path, self._mask_file(path, root)]
            files += [] if self.estimate == "windows" else [self._events_file(path, root)]
            files += [self._confounds_file(path, root)] if self.confounds else []
            files += [] if self.regions is None else self._region_files(path, root)
            files += [*shared, *sidecar(path, root, "_bold.json")[1]]
            parts.append(Part(name, entities(path)["sub"], tuple(files)))
        require_held_out(self.held_out, {part.subject for part in parts})
        return parts

    def load(self, part: Part, root: Path) -> Trials:
        """Read one run, and estimate the pattern of every event or cut it into windows."""
        account = Account()
        run = self._run(part, root, account)
        if self.estimate != "windows":
            return self._of_events(run, root, account)
        cleaned = clean_series(
            run.series, run.t_r, detrend=self.detrend, high_pass=self.high_pass, confounds=run.confounds
        )
        return window_trials(
            cleaned,
            run.t_r,
            self.n_volumes,
            self.step,
            name=part.name,
            fields={**run.fields, "split": split_of(part.subject, self.held_out)},
            info={**run.info, "dims": ["trial", run.kind, "time"]},
            path=run.path,
            account=account,
        )

    def _run(self, part: Part, root: Path, account: Account) -> _Run:
        """Read the voxels or parcels of a run, and what belongs to it."""
        path, mask_file = part.files[:2]
        with heard(account, str(path)):
            image, mask_image = open_image(path), open_image(mask_file)
        mask = read_mask(mask_image, mask_file, image, path)
        metadata = sidecar(path, root, "_bold.json")[0]
        t_r, start = repetition_time(path, metadata, image), start_time(path, metadata, account)
        series = read_series(image, mask, path)
        flat = int((np.ptp(series, axis=0) == 0).sum())
        if flat:
            account.note(f"{flat} voxels of the mask never change; their patterns are zero")
        confounds = None
        if self.confounds:
            confounds = self._read_confounds(self._confounds_file(path, root), len(series), account)
        info = {"modality": "fmri", "units": "a.u.", "provenance": {}}
        if self.atlas is None:
            grid = {"mask_shape": list(mask.shape), "affine": image.affine.tolist()}
            info |= {**grid, "voxel_indices": np.flatnonzero(mask).tolist()}
        else:
            parcels, about = self.atlas.read(root, image, mask, path, account)
            series, info = parcels.series(series), info | about
        if self.regions is not None:
            info["roi"] = read_regions(*self._region_files(path, root), image, mask)
        named = entities(path)
        run = "_".join(named[key] for key in ("task", "acq", "ce", "dir", "run") if key in named)
        fields = {"subject": named["sub"], "session": named.get("ses", "01"), "run": run or "01"}
        return _Run(path, part.name, series, t_r, start, confounds, info, fields)

    def _of_events(self, run: _Run, root: Path, account: Account) -> Trials:
        """Return one response per event of a run."""
        file, series, t_r = self._events_file(run.path, root), run.series, run.t_r
        events = label_trials(self._events(file, account), self._table(root), str(file))
        events["onset"] -= run.start
        events = self._inside(events, len(series), t_r, account, file)
        try:
            patterns = self._patterns(series, t_r, events, run.confounds)
        except NeurodecError as error:
            raise NeurodecError(f"{file}: {error}.") from error
        events = events.drop(columns=[name for name in ("subject", "session", "run") if name in events])
        table = with_defaults(events, **run.fields)
        if self.standardise == "run" and self.estimate != "volumes":
            measured = table["split"].isin(TRAINING).to_numpy()
            if not measured.any() and (table["split"] == "test").any():
                account.note(
                    "voxels are scaled by the test events themselves, without labels: none is for training"
                )
            patterns = zscore_rows(patterns, measured if measured.any() else None)
        entry = account.entry(run.name, len(events), series.shape[1])
        info = {**run.info, "dims": ["trial", run.kind], "account": [entry]}
        if self.estimate == "volumes":
            shift = float(first_volumes(t_r, np.zeros(1), self.hrf_shift)[0] * t_r)
            info |= {"dims": ["trial", run.kind, "time"], "sfreq": 1 / t_r, "tmin": shift}
        return Trials(patterns.astype(np.float32), table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        """Read the stimulus table, or list what the events name; pictures below ``stimuli/`` are found."""
        if self.stimuli_table:
            return read_stimuli(root / self.stimuli_table, root)
        if self.estimate == "windows":  # at rest nothing else is shown
            return pd.DataFrame({"stimulus": [part.name for part in self.parts(root)]})
        files = [self._events_file(path, root) for path in self._runs(root)]
        tables = {str(file): self._events(file, Account()) for file in files}
        return pictures_of(stimuli_of_trials(tables), root)

    def _runs(self, root: Path) -> list[Path]:
        files = [
            path for path in bids_files(root, "**/sub-*_bold.nii*") if path.name.endswith((".nii", ".nii.gz"))
        ]
        chosen = {**({"space": self.space} if self.space is not None else {}), **(self.entities or {})}
        found = wanted(files, self.subjects, self.sessions, self.tasks, chosen)
        absent = [name for name in self.subjects or () if not wanted(found, [name], None, None, None)]
        if absent or not found:
            which = f"sub-{min(absent).removeprefix('sub-')}" if absent else "sub-*"
            raise NeurodecError(
                f"No {which}_..._bold.nii or .nii.gz (with the wanted session, task and space) below {root}; correct "
                "--data-root or the recipe's dataset section."
            )
        require_one_each(found, root)
        return found

    def _events_file(self, path: Path, root: Path) -> Path:
        file = companion(path, root, "_events.tsv")
        if file is None:
            expected = re.sub(r"(_(space|res|den|desc)-[^_]+)*_bold\.nii(\.gz)?$", "_events.tsv", path.name)
            raise NeurodecError(
                f"{path.with_name(expected)} is missing; every run needs its events (with fMRIPrep, take the folder of "
                "the raw data set as --data-root, and put the output below its folder derivatives/)."
            )
        return file

    def _mask_file(self, path: Path, root: Path) -> Path:
        """Return the mask that shares the most entities with the run, in the nearest folder."""
        endings = dict.fromkeys((self.mask, self.mask.removesuffix(".gz")))
        found = [companion(path, root, ending, ignore=("desc", "label")) for ending in endings]
        for file in filter(None, found):
            return file
        subject = entities(path)["sub"]
        raise NeurodecError(
            f"{path} has no brain mask: no file *{self.mask} of subject {subject} in its folder or above up to "
            f"{root}; put one there (such as sub-{subject}_desc-brain_mask.nii.gz) or correct `mask`."
        )

    def _region_files(self, path: Path, root: Path) -> list[Path]:
        """Return the segmentation of a run, and the table that names its labels."""
        endings = [self.regions, re.sub(r"\.nii(\.gz)?$", ".tsv", self.regions)]
        found = [companion(path, root, ending, ignore=_OF_REGIONS) for ending in endings]
        for file, ending in zip(found, endings, strict=True):
            if file is None:
                raise NeurodecError(
                    f"{path} has no *{ending} in its folder or above up to {root}; put it there, or leave `regions` "
                    "out."
                )
        return found

    def _confounds_file(self, path: Path, root: Path) -> Path:
        found = [companion(path, root, ending, ignore=("desc",)) for ending in _CONFOUNDS]
        for file in filter(None, found):
            return file
        raise NeurodecError(
            f"{path} has no {_CONFOUNDS[0]} beside it; put it there, or leave `confounds` out."
        )

    def _read_confounds(self, file: Path, n_volumes: int, account: Account) -> np.ndarray:
        table = read_table(file, tuple(self.confounds or ()))[self.confounds or []]
        if len(table) != n_volumes:
            raise NeurodecError(
                f"{file} has {len(table)} rows for {n_volumes} volumes; take the run's own file."
            )
        blank = table.apply(is_missing)
        numbers = table.mask(blank).apply(pd.to_numeric, errors="coerce")
        wrong = [name for name in numbers if (numbers[name].isna() & ~blank[name]).any()]
        if wrong:
            raise NeurodecError(f"{file} holds text in the column {wrong[0]}; leave it out of `confounds`.")
        known = numbers.notna()
        within = [
            name for name in numbers if not known[name][known[name].idxmax() :].all() or not known[name].any()
        ]
        if within:
            raise NeurodecError(
                f"{file} has no number in the column {within[0]} for volumes after the first ones; leave it out of "
                "`confounds`, or repair it."
            )
        begun = [f"{name} ({int((~known[name]).sum())})" for name in numbers if not known[name].all()]
        if begun:  # a difference has no value at the first volume
            account.note(
                f"confounds without a value at the first volume(s) are at their mean there: {', '.join(begun)}"
            )
        return numbers.fillna(numbers.mean()).to_numpy(dtype=float)

    def _table(self, root: Path) -> pd.DataFrame | None:
        return read_stimuli(root / self.stimuli_table, root) if self.stimuli_table else None

    def _events(self, file: Path, account: Account) -> pd.DataFrame:
        """Return the events of a run that are trials."""
        events = timed_events(read_table(file, ("onset", "duration", self.concept)), account)
        ignored = events[self.concept].isin(self.ignore) & ~is_missing(events[self.concept])
        account.events += int(ignored.sum())
        account.leave_out("of a concept in `ignore`", int(ignored.sum()))
        events = events[~ignored]
        wrong = events.index[events["duration"] < 0]
        if len(wrong):
            raise NeurodecError(
                f"{file} has a negative duration at row {wrong[0] + 2} ({events[self.concept][wrong[0]]}); correct it."
            )
        if events["duration"].isna().any():
            account.note(
                f"{int(events['duration'].isna().sum())} events have no duration and count as brief (0 s)"
            )
        named = self.stimulus in events and not is_missing(events[self.stimulus]).all()
        events = events.assign(
            stimulus=events[self.stimulus if named else self.concept], duration=events["duration"].fillna(0.0)
        )
        if not self.stimuli_table:
            events = events.assign(concept=events[self.concept])
            events = events.assign(stimulus=events["stimulus"].mask(is_missing(events["concept"]), ""))
        events = choose_stimuli(events, None, account, str(file))
        if events.empty:
            raise NeurodecError(
                f"{file} has no event that is a trial; correct `concept`, or leave the run out."
            )
        require_single(events, str(file))
        return events

    def _inside(
        self, events: pd.DataFrame, n_volumes: int, t_r: float, account: Account, file: Path
    ) -> pd.DataFrame:
        """Leave out the events whose response the scan does not hold, and name them."""
        onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
        n_seconds = n_volumes * t_r
        outside = (onsets < 0) | (onsets >= n_seconds)
        if outside.mean() >= 0.5:
            require_likely_unit(onsets, n_seconds, None, str(file))
            first = events[outside].iloc[0]
            raise NeurodecError(
                f"{file}: {outside.sum()} event(s) lie beyond the scan of {n_seconds:g} s it belongs to, first "
                f"{first['stimulus']} "
                f"at {first['onset']:g} s; correct the onsets (seconds from the first volume)."
            )
        if np.median(durations) > n_seconds / 2 and len(durations) > 1:
            raise NeurodecError(
                f"{file}: events last {np.median(durations):g} s in a scan of {n_seconds:g} s; durations are seconds, "
                "and these look like milliseconds."
            )
        if self.estimate == "volumes":
            first = first_volumes(t_r, onsets, self.hrf_shift)
            held = (first >= 0) & (first + self.n_volumes <= n_volumes)
        else:
            model = None if self.estimate == "block_mean" else self.hrf_model
            held = has_response(onsets, durations, n_volumes, t_r, model, self.hrf_shift)
        kept = held & ~outside
        for name, onset in zip(events["stimulus"][~kept], onsets[~kept], strict=True):
            account.note(
                f"{file.name}: {name} at {onset:g} s is left out, as the scan of {n_seconds:g} s does not hold its "
                "response"
            )
        account.leave_out("with a response outside the scan", int((~kept).sum()))
        if not kept.any():
            raise NeurodecError(
                f"{file}: the scan of {n_seconds:g} s holds the response of no event; correct the onsets."
            )
        return events[kept].reset_index(drop=True)

    def _patterns(
        self, series: np.ndarray, t_r: float, events: pd.DataFrame, confounds: np.ndarray | None
    ) -> np.ndarray:
        if self.estimate in ("block_mean", "volumes"):
            cleaned = clean_series(
                series, t_r, detrend=self.detrend, high_pass=self.high_pass, confounds=confounds
            )
            onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
            if self.estimate == "volumes":
                return volumes_after(cleaned, t_r, onsets, self.n_volumes, self.hrf_shift)
            return block_means(cleaned, t_r, onsets, durations, self.hrf_shift)
        cleaned = clean_series(series, t_r, detrend=False)
        return glm_betas(
            cleaned,
            t_r,
            events,
            mode=self.estimate,
            hrf_model=self.hrf_model,
            high_pass=self.high_pass or 0.01,
            confounds=confounds,
        )
