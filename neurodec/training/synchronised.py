"""Batch normalisation over the rows of all processes on CPUs, where torch's own `SyncBatchNorm` does not run."""

from __future__ import annotations

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class _OverProcesses:
    """Mixed into a batch normalisation: statistics of a training step are those of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows (B, C, ...) of this process."""
        if not self.training and self.track_running_stats:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = all_reduce(torch.tensor(float(x.numel() / x.shape[1])))
        mean = all_reduce(x.sum(dim=axes)) / count
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum(dim=axes)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                unbiased = variance * count / (count - 1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        found = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found


_KINDS = {
    kind: type(f"{kind.__name__}OverProcesses", (_OverProcesses, kind), {})
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}


class BatchNormOverProcesses(LayerSync):
    """Lets Lightning's strategies turn every batch normalisation of a module into one over all processes, and back."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise."""
        for module in model.modules():
            if type(module) in _KINDS:
                module.__class__ = _KINDS[type(module)]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Make every module what it was."""
        back = {ours: kind for kind, ours in _KINDS.items()}
        for module in model.modules():
            if type(module) in back:
                module.__class__ = back[type(module)]
        return model
