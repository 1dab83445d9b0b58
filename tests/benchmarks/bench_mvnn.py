"""MVNN and epoching of one THINGS-EEG2 session, against the published per-condition loop at equal output.

Run: ``python tests/benchmarks/bench_mvnn.py [--fraction 1.0]``. A full session is 8,270 pictures twice and 200 twenty
times; the default is a tenth of that, and both sides scale with the number of trials. At full size the published loop
needs 20 GB of memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import mne
import numpy as np
import scipy.linalg
from sklearn.discriminant_analysis import _cov
from sklearn.utils import shuffle

from neurodec.data.readers.datasets.things_eeg2 import CHANNELS, SEED, TARGET, ThingsEEG2

FULL = {"train": (8270, 2), "test": (200, 20)}


def write_session(
    root: Path,
    n_train: int,
    n_test: int,
    train_repetitions: int = 2,
    test_repetitions: int = 20,
    *,
    subject: int = 1,
    session: int = 1,
    seed: int = 0,
) -> None:
    """Write one session of correlated noise in the raw layout, with a picture every 200 ms and some target trials."""
    folder = root / "Raw_data" / f"sub-{subject:02d}" / f"ses-{session:02d}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, subject, session])
    mixing = np.eye(63) + 0.2 * rng.standard_normal((63, 63))
    for name, n_pictures, repetitions in (
        ("training", n_train, train_repetitions),
        ("test", n_test, test_repetitions),
    ):
        codes = rng.permutation(np.repeat(np.arange(1, n_pictures + 1), repetitions))
        codes = np.insert(codes, np.arange(10, len(codes), 60), TARGET)
        onsets = 500 + 200 * np.arange(len(codes)) + rng.integers(0, 3, len(codes))
        signals = np.zeros((64, onsets[-1] + 1500))
        for start in range(0, signals.shape[1], 50_000):
            block = signals[:63, start : start + 50_000]
            block[:] = mixing @ (1e-5 * rng.standard_normal(block.shape))
        signals[:63] += 3e-3 * rng.standard_normal((63, 1))  # the offset of a DC amplifier
        for sample in range(10):
            signals[63, onsets + sample] = codes
        content = {
            "raw_eeg_data": signals,
            "ch_names": [*CHANNELS, "stim"],
            "ch_types": ["eeg"] * 63 + ["stim"],
            "sfreq": 1000,
        }
        np.save(folder / f"raw_eeg_{name}.npy", content, allow_pickle=True)


def write_image_folders(root: Path, n_train: int, n_test: int) -> None:
    """Write empty picture files: this reader only needs their names."""
    for folder, count in (("training_images", n_train), ("test_images", n_test)):
        for number in range(1, count + 1):
            concept = f"{folder[:2]}_concept{number}"
            path = root / "image_set" / folder / f"{number:05d}_{concept}" / f"{concept}_01.jpg"
            path.parent.mkdir(parents=True)
            path.touch()


def published_epoching(file: Path, max_rep: int) -> np.ndarray:
    """Epoch, resample and sort one file as NICE and ATM do, one condition after the other."""
    content = np.load(file, allow_pickle=True).item()
    info = mne.create_info(content["ch_names"], content["sfreq"], content["ch_types"])
    raw = mne.io.RawArray(content["raw_eeg_data"], info, verbose="error")
    events = mne.find_events(raw, stim_channel="stim", verbose="error")
    raw.pick(CHANNELS, verbose="error")
    events = events[events[:, 2] != TARGET]
    epochs = mne.Epochs(raw, events, tmin=-0.2, tmax=1.0, baseline=(None, 0), preload=True, verbose="error")
    epochs.resample(250)
    data, codes = epochs.get_data(), epochs.events[:, 2]
    conditions = np.unique(codes)
    sorted_data = np.zeros((len(conditions), max_rep, *data.shape[1:]))
    for row, condition in enumerate(conditions):
        indices = shuffle(np.where(codes == condition)[0], random_state=SEED, n_samples=max_rep)
        sorted_data[row] = data[indices]
    return sorted_data[..., 50:]


def published_whitening(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whiten one session with one scikit-learn covariance per epoch of the training part."""
    sigma = np.empty((len(train), train.shape[2], train.shape[2]))
    for condition in range(len(train)):
        sigma[condition] = np.mean([_cov(epoch.T, shrinkage="auto") for epoch in train[condition]], axis=0)
    whitener = scipy.linalg.fractional_matrix_power(sigma.mean(axis=0), -0.5)
    return tuple((part.swapaxes(2, 3) @ whitener).swapaxes(2, 3) for part in (train, test))


def published_session(
    root: Path, train_repetitions: int = 2, test_repetitions: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Return whitened (conditions, repetitions, channels, times) of training and test of subject 1, session 1."""
    folder = root / "Raw_data" / "sub-01" / "ses-01"
    return published_whitening(
        published_epoching(folder / "raw_eeg_training.npy", train_repetitions),
        published_epoching(folder / "raw_eeg_test.npy", test_repetitions),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fraction", type=float, default=0.1, help="share of a full session's pictures")
    fraction = parser.parse_args().fraction
    n_train, n_test = (max(5, int(FULL[split][0] * fraction)) for split in FULL)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_session(root, n_train, n_test)
        write_image_folders(root, n_train, n_test)
        reader = ThingsEEG2()
        begin = time.perf_counter()
        ours = reader.load(reader.parts(root)[0], root)
        middle = time.perf_counter()
        reference = published_session(root)
        end = time.perf_counter()
    expected = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in reference])
    error = np.abs(ours.responses - expected).max() / np.abs(expected).max()
    print(
        f"MVNN + epoching, {len(ours)} trials: published loop {end - middle:.1f} s, neurodec {middle - begin:.1f} s, "
        f"ratio {(end - middle) / (middle - begin):.1f}x (target 8x), largest relative difference {error:.1e}"
    )


if __name__ == "__main__":
    main()
