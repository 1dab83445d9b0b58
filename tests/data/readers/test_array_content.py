"""Single-trial responses as GLMsingle, NSD and others hand them over."""

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from safetensors.numpy import save_file

from neurodec.data import ArrayFile, Study, prepare
from neurodec.errors import NeurodecError

SHAPE = (4, 3, 2)


@pytest.fixture
def betas(rng):
    """40 trials of 24 voxels."""
    return rng.normal(size=(*SHAPE, 40)).astype(np.float32)


def flat(betas):
    return betas.reshape(24, 40)


def write_mat73(path, key, array):
    """As MATLAB writes it: reversed axes, the class as an attribute, 512 bytes in front."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file[key] = array.T
        file[key].attrs["MATLAB_class"] = np.bytes_("single")
        names = file.create_dataset("names", (1, 2), dtype=h5py.ref_dtype)
        for i, text in enumerate(("ab", "cde")):
            item = file.create_dataset(
                f"#refs#/{i}", data=np.array([[ord(c)] for c in text], dtype=np.uint16)
            )
            item.attrs["MATLAB_class"] = np.bytes_("char")
            names[0, i] = item.ref
        names.attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("rb+") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


WRITERS = {
    "npy_flat.npy": lambda path, betas: np.save(path, flat(betas)),
    "npy_volume.npy": np.save,
    "npy_dict.npy": lambda path, betas: np.save(
        path, {"betasmd": betas, "R2": betas[..., 0]}, allow_pickle=True
    ),
    "npz.npz": lambda path, betas: np.savez(path, responses=flat(betas), other=np.array([{}], dtype=object)),
    "mat.mat": lambda path, betas: scipy.io.savemat(path, {"betasmd": flat(betas), "R2": betas[..., 0]}),
    "struct.mat": lambda path, betas: scipy.io.savemat(
        path, {"results": {"betasmd": betas, "R2": np.ones(3)}}
    ),
    "mat73.mat": lambda path, betas: write_mat73(path, "betasmd", betas),
    "pt.pt": lambda path, betas: torch.save(torch.from_numpy(flat(betas)), path),
    "dict.pt": lambda path, betas: torch.save({"responses": torch.from_numpy(betas)}, path),
    "st.safetensors": lambda path, betas: save_file({"responses": flat(betas)}, path),
    "image.nii.gz": lambda path, betas: nibabel.save(
        nibabel.Nifti1Image(betas, np.diag([2.0, 2, 2, 1])), path
    ),
    "int16.npy": lambda path, betas: np.save(path, np.round(flat(betas) * 300).astype("<i2")),
}


def reader(file, **more):
    return ArrayFile(file, axes=["voxel", "trial"], table="t.csv", modality="fmri", **more)


def write_table(root, n=40):
    table = {"stimulus": [f"p{i % 10}" for i in range(n)], "run": [str(1 + i // 10) for i in range(n)]}
    pd.DataFrame(table).to_csv(root / "t.csv", index=False)


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_trials(tmp_path, betas, name):
    WRITERS[name](tmp_path / name, betas)
    write_table(tmp_path)
    dataset = reader(name)
    trials = dataset.load(dataset.parts(tmp_path)[0], tmp_path)
    expected = flat(betas).T * (300 if name == "int16.npy" else 1)
    np.testing.assert_allclose(trials.responses, expected, atol=0.51 if name == "int16.npy" else 1e-6)
    if "volume" in name or name == "image.nii.gz":
        assert trials.info["mask_shape"] == [4, 3, 2]
        np.testing.assert_allclose(np.asarray(trials.to_nifti().dataobj), betas)
    if name == "image.nii.gz":
        assert trials.info["affine"] == np.diag([2.0, 2, 2, 1]).tolist()


def test_nsd_sessions_trial_first_and_named_by_the_file(tmp_path, rng):
    """``betas_session01.hdf5`` holds ``betas`` as (trial, z, y, x), integers."""
    sessions = {}
    for session in ("01", "02"):
        values = rng.integers(-9000, 9000, (40, 2, 3, 4)).astype("<i2")
        sessions[session] = values.reshape(40, -1).astype(np.float32)
        with h5py.File(tmp_path / f"betas_session{session}.hdf5", "w") as file:
            file["betas"] = values
        rows = {"stimulus": [f"p{i % 10}" for i in range(40)], "session": session}
        pd.DataFrame(rows).to_csv(tmp_path / f"t{session}.csv", index=False)
    dataset = ArrayFile(
        "betas_session{session}.hdf5", ["trial", "voxel"], table="t{session}.csv", modality="fmri"
    )
    prepare(dataset, tmp_path, tmp_path / "out")
    trials = Study.load(tmp_path / "out").trials
    np.testing.assert_array_equal(trials.responses, np.concatenate(list(sessions.values())))
    assert trials.table.groupby("session").size().to_dict() == {"01": 40, "02": 40}


def test_voxels_outside_the_brain_are_left_out_and_counted(tmp_path, betas):
    betas[0, 0, 0] = np.nan
    betas[3, 2, 1, 7] = np.inf
    np.save(tmp_path / "x.npy", betas)
    write_table(tmp_path)
    dataset = reader("x.npy")
    trials = dataset.load(dataset.parts(tmp_path)[0], tmp_path)
    assert trials.info["voxel_indices"] == list(range(1, 23))
    np.testing.assert_array_equal(trials.responses, flat(betas)[1:23].T)
    assert trials.info["account"][0]["channels"] == {
        "found": 24,
        "kept": 22,
        "left_out": {"NaN or infinite in some trial": 2},
        "bads": [],
    }


def test_the_subject_comes_from_the_name_of_the_file(tmp_path, betas):
    pd.DataFrame({"stimulus": [f"p{i % 10}" for i in range(40)]}).to_csv(tmp_path / "t.csv", index=False)
    content = {"responses": flat(betas), "shown": np.array([f"p{i % 10}" for i in range(40)])}
    np.savez(tmp_path / "subj01_betas.npz", **content)
    np.savez(tmp_path / "subj02_betas.npz", **{**content, "responses": flat(betas)[::-1]})
    dataset = ArrayFile("*.npz", ["voxel", "trial"], columns={"stimulus": "shown"}, modality="fmri")
    subjects = [dataset.load(part, tmp_path).table["subject"].iloc[0] for part in dataset.parts(tmp_path)]
    assert subjects == ["01", "02"]
    named = ArrayFile(
        "{subject}_betas.npz", ["voxel", "trial"], columns={"stimulus": "shown"}, modality="fmri"
    )
    assert [part.subject for part in named.parts(tmp_path)] == ["subj01", "subj02"]
    for old, new in (("subj01_betas", "first"), ("subj02_betas", "second")):
        (tmp_path / f"{old}.npz").rename(tmp_path / f"{new}.npz")
    with pytest.raises(
        NeurodecError, match=r"The subject of the responses in first.npz is unknown .* {subject} into `file`"
    ):
        dataset.parts(tmp_path)


def test_the_stimulus_table_decides(tmp_path, betas):
    np.save(tmp_path / "x.npy", flat(betas))
    write_table(tmp_path)
    rows = [f"p{i},{'even' if i % 2 == 0 else 'odd'},{'test' if i > 7 else 'train'}" for i in range(10)]
    (tmp_path / "p.csv").write_text(
        "stimulus,concept,split\n" + "\n".join(rows).replace("even,test", "eight,test")
    )
    (tmp_path / "p.csv").write_text((tmp_path / "p.csv").read_text().replace("odd,test", "nine,test"))
    prepare(reader("x.npy", stimuli_table="p.csv"), tmp_path, tmp_path / "out")
    table = Study.load(tmp_path / "out").trials.table
    assert set(table["concept"]) == {"even", "odd", "eight", "nine"}
    assert table.groupby("split").size().to_dict() == {"test": 8, "train": 32}


def test_unnamed_trials_are_left_out_and_unknown_splits_refused(tmp_path, betas):
    np.save(tmp_path / "x.npy", flat(betas))
    names = [f"p{i % 10}" if i != 3 else "n/a" for i in range(40)]
    pd.DataFrame({"stimulus": names}).to_csv(tmp_path / "t.csv", index=False)
    dataset = reader("x.npy")
    trials = dataset.load(dataset.parts(tmp_path)[0], tmp_path)
    np.testing.assert_array_equal(trials.responses, np.delete(flat(betas).T, 3, axis=0))
    assert trials.info["account"][0]["events"]["left_out"] == {"without a name": 1}
    pd.DataFrame({"stimulus": names, "split": "training"}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(NeurodecError, match=r"x.npy has the split 'training'"):
        dataset.load(dataset.parts(tmp_path)[0], tmp_path)


def huge(path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(800))


def sparse(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("responses", (10**6, 10**6), dtype="f8", chunks=(1000, 1000))


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("x.npy", huge, "promises an array of shape .* more than the file can hold"),
        ("x.h5", sparse, "promises more of responses than it can hold"),
        (
            "x.h5",
            lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(900)),
            "x.h5 cannot be read as an HDF5 file",
        ),
        ("x.txt", lambda path: path.write_text("1 2 3"), "no .npy, .npz, .mat, .h5"),
        (
            "x.npz",
            lambda path: np.savez(path, responses=np.array([{}], dtype=object)),
            "pickled objects.*refused",
        ),
        (
            "x.npz",
            lambda path: np.savez(path, betasmd=np.ones(3), betas=np.ones(3)),
            "has no key responses; it has",
        ),
        (
            "x.npy",
            lambda path: np.save(path, np.zeros((24, 40), dtype=complex)),
            "holds complex128, not real numbers",
        ),
        ("x.npy", lambda path: np.save(path, np.zeros((0, 40))), "is empty"),
    ],
)
def test_what_cannot_be_an_array_of_responses(tmp_path, name, write, sentence):
    write(tmp_path / name)
    write_table(tmp_path)
    dataset = reader(name)
    with pytest.raises(NeurodecError, match=sentence):
        dataset.load(dataset.parts(tmp_path)[0], tmp_path)


def test_times_in_milliseconds_are_refused(tmp_path, rng):
    content = {
        "responses": rng.normal(size=(8, 2, 50)),
        "times": 4.0 * np.arange(50) - 100,
        "shown": list("abababab"),
    }
    np.savez(tmp_path / "x.npz", **content)
    dataset = ArrayFile("x.npz", ["trial", "channel", "time"], times="times", columns={"stimulus": "shown"})
    with pytest.raises(NeurodecError, match=r"sampling rate of 0.25 Hz, too low .*milliseconds"):
        dataset.load(dataset.parts(tmp_path)[0], tmp_path)


def test_the_same_trial_twice_is_refused(tmp_path, betas):
    values = flat(betas).copy()
    values[:, 31] = values[:, 4]
    np.save(tmp_path / "x.npy", values)
    write_table(tmp_path)
    dataset = reader("x.npy")
    with pytest.raises(NeurodecError, match=r"same numbers in the trials 4 \(p4\) and 31 \(p1\)"):
        dataset.load(dataset.parts(tmp_path)[0], tmp_path)
