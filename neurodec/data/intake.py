"""Whatever holds responses, turned to the responses that a system was trained on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from torch import Tensor

from neurodec.data.replay import Replay
from neurodec.data.responses import typical_rms
from neurodec.data.trial_tables import has_time, same_rate, with_defaults
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError

if TYPE_CHECKING:
    import nibabel

    Recording = (
        Trials | mne.io.BaseRaw | mne.BaseEpochs | mne.Evoked | nibabel.Nifti1Image | np.ndarray | Tensor
    )

_MOST = 30.0  # an average of 900 trials of pure noise is that much smaller than one


@dataclass(frozen=True)
class Intake:
    """Takes responses in, and refuses what is unlike those of the training.

    Parameters
    ----------
    facts : dict
        Of the space that the system was trained in: channels, rate and window, or voxels; `rms` and `preprocessing`
        where they are known.
    noise : dict of ndarray
        See `Replay`.
    """

    facts: dict[str, Any]
    noise: dict[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one response."""
        indices = self.facts.get("voxel_indices")
        return (len(self.facts["ch_names"]), self.facts["n_times"]) if indices is None else (len(indices),)

    def responses(
        self,
        recording: Recording,
        subject: str | None,
        events: np.ndarray | None = None,
        *,
        preprocessed: bool = False,
    ) -> np.ndarray:
        """Return responses as the system takes them, shape (n, n_chans, n_times) or (n, n_voxels), float32.

        Parameters
        ----------
        recording, subject, events, preprocessed
            As for `neurodec.NeuralDecoder.embed`.

        Raises
        ------
        NeurodecError
            If channels, rate, window, size or voxels are not those of training, or a value is not finite.
        """
        if isinstance(recording, Tensor):
            recording = recording.detach().cpu().numpy()
        if isinstance(recording, np.ndarray):
            found, hint = (
                recording,
                "give mne.Epochs in SI units, or an array that is preprocessed as in training",
            )
        elif hasattr(recording, "get_fdata"):
            found, hint = self._voxels(recording), "give images that are preprocessed as in training"
        else:
            found, hint = self._of_trials(recording, subject, events, preprocessed)
        return self._sized(self._shaped(found), hint)

    def _of_trials(
        self, recording: Any, subject: str | None, events: np.ndarray | None, preprocessed: bool
    ) -> tuple[np.ndarray, str]:
        replay, hint = Replay.of(self.facts, self.noise), "check their unit"
        if isinstance(recording, mne.io.BaseRaw):
            if replay is None:
                raise NeurodecError(
                    "The decoder does not say how its recordings were preprocessed, so it cannot do it again; give "
                    "mne.Epochs that were."
                )
            trials = replay.of_raw(recording, events, subject)
        elif isinstance(recording, Trials):
            trials = (
                replay.whitened(recording) if replay is not None and replay.fits(recording) else recording
            )
        elif replay is None or preprocessed:
            trials = Trials.from_epochs(self._epochs(self.facts.get("ch_names"), recording))
            hint = "leave out `preprocessed` to have the epochs whitened here" if preprocessed else hint
        else:
            trials = replay.of_epochs(self._epochs(replay.settings.ch_names, recording), subject)
            hint = "check their unit, or pass preprocessed=True if they are whitened already"
        if has_time(trials.info):
            trials = self._in_window(trials)
        elif self.facts.get("voxel_indices") is not None and "voxel_indices" in trials.info:
            return self._same_voxels(trials), hint
        return np.asarray(trials.responses), hint

    def _sized(self, responses: np.ndarray, hint: str) -> np.ndarray:
        """Refuse values that are not finite, or on another scale than those of the training."""
        bad = np.flatnonzero(~np.isfinite(responses).all(axis=tuple(range(1, responses.ndim))))
        if len(bad):
            raise NeurodecError(
                f"{len(bad)} response(s), first number {bad[0]}, hold NaN or infinity; repair or drop them."
            )
        wanted = self.facts.get("rms")
        if wanted and len(responses):
            size = typical_rms(responses)
            if not wanted / _MOST <= size <= wanted * _MOST:
                raise NeurodecError(
                    f"The responses are of size {size:.2g}, those of the training {wanted:.2g}, so they were scaled or "
                    f"whitened otherwise; {hint}."
                )
        return responses

    def _same_voxels(self, trials: Trials) -> np.ndarray:
        """Take the voxels of training from trials that may hold more, in their own order."""
        wanted, own = np.asarray(self.facts["voxel_indices"]), np.asarray(trials.info["voxel_indices"])
        affines = self.facts.get("affine"), trials.info.get("affine")
        moved = None not in affines and not np.allclose(*affines, atol=1e-2)
        if (
            list(self.facts["mask_shape"]) != list(trials.info["mask_shape"])
            or moved
            or set(wanted) - set(own)
        ):
            raise NeurodecError(
                "The trials hold other voxels than the decoder was trained on (another grid, place or mask); prepare "
                "them with the mask of the training."
            )
        order = np.argsort(own)
        return np.asarray(
            trials.responses[:, order[np.searchsorted(own, wanted, sorter=order)]], dtype=np.float32
        )

    def _epochs(self, wanted: list[str] | None, recording: Any) -> mne.BaseEpochs:
        """Return epochs of the channels of training; an average of trials is one epoch."""
        if isinstance(recording, mne.Evoked):
            recording = mne.EpochsArray(
                recording.data[None], recording.info, tmin=recording.times[0], baseline=None, verbose="error"
            )
        if not isinstance(recording, mne.BaseEpochs) or wanted is None:
            raise NeurodecError(
                f"{type(recording).__name__} cannot be decoded here; give Trials, mne.io.Raw, mne.Epochs, a "
                "NIfTI image or an array of responses like those of the training."
            )
        missing = [name for name in wanted if name not in recording.ch_names]
        if missing:
            raise NeurodecError(
                f"Channel(s) {', '.join(missing)} are not in the recording, which has {', '.join(recording.ch_names)}; "
                "rename the channels as in training (epochs.rename_channels)."
            )
        bad = [name for name in wanted if name in recording.info["bads"]]
        if bad:
            raise NeurodecError(
                f"The channel(s) {', '.join(bad)} are marked as bad, and the decoder needs them; interpolate them "
                "first (epochs.interpolate_bads)."
            )
        return recording.copy().pick(wanted)

    def _in_window(self, trials: Trials) -> Trials:
        """Take the channels and samples of training."""
        wanted = self.facts
        if not same_rate(trials.info["sfreq"], wanted["sfreq"]):
            raise NeurodecError(
                f"The recording has {trials.info['sfreq']:.9g} Hz, the decoder was trained at {wanted['sfreq']:.9g} "
                f"Hz; call epochs.resample({wanted['sfreq']:.9g}) first."
            )
        kinds, own = wanted.get("ch_types"), trials.info.get("ch_types")
        if kinds and own and set(kinds) != set(own):
            raise NeurodecError(
                f"The recording has {', '.join(sorted(set(own)))} channels, the decoder was trained on "
                f"{', '.join(sorted(set(kinds)))}; give responses like those of its training."
            )
        trials = trials.pick(wanted["ch_names"])
        return trials.crop(wanted["tmin"], wanted["tmin"] + wanted["n_times"] / wanted["sfreq"])

    def _voxels(self, image: nibabel.Nifti1Image) -> np.ndarray:
        """Take the voxels of training from an image, turned to the axes along which they are counted."""
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        shape, indices, affine = (self.facts.get(name) for name in ("mask_shape", "voxel_indices", "affine"))
        if indices is not None and len(image.shape) in (3, 4):
            axes = axcodes2ornt("RAS") if affine is None else io_orientation(np.asarray(affine))
            image = image.as_reoriented(ornt_transform(io_orientation(image.affine), axes))
        if indices is None or tuple(image.shape[:3]) != tuple(shape) or len(image.shape) not in (3, 4):
            raise NeurodecError(
                f"The image has {image.shape[:3]} voxels, the decoder was trained on "
                f"{'sensors' if indices is None else tuple(shape)}; give responses like those of its training."
            )
        if affine is None:
            warnings.warn(
                "The decoder does not say where its voxels lie (no `affine` in its config), so the place of the image "
                "cannot be checked.",
                stacklevel=3,
            )
        elif not np.allclose(image.affine, affine, atol=1e-2):
            raise NeurodecError(
                "The image lies elsewhere than those of the training (another affine), so its voxels are others; "
                "resample it to their grid (nilearn.image.resample_img with the decoder's `affine`)."
            )
        volumes = np.asarray(image.get_fdata(dtype=np.float32))
        volumes = np.moveaxis(volumes, -1, 0) if volumes.ndim == 4 else volumes[None]
        return volumes.reshape(len(volumes), -1)[:, indices]

    def _shaped(self, responses: np.ndarray) -> np.ndarray:
        wanted = self.shape
        if responses.shape[1:] != wanted:
            raise NeurodecError(
                f"The responses have shape (n, {', '.join(map(str, responses.shape[1:]))}), the decoder was trained on "
                f"(n, {', '.join(map(str, wanted))}); cut them alike."
            )
        return np.asarray(responses, dtype=np.float32)


