"""What can be asked of some encoders: what is hidden from them, which regions they attend, vectors of windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from neurodec.data import Study, Trials
from neurodec.data.responses import blocks_of
from neurodec.errors import NeurodecError
from neurodec.systems.system import as_trained, scales_of
from neurodec.training.module import heads_of, takes
from neurodec.training.saved_encoder import positions_of

_ROWS = 512  # that are summarised at once


class Inspected:
    """Mixin of systems with an `encoder`; see `FillsIn`, `Attends` and `Summarises` in `evaluation.capabilities`."""

    encoder: nn.Module
    head: str
    config: dict[str, Any]

    @torch.no_grad()
    def restored(self, trials: Trials, hidden: np.ndarray, space: str) -> np.ndarray:
        """Return responses where patches are hidden from the encoder; see `FillsIn`.

        Raises
        ------
        NeurodecError
            If the encoder does not learn to.
        """
        if not takes(self.encoder.forward, "mask"):
            raise NeurodecError(
                f"{type(self.encoder).__name__} does not fill in hidden patches; leave this evaluation out, or train "
                "neurodec.encoders.CSBrainPretraining."
            )
        responses, scale = self._scaled(trials, space)
        subject, mask = torch.full((len(trials),), -1), torch.from_numpy(hidden)
        told = {"mask": mask.to(responses.device), "positions": self._positions(trials, space)}
        found = heads_of(self.encoder, responses, subject.to(responses.device), space, self.head, **told)
        return found[self.head].float().cpu().numpy() * scale

    @torch.no_grad()
    def region_attention(self, trials: Trials, space: str) -> dict[str, Any]:
        """Return which regions attend which, of encoders that tell; see `Attends`."""
        if not hasattr(self.encoder, "region_attention"):
            return {}
        values, names = self.encoder.region_attention(self._scaled(trials, space)[0], space)
        return {"regions": names, "values": values.cpu().tolist()}

    @torch.no_grad()
    def summaries(self, trials: Trials, space: str) -> np.ndarray | None:
        """Return a vector of every window (n_trials, width), of encoders with a method `states`; see `Summarises`."""
        if not hasattr(self.encoder, "states"):
            return None
        own = as_trained(Study({space: trials}, trials.table[["stimulus"]]), self.config).spaces[space]
        found = []
        for rows in blocks_of(len(own), _ROWS):
            states = self.encoder.states(self._scaled(own.select(rows), space)[0])
            found.append(states.float().cpu().numpy())
        return np.concatenate(found)

    def _positions(self, trials: Trials, space: str) -> torch.Tensor | None:
        """Return the places of the sensors: the trials' own, else those of the training."""
        own = positions_of(trials.info)
        return positions_of(self.config.get("spaces", {}).get(space, self.config)) if own is None else own

    def _scaled(self, trials: Trials, space: str) -> tuple[torch.Tensor, float]:
        """Return responses as the encoder reads them, which is made ready, and what they were divided by."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder.to(device).eval()
        scale = scales_of(self.config).get(space, 1.0)
        values = np.asarray(trials.responses, dtype=np.float32) / np.float32(scale)
        return torch.from_numpy(values).to(device), scale
