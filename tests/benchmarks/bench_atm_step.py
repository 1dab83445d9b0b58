"""ATM training step: ours against the published operation order (convolve 40 maps, then pool).

One step is forward, two InfoNCE terms, backward and AdamW on 63 channels x 250 samples. Prints ratios of medians.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.alignment import retrieval_loss
from neurodec.encoders import ATM
from neurodec.encoders.atm import KERNEL, N_FILTERS, POOL, STRIDE


class PublishedConv(nn.Module):
    """The shallow convolution as the authors order it."""

    def __init__(self, n_chans: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, N_FILTERS, (1, KERNEL)),
            nn.AvgPool2d((1, POOL), (1, STRIDE)),
            nn.BatchNorm2d(N_FILTERS),
            nn.ELU(),
            nn.Conv2d(N_FILTERS, N_FILTERS, (n_chans, 1)),
            nn.BatchNorm2d(N_FILTERS),
            nn.ELU(),
            nn.Dropout(0.5),
            nn.Conv2d(N_FILTERS, N_FILTERS, 1),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens[:, None]).squeeze(2).transpose(1, 2).flatten(1)


def seconds_per_step(model: ATM, batch: int, n_steps: int) -> float:
    """Return the median time of a training step."""
    torch.manual_seed(0)
    response, subject = torch.randn(batch, 63, 250), torch.zeros(batch, dtype=torch.long)
    image, text = (F.normalize(torch.randn(batch, 1024), dim=-1) for _ in range(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    times = []
    for _ in range(n_steps + 1):
        started = time.perf_counter()
        loss = retrieval_loss(model.train()(response, subject), image, text, torch.tensor(2.659))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Compare at both batch sizes."""
    for batch, n_steps in ((64, 8), (1024, 2)):
        ours, published = ATM(63, 250), ATM(63, 250)
        published.conv = PublishedConv(63)
        times = [seconds_per_step(model, batch, n_steps) for model in (published, ours)]
        print(
            f"ATM step, batch {batch}: published order {times[0]:.2f} s, ours {times[1]:.2f} s, "
            f"{batch / times[1]:.0f} samples/s, ratio {times[0] / times[1]:.2f} (target 1.5)"
        )


if __name__ == "__main__":
    main()
