"""Targets in whatever form Python code has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neurodec.errors import NeurodecError
from neurodec.features.extractor import Extractor
from neurodec.features.table import Features


def as_targets(targets: Any, stimuli: pd.DataFrame) -> dict[str, Features]:
    """Return targets by name.

    Parameters
    ----------
    targets : Features, Extractor, ndarray, DataFrame or Series, or a dict of these
        One alone is called ``image``. An array has one row per stimulus, in the order of `stimuli`; a DataFrame or
        Series is indexed by stimulus; an extractor sees the pictures or captions.
    stimuli : DataFrame
        Of the study.

    Raises
    ------
    NeurodecError
        If a stimulus has no target, or a length is wrong.
    """
    named = targets if isinstance(targets, Mapping) else {"image": targets}
    return {str(name): _features(own, stimuli) for name, own in named.items()}


def _features(own: Any, stimuli: pd.DataFrame) -> Features:
    if isinstance(own, Features):
        return own
    if isinstance(own, Extractor):
        return own.extract(stimuli, ".")
    names = stimuli["stimulus"].tolist()
    if isinstance(own, (pd.DataFrame, pd.Series)):
        own = own.set_axis(own.index.astype(str), axis=0)
        missing = [name for name in names if name not in own.index]
        if missing:
            raise NeurodecError(
                f"{len(missing)} of {len(names)} stimuli have no target, first {missing[0]}; index the targets by "
                "stimulus."
            )
        return Features.given(own.loc[names])
    values = np.asarray(own)
    if values.ndim and len(values) != len(names):
        raise NeurodecError(
            f"The targets have {len(values)} rows, and the study has {len(names)} stimuli; give one row per stimulus "
            "in the order of `study.stimuli`, or Features.given(values, names)."
        )
    return Features.given(values, names)
