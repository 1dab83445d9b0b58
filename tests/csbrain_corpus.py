"""A small corpus of EDF recordings: several montages, old and new names, rhythms that channels and seconds share."""

from zlib import crc32

import mne
import numpy as np

from neurodec.preprocessing.electrodes import plain_name

FIRST = [
    "EEG Fp1-REF",
    "EEG Fp2-REF",
    "EEG C3-REF",
    "EEG C4-REF",
    "EEG T3-REF",
    "EEG T4-REF",
    "EEG O1-REF",
    "EEG O2-REF",
]
SECOND = ["Fz", "C3", "Cz", "C4", "P7", "P8", "Oz"]
SFREQ = 256.0


def signals(rng, ch_names, seconds):
    """Return volts (n_chans, n): slow waves and alpha, mixed alike in everybody, and a little of each channel's own."""
    n = round(seconds * SFREQ)
    times = np.arange(n) / SFREQ
    sources = np.cumsum(rng.normal(size=(3, n + 511)), axis=1)
    drifts = np.array([np.convolve(one, np.ones(512) / 512, "valid") for one in sources])
    sources = sources[:, 255 : 255 + n] - drifts
    sources /= sources.std(axis=1, keepdims=True)
    alpha = np.sin(2 * np.pi * 10 * times + rng.uniform(0, 6)) * (1 + 0.3 * np.sin(0.7 * times))
    names = [plain_name(name) for name in ch_names]
    weights = np.stack([np.random.default_rng(crc32(name.encode())).normal(size=4) for name in names])
    mixed = weights[:, :3] @ sources + (1 + 0.3 * weights[:, 3:]) * alpha
    return 6e-6 * (mixed + 0.2 * rng.normal(size=mixed.shape))


def write_edf(path, ch_names, values, sfreq=SFREQ):
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = mne.io.RawArray(values, mne.create_info(list(ch_names), sfreq, "eeg"), verbose="error")
    mne.export.export_raw(path, raw, fmt="edf", overwrite=True, verbose="error")


def write_corpus(root, n_first=6, n_second=3, seconds=64.0, seed=0):
    """Write one recording per subject, and two of the first."""
    rng = np.random.default_rng(seed)
    for subject in range(n_first + n_second):
        names = FIRST if subject < n_first else SECOND
        for session in range(2 if subject == 0 else 1):
            path = root / f"sub-{subject:02d}" / f"sub-{subject:02d}_ses-{session}_eeg.edf"
            write_edf(path, names, signals(rng, names, seconds))
    return root


READER = {"seconds": 5.0, "trim": 2.0, "least": 10.0}
