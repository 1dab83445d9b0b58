"""The in-context networks against a plain implementation.

Plain: attention weights kept, one sequence at a time, whole last block, as the authors' code does.
Run: ``python tests/benchmarks/bench_in_context.py``. Both sides use the same weights and give the same numbers. The
published sizes in width, with fewer layers, so that it ends on a CPU; the rate of the whole network, and what 20,000
voxels with 100 pictures take, are computed from it.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.in_context.voxel_encoder import PRESETS, SetTransformer
from neurodec.encoders.in_context.voxel_network import NetworkEncoding

N_LAYERS, N_PICTURES, N_VOXELS, N_TRIALS, N_INVERTED = 4, 100, 192, 8, 800


def plain_read(model: SetTransformer, tokens: Tensor) -> Tensor:
    """Read registers as the authors' code does: weights of every layer kept, all tokens through the last block."""
    x = torch.cat([model.cls_token.expand(len(tokens), -1, -1), model.early_layers(tokens)], dim=1)
    kept = []
    for block in model.transformer:
        h = block.layer_norm_1(x)
        found, weights = block.attn(np.log(x.shape[1]) * h, h, h, need_weights=True)
        kept.append(weights)
        x = x + found
        x = x + block.ffn(block.layer_norm_2(x))
    return x[:, : model.n_read]


@torch.inference_mode()
def encoder() -> None:
    """Encode voxels."""
    torch.manual_seed(0)
    model = InContextEncoder(**PRESETS["clip"], n_layers=N_LAYERS).eval()
    images = F.normalize(torch.randn(N_PICTURES, model.n_embed), dim=-1)
    responses = torch.randn(N_VOXELS, N_PICTURES)
    encoding = NetworkEncoding(model, device="cpu")
    encoding.weights(images.numpy(), responses[:4].numpy().T)
    started = time.perf_counter()
    ours = encoding.weights(images.numpy(), responses.numpy().T)
    ours_s = time.perf_counter() - started
    few = N_VOXELS // 8
    started = time.perf_counter()
    plain = []
    for row in responses[:few]:
        tokens = torch.cat([images, row[:, None]], dim=-1)[None]
        plain.append(model.weight_pred(plain_read(model, tokens)[:, 0]))
    plain_s = (time.perf_counter() - started) * N_VOXELS / few
    error = float(np.abs(torch.cat(plain).numpy() - ours[:few]).max() / np.abs(ours).max())
    n, width, ffn = N_PICTURES + 4, 560, 2048
    flops = 2 * n * (20 * (4 * width**2 + 3 * width * ffn + 2 * width * n) + 513 * 1120 + 1120 * width)
    rate = flops * N_LAYERS / 20 * N_VOXELS / ours_s
    print(
        f"stage 1: {ours_s:.2f} s for {N_VOXELS} voxels x {N_PICTURES} pictures, plain {plain_s:.2f} s, ratio "
        f"{plain_s / ours_s:.2f} (target 3), relative difference {error:.1e}; {rate / 1e9:.0f} GFLOP/s here; 20,000 "
        f"voxels in the published size are {flops * 2e4 / 1e15:.2f} PFLOP: {flops * 2e4 / rate / 60:.0f} minutes here, "
        f"{flops * 2e4 / 3e14:.1f} s at 300 TFLOP/s"
    )


@torch.inference_mode()
def inverter() -> None:
    """Invert trials."""
    torch.manual_seed(0)
    model = InContextInverter.preset("clip").eval()
    weights, bias = torch.randn(N_INVERTED, 512) / 20, torch.randn(N_INVERTED)
    responses = torch.randn(N_TRIALS, N_INVERTED)
    model(weights, bias, responses[:1])
    started = time.perf_counter()
    ours = model(weights, bias, responses)
    ours_s = time.perf_counter() - started
    started = time.perf_counter()
    plain = []
    for row in responses:
        tokens = torch.cat([weights, bias[:, None], row[:, None]], dim=-1)[None]
        plain.append(model.feature_regressor(model.token_merger(plain_read(model, tokens).flatten(1))))
    plain_s = time.perf_counter() - started
    error = float((torch.cat(plain) - ours).abs().max() / ours.abs().max())
    print(
        f"stage 2: {ours_s:.2f} s for {N_TRIALS} trials of {N_INVERTED} voxels, plain {plain_s:.2f} s, ratio "
        f"{plain_s / ours_s:.2f} (target 3), relative difference {error:.1e}"
    )


def memory() -> None:
    """Show that memory does not grow with the number of voxels."""
    model = InContextEncoder(**PRESETS["clip"], n_layers=1).eval()
    images = torch.nn.functional.normalize(torch.randn(20, model.n_embed), dim=-1).numpy()
    for n_voxels in (200, 2000):
        encoding = NetworkEncoding(model, tokens_at_once=2400, device="cpu")
        encoding.weights(images, np.zeros((20, n_voxels), dtype=np.float32))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"memory: peak {peak:.2f} GiB after {n_voxels} voxels with chunks of 2,400 tokens")


if __name__ == "__main__":
    memory()
    encoder()
    inverter()
