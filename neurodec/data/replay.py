"""Doing to a new recording what was done to those of the training: reference, filter, window, rate and whitening."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import mne
import numpy as np
import pandas as pd

from neurodec.data.account import Account
from neurodec.data.clock import clock_of
from neurodec.data.events import events_of_raw
from neurodec.data.readers.raw_trials import trials_of_raw
from neurodec.data.trial_tables import same_rate
from neurodec.data.trials import Trials
from neurodec.preprocessing.channels import UNITS
from neurodec.preprocessing.eeg import EEGPreprocessing, rereference
from neurodec.preprocessing.whitening import mvnn_covariance, standardise, whiten_by

_NOBODY = "unknown"


@dataclass(frozen=True)
class Replay:
    """The preprocessing of a training, as its model keeps it.

    Parameters
    ----------
    settings : EEGPreprocessing
        `ch_names` are the channels that were whitened.
    kind : str
        MNE's type of these channels.
    sfreq : float
        Rate of the trained responses (Hz).
    noise : dict of ndarray
        Subject to what whitening was fitted to, averaged over that person's recordings; see
        `neurodec.preprocessing.whitening.whiten_by`.
    """

    settings: EEGPreprocessing
    kind: str
    sfreq: float
    noise: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: dict[str, Any], noise: dict[str, np.ndarray]) -> Replay | None:
        """Read the preprocessing of one space from a model's description; None where it tells none."""
        if not facts.get("preprocessing") or not facts.get("ch_types"):
            return None
        settings = EEGPreprocessing(**facts["preprocessing"])
        return cls(settings, facts["ch_types"][0], facts["sfreq"], noise)

    def of_raw(self, raw: mne.io.BaseRaw, events: np.ndarray | None, subject: str | None) -> Trials:
        """Filter, reference, cut, resample and whiten a continuous recording, exactly as a reader would.

        Parameters
        ----------
        raw : mne.io.BaseRaw
            As it was recorded; left as it is.
        events : ndarray of int, shape (n_events, 3), optional
            As `mne.find_events` gives them; by default all markers of the recording that are stimuli.
        subject : str, optional
            Whose; see `whitened`.

        Raises
        ------
        NeurodecError
            If channels are missing, or no event is left.
        """
        account, where = Account(), "the recording"
        raw = raw.copy()
        if events is None:
            table = events_of_raw(raw, None, None, account, where)
        else:
            onsets = (np.asarray(events)[:, 0] - raw.first_samp) / raw.info["sfreq"]
            table = pd.DataFrame({"onset": onsets, "stimulus": np.asarray(events)[:, 2].astype(str)})
        rate = self.settings.sfreq or (self.sfreq if raw.info["sfreq"] > 1.001 * self.sfreq else None)
        settings = replace(self.settings, whiten="none", clamp=None, sfreq=rate)
        fields = {"subject": subject or _NOBODY, "session": "01", "run": "01"}
        trials = trials_of_raw(raw, clock_of(raw), table, settings, self.kind, fields, where, account)
        if account.left_out:
            told = "; ".join(f"{count} {reason}" for reason, count in account.left_out.items())
            warnings.warn(f"{len(trials)} events are decoded, others are left out: {told}.", stacklevel=4)
        return self.whitened(trials)

    def of_epochs(self, epochs: mne.BaseEpochs, subject: str | None) -> Trials:
        """Give epochs the reference, rate, baseline and whitening of the training; they come from a filtered recording.

        Parameters
        ----------
        epochs : mne.BaseEpochs
            In SI units, with the channels of the training; left as they are.
        subject : str, optional
            Whose; see `whitened`.

        Warns
        -----
        UserWarning
            If the epochs were filtered otherwise than the training, or hold no baseline to subtract.
        """
        settings = self.settings
        self._compare_filters(epochs.info)
        epochs = epochs.copy().load_data().pick(settings.ch_names)
        rereference(epochs, settings.reference, "the epochs")
        if settings.baseline is not None:
            begin = settings.tmin if settings.baseline[0] is None else settings.baseline[0]
            end = settings.tmax if settings.baseline[1] is None else settings.baseline[1]
            half = 0.5 / epochs.info["sfreq"]
            if epochs.times[0] <= begin + half and epochs.times[-1] >= end - half:
                span = max(begin, epochs.times[0]), min(end, epochs.times[-1])
                epochs.apply_baseline(span, verbose="error")
            elif epochs.baseline is None:
                warnings.warn(
                    f"The epochs begin at {epochs.times[0]:g} s and hold no baseline from {begin:g} to {end:g} s, "
                    "which the training subtracted; give longer epochs, or the recording itself.",
                    stacklevel=4,
                )
        if epochs.info["sfreq"] > self.sfreq and not same_rate(epochs.info["sfreq"], self.sfreq):
            epochs.resample(self.sfreq, verbose="error")
        trials = Trials.from_epochs(epochs)
        return self.whitened(replace(trials, table=trials.table.assign(subject=subject or _NOBODY)))

    def whitened(self, trials: Trials) -> Trials:
        """Whiten trials in SI units.

        A participant of the training set is whitened by what was fitted then: each recording of the training by its own
        noise, a later one by the mean over that person's recordings. Others are whitened by their own responses,
        without labels.

        Parameters
        ----------
        trials : Trials
            With the channels of the training.
        """
        if self.settings.whiten == "none":
            return trials
        trials = trials.pick(self.settings.ch_names)
        responses = np.array(trials.responses, dtype=np.float32)
        for subject, rows in trials.table.groupby("subject").indices.items():
            own = responses[rows]
            if subject in self.noise:
                whiten_by(own, self.noise[subject], self.settings.clamp)
            elif self.settings.whiten in ("zscore", "robust"):
                standardise(own, np.arange(len(own)), self.settings.whiten, self.settings.clamp)
            else:
                covariance = mvnn_covariance(own, np.arange(len(own)))
                whiten_by(own, np.column_stack([np.zeros(len(covariance)), covariance]))
            responses[rows] = own
        return replace(trials, responses=responses, info={**trials.info, "units": "a.u."})

    def fits(self, trials: Trials) -> bool:
        """Return whether trials are of the kind that this turns into those of the training."""
        return self.settings.whiten != "none" and trials.info.get("units") in set(UNITS.values())

    def _compare_filters(self, info: mne.Info) -> None:
        """Warn of epochs that were cut from a recording with another filter."""
        wanted = self.settings
        told = []
        if wanted.h_freq is not None and info["lowpass"] > 1.05 * wanted.h_freq:
            told.append(f"low-pass {info['lowpass']:g} Hz, in training {wanted.h_freq:g} Hz")
        if wanted.l_freq is not None and info["highpass"] < 0.95 * wanted.l_freq:
            told.append(f"high-pass {info['highpass']:g} Hz, in training {wanted.l_freq:g} Hz")
        if told:
            warnings.warn(
                f"The epochs were filtered otherwise than the training ({'; '.join(told)}); give the recording itself "
                "(mne.io.Raw), or filter it before cutting.",
                stacklevel=5,
            )
