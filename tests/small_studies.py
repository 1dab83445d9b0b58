"""Small studies in the formats that people hand over, for spoiling one thing at a time.

Every writer fills a data root and has a `dataset:` section beside it in `STUDIES` that reads it.
"""

from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
from benchmarks.bench_mvnn import write_image_folders, write_session
from data.readers.recording_files import CH_NAMES, SFREQ, evoked_signals, write_brainvision, write_edf
from PIL import Image

ONSETS = np.arange(1, 19, 1.5)
NAMES = np.array(["cat", "dog"] * 6)
N_TRAIN, N_TEST = 12, 4


def write_fif(path: Path, signals, ch_names=CH_NAMES):
    info = mne.create_info(list(ch_names), SFREQ, "eeg")
    mne.io.RawArray(signals, info, verbose="error").save(path, verbose="error", overwrite=True)


def read_fif(path: Path):
    return mne.io.read_raw(path, preload=True, verbose="error").get_data()


def write_events(path: Path, **columns):
    pd.DataFrame({"onset": ONSETS, "stimulus": NAMES, **columns}).to_csv(path, index=False)


def fif(root: Path):
    """Two runs of subject 7, each with its events, and a table of pictures."""
    for run in (1, 2):
        signals = evoked_signals(np.random.default_rng(run), ONSETS, NAMES, n_seconds=20)
        write_fif(root / f"sub-7_run-{run}_raw.fif", signals)
        write_events(root / f"sub-7_run-{run}.csv", split="cv")
    (root / "pictures.csv").write_text("stimulus,image\ncat,\ndog,\n")


def edf(root: Path):
    """One run whose header says how long it is."""
    write_edf(root / "a.edf", evoked_signals(np.random.default_rng(0), ONSETS, NAMES, n_seconds=20))
    write_events(root / "a.csv")


def brainvision(root: Path):
    """One run with markers in the file."""
    signals = evoked_signals(np.random.default_rng(0), ONSETS, NAMES, n_seconds=20)
    write_brainvision(root / "a.vhdr", signals, ONSETS, np.where(NAMES == "cat", "S  1", "S  2"))


def muse(root: Path):
    """One run of a headband, in microvolts."""
    rng, names = np.random.default_rng(0), ["TP9", "AF7", "AF8", "TP10"]
    table = pd.DataFrame(rng.normal(30, 15, (2560, 4)).round(3), columns=names)
    table.insert(0, "timestamps", np.round(np.arange(2560) / 256, 3))
    table["Marker0"] = 0
    table.loc[[512, 1024, 1536, 2048], "Marker0"] = [1, 2, 1, 2]
    (root / "subject3/session1").mkdir(parents=True)
    table.to_csv(root / "subject3/session1/data_1.csv", index=False)


def bids(root: Path):
    """Two runs of fMRI with a mask."""
    rng, affine = np.random.default_rng(0), np.diag([3.0, 3.0, 3.0, 1.0])
    nibabel.save(
        nibabel.Nifti1Image(np.ones((4, 3, 2), np.uint8), affine), root / "sub-05_desc-brain_mask.nii.gz"
    )
    for run in (1, 2):
        image = nibabel.Nifti1Image(rng.normal(100, 1, (4, 3, 2, 40)).astype(np.float32), affine)
        image.header.set_zooms((3, 3, 3, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, root / f"sub-05_task-view_run-{run}_bold.nii.gz")
        events = pd.DataFrame({"onset": [8.0, 40.0], "duration": 10.0, "trial_type": ["face", "house"]})
        events.to_csv(root / f"sub-05_task-view_run-{run}_events.tsv", sep="\t", index=False)


def things(root: Path):
    """Two sessions in the raw layout of THINGS-EEG2."""
    for session in (1, 2):
        write_session(root, 4, 2, 2, 4, session=session)
    write_image_folders(root, 4, 2)


def session_file(root: Path, name="training", session=1):
    return root / f"Raw_data/sub-01/ses-{session:02d}/raw_eeg_{name}.npy"


def arrays(root: Path):
    """Two subjects, trials cut already, with pictures."""
    rng = np.random.default_rng(0)
    names = [f"{split}{i:02d}" for split, n in (("train", N_TRAIN), ("test", N_TEST)) for i in range(n)]
    (root / "pictures").mkdir()
    for name in names:
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        picture.save(root / f"pictures/{name}.png")
    rows = [f"{name},pictures/{name}.png,{name[:-2]}" for name in names]
    (root / "pictures.csv").write_text("\n".join(["stimulus,image,split", *rows]) + "\n")
    for subject in ("anna", "ben"):
        shown = np.array(names * 2)
        write_arrays(
            root / f"{subject}.npz",
            responses=rng.normal(size=(len(shown), 4, 80)).astype(np.float32),
            shown=shown,
            concepts=np.array([f"a {name}" for name in shown]),
            splits=np.array([name[:-2] for name in shown]),
            subjects=np.array([subject] * len(shown)),
            channels=np.array(CH_NAMES),
        )


def write_arrays(path: Path, **content):
    """Write an array file, or change some arrays of one."""
    before = dict(np.load(path)) if path.exists() else {}
    np.savez(path, **{**before, **content})


_CUT = {"tmax": 0.5}
STUDIES = {
    "fif": (
        fif,
        {
            "class_path": "neurodec.data.Recordings",
            "init_args": {
                "files": "sub-{subject}_run-{run}_raw.fif",
                "events": "sub-{subject}_run-{run}.csv",
                "stimuli_table": "pictures.csv",
                "preprocessing": _CUT,
            },
        },
    ),
    "edf": (
        edf,
        {
            "class_path": "neurodec.data.Recordings",
            "init_args": {"files": "*.edf", "events": "a.csv", "preprocessing": _CUT},
        },
    ),
    "brainvision": (
        brainvision,
        {
            "class_path": "neurodec.data.Recordings",
            "init_args": {"files": "*.vhdr", "preprocessing": _CUT},
        },
    ),
    "muse": (
        muse,
        {
            "class_path": "neurodec.data.MuseCSV",
            "init_args": {"event_id": {"house": 1, "face": 2}, "preprocessing": _CUT},
        },
    ),
    "bids": (
        bids,
        {"class_path": "neurodec.data.BidsFMRI", "init_args": {"estimate": "block_mean"}},
    ),
    "things": (things, {"class_path": "neurodec.data.ThingsEEG2", "init_args": {}}),
    "arrays": (
        arrays,
        {
            "class_path": "neurodec.data.ArrayFile",
            "init_args": {
                "file": "*.npz",
                "axes": ["trial", "channel", "time"],
                "labels": {"channel": "channels"},
                "columns": {
                    "stimulus": "shown",
                    "concept": "concepts",
                    "split": "splits",
                    "subject": "subjects",
                },
                "sfreq": 100.0,
                "stimuli_table": "pictures.csv",
            },
        },
    ),
}
