"""Which linear system stands beside a deep one: the target decides."""

from __future__ import annotations

from collections.abc import Mapping

from neurodec.features import Features
from neurodec.systems.lagged_ridge_system import LaggedRidgeSystem
from neurodec.systems.linear_system import LinearSystem
from neurodec.systems.ridge_system import RidgeSystem
from neurodec.training.batches import TrainingData


def linear_baseline(
    head: str, features: Mapping[str, Features], data: TrainingData | None = None
) -> LinearSystem:
    """Return the linear system, not fitted yet, that predicts one target.

    Parameters
    ----------
    head : str
        Name of the target.
    features : mapping of Features
        By name.
    data : TrainingData, optional
        Its channels and window are used; all by default.

    Returns
    -------
    LinearSystem
        `LaggedRidgeSystem` for a series over time (the last of `Features.dims` is "time"), else `RidgeSystem`.
    """
    over_time = head in features and features[head].dims[-1] == "time"
    kind = LaggedRidgeSystem if over_time else RidgeSystem
    return kind(head=head, targets=[head], data=data or TrainingData())