def support_of(responses: Recording, subject: str) -> Trials:
    """Return the responses of a context as training trials, one per row, volume or epoch.

    Parameters
    ----------
    responses : Trials, mne.Epochs, 4-D NIfTI image, ndarray or Tensor, shape (n, n_voxels)
        Of an image all voxels that vary are taken.
    subject : str
        Whose.

    Raises
    ------
    NeurodecError
        If an array or image has another number of axes.
    """
    if isinstance(responses, Tensor):
        responses = responses.detach().cpu().numpy()
    if isinstance(responses, Trials):
        return Trials(responses.responses, responses.table.assign(subject=subject), responses.info)
    if hasattr(responses, "get_fdata"):
        if len(responses.shape) != 4:
            raise NeurodecError("The image holds one response; give a 4-D image with one volume per picture.")
        volumes = np.asarray(responses.get_fdata(dtype=np.float32)).reshape(-1, responses.shape[3]).T
        columns = np.flatnonzero(np.ptp(volumes, axis=0) > 0)
        info = {"mask_shape": list(responses.shape[:3]), "affine": responses.affine.tolist()}
        info |= {"voxel_indices": columns.tolist()}
        volumes = volumes[:, columns]
    elif isinstance(responses, np.ndarray):
        volumes = np.asarray(responses, dtype=np.float32)
        if volumes.ndim != 2:
            raise NeurodecError(
                f"The responses have shape {volumes.shape}; give (n, n_voxels), or mne.Epochs for sensors."
            )
        n_voxels = volumes.shape[1]
        info = {"mask_shape": [n_voxels, 1, 1], "affine": None, "voxel_indices": list(range(n_voxels))}
    else:
        return Trials.from_epochs(responses, subject=subject, split="train")
    table = with_defaults(
        pd.DataFrame(
            {"stimulus": [str(row) for row in range(len(volumes))], "subject": subject, "split": "train"}
        )
    )
    return Trials(volumes, table, {"modality": "fmri", "units": "a.u.", **info})
