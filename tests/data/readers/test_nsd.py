"""The Natural Scenes Dataset in its own folders, written by h5py, nibabel and scipy, with everything known."""

import h5py
import nibabel
import numpy as np
import pytest
from scipy.io import savemat

from neurodec.data import NSD, Study, prepare
from neurodec.errors import NeurodecError

SHAPES = {1: (5, 4, 3), 2: (6, 4, 3)}  # everybody has a grid of their own
SHAPE = SHAPES[1]
AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])


def write_nsd(root, subjects=(1, 2), n_sessions=2, nifti=()):
    """Write the design, masks, regions and betas; voxel v of trial t is known from its picture."""
    rng = np.random.default_rng(0)
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True)
    order = np.concatenate([rng.permutation(np.arange(1, 2001))[:750] for _ in range(40)])
    order[:6] = [1, 2, 3, 1500, 1, 1501]  # 1 to 1000 are shared
    order[order == 5] = 1502  # shown in the last session alone
    order[-1] = 5
    pictures = np.arange(80000).reshape(8, 10000) % 60000 + 5000
    pictures[:, :1000] = np.arange(2001, 3001)
    savemat(folder / "nsd_expdesign.mat", {"masterordering": order[None], "subjectim": pictures})
    masks = {}
    for subject in subjects:
        roi = root / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/roi"
        roi.mkdir(parents=True)
        mask = rng.choice([-1, 0, 1], SHAPES[subject]).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(mask, AFFINE), roi / "nsdgeneral.nii.gz")
        for name, most in (("floc-faces", 3), ("streams", 7)):
            labels = rng.integers(-1, most + 1, SHAPES[subject]).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(labels, AFFINE), roi / f"{name}.nii.gz")
            masks[subject, name] = labels
        masks[subject] = mask
        out = root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/betas_fithrf_GLMdenoise_RR"
        out.mkdir(parents=True)
        for session in range(1, n_sessions + 1):
            betas = (300 * rng.normal(session, 1, (*SHAPES[subject], 750))).astype(np.int16)
            masks[subject, session] = betas
            if (subject, session) in nifti:
                nibabel.save(nibabel.Nifti1Image(betas, AFFINE), out / f"betas_session{session:02d}.nii.gz")
            else:
                with h5py.File(out / f"betas_session{session:02d}.hdf5", "w") as file:
                    file["betas"] = betas.T
    return order, pictures, masks


def test_the_whole_brain_is_a_mask_beside_the_regions(tmp_path):
    _, _, masks = write_nsd(tmp_path, subjects=(1,), n_sessions=1)
    whole = np.ones(SHAPES[1], np.uint8)
    folder = tmp_path / "nsddata/ppdata/subj01/func1pt8mm"
    nibabel.save(nibabel.Nifti1Image(whole, AFFINE), folder / "brainmask.nii.gz")
    reader = NSD([1], mask="brainmask", standardise="none")
    trials = reader.load(reader.parts(tmp_path)[0], tmp_path)
    assert np.allclose(trials.responses, masks[1, 1].reshape(-1, 750).T / 300, atol=1e-6)


def test_trials_are_the_design_s_and_voxels_lie_in_c_order(tmp_path):
    order, pictures, masks = write_nsd(tmp_path, nifti={(2, 1)})
    reader = NSD([1, 2], standardise="none", regions=["floc-faces", "streams"])
    assert [part.name for part in reader.parts(tmp_path)] == [
        f"sub-{subject:02d}_ses-{session:02d}" for subject in (1, 2) for session in (1, 2)
    ]
    for part in reader.parts(tmp_path):  # one session lies there as NIfTI
        subject, session = int(part.subject), int(part.name[-2:])
        trials = reader.load(part, tmp_path)
        wanted = masks[subject, session][masks[subject] > 0].T / 300
        assert np.allclose(trials.responses, wanted, atol=1e-6)
        rows = order[(session - 1) * 750 : session * 750]
        numbers = pictures[subject - 1, rows - 1] - 1
        assert list(trials.table["stimulus"]) == [f"nsd{number:05d}" for number in numbers]
        assert ((trials.table["split"] == "test").to_numpy() == (rows <= 1000)).all()
        faces = masks[subject, "floc-faces"][masks[subject] > 0]
        assert trials.info["roi"]["floc-faces"] == np.flatnonzero(faces > 0).tolist()
        early = masks[subject, "streams"][masks[subject] > 0]
        assert trials.info["roi"]["early"] == np.flatnonzero(early == 1).tolist()
        assert "published are" in trials.info["account"][0]["notes"][0]
        back = trials.to_nifti().get_fdata()
        assert np.allclose(back[masks[subject] > 0].T, wanted, atol=1e-5)


