"""The contrastive loss of sequences of Défossez et al. (2023), which asks what of the candidates was heard."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.errors import NeurodecError
from neurodec.training.batch import Batch, Heads
from neurodec.training.objectives.objective import Objective

_TINY = 1e-8


class SequenceContrast(Objective):
    """Cross entropy over the candidates of a batch, of products with candidates of unit length.

    Only the candidates are normalised, the prediction is not, and there is no temperature. Rows of one segment that
    several people heard are each other's negatives as published; `distinct` makes them positives.

    Parameters
    ----------
    target : str
        A sequence, (n_features, n_times).
    distinct : bool
        Let rows that show the same stimulus share the positive mass.
    negatives : int
        Candidates of a training step: targets of earlier steps are added to those of the batch until there are so many.
    pool_size : int, optional
        How many earlier targets are kept, the newest; twice `negatives` by default. A validation empties the pool, so
        that every epoch begins alike.
    pool : bool
        Compare means over time.
    center : bool
        Subtract from every row its mean over features and time.
    tmin, tmax : float, optional
        Part of the window that is compared (s).
    tmin_train, tmax_train : float, optional
        Another part in training.
    start, sfreq : float
        First time (s) and rate (Hz) of the targets, which `tmin` and `tmax` refer to.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, equation 1.
    """

    def __init__(
        self,
        target: str = "audio",
        *,
        distinct: bool = False,
        negatives: int = 0,
        pool_size: int | None = None,
        pool: bool = False,
        center: bool = False,
        tmin: float | None = None,
        tmax: float | None = None,
        tmin_train: float | None = None,
        tmax_train: float | None = None,
        start: float = -0.5,
        sfreq: float = 120.0,
    ) -> None:
        super().__init__()
        self.head, self.needs, self.distinct = target, (target,), distinct
        self.pool, self.center, self.start, self.sfreq = pool, center, start, sfreq
        self.negatives, self.pool_size = negatives, 2 * negatives if pool_size is None else pool_size
        self._earlier: list[Tensor] = []
        self.windows = {False: (tmin, tmax), True: (tmin, tmax)}
        if tmin_train is not None or tmax_train is not None:
            self.windows[True] = (tmin_train, tmax_train)

    def forward(self, found: Heads, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the term `contrast`.

        Parameters
        ----------
        found : Heads
        batch : Batch
        progress : float
            Of the training, from 0 to 1.
        """
        wanted = self.compared(batch[self.head])
        if wanted.ndim != 3 or found[self.head].shape[1:] != wanted.shape[1:]:
            raise NeurodecError(
                f"SequenceContrast compares sequences (n_features, n_times) of one length; the head {self.head} has "
                f"the shape {tuple(found[self.head].shape[1:])}, the target {tuple(wanted.shape[1:])}."
            )
        groups = batch.stimulus if self.distinct else None
        return {"contrast": self.loss(found[self.head], self._with_earlier(wanted), groups)}

    def _with_earlier(self, wanted: Tensor) -> Tensor:
        """Return the targets of a batch, and in training those of earlier steps after them; keep these for later."""
        if not self.training or not self.negatives:
            self._earlier = []
            return wanted
        n_more = max(self.negatives - len(wanted), 0)
        pool = torch.cat(self._earlier)[-self.pool_size :] if self._earlier else wanted[:0]
        drawn = torch.randperm(len(pool), device=pool.device)[:n_more]
        self._earlier = [pool, wanted.detach()]
        return torch.cat([wanted, pool[drawn]])

    def compared(self, targets: Tensor) -> Tensor:
        """Return targets as predictions are compared with them: as they are.

        Parameters
        ----------
        targets : Tensor, shape (n, n_features, n_times)
        """
        return targets

    def loss(self, found: Tensor, candidates: Tensor, groups: Tensor | None = None) -> Tensor:
        """Return the cross entropy; row b belongs to candidate b, further candidates are negatives.

        Parameters
        ----------
        found : Tensor, shape (B, n_features, n_times)
        candidates : Tensor, shape (O, n_features, n_times)
        groups : Tensor, shape (B,), optional
            Rows of one group share the positive mass.
        """
        scores = self.scores(found, candidates)
        if groups is None:
            return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
        positives = (groups[:, None] == groups).to(scores)
        positives = F.pad(positives, (0, scores.shape[1] - len(groups)))
        return F.cross_entropy(scores, positives / positives.sum(dim=1, keepdim=True))

    def scores(self, found: Tensor, candidates: Tensor) -> Tensor:
        """Return the score of every candidate for every row, shape (B, O).

        Parameters
        ----------
        found : Tensor, shape (B, n_features, n_times)
        candidates : Tensor, shape (O, n_features, n_times)
        """
        return sequence_scores(self._seen(found), self._seen(candidates))

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return what is compared of targets.

        Parameters
        ----------
        name : str
        targets : Tensor, shape (n, n_features, n_times)
        """
        return self._seen(targets) if name == self.head and self.pool else targets

    def _seen(self, rows: Tensor) -> Tensor:
        begin, end = self.windows[self.training]
        if begin is not None or end is not None:
            first = 0 if begin is None else int((begin - self.start) * self.sfreq)
            last = rows.shape[-1] if end is None else int((end - self.start) * self.sfreq)
            rows = rows[..., first:last]
        rows = rows.mean(dim=-1, keepdim=True) if self.pool else rows
        return rows - rows.mean(dim=(1, 2), keepdim=True) if self.center else rows


def sequence_scores(found: Tensor, candidates: Tensor) -> Tensor:
    """Return products of predictions with candidates of unit length, shape (B, O).

    Parameters
    ----------
    found : Tensor, shape (B, n_features, n_times)
    candidates : Tensor, shape (O, n_features, n_times)
    """
    own: Any = candidates.flatten(1)
    return found.flatten(1) @ (own / (_TINY + own.norm(dim=1, keepdim=True))).T
