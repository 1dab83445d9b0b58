"""Schedules of the learning rate that last as long as the training does."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR


class CosineSchedule(CosineAnnealingLR):
    """Half a cosine from the optimiser's rate to `eta_min` over the whole training, without a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    total_steps : int, optional
        Filled in by the training.
    eta_min : float
        The last rate, as published for the fine-tuning of CSBrain and CBraMod.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int | None = None, eta_min: float = 1e-6) -> None:
        if total_steps is None:
            raise TypeError("total_steps is missing")
        super().__init__(optimizer, T_max=total_steps, eta_min=eta_min)
