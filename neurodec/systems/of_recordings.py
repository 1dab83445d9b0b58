"""Predictions of recordings as they come: `mne.io.Raw`, `mne.Epochs`, trials, images and arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from neurodec.data import Study, Trials, with_defaults
from neurodec.data.intake import Intake
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.systems.system import FACTS, System

if TYPE_CHECKING:
    import mne
    import nibabel
    from torch import Tensor

    Recording: TypeAlias = (
        Trials | mne.io.BaseRaw | mne.BaseEpochs | mne.Evoked | nibabel.Nifti1Image | np.ndarray | Tensor
    )


def predictions_of(
    system: System,
    recording: Recording,
    subject: str | None = None,
    *,
    events: np.ndarray | None = None,
    preprocessed: bool = False,
) -> Predictions:
    """Return every head's prediction of every response; see `NeuralDecoder.embed`.

    Parameters
    ----------
    system : System
    recording, subject, events, preprocessed
        As for `NeuralDecoder.embed`.
    """
    own = recording.table if isinstance(recording, Trials) else None
    whose = subject or "unknown" if own is None or own.empty else str(own["subject"].iloc[0])
    intake = intake_of(system.config, whose)
    responses = intake.responses(recording, subject, events, preprocessed=preprocessed)
    if own is None:
        rows = [str(row) for row in range(len(responses))]
        own = with_defaults(pd.DataFrame({"stimulus": rows, "subject": whose}))
    facts = {key: value for key, value in intake.facts.items() if value is not None}
    trials = Trials(responses, own.reset_index(drop=True), {"modality": "?", **facts})
    return system.predict(Study.of(trials, space=space_of(system.config, whose)))


def space_of(config: dict[str, Any], subject: str) -> str:
    """Return the space of a subject's responses."""
    spaces = config.get("spaces")
    if not spaces:
        return config["space"]
    if f"sub-{subject}" not in spaces:
        raise NeurodecError(
            f"Every subject was measured in a space of their own ({', '.join(spaces)}), and subject {subject} is "
            "none of them; say whose responses these are by `subject`."
        )
    return f"sub-{subject}"


def intake_of(config: dict[str, Any], subject: str) -> Intake:
    """Return what takes in responses of a subject's space."""
    facts = config.get("spaces", {}).get(f"sub-{subject}", config)
    known = {name: facts.get(name) for name in (*FACTS, "n_times", "rms")}
    return Intake(known, config.get("noise", {}))
