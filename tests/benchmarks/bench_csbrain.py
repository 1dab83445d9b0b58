"""CSBrain's backbone against a plain implementation of the published operations.

Plain: one slice per electrode written into a tensor of zeros, region by region, float masks, attention over windows
also where there is a single one, dropout as written. Run: ``python tests/benchmarks/bench_csbrain.py``. Both sides have
the same weights; outputs and gradients are compared without dropout, times are of training steps with it. Attention
over all tokens at once stands beside them; ``--plot FILE.png`` draws the cost of both over channels times seconds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from multiprocessing import get_context

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.csbrain.backbone import CSBrainBackbone, Layer, RegionalTokenizer
from neurodec.encoders.csbrain.brain_regions import Montage, published_tables

SIZES = (("pretraining", 19, 30), ("physionet-mi", 64, 10))
N_LAYERS, N_BATCH, N_STEPS = 4, 4, 3
LENGTHS = (2, 5, 10, 20)  # seconds


class PlainRegions(RegionalTokenizer):
    """Every region is written into zeros."""

    def forward(self, h: Tensor, counts: list[int]) -> Tensor:
        out, start = torch.zeros_like(h), 0
        n_batch, _, n_patches, width = h.shape
        for convs, count in zip(self.regions, counts, strict=True):
            if count:
                part = h[:, start : start + count].permute(0, 2, 3, 1).reshape(-1, width, count)
                mode = "circular" if count > 1 else "constant"
                found = [conv(F.pad(part, 2 * (conv.kernel_size[0] // 2,), mode=mode)) for conv in convs]
                found = torch.cat(found, dim=1).reshape(n_batch, n_patches, width, count)
                for place in range(count):
                    out[:, start + place] = found[..., place]
                start += count
        return out


class PlainLayer(Layer):
    """As published: windows always attended, region means by slices, float masks made anew."""

    def between_windows(self, z: Tensor) -> Tensor:
        n_batch, n_chans, n_patches, width = z.shape
        window = min(n_patches, 5)
        n_windows = -(-n_patches // window)
        z = F.pad(z, (0, 0, 0, n_windows * window - n_patches))
        z = z.reshape(n_batch, n_chans, n_windows, window, width).permute(0, 3, 1, 2, 4)
        rows = z.reshape(-1, n_windows, width)
        found, _ = self.inter_window_attn(rows, rows, rows, need_weights=True)
        found = found.reshape(n_batch, window, n_chans, n_windows, width).permute(0, 2, 3, 1, 4)
        return found.reshape(n_batch, n_chans, n_windows * window, width)[:, :, :n_patches]

    def _between_regions(self, z: Tensor, averaging: Tensor, region: Tensor, mask: Tensor) -> Tensor:
        rows = z.transpose(1, 2).reshape(-1, z.shape[1], z.shape[3])
        means = torch.zeros_like(rows)
        for one in region.unique():
            members = (region == one).nonzero().ravel().tolist()
            mean = rows[:, members].mean(dim=1)
            for member in members:
                means[:, member] = mean
        rows = rows + self.global_fc(means)
        blocked = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
        found, _ = self.inter_region_attn(rows, rows, rows, attn_mask=blocked, need_weights=True)
        return found.reshape(z.shape[0], z.shape[2], z.shape[1], z.shape[3]).transpose(1, 2)


class DenseLayer(PlainLayer):
    """Attention of every token to every token, in place of both."""

    def between_windows(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def _between_regions(self, z: Tensor, averaging: Tensor, region: Tensor, mask: Tensor) -> Tensor:
        rows = z.flatten(1, 2)
        return self._attend(self.inter_region_attn, rows).reshape(z.shape)


def model_of(kind: str, montage: str, dropout: float) -> CSBrainBackbone:
    """Build one of the models, from the same seed."""
    torch.manual_seed(0)
    model = CSBrainBackbone(
        Montage.of(published_tables()[montage]["channels"], montage), n_layers=N_LAYERS, dropout=dropout
    )
    if kind != "ours":
        layers = {"plain": PlainLayer, "dense": DenseLayer}[kind]
        for layer in model.layers:
            layer.__class__ = layers
    if kind == "plain":
        model.regional.__class__ = PlainRegions
    return model.train()


def step(model: nn.Module, x: Tensor) -> Tensor:
    """Run forward and backward."""
    model.zero_grad()
    found = model(x)
    found.square().mean().backward()
    return found.detach()


def measured(kind: str, montage: str, n_chans: int, n_patches: int) -> tuple[float, float]:
    """Return seconds of a step, and MiB that it takes beyond what was there."""
    torch.set_num_threads(2)
    model, x = model_of(kind, montage, 0.1), 0.3 * torch.randn(N_BATCH, n_chans, n_patches, 200)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(model, x)
    times = []
    for _ in range(N_STEPS):
        started = time.perf_counter()
        step(model, x)
        times.append(time.perf_counter() - started)
    return sorted(times)[N_STEPS // 2], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def alike(montage: str, n_chans: int, n_patches: int) -> tuple[float, float]:
    """Return the relative differences of outputs and gradients between ours and plain, without dropout."""
    x = 0.3 * torch.randn(2, n_chans, n_patches, 200)
    models = [model_of(kind, montage, 0.0) for kind in ("ours", "plain")]
    found = [step(model, x) for model in models]
    grads = [
        torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None]) for model in models
    ]
    return tuple(float((one - two).abs().max() / two.abs().max()) for one, two in (found, grads))


def plot(file: str) -> None:
    """Draw seconds of a step against tokens, for the regions' attention and for that of all tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for montage, n_chans, style in (("pretraining", 19, "-"), ("physionet-mi", 64, "--")):
        for kind, color in (("ours", "#0072B2"), ("dense", "#D55E00")):
            seconds = []
            for n_patches in LENGTHS:
                with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
                    seconds.append(pool.apply(measured, (kind, montage, n_chans, n_patches))[0])
            tokens = [n_chans * n_patches for n_patches in LENGTHS]
            label = f"{'windows and regions' if kind == 'ours' else 'all tokens'}, {n_chans} channels"
            axes.plot(tokens, seconds, f"o{style}", color=color, label=label)
            print(label, dict(zip(tokens, [round(own, 2) for own in seconds], strict=True)))
    axes.set(xscale="log", yscale="log", xlabel="channels x seconds", ylabel="seconds of a training step")
    axes.legend()
    figure.savefig(file, dpi=144)


def main() -> None:
    """Print both sizes; every measurement in a process of its own, since memory is counted as its peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", metavar="FILE")
    if file := parser.parse_args().plot:
        plot(file)
        return
    for montage, n_chans, n_patches in SIZES:
        errors = alike(montage, n_chans, n_patches)
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            found = {
                kind: pool.apply(measured, (kind, montage, n_chans, n_patches))
                for kind in ("ours", "plain", "dense")
            }
        seconds, memory = ({kind: one[place] for kind, one in found.items()} for place in (0, 1))
        print(
            f"{n_chans} x {n_patches}: {seconds['ours']:.2f} s a step, plain {seconds['plain']:.2f} s, ratio "
            f"{seconds['plain'] / seconds['ours']:.2f} (target 1.5); memory {memory['ours']:.0f} MiB, plain "
            f"{memory['plain']:.0f} MiB, {100 * (1 - memory['ours'] / memory['plain']):.0f} % less (target 20); "
            f"attention of all tokens {seconds['dense']:.2f} s; relative differences of outputs {errors[0]:.1e}, "
            f"gradients {errors[1]:.1e}"
        )


if __name__ == "__main__":
    sys.exit(main())
