"""Small studies whose responses are a linear image of the targets, so that decoding works within a second."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from neurodec.data import Study, Trials
from neurodec.data.trial_tables import with_defaults
from neurodec.features import Features

WIDTH, N_TRAIN, N_TEST, N_TIMES = 16, 160, 20, 100
CHANS = {"anna": 6, "ben": 9, "cleo": 9}
QUICK = {
    "n_permutations": 100,
    "windows": None,
    "channels": False,
    "repetition_curve": False,
}
QUICK |= {"regions": False}
TARGETS = {
    name: {
        "class_path": "neurodec.features.FeatureFiles",
        "init_args": {"file": "targets/features.npz", "ids": "names", "key": name},
    }
    for name in ("image", "text")
}


def write_study(root: Path, chans=CHANS, noise=1.0, patterns=False) -> Path:
    """Write one array file per subject, `pictures.csv` and `targets/features.npz`."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"t{i:03d}" for i in range(N_TRAIN)] + [f"z{i:03d}" for i in range(N_TEST)]
    image, text = rng.normal(size=(2, len(names), WIDTH))
    (root / "targets").mkdir(exist_ok=True)
    np.savez(root / "targets/features.npz", image=image, text=text + image, names=np.array(names))
    (root / "pictures").mkdir(exist_ok=True)
    for name, row in zip(names, image, strict=True):  # the colour is the embedding's beginning
        colour = tuple(int(value) for value in np.clip(128 + 40 * row[:3], 0, 255))
        Image.new("RGB", (16, 16), colour).save(root / f"pictures/{name}.png")
    splits = np.where([name.startswith("t") for name in names], "train", "test")
    pictures = [f"pictures/{name}.png" for name in names]
    pd.DataFrame({"stimulus": names, "image": pictures, "split": splits}).to_csv(
        root / "pictures.csv", index=False
    )
    for subject, n_chans in chans.items():
        rows = np.concatenate([np.arange(N_TRAIN), np.tile(np.arange(N_TRAIN, len(names)), 3)])
        shape = (10 * n_chans,) if patterns else (n_chans, N_TIMES)
        weights = rng.normal(size=(WIDTH, *shape)) / WIDTH**0.5
        responses = np.tensordot(image[rows], weights, axes=1) + noise * rng.normal(size=(len(rows), *shape))
        shown = np.array(names)[rows]
        np.savez(
            root / f"responses_{subject}.npz",
            responses=responses.astype(np.float32),
            shown=shown,
            subjects=np.array([subject] * len(rows)),
        )
    return root


def dataset(patterns=False):
    """Return the section that reads such a study."""
    axes = ["trial", "voxel"] if patterns else ["trial", "channel", "time"]
    more = {"modality": "fmri"} if patterns else {"sfreq": 100.0}
    columns = {"stimulus": "shown", "subject": "subjects"}
    arguments = {"file": "responses_{subject}.npz", "axes": axes, "columns": columns, **more}
    return {
        "class_path": "neurodec.data.ArrayFile",
        "init_args": {**arguments, "stimuli_table": "pictures.csv"},
    }


def write_recipe(path: Path, *, patterns=False, **sections) -> Path:
    """Write a recipe on such a study."""
    retrieval = {"class_path": "neurodec.evaluation.Retrieval", "init_args": QUICK}
    content = {"name": "test", "dataset": dataset(patterns), "targets": TARGETS, "evaluation": retrieval}
    path.write_text(yaml.safe_dump({**content, **sections}))
    return path


def study_of(chans=CHANS, noise=1.0, n_train=N_TRAIN, seed=0) -> tuple[Study, dict[str, Features]]:
    """Return the training trials of such a study, one space per number of channels, and its targets."""
    rng = np.random.default_rng(seed)
    names = [f"t{i:03d}" for i in range(n_train)]
    values = {name: rng.normal(size=(n_train, WIDTH)).astype(np.float32) for name in ("image", "text")}
    spaces: dict[str, list[Trials]] = {}
    for subject, n_chans in chans.items():
        weights = rng.normal(size=(WIDTH, n_chans, N_TIMES)) / WIDTH**0.5
        responses = np.tensordot(values["image"], weights, axes=1)
        responses += noise * rng.normal(size=responses.shape)
        table = with_defaults(pd.DataFrame({"stimulus": names, "subject": subject, "split": "train"}))
        info = {"modality": "eeg", "units": "a.u.", "sfreq": 100.0, "tmin": 0.0}
        info["ch_names"] = [f"E{i}" for i in range(n_chans)]
        spaces.setdefault(f"{n_chans}", []).append(Trials(responses.astype(np.float32), table, info))
    stimuli = pd.DataFrame({"stimulus": names, "concept": names, "split": "train", "image": ""})
    joined = {f"of-{n}": Trials.concatenate(parts) for n, parts in spaces.items()}
    features = {name: Features(own, names, {"embedding_space": name}) for name, own in values.items()}
    return Study(joined, stimuli), features
