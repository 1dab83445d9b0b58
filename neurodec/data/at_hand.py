"""Studies from what a notebook has at hand: epochs, arrays or images, labels, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from neurodec.data.patterns import files_below
from neurodec.data.stimuli import complete_stimuli
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.picture_opening import PICTURES

if TYPE_CHECKING:
    import mne
    import nibabel

Column: TypeAlias = str | Sequence[Any] | np.ndarray | pd.Series
Images: TypeAlias = str | Path | Sequence[str | Path] | Mapping[str, str | Path] | pd.Series | pd.DataFrame


def trials_of_epochs(epochs: mne.BaseEpochs, columns: Mapping[str, Column]) -> Trials:
    """Return epochs as trials, with the columns of their metadata and those that are given."""
    from mne import use_log_level

    epochs = epochs.copy().load_data()
    given = table_of(len(epochs), columns)
    if len(given.columns):
        known = pd.DataFrame(index=given.index) if epochs.metadata is None else epochs.metadata
        known = known.reset_index(drop=True).drop(columns=given.columns, errors="ignore")
        with use_log_level("error"):  # MNE prints how many columns there are
            epochs.metadata = known.join(given)
    return Trials.from_epochs(epochs)


def trials_of_array(
    responses: np.ndarray,
    columns: Mapping[str, Column],
    sfreq: float | None,
    tmin: float,
    ch_names: Sequence[str] | None,
    modality: str | None,
    dims: Sequence[str] | None,
) -> Trials:
    """Return an array (n_trials, n_chans, n_times) or (n_trials, n_voxels) as trials.

    Raises
    ------
    NeurodecError
        If it has other axes, holds no numbers, or nothing tells its rate.
    """
    responses = np.asarray(responses)
    if responses.ndim not in (2, 3) or responses.dtype.kind not in "fiu":
        raise NeurodecError(
            f"The responses are an array of {responses.dtype} with shape {responses.shape}; give numbers as (n_trials, "
            "n_chans, n_times) or (n_trials, n_voxels)."
        )
    if not np.isfinite(responses).all():
        raise NeurodecError("The responses hold NaN or infinity; leave these trials, channels or voxels out.")
    table = _labelled(len(responses), columns)
    if responses.ndim == 2:
        n_voxels = responses.shape[1]
        info: dict[str, Any] = {"modality": modality or "fmri", "units": "a.u.", "affine": None}
        info |= {"mask_shape": [n_voxels, 1, 1], "voxel_indices": list(range(n_voxels))}
        return Trials(responses.astype(np.float32), table, info)
    if sfreq is None:
        raise NeurodecError("Responses over time need `sfreq`, their sampling rate in hertz; give it.")
    names = [f"{number + 1}" for number in range(responses.shape[1])] if ch_names is None else list(ch_names)
    if len(names) != responses.shape[1]:
        raise NeurodecError(
            f"{len(names)} channel names were given for responses of {responses.shape[1]} channels (shape "
            f"{responses.shape}); correct `ch_names` or the order of the axes."
        )
    usual = "eeg" if dims is None or "channel" in dims else "fmri"
    info = {"modality": modality or usual, "units": "a.u.", "sfreq": float(sfreq), "tmin": float(tmin)}
    info |= {"ch_names": names, "ch_pos": None, **({} if dims is None else {"dims": list(dims)})}
    return Trials(responses.astype(np.float32), table, info)


def trials_of_image(
    image: nibabel.Nifti1Image | str | Path,
    columns: Mapping[str, Column],
    mask: nibabel.Nifti1Image | str | Path | None,
) -> Trials:
    """Return a 4-D image of one volume per trial as trials, within a mask or of all voxels that vary.

    Raises
    ------
    NeurodecError
        If it has not four dimensions, or the mask lies on another grid.
    """
    from neurodec.data.readers.nifti import open_image, read_mask, voxels_of

    where, mask_file = (
        Path("image") if hasattr(one, "affine") else Path(one or ".") for one in (image, mask)
    )
    series: Any = image if hasattr(image, "affine") else open_image(where)
    if len(series.shape) != 4:
        raise NeurodecError(
            f"{where} has {len(series.shape)} dimensions; give a 4-D image, one volume per trial."
        )
    volumes = voxels_of(series, where).astype(np.float32)
    if mask is None:
        inside = np.ptp(volumes, axis=3) > 0
    else:
        grid: Any = mask if hasattr(mask, "affine") else open_image(mask_file)
        inside = read_mask(grid, mask_file, series, where)
    info: dict[str, Any] = {"modality": "fmri", "units": "a.u.", "mask_shape": list(series.shape[:3])}
    info |= {"affine": series.affine.tolist(), "voxel_indices": np.flatnonzero(inside).tolist()}
    return Trials(volumes[inside].T.copy(), _labelled(series.shape[3], columns), info)


def table_of(n_trials: int, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Return columns as a table: one value for all, or one per trial.

    Raises
    ------
    NeurodecError
        If a column has another length.
    """
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if values is None:
            continue
        if isinstance(values, str) or np.ndim(values) == 0:
            values = [values] * n_trials
        values = list(values)
        if len(values) != n_trials:
            raise NeurodecError(
                f"`{name}` has {len(values)} values for {n_trials} trials; give one per trial, in their order."
            )
        found[name] = values
    return pd.DataFrame(found, index=range(n_trials))


