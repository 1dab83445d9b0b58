"""A small study of simple pictures in one file, as labs hand it over: voxels that see, and voxels that do not."""

from pathlib import Path

import numpy as np
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH = 12, 14
N_TRAIN, N_TEST = 60, 8
DATASET = {
    "class_path": "neurodec.data.ArrayPictures",
    "init_args": {
        "file": "figures.mat",
        "responses": {"train": "fmriTrn", "test": "fmriTest"},
        "pictures": {"train": "stimTrn", "test": "stimTest"},
        "concepts": {"train": "labelTrn", "test": "labelTest"},
        "picture_shape": [HEIGHT, WIDTH],
        "picture_order": "F",
    },
}


def bars(n, rng):
    """Return pictures (n, HEIGHT, WIDTH), uint8, of a lying (class 1) or standing (class 2) bar, and the classes."""
    pictures, classes = np.zeros((n, HEIGHT, WIDTH)), np.arange(n) % 2 + 1
    for picture, kind in zip(pictures, classes, strict=True):
        place, begin, length = rng.integers(2, 9), rng.integers(1, 4), rng.integers(5, 9)
        stretch = slice(begin, begin + length)
        rows, columns = (
            (slice(place, place + 2), stretch) if kind == 1 else (stretch, slice(place, place + 2))
        )
        picture[rows, columns] = 1
    soft = gaussian_filter(pictures, (0, 0.4, 0.4)) + 0.02 * rng.random(pictures.shape)
    return np.round(np.clip(soft, 0, 1) * 255).astype(np.uint8), classes


def arrays(rng, n_voxels=120, noise=1.0):
    """Return what the file holds, by key; a third of the voxels see."""
    pictures, classes = bars(N_TRAIN + N_TEST, rng)
    weights = rng.normal(size=(HEIGHT * WIDTH, n_voxels)) * (np.arange(n_voxels) % 3 == 0)
    seen = pictures.reshape(len(pictures), -1) / 255.0
    evoked = (seen - seen.mean(axis=0)) @ weights
    responses = evoked / evoked.std() + noise * rng.normal(size=evoked.shape)
    columns = pictures.transpose(0, 2, 1).reshape(len(pictures), -1)  # MATLAB's order
    train, test = slice(None, N_TRAIN), slice(N_TRAIN, None)
    return {
        "fmriTrn": responses[train],
        "fmriTest": responses[test],
        "stimTrn": columns[train],
        "stimTest": columns[test],
        "labelTrn": classes[train, None].astype(np.uint8),
        "labelTest": classes[test, None].astype(np.uint8),
    }, pictures


def write_figures(root: Path, rng, **options):
    """Write ``figures.mat`` below a data root and return the pictures (n, HEIGHT, WIDTH)."""
    root.mkdir(exist_ok=True)
    content, pictures = arrays(rng, **options)
    savemat(root / "figures.mat", content)
    return pictures
