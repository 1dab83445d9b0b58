"""Whole k-way evaluation from one forward pass, against the published six passes of batch size one.

Run: ``python tests/benchmarks/bench_evaluation.py``. The reference is the scheme of the ATM scripts: for every k of
2, 4, 10, 50, 100 and 200, every test response goes through the encoder on its own, k - 1 distractors are drawn, and
the best candidate is looked up. Ours also gives the exact expectation over draws, an interval and a p value.
One torch thread: batches of one lose most of their time to waiting threads on a busy machine, which would flatter us.
"""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from neurodec.encoders import ATM
from neurodec.evaluation.retrieval.similarity import expected_top, rank_bounds, similarity
from neurodec.evaluation.statistics.intervals import interval
from neurodec.evaluation.statistics.permutations import permutation_p, permuted_scores, stimulus_matrix

K_WAY = (2, 4, 10, 50, 100, 200)
N_TEST = 200


@torch.no_grad()
def published(
    encoder: nn.Module, responses: torch.Tensor, gallery: torch.Tensor
) -> dict[int, tuple[float, float]]:
    """Six passes, one response at a time, sampled distractors."""
    scores = {}
    candidates = F.normalize(gallery, dim=-1)
    for k in K_WAY:
        right = among_five = 0
        for true, response in enumerate(responses):
            z = F.normalize(encoder(response[None], torch.zeros(1, dtype=torch.int64)), dim=-1)[0]
            others = [index for index in range(len(gallery)) if index != true]
            drawn = [*random.sample(others, k - 1), true]
            logits = candidates[drawn] @ z
            right += drawn[int(torch.argmax(logits))] == true
            if k >= 50:
                among_five += true in [drawn[place] for place in torch.topk(logits, 5).indices.tolist()]
        scores[k] = (right / len(responses), among_five / len(responses))
    return scores


@torch.no_grad()
def one_pass(
    encoder: nn.Module, responses: torch.Tensor, gallery: torch.Tensor
) -> dict[int, tuple[float, float]]:
    """One batched pass, every k in closed form, with interval and permutation p of the full gallery."""
    subject = torch.zeros(len(responses), dtype=torch.int64)
    z = torch.cat([encoder(*block) for block in zip(responses.split(64), subject.split(64), strict=True)])
    scores = similarity(z.numpy(), gallery.numpy())
    everyone = np.arange(len(responses))
    columns = np.broadcast_to(everyone, (len(responses), len(responses)))
    best, worst = rank_bounds(scores, columns)
    exchanged = expected_top(best, worst, len(gallery), len(gallery))
    bounds = best.diagonal(), worst.diagonal()
    interval(exchanged.diagonal())
    permutation_p(float(exchanged.diagonal().mean()), permuted_scores(stimulus_matrix(exchanged, everyone)))
    return {k: tuple(expected_top(*bounds, len(gallery), k, m).mean() for m in (1, 5)) for k in K_WAY}


def main() -> None:
    """Time both on an untrained ATM (63 channels, 250 samples) whose outputs are the noisy gallery."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    encoder = ATM(63, 250).eval()
    responses = torch.randn(N_TEST, 63, 250)
    with torch.no_grad():
        z = encoder(responses, torch.zeros(N_TEST, dtype=torch.int64))
    gallery = z - z.mean(dim=0)
    gallery = gallery + 0.7 * gallery.std() * torch.randn_like(gallery)
    one_pass(encoder, responses, gallery)  # warm up
    seconds, scores = {}, {}
    for name, run in (("published", published), ("one pass", one_pass)):
        start = time.perf_counter()
        scores[name] = run(encoder, responses, gallery)
        seconds[name] = time.perf_counter() - start
    for k in K_WAY:
        sampled, exact = scores["published"][k][0], scores["one pass"][k][0]
        allowed = 5 * np.sqrt(max(exact * (1 - exact), 1e-4) / N_TEST) if k < N_TEST else 1e-9
        if abs(sampled - exact) > allowed:
            raise SystemExit(f"{k}-way differs: sampled {sampled:.3f}, exact {exact:.3f}")
    print(
        f"evaluation of {N_TEST} test responses: published six passes {seconds['published']:.2f} s, one pass "
        f"{seconds['one pass']:.2f} s, ratio {seconds['published'] / seconds['one pass']:.1f}x"
    )


if __name__ == "__main__":
    main()
