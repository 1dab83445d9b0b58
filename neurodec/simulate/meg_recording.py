"""Simulated participants in the layout of THINGS-MEG: epochs of CTF-like gradiometers."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from neurodec.data.readers.datasets.things_meg import CATCH
from neurodec.files import atomic_path
from neurodec.simulate.evoked_responses import Responses
from neurodec.simulate.recording import Head, Nuisance, record
from neurodec.simulate.rendered_stimuli import Study, shuffled
from neurodec.simulate.sources import NANO

N_SENSORS = 91  # a third of the CTF helmet: the same view of the head at a third of the time and disk
SFREQ = 200.0
TMIN, TMAX = -0.1, 1.3
SOA = 1.5
BLOCK = 60  # pictures per run
CTF_GRADIOMETER = 5001  # coil type of a 50 mm axial gradiometer, FIFFV_COIL_CTF_GRAD
RESPONSES = Responses(evoked=16 * NANO)  # single trials decide: training pictures are shown once
NUISANCE = Nuisance(blinks_per_minute=8.0, contact=0.05, unsteadiness=0.3)  # coils touch no skin


def ctf_info(sfreq: float = SFREQ, n_sensors: int = N_SENSORS) -> mne.Info:
    """Return info of axial gradiometers on a helmet of 115 mm radius, named ``MLO11``-like by side and region."""
    directions = _helmet(n_sensors)
    info = mne.create_info(_names(directions), sfreq, "mag")
    for channel, normal in zip(info["chs"], directions, strict=True):
        side = np.linalg.svd(normal[None])[2][1:]  # two axes across the coil
        side[1] *= np.sign(np.linalg.det(np.stack([*side, normal])))
        channel["loc"][:] = np.concatenate([0.115 * normal + [0.0, 0.0, 0.04], *side, normal])
        channel["coil_type"] = CTF_GRADIOMETER
    info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.eye(4))
    return info


def _helmet(n_sensors: int) -> np.ndarray:
    """Spread unit vectors (n_sensors, 3) evenly over the head down to the ears, on a Fibonacci spiral."""
    steps = np.arange(n_sensors) + 0.5
    height = 1.0 - steps / n_sensors * 1.35
    azimuth = steps * np.pi * (3.0 - np.sqrt(5.0))
    radius = np.sqrt(1.0 - height**2)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)


def _names(directions: np.ndarray) -> list[str]:
    """Name sensors as CTF does: M, side, region (frontal, central, temporal, parietal, occipital), number."""
    names, counts = [], {}
    for x, y, z in directions:
        side = "Z" if abs(x) < 0.04 else "R" if x > 0 else "L"
        if abs(x) > 0.65 and z < 0.45:
            region = "T"
        else:
            region = "F" if y > 0.3 else "C" if y > -0.15 else "P" if y > -0.55 else "O"
        counts[side + region] = number = counts.get(side + region, 10) + 1
        names.append(f"M{side}{region}{number}")
    return names


def write_participant(root: Path, study: Study, subject: int, test_repetitions: int, seed: int) -> None:
    """Write ``derivatives/preprocessed/preprocessed_P<subject>-epo.fif``, unless it is there.

    Parameters
    ----------
    root : Path
    study : Study
    subject : int
        From 1.
    test_repetitions : int
        Of every test picture; training pictures are shown once.
    seed : int

    Notes
    -----
    Event ids are lines of ``image_paths.csv``: training pictures first, then test pictures. One picture in twenty is
    followed by a catch trial. Later participants have fewer working sensors.
    """
    file = participant_file(root, subject)
    if file.exists():
        return
    rng = np.random.default_rng([seed, 1000 + subject])
    info = ctf_info()
    head = Head.draw(info, rng)
    tested = np.repeat(np.arange(study.n_train, study.n_train + study.n_test), test_repetitions)
    rows = shuffled(rng, np.concatenate([np.arange(study.n_train), tested]), 1)
    rows = np.insert(rows, np.arange(20, len(rows), 20), -1)  # -1 is the catch trial
    runs = [
        _record_run(head, study, rows[start : start + BLOCK], rng) for start in range(0, len(rows), BLOCK)
    ]
    codes = np.where(rows < 0, CATCH, rows + 1)
    events = np.stack([np.arange(len(rows)) * int(SOA * SFREQ), np.zeros(len(rows), int), codes], axis=1)
    epochs = mne.EpochsArray(np.concatenate(runs), info, events, tmin=TMIN, baseline=None, verbose="error")
    broken = info["ch_names"][: subject - 1]  # none in the first participant
    epochs.drop_channels(broken)
    with atomic_path(file) as partial:
        epochs.save(partial, fmt="single", split_naming="neuromag", verbose="error")


def _record_run(head: Head, study: Study, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Record up to 60 pictures and cut the epochs (n, 91, 281), baseline corrected."""
    onsets = np.round((1.0 + SOA * np.arange(len(rows))) * SFREQ).astype(int)
    drives = [drive[rows] * (rows >= 0)[:, None] for drive in study.drives]
    n_samples = int(onsets[-1] + 2 * SFREQ)
    data = record(head, drives, onsets, n_samples, SFREQ, RESPONSES, NUISANCE, rng)
    first, last = round(TMIN * SFREQ), round(TMAX * SFREQ)
    epochs = np.stack([data[:, onset + first : onset + last + 1] for onset in onsets])
    return epochs - epochs[:, :, :-first].mean(axis=2, keepdims=True)


def participant_file(root: Path, subject: int) -> Path:
    """Return the epochs file of a participant."""
    return root / "derivatives" / "preprocessed" / f"preprocessed_P{subject}-epo.fif"


def write_picture_list(root: Path, study: Study) -> None:
    """Write ``image_paths.csv`` and ``image_concept_index.csv``, which give event ids their meaning."""
    table = study.table()
    table = table[table["split"] != "gallery"]
    numbers = {concept: number for number, concept in enumerate(sorted(set(table["concept"])), start=1)}
    with atomic_path(root / "image_paths.csv") as partial:
        partial.write_text("".join(f"image_set/{image}\n" for image in table["image"]), encoding="utf-8")
    with atomic_path(root / "image_concept_index.csv") as partial:
        partial.write_text("".join(f"{numbers[name]}\n" for name in table["concept"]), encoding="utf-8")