def test_zscores_are_of_the_training_trials_and_tests_those_seen_early(tmp_path):
    order, _, _ = write_nsd(tmp_path, n_sessions=40, subjects=(1,))
    reader = NSD([1], test_within=30)
    parts = reader.parts(tmp_path)
    trials = reader.load(parts[-1], tmp_path)
    train = trials.responses[(trials.table["split"] == "train").to_numpy()]
    assert np.abs(train.mean(axis=0)).max() < 1e-4
    assert np.abs(train.std(axis=0) - 1).max() < 1e-4
    rows = order[-750:]
    late = (rows <= 1000) & ~np.isin(rows, order[: 30 * 750])
    assert late[-1]
    assert len(trials) == 750 - late.sum()
    assert trials.info["account"][0]["events"]["left_out"] == {
        "a shared picture that is not of this test": int(late.sum())
    }
    assert len(NSD([1]).load(parts[-1], tmp_path)) == 750


def test_prepared_people_have_spaces_of_their_own(tmp_path):
    write_nsd(tmp_path / "data")
    prepare(NSD([1, 2]), tmp_path / "data", tmp_path / "prepared")
    study = Study.load(tmp_path / "prepared")
    assert set(study.spaces) == {"sub-01", "sub-02"}
    assert set(study.stimuli["image"]) == {""}  # nobody has written the pictures yet
    tests = study.table[study.table["split"] == "test"]
    shared = [set(own) for _, own in tests.groupby("subject")["stimulus"]]
    assert shared[0] == shared[1]  # both saw the shared pictures of the same order


def test_bad_input(tmp_path):
    with pytest.raises(NeurodecError, match="people 1 to 8"):
        NSD([9])
    with pytest.raises(NeurodecError, match="choose session or none"):
        NSD([1], standardise="run")
    write_nsd(tmp_path, subjects=(1,), n_sessions=1)
    with pytest.raises(NeurodecError, match=r"subj02.*holds no betas_session01"):
        NSD([1, 2]).parts(tmp_path)
    with pytest.raises(NeurodecError, match=r"lateral.nii.gz is missing"):
        NSD([1], regions=["lateral"]).parts(tmp_path)
    folder = tmp_path / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    (part,) = NSD([1]).parts(tmp_path)
    with h5py.File(folder / "betas_session01.hdf5", "w") as file:
        file["betas"] = np.zeros((700, *SHAPE[::-1]), dtype=np.int16)
    with pytest.raises(NeurodecError, match="700 trials"):
        NSD([1]).load(part, tmp_path)
    with h5py.File(folder / "betas_session01.hdf5", "w") as file:  # not turned, as a copy from NIfTI would be
        file["betas"] = np.zeros((750, *SHAPE), dtype=np.int16)
    with pytest.raises(NeurodecError, match="the grid of the mask"):
        NSD([1]).load(part, tmp_path)
    (folder / "betas_session01.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(NeurodecError, match=r"betas_session01.hdf5"):
        NSD([1]).load(part, tmp_path)
    (tmp_path / "nsddata/experiments/nsd/nsd_expdesign.mat").unlink()
    with pytest.raises(NeurodecError, match=r"nsd_expdesign.mat is missing"):
        NSD([1]).parts(tmp_path)
