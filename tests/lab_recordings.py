"""Files of a lab: BrainVision recordings, epochs, betas and sixty pictures, with responses linear in the pictures."""

import struct
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.io import savemat

from neurodec.features import OpenClip
from neurodec.simulate.rendered_stimuli import draw_study, write_images

N_TRAIN, N_TEST, SFREQ, SPACING = 50, 10, 500, 1.1
NAMES = [
    "P7",
    "P5",
    "P3",
    "P1",
    "Pz",
    "P2",
    "P4",
    "P6",
    "P8",
    "PO7",
    "PO3",
    "POz",
    "PO4",
    "PO8",
    "O1",
    "Oz",
    "O2",
]


def write_pictures(root: Path) -> pd.DataFrame:
    """Write sixty pictures and their table."""
    write_images(root, draw_study((N_TRAIN, 1, N_TEST, 0), seed=0))
    rows = [
        {
            "stimulus": file.stem,
            "image": str(file.relative_to(root)),
            "concept": file.parent.name[6:],
            "split": split,
        }
        for split, folder in (("train", "training_images"), ("test", "test_images"))
        for file in sorted((root / "image_set" / folder).rglob("*.png"))
    ]
    table = pd.DataFrame(rows)
    table.to_csv(root / "pictures.csv", index=False)
    return table


def write_recording(root: Path, stem: str, pictures: pd.DataFrame, repetitions: int = 12) -> None:
    """Write a recording in microvolts, int16 with a resolution, whose evoked part is linear in the picture."""
    rng = np.random.default_rng(1)
    images = OpenClip(model="neurodec/tiny-clip").extract(pictures, root).values
    images = (images - images.mean(axis=0)) / images.std()
    shown = rng.permutation(np.repeat(np.arange(len(pictures)), repetitions))
    onsets = 2 + SPACING * np.arange(len(shown))
    n_samples = round((onsets[-1] + 3) * SFREQ)
    times = np.arange(round(0.6 * SFREQ)) / SFREQ
    bumps = np.stack([np.exp(-(((times - centre) / 0.06) ** 2)) for centre in (0.12, 0.2, 0.3, 0.4)])
    kernels = rng.normal(size=(images.shape[1], len(NAMES), len(bumps))) / np.sqrt(images.shape[1])
    signals = np.cumsum(rng.normal(size=(len(NAMES), n_samples)), axis=1) * 0.2  # drifts
    signals += 6 * rng.normal(size=signals.shape) + 40 * np.sin(np.arange(n_samples) * 2 * np.pi * 50 / SFREQ)
    for row, onset in zip(shown, onsets, strict=True):
        first = round((onset + 0.05) * SFREQ)
        evoked = np.einsum("d,dcb,bt->ct", images[row], kernels, bumps)
        signals[:, first : first + len(times)] += 12 * evoked
    header = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg"]
    header += [f"MarkerFile={stem}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED"]
    header += [f"NumberOfChannels={len(NAMES)}", f"SamplingInterval={1e6 / SFREQ:g}"]
    header += ["[Binary Infos]", "BinaryFormat=INT_16", "[Channel Infos]"]
    header += [f"Ch{place + 1}={name},,0.1,µV" for place, name in enumerate(NAMES)]
    (root / f"{stem}.vhdr").write_text("\n".join(header) + "\n", encoding="utf-8")
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg"]
    marks += ["[Marker Infos]", "Mk1=New Segment,,1,1,0,20200101000000000000"]
    (root / f"{stem}.vmrk").write_text("\n".join(marks) + "\n", encoding="utf-8")
    values = np.round(signals.T / 0.1).clip(-32768, 32767).astype("<i2")
    (root / f"{stem}.eeg").write_bytes(struct.pack(f"<{values.size}h", *values.ravel().tolist()))
    events = pd.DataFrame({"onset": onsets, "stimulus": pictures["stimulus"].to_numpy()[shown]})
    events.to_csv(root / f"{stem}_events.csv", index=False)


def evoked(root: Path, pictures: pd.DataFrame, repetitions: int, n_features: int, noise: float) -> tuple:
    """Return responses (n_trials, n_features) that are linear in the pictures, and which was shown."""
    rng = np.random.default_rng(2)
    images = OpenClip(model="neurodec/tiny-clip").extract(pictures, root).values
    images = (images - images.mean(axis=0)) / images.std(axis=0)
    shown = rng.permutation(np.repeat(np.arange(len(pictures)), repetitions))
    weights = rng.normal(size=(images.shape[1], n_features)) / np.sqrt(images.shape[1])
    return images[shown] @ weights + noise * rng.normal(size=(len(shown), n_features)), shown


def write_epochs(root: Path, pictures: pd.DataFrame, repetitions: int = 4) -> mne.BaseEpochs:
    """Write ``sub-01-epo.fif``: eight channels, 1 s at 100 Hz, names and splits of the pictures as metadata."""
    values, shown = evoked(root, pictures, repetitions, 8 * 100, 2.0)
    info = mne.create_info(NAMES[:8], 100.0, "eeg")
    events = np.column_stack([np.arange(len(shown)) * 200, np.zeros(len(shown), int), shown + 1])
    epochs = mne.EpochsArray(5e-6 * values.reshape(-1, 8, 100), info, events, -0.1, verbose="error")
    epochs.metadata = pictures.iloc[shown][["stimulus", "concept", "split"]].reset_index(drop=True)
    epochs.save(root / "sub-01-epo.fif", verbose="error", overwrite=True)
    return epochs


def write_betas(root: Path, pictures: pd.DataFrame) -> None:
    """Write ``betas_sub-01.mat``: 150 voxels, two showings of every picture."""
    values, shown = evoked(root, pictures, 2, 150, 1.0)
    names = np.array(pictures["stimulus"].iloc[shown].tolist(), dtype=object)
    savemat(root / "betas_sub-01.mat", {"betas": values.astype(np.float32), "shown": names})
