"""Small valid inputs of everything that neurodec reads, and what reads them."""

import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import labelled_trees as trees
import mne
import nibabel
import numpy as np
import pandas as pd
import scipy.io
import torch
import yaml
from data.readers.recording_files import (
    CH_NAMES,
    write_bold,
    write_brainvision,
    write_edf,
    write_eeglab,
    write_xdf,
)
from linear_studies import study_of
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from neurodec import data
from neurodec.data import Study, load_stimuli, prepare
from neurodec.encoders import ATM
from neurodec.features import FeatureFiles, Features, load_clip, load_tokenizer
from neurodec.features.weights import ASSETS
from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.priors import LinearPrior, load_prior
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.systems import InContextSystem, LightningSystem, RidgeSystem, load_system
from neurodec.training.fit import read_own_checkpoint

RATE = 250.0
ONSETS = np.arange(1, 7, 0.75)
NAMES = np.array(["cat", "dog"] * 4)
LABELLED = ("CHBMIT", "Siena", "TUEV", "TUSL", "BCICIV2a", "SEEDVIG", "ISRUC", "HMC")
ARRAYS = (".npz", ".npy", ".mat", ".h5", ".pt", ".safetensors")
SETTINGS = EEGPreprocessing(tmax=0.3)


def signals(seed=0):
    return 1e-5 * np.random.default_rng(seed).standard_normal((4, 2000))


def write_events(path, **columns):
    pd.DataFrame({"onset": ONSETS, "stimulus": NAMES, **columns}).to_csv(path, index=False)


def pictures(root):
    (root / "pictures.csv").write_text(
        "stimulus,image,concept,split,caption\ncat,cat.png,c,cv,a cat\ndog,,d,cv,\n"
    )
    Image.new("RGB", (4, 4)).save(root / "cat.png")


def raw_of(seed=0):
    return mne.io.RawArray(signals(seed), mne.create_info(CH_NAMES, RATE, "eeg"), verbose="error")


def fif(root):
    raw_of().save(root / "a_raw.fif", verbose="error")
    write_events(root / "a.csv")
    pictures(root)


def fif_markers(root):
    raw = raw_of()
    raw.set_annotations(mne.Annotations(ONSETS, 0.0, NAMES))
    raw.save(root / "a_raw.fif", verbose="error")


def epochs(root):
    events = np.c_[np.round(ONSETS * RATE).astype(int), np.zeros(8, int), np.tile([1, 2], 4)]
    mne.Epochs(
        raw_of(),
        events,
        {"cat": 1, "dog": 2},
        -0.2,
        0.3,
        metadata=pd.DataFrame({"picture": NAMES}),
        preload=True,
        verbose="error",
    ).save(root / "a-epo.fif", verbose="error")


def edf(root):
    write_edf(root / "a.edf", signals())
    write_events(root / "a.csv")


def edf_pauses(root):
    write_edf(
        root / "a.edf",
        signals(),
        starts=[0, 1, 2, 3, 9, 10, 11, 12],
        marks=list(zip(ONSETS[:3], NAMES[:3], strict=True)),
    )


def bdf(root):
    status = np.zeros(2000, dtype=int)
    for onset, code in zip(ONSETS, np.tile([1, 2], 4), strict=True):
        status[round(onset * RATE) :][:5] = code
    write_edf(root / "a.bdf", signals(), bdf=True, status=status)


def brainvision(root):
    write_brainvision(root / "a.vhdr", signals(), ONSETS, np.where(NAMES == "cat", "S  1", "S  2"))


def eeglab(root):
    write_eeglab(root / "a.set", signals())
    write_events(root / "a.csv")


def xdf(root):
    write_xdf(root / "a.xdf", signals(), ONSETS, NAMES)


def bids_eeg(root):
    folder = root / "sub-01/eeg"
    folder.mkdir(parents=True)
    write_brainvision(folder / "sub-01_task-a_eeg.vhdr", signals())
    table = pd.DataFrame({"onset": ONSETS, "duration": 0.1, "trial_type": NAMES, "value": 1})
    table.to_csv(folder / "sub-01_task-a_events.tsv", sep="\t", index=False)
    channels = pd.DataFrame({"name": CH_NAMES, "type": "EEG", "units": "uV", "status": "good"})
    channels.to_csv(folder / "sub-01_task-a_channels.tsv", sep="\t", index=False)


