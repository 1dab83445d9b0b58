"""Systems with validation trials, which no weight follows from: these calibrate candidate sets and priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neurodec.data import Study
from neurodec.data.predictions import Predictions
from neurodec.errors import NeurodecError
from neurodec.features import Features


class Validated:
    """Mixin of systems that hold out validation trials; see `Calibrates` of `neurodec.evaluation.capabilities`."""

    config: dict[str, Any]

    if TYPE_CHECKING:

        def predict(self, study: Study) -> Predictions:  # noqa: D102  of the system
            ...

    def calibration_split(
        self, study: Study, targets: dict[str, Features], share: float, seed: int
    ) -> tuple[Self, Study]:
        """Return the system itself and its validation trials, which no weight follows from; see `Calibrates`.

        Parameters
        ----------
        study : Study
        targets : dict of Features
            By name.
        share : float
            Of the trials that is held out.
        seed : int
            Of the draw.
        """
        if self.config.get("validation_is_marked"):
            rows = {
                space: np.flatnonzero(trials.table["split"] == "validation")
                for space, trials in study.spaces.items()
            }
            out = study.select(rows)
        else:
            by = self.config.get("held_out_by", "concept")
            _, out = study.parted(self.config.get("held_out") or [], by)
        if not len(out):
            raise NeurodecError(
                "The encoder was trained on all trials (selection: published_protocol, or validation_fraction: 0), so "
                "there is nothing to calibrate candidate sets or a prior on; leave out what needs it (of a prior: "
                "reconstruction.prior_from: training)."
            )
        return self, out

    def unseen(self, study: Study, targets: dict[str, Features], seed: int) -> Predictions:
        """Return the predictions of the validation trials; see `Calibrates`.

        Parameters
        ----------
        study : Study
        targets : dict of Features
            By name.
        seed : int
            Of the draw.
        """
        return self.predict(self.calibration_split(study, targets, 0.0, seed)[1])

    @property
    def calibration_note(self) -> str:
        """Whether the epoch was chosen by the validation trials; see `Calibrates`."""
        if self.config.get("selection") != "validation":
            return ""
        return (
            "The trials that calibrate the sets chose the epoch too, so sets may be a little too small; compare the "
            "measured coverage with the promised one."
        )
