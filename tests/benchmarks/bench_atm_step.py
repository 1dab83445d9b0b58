"""ATM training step: ours against the published operation order (convolve 40 maps, then pool).

One step is forward, two InfoNCE terms, backward and AdamW on 63 channels x 250 samples. Prints ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders import ATM
from neurodec.encoders.shallow_conv import KERNEL, N_FILTERS, POOL, STRIDE
from neurodec.training import retrieval_loss


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


def trainer_of(model: ATM, batch: int) -> Callable[[], float]:
    """Return a function that makes one training step and tells how long it took."""
    torch.manual_seed(0)
    response, subject = torch.randn(batch, 63, 250), torch.zeros(batch, dtype=torch.long)
    image, text = (F.normalize(torch.randn(batch, 1024), dim=-1) for _ in range(2))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-4)

    def step() -> float:
        started = time.perf_counter()
        loss = retrieval_loss(model(response, subject), image, text, torch.tensor(2.659))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def main() -> None:
    """Compare at both batch sizes, in turn; the best times, because other programs only ever slow one down."""
    for batch, n_steps in ((64, 12), (1024, 3)):
        ours, published = ATM(63, 250), ATM(63, 250)
        published.conv = PublishedConv(63)
        steps = [trainer_of(model, batch) for model in (published, ours)]
        times = list(zip(*([step() for step in steps] for _ in range(n_steps)), strict=True))
        theirs, own = (min(column) for column in times)
        print(
            f"ATM step, batch {batch}: published order {theirs:.2f} s, ours {own:.2f} s, "
            f"{batch / own:.0f} samples/s, ratio {theirs / own:.2f} (target 1.5)",
            flush=True,
        )


if __name__ == "__main__":
    main()
