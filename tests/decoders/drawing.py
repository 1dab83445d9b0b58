"""What the tests of the decoders draw from and compare."""

import numpy as np
import torch
from PIL import Image


def embeddings(n, *shape, seed=0):
    """Random embeddings (n, *shape)."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def seeded(seeds):
    """One generator per seed."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def noise_pictures(n, size=16, seed=0):
    """Pictures of random pixels."""
    values = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Image.fromarray(own) for own in values]


def pixels(pictures):
    """Pictures as integers (n, size, size, 3), which can be subtracted."""
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)