def _labelled(n_trials: int, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Return a whole table of trials; nothing but `stimulus` has to be given."""
    table = table_of(n_trials, columns)
    if "stimulus" not in table:
        raise NeurodecError("The stimuli are unknown; give `stimulus`, one name per trial.")
    return with_defaults(table)


def stimuli_with(trials: Trials, images: Images | None) -> pd.DataFrame:
    """Return the stimuli of trials, with their pictures where some are given.

    Parameters
    ----------
    trials : Trials
    images : folder, list of files (one per trial), dict, Series (by stimulus) or DataFrame, optional
        Of a folder, pictures whose name without its ending is the stimulus; of a DataFrame, the columns `stimulus` and
        `image`.

    Raises
    ------
    NeurodecError
        If a stimulus has no picture, or two.
    """
    names = trials.table[["stimulus"]].drop_duplicates().reset_index(drop=True)
    stimuli = complete_stimuli(names, trials.table)
    if images is None:
        return stimuli
    files = _files_of(images, trials)
    missing = [name for name in names["stimulus"] if name not in files or not Path(files[name]).is_file()]
    if missing:
        known = ", ".join(sorted(files)[:3]) or "none"
        raise NeurodecError(
            f"{len(missing)} of {len(names)} stimuli have no picture, first {missing[0]} (pictures: {known}); name "
            "pictures as stimuli, or give a dict from stimulus to file."
        )
    return stimuli.assign(image=[str(Path(files[name]).resolve()) for name in stimuli["stimulus"]])


def _files_of(images: Images, trials: Trials) -> dict[str, str | Path]:
    if isinstance(images, (str, Path)):
        folder = Path(images)
        if not folder.is_dir():
            raise NeurodecError(f"{folder} is not a folder; give the folder of the pictures.")
        shown = set(trials.table["stimulus"])
        files: dict[str, str | Path] = {}
        for file in files_below(folder):
            name = file.name if file.name in shown else file.stem
            if file.suffix.lower() not in PICTURES or name not in shown:
                continue
            if name in files:
                raise NeurodecError(f"{files[name]} and {file} are both called {name}; give a dict of files.")
            files[name] = file
        return files
    if isinstance(images, pd.DataFrame):
        absent = {"stimulus", "image"} - set(images)
        if absent:
            raise NeurodecError(f"The table of pictures lacks the column {min(absent)}; add it.")
        return dict(zip(images["stimulus"].astype(str), images["image"], strict=True))
    if isinstance(images, (Mapping, pd.Series)):
        return {str(name): file for name, file in images.items()}
    given = list(images)
    if len(given) != len(trials):
        raise NeurodecError(f"{len(given)} pictures were given for {len(trials)} trials; give one per trial.")
    files = {}
    for name, file in zip(trials.table["stimulus"], given, strict=True):
        if Path(files.setdefault(name, file)) != Path(file):
            raise NeurodecError(
                f"The stimulus {name} has two pictures, {files[name]} and {file}; give each one name."
            )
    return files
