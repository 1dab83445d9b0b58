"""The scripts of data_prep on generated trees: what they write is what the recipes read."""

import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from command_line import refused
from data.readers.test_nsd import write_nsd
from PIL import Image

from neurodec.cli import main
from neurodec.data import NSD, Study
from neurodec.data.readers.labelled.published_splits import tables

FOLDER = Path(__file__).resolve().parents[1] / "data_prep"


def script(name, *arguments, code=0):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "licence" in done.stdout
    return done


def test_nsd_pictures(tmp_path):
    write_nsd(tmp_path, subjects=(1,), n_sessions=1)
    assert "nsd_stimuli.hdf5 is missing" in script("nsd", "--data-root", tmp_path, code=2).stderr
    folder = tmp_path / "nsddata_stimuli/stimuli/nsd"
    folder.mkdir(parents=True)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        bricks = file.create_dataset("imgBrick", (73000, 4, 4, 3), np.uint8, chunks=(1, 4, 4, 3))
        bricks[2000] = 7  # number 2001 of the design, the first of the shared ones
    script("nsd", "--data-root", tmp_path, "--subjects", 1)
    with Image.open(tmp_path / "pictures/nsd02000.png") as picture:
        assert np.asarray(picture).mean() == 7
    assert NSD([1]).stimuli(tmp_path)["image"].str.fullmatch(r"pictures/nsd\d{5}\.png").all()


def write_bold5000(root, shape=(5, 4, 3)):
    rng = np.random.default_rng(0)
    (root / "pictures/scenes").mkdir(parents=True)
    names = [f"scene{i:02d}.png" for i in range(30)]
    for name in names:
        Image.new("RGB", (8, 8), tuple(int(value) for value in rng.integers(0, 255, 3))).save(
            root / f"pictures/scenes/{name}"
        )
    for subject in ("CSI1", "CSI2"):
        lines = [*names, "rep_scene00.png", "rep_scene03.png"]
        (root / f"{subject}_imgnames.txt").write_text("\n".join(lines) + "\n")
        for session, length in (("01", 20), ("02", 12)):
            betas = rng.normal(size=(*shape, length)).astype(np.float32)
            name = f"{subject}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{session}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), root / name)
        for region, start in (("LHPPA", 0), ("RHLOC", 2)):
            mask = np.zeros(shape, dtype=np.uint8)
            mask[start : start + 2] = 1
            nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), root / f"{subject}_mask-{region}.nii.gz")


def test_bold5000_tables(tmp_path, capsys):
    root = tmp_path / "data"
    write_bold5000(root)
    assert "48 voxels in 2 regions" in script("bold5000", "--data-root", root).stdout
    command = ["prepare", "in_context/bold5000", "--data-root", str(root), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    study = Study.load(tmp_path / "out/prepared")
    assert study.subjects == ["CSI1", "CSI2"]
    table = study.table[study.table["subject"] == "CSI1"]
    assert len(table) == 32
    assert set(table.loc[table["split"] == "test", "stimulus"]) == {"scene00.png", "scene03.png"}
    assert {trials.responses.shape[1] for trials in study.spaces.values()} == {48}
    assert study.stimuli["image"].str.startswith("pictures/scenes/").all()
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 4, 2), np.uint8), np.eye(4)), root / "CSI1_visual.nii.gz")
    assert "give one on their grid" in refused(capsys, [*command[:-1], str(tmp_path / "other")])
    pd.Series(["scene01.png"]).to_csv(root / "CSI2_imgnames.txt", index=False, header=False)
    assert "names 1 trials" in script("bold5000", "--data-root", root, code=2).stderr


@pytest.mark.quality
def test_sets_of_eeg_with_classes(tmp_path):
    for person in range(36):
        for part in (1, 2):
            (tmp_path / f"Subject{person:02d}_{part}.edf").touch()
    told = script("eeg_classes", "MentalArithmetic", "--data-root", tmp_path).stdout
    assert "72 recordings of 36 people: 56 train, 8 validation, 8 test" in told
    (tmp_path / "Subject00_1.edf").unlink()
    (tmp_path / "Subject00_2.edf").unlink()
    error = script("eeg_classes", "MentalArithmetic", "--data-root", tmp_path, code=2).stderr
    assert "is of 36 people, and there are 35" in error
    script("eeg_classes", "MentalArithmetic", "--data-root", tmp_path, "--split", "by_people")
    text = (FOLDER / "eeg_classes.py").read_text()
    assert all(f'"{name}"' in text for name in tables() if name != "AnnotatedWindows")


@pytest.mark.parametrize("name", ["gwilliams2022", "schoffelen2019", "broderick2019", "brennan2019"])
def test_sets_of_listeners_say_what_to_download_and_what_is_missing(tmp_path, name):
    assert "expected" in script(name).stdout
    told = script(name, "--data-root", tmp_path, code=2).stderr
    assert "Traceback" not in told
    assert str(tmp_path) in told