def bids_fmri(root):
    write_bold(root, 40)
    (root / "sub-01_task-a_bold.json").write_text(json.dumps({"RepetitionTime": 2.0, "TaskName": "a"}))
    table = pd.DataFrame(
        {"onset": np.arange(4, 64, 10), "duration": 2.0, "trial_type": ["face", "house"] * 3}
    )
    table.to_csv(root / "sub-01_task-a_events.tsv", sep="\t", index=False)


def nifti_plain(root):
    bids_fmri(root)
    for file in root.glob("*.nii.gz"):
        nibabel.save(nibabel.load(file), file.with_suffix(""))
        file.unlink()


def arrays(suffix):
    def write(root):
        betas = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
        pd.DataFrame({"stimulus": ["a", "b", "c"] * 4, "run": ["1", "2"] * 6}).to_csv(
            root / "t.csv", index=False
        )
        path = root / f"x{suffix}"
        if suffix == ".npz":
            np.savez(path, responses=betas)
        elif suffix == ".npy":
            np.save(path, {"betasmd": betas, "R2": betas[0]}, allow_pickle=True)
        elif suffix == ".mat":
            scipy.io.savemat(path, {"betas": betas, "names": np.array(["a", "b"], dtype=object)})
        elif suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["results/betas"] = betas
        elif suffix == ".pt":
            torch.save({"responses": torch.from_numpy(betas)}, path)
        elif suffix == ".safetensors":
            save_file({"responses": betas}, path)

    return write


def muse(root):
    rng, names = np.random.default_rng(0), ["TP9", "AF7", "AF8", "TP10"]
    table = pd.DataFrame(rng.normal(30, 15, (2560, 4)).round(1), columns=names)
    table.insert(0, "timestamps", np.round(np.arange(2560) / 256, 3))
    table["Marker0"] = 0
    table.loc[[600, 1200, 1800], "Marker0"] = [1, 2, 1]
    table.to_csv(root / "data.csv", index=False)


def image_set(root, n_train=4, n_test=2):
    for folder, count in (("training_images", n_train), ("test_images", n_test)):
        for i in range(count):
            path = root / "image_set" / folder / f"{i + 1:05d}_{folder[:2]}{i}"
            path.mkdir(parents=True)
            (path / f"{folder[:2]}{i}_01.jpg").touch()


def things_raw(root):
    image_set(root)
    for name, n_pictures, repetitions in (("training", 4, 2), ("test", 2, 3)):
        rng = np.random.default_rng(n_pictures)
        codes = rng.permutation(np.repeat(np.arange(1, n_pictures + 1), repetitions))
        values = 1e-5 * rng.standard_normal((4, 200 * (len(codes) + 8)))
        values[3] = 0
        values[3, 600 + 200 * np.arange(len(codes))] = codes
        content = {
            "raw_eeg_data": values,
            "ch_names": ["O1", "Oz", "O2", "stim"],
            "ch_types": ["eeg", "eeg", "eeg", "stim"],
            "sfreq": 1000,
        }
        path = root / "Raw_data/sub-01/ses-01"
        path.mkdir(parents=True, exist_ok=True)
        (path / f"raw_eeg_{name}.npy").write_bytes(pickle.dumps(content, protocol=2))


def things_preprocessed(root):
    image_set(root)
    path = root / "Preprocessed_data_250Hz/sub-01"
    path.mkdir(parents=True)
    for name, n_pictures, repetitions in (("training", 4, 2), ("test", 2, 3)):
        values = np.random.default_rng(n_pictures).standard_normal((n_pictures, repetitions, 3, 20))
        content = {
            "preprocessed_eeg_data": values,
            "ch_names": ["O1", "Oz", "O2"],
            "times": np.arange(20) / 250,
        }
        (path / f"preprocessed_eeg_{name}.npy").write_bytes(pickle.dumps(content, protocol=4))


