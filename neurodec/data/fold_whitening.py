"""Whitening within a fold: fitted to its training trials, applied to all, read when it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodec.data.noise import mean_noise
from neurodec.data.responses import View
from neurodec.data.splits import TRAINING, groups_of
from neurodec.data.study import Study
from neurodec.data.trials import Trials
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import Whitening
from neurodec.preprocessing.whitening import MvnnMode, inverse_square_root, mvnn_covariance, standardise


class Whitened(View):
    """Responses that are centred and whitened as they are read, each by the noise of its session.

    Parameters
    ----------
    source : ndarray or View, shape (n, n_chans, n_times)
    codes : ndarray of int, shape (n,)
        Session of every trial.
    noise : list of ndarray, shape (n_chans, 1 + n_chans)
        Of every session: centre and covariance; see `whiten_by`.
    clamp : float, optional
        Limit to plus or minus this.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        source: np.ndarray | View,
        codes: np.ndarray,
        noise: list[np.ndarray],
        clamp: float | None = None,
    ) -> None:
        self.source, self.codes, self.shape, self.clamp = source, codes, source.shape, clamp
        self.centres = [own[:, :1].astype(np.float32) for own in noise]
        self.matrices = [inverse_square_root(own[:, 1:]).astype(np.float32) for own in noise]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return some trials."""
        block = np.asarray(self.source[rows], dtype=np.float32)
        found = np.empty_like(block)
        for code in np.unique(self.codes[rows]):
            own = self.codes[rows] == code
            found[own] = self.matrices[code] @ (block[own] - self.centres[code])
        return found if self.clamp is None else found.clip(-self.clamp, self.clamp)


def whitened(study: Study, how: Whitening, clamp: float | None = None) -> Study:
    """Return a study whose trials are whitened, with statistics of its training trials, session by session.

    Parameters
    ----------
    study : Study
        With splits, of responses (n_trials, n_chans, n_times).
    how : {"none", "mvnn-epochs", "mvnn-time", "zscore", "robust"}
        As `neurodec.preprocessing.EEGPreprocessing` has it.
    clamp : float, optional
        Limit whitened values to plus or minus this.

    Raises
    ------
    NeurodecError
        If responses have no time, are whitened already, or a session has no training trial to fit MVNN to.
    """
    if how == "none":
        return study
    spaces = {name: _whitened(trials, how, name, clamp) for name, trials in study.spaces.items()}
    return replace(study, spaces=spaces)


def _whitened(trials: Trials, how: Whitening, space: str, clamp: float | None) -> Trials:
    if trials.dims != ("trial", "channel", "time"):
        raise NeurodecError(
            f"The trials of {space} have no channels over time to whiten; leave out `whiten`."
        )
    before = (trials.info.get("preprocessing") or {}).get("whiten", "none")
    if before != "none":
        raise NeurodecError(
            f"The trials of {space} were whitened by their reader (whiten: {before}), before there were folds; set "
            "`whiten: none` there."
        )
    sessions = groups_of(trials.table, "session").to_numpy()
    names, codes = np.unique(sessions, return_inverse=True)
    trains = trials.table["split"].isin(TRAINING).to_numpy()
    noise = [
        _fitted(trials, np.flatnonzero(codes == code), trains, how, name) for code, name in enumerate(names)
    ]
    people = trials.table["subject"].to_numpy()
    every = np.arange(trials.responses.shape[1])
    parts = [({people[codes == code][0]: own}, every) for code, own in enumerate(noise)]
    settings = {**(trials.info.get("preprocessing") or {}), "whiten": how, "clamp": clamp}
    info = {**trials.info, "units": "a.u.", "noise": mean_noise(parts)}
    info |= {"preprocessing": settings} if trials.info.get("preprocessing") else {}
    return replace(trials, responses=Whitened(trials.responses, codes, noise, clamp), info=info)


def _fitted(trials: Trials, rows: np.ndarray, trains: np.ndarray, how: Whitening, name: str) -> np.ndarray:
    """Return what one session is whitened by."""
    own = rows[trains[rows]]
    if how in ("zscore", "robust"):
        block = np.array(trials.responses[own if len(own) else rows], dtype=np.float32)
        return standardise(block, np.arange(len(block)), how)
    if not len(own):
        raise NeurodecError(
            f"Session {name} has no training trial in a fold to estimate the noise for MVNN; set `whiten: zscore`."
        )
    part = trials.select(own)
    mode: MvnnMode = "epochs" if how == "mvnn-epochs" else "time"
    covariance = mvnn_covariance(part.responses, part.table["stimulus"].to_numpy(), mode)
    return np.column_stack([np.zeros(len(covariance)), covariance])