def recipe(root):
    content = {
        "name": "x",
        "dataset": {
            "class_path": "neurodec.data.Recordings",
            "init_args": {"files": "a.edf", "event_id": {"cat": 1}, "preprocessing": {"tmax": 0.3}},
        },
        "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
        "data": {"batch_size": 8},
        "encoder": {"class_path": "neurodec.encoders.ATM", "init_args": {"d_ff": 16}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
        "trainer": {"max_epochs": 2, "callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}]},
        "evaluation": {"class_path": "neurodec.evaluation.Retrieval", "init_args": {"n_permutations": 30}},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def store(root):
    arrays(".npz")(root)
    prepare(_array("x.npz"), root, root / "prepared")
    for name in ("x.npz", "t.csv"):
        (root / name).unlink()
    Features(np.eye(3, dtype=np.float32), ["a", "b", "c"], {"embedding_space": "x", "key": "k"}).save(
        root / "features"
    )


def model(root):
    sizes = {"n_chans": 4, "n_times": 80, "n_outputs": 8, "n_subjects": 1, "d_ff": 8}
    torch.manual_seed(0)
    facts = {"subjects": ["01"], "ch_names": CH_NAMES, "sfreq": RATE, "tmin": 0.0, "n_times": 80}
    config = {"encoder": {"class_path": "neurodec.encoders.ATM", "init_args": sizes}, **facts}
    LightningSystem.of(ATM(**sizes), config).save_pretrained(root / "encoder")
    z = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    prior = LinearPrior().fit(z, z, np.arange(30) % 6, embedding_space="x")
    prior.save_pretrained(root / "prior")
    torch.save(
        {"state_dict": {"w": torch.ones(3)}, "epoch": 1, "callbacks": {}, "loops": {"a": [1]}},
        root / "last.ckpt",
    )
    save_tensors({"w": torch.ones(3)}, root / "loose.safetensors")


def ridge(root):
    study, targets = study_of({"ben": 9}, n_train=24)
    RidgeSystem(targets=["image"]).fit(study, targets, out=root, name="x")


def person(root):
    study, targets = study_of({"ben": 9}, n_train=24)
    InContextSystem(way="prior", inverse="bayes").fit(study, targets, out=root, name="x")


def read_system(root, _):
    study, _ = study_of({"ben": 9}, n_train=24)
    load_system(root / "models/x").predict(study)


def features(root):
    vectors = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    np.savez(root / "a.npz", v=vectors, names=np.array(["cat", "dog"]))
    torch.save(dict(zip(["cat", "dog"], torch.from_numpy(vectors), strict=True)), root / "b.pt")
    save_file({"cat": vectors[0], "dog": vectors[1]}, root / "c.safetensors")


def read_features(root, _):
    stimuli = pd.DataFrame({"stimulus": ["dog", "cat"]})
    FeatureFiles("a.npz", ids="names").extract(stimuli, root)
    FeatureFiles("b.pt").extract(stimuli, root)
    FeatureFiles("c.safetensors").extract(stimuli, root)


def clip(root):
    shutil.copytree(ASSETS / "tiny-clip", root / "clip")


def read_clip(root, _):
    load_clip(f"local-dir:{root / 'clip'}")
    load_tokenizer(f"local-dir:{root / 'clip'}")(["a cat"])


def things_meg(root):
    codes = np.random.default_rng(0).permutation(np.r_[np.arange(1, 7), [1, 1], [999999]])
    events = np.c_[300 * np.arange(1, len(codes) + 1), np.zeros_like(codes), codes]
    info = mne.create_info(["MLC11", "MLC12"], 200.0, "mag")
    values = 1e-13 * np.random.default_rng(0).standard_normal((len(codes), 2, 81))
    folder = root / "derivatives/preprocessed"
    folder.mkdir(parents=True)
    mne.EpochsArray(values, info, events, tmin=-0.1, verbose="error").save(
        folder / "preprocessed_P1-epo.fif", verbose="error"
    )
    images = [f"images/c{i // 2}/c{i // 2}_{i % 2}.jpg" for i in range(6)]
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    (root / "image_paths.csv").write_text("\n".join(images) + "\n")
    (root / "image_concept_index.csv").write_text("".join(f"{i // 2 + 1}\n" for i in range(6)))


def read_model(root, _):
    for read, name in (
        (load_system, "encoder"),
        (load_prior, "prior"),
        (read_own_checkpoint, "last.ckpt"),
    ):
        read(root / name)


def read_store(root, _):
    Study.load(root / "prepared").trials.average()
    load_stimuli(root / "prepared")
    Features.load(root / "features").rows(["a"])


def _array(file):
    return data.ArrayFile(file, axes=["trial", "voxel"], table="t.csv", modality="fmri")


def labelled(root, kind):
    """Write three people of a data set of classes, in its official layout."""
    names = getattr(data, kind).ch_names
    if kind == "CHBMIT":
        for person in ("chb01", "chb20", "chb23"):
            trees.chbmit(root, names, person, 1, 20, ((5, 8),))
    elif kind == "TUSL":
        for person in ("aaaaaaju", "aaaaaaka", "aaaaaakb"):
            trees.tusl(root, person, [(0.0, 10.0, "bckg")], 12)
    elif kind == "TUEV":
        for part, person in (("train", "aaaaaaar"), ("train", "aaaaaaas"), ("eval", "000")):
            trees.tuev(root, part, person, [(3, 2.0, 3.0, 6)], 6)
    elif kind == "Siena":
        for person in ("PN00", "PN11", "PN13"):
            trees.siena(root, names, person, 1, 40)
    elif kind == "SEEDVIG":
        for name in ("1_20151124_noon", "2_20151106_noon", "3_20151024_noon"):
            trees.seedvig(root, name, 2)
    else:
        writers = {"BCICIV2a": trees.bciciv2a, "ISRUC": trees.isruc, "HMC": trees.hmc}
        for person in (1, 2, 3):
            few = {"BCICIV2a": {"n_runs": 1, "labels": (1, 2)}, "ISRUC": {"n_epochs": 2, "codes": (0, 2)}}
            given = [] if kind == "BCICIV2a" else [names]
            own = {"stages": ("W", "N2")} if kind == "HMC" else few[kind]
            writers[kind](root, *given, person, **own)


def _labelled(kind):
    return Target(lambda root: labelled(root, kind), getattr(data, kind)(split="by_people"), leakage="none")


@dataclass(frozen=True)
class Target:
    """What to write, what reads it, and how often it is tried."""

    write: Any
    reader: Any = None
    read: Any = None
    weight: int = 1
    leakage: str = "concept"

    def run(self, root: Path, out: Path) -> None:
        if self.read is not None:
            self.read(root, out)
        else:
            prepare(self.reader, root, out, self.leakage)


def _recordings(file, events="a.csv", **more):
    return data.Recordings(file, events=events, preprocessing=SETTINGS, **more)


TARGETS = {
    "fif": Target(fif, _recordings("a_raw.fif", stimuli_table="pictures.csv"), weight=3),
    "fif-markers": Target(fif_markers, _recordings("a_raw.fif", events=None)),
    "epochs": Target(
        epochs, data.EpochsFiles("a-epo.fif", stimulus="picture", preprocessing=SETTINGS), weight=2
    ),
    "edf": Target(edf, _recordings("a.edf"), weight=2),
    "edf-pauses": Target(edf_pauses, _recordings("a.edf", events=None), weight=2),
    "bdf": Target(bdf, _recordings("a.bdf", events=None)),
    "brainvision": Target(brainvision, _recordings("a.vhdr", events=None), weight=2),
    "eeglab": Target(eeglab, _recordings("a.set"), weight=2),
    "xdf": Target(xdf, _recordings("a.xdf", events=None)),
    "bids-eeg": Target(bids_eeg, data.BidsEEG(preprocessing=SETTINGS), weight=3),
    "bids-fmri": Target(bids_fmri, data.BidsFMRI(), weight=3),
    "nifti": Target(nifti_plain, data.BidsFMRI(estimate="block_mean"), weight=3),
    **{f"array{end}": Target(arrays(end), _array(f"x{end}")) for end in ARRAYS},
    "muse": Target(
        muse, data.MuseCSV({"house": 1, "face": 2}, preprocessing=EEGPreprocessing(tmin=-0.1, tmax=0.3))
    ),
    "things-raw": Target(things_raw, data.ThingsEEG2(ch_names=["O1", "Oz"], whiten="none"), weight=2),
    "things-preprocessed": Target(things_preprocessed, data.ThingsEEG2(form="preprocessed")),
    "recipe": Target(recipe, read=lambda root, _: load_recipe(root / "recipe.yaml"), weight=3),
    "features": Target(features, read=read_features),
    "clip": Target(clip, read=read_clip),
    "things-meg": Target(things_meg, data.ThingsMEG(tmax=0.3)),
    "store": Target(store, read=read_store, weight=2),
    **{kind: _labelled(kind) for kind in LABELLED},
    "model": Target(model, read=read_model, weight=2),
    "ridge": Target(ridge, read=read_system, weight=2),
    "person": Target(person, read=read_system, weight=2),
}
