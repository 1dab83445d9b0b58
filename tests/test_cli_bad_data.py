"""Recordings, tables and pictures that cannot be right, through `neurodec prepare`."""

import gzip
import os
import pickle
import re
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
from command_line import arguments, partials, refused, write_recipe
from data.readers.recording_files import CH_NAMES
from small_studies import ONSETS, STUDIES, read_fif, session_file, write_arrays, write_events, write_fif

from neurodec.cli import main

RUN_1, RUN_2 = "sub-7_run-1_raw.fif", "sub-7_run-2_raw.fif"
BOLD = "sub-05_task-view_run-1_bold.nii.gz"
MUSE = "subject3/session1/data_1.csv"


@pytest.fixture
def root(tmp_path):
    """An empty data root."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


# What is spoilt in a study, and what the sentence must name: the file, whose it is, which event or channel.


def nan_channel(root):
    signals = read_fif(root / RUN_2)
    signals[1, 700] = np.nan
    write_fif(root / RUN_2, signals)


def flat_channel(root):
    signals = read_fif(root / RUN_2)
    signals[2] = 1e-3
    write_fif(root / RUN_2, signals)


def fewer_channels(root):
    write_fif(root / RUN_2, read_fif(root / RUN_2)[:3], CH_NAMES[:3])


def scaled(factor):
    return lambda root: write_fif(root / RUN_1, factor * read_fif(root / RUN_1))


def cut(name, share=0.5):
    def damage(root):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(share * len(content))])

    return damage


def copied(source, target):
    return lambda root: shutil.copy(root / source, root / target)


def dangling(root):
    (root / BOLD).unlink()
    (root / BOLD).symlink_to(root / "never_fetched")


def repacked(root):
    """The same volumes without compression, so another file."""
    stem = BOLD.removesuffix(".gz").replace("run-1", "run-3")
    (root / stem).write_bytes(gzip.decompress((root / BOLD).read_bytes()))
    copied("sub-05_task-view_run-1_events.tsv", "sub-05_task-view_run-3_events.tsv")(root)


def beside_itself(root):
    (root / BOLD.removesuffix(".gz")).write_bytes(gzip.decompress((root / BOLD).read_bytes()))


def resaved(root):
    """The same samples under another subject, in a file with another content."""
    content = dict(np.load(root / "ben.npz"))
    np.savez_compressed(root / "cleo.npz", **{**content, "subjects": np.array(["cleo"] * 32)})


def empty_table(root):
    (root / "sub-7_run-2.csv").write_text("onset,stimulus\n")


def events(**columns):
    return lambda root: write_events(root / "sub-7_run-2.csv", **columns)


def split_by_run(root):
    for run, split in ((1, "train"), (2, "test")):
        write_events(root / f"sub-7_run-{run}.csv", split=split)


def changed(name, **content):
    return lambda root: write_arrays(root / name, **content)


def without_markers(root):
    text = (root / "a.vmrk").read_text()
    (root / "a.vmrk").write_text(re.sub(r"Mk\d+=.*\n", "", text))


def without_codes(root):
    table = pd.read_csv(root / MUSE)
    table.assign(Marker0=0).to_csv(root / MUSE, index=False)


def nan_voxel(root):
    image = nibabel.load(root / BOLD)
    values = image.get_fdata().astype(np.float32)
    values[1, 2, 0, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, image.affine, image.header), root / BOLD)


class Stranger:
    """What no recording needs."""

    def __reduce__(self):
        return os.system, ("echo unpickled",)


def with_stranger(root):
    content = np.load(session_file(root), allow_pickle=True).item()
    session_file(root).write_bytes(pickle.dumps({**content, "note": Stranger()}))


BAD = {
    "root": ("fif", shutil.rmtree, {}, ["data folder", "does not exist", "--data-root"]),
    "no file": ("edf", lambda root: (root / "a.edf").unlink(), {}, ["No file", "*.edf", "--data-root"]),
    "file": ("things", lambda root: session_file(root, "test", 2).unlink(), {}, ["ses-02", "missing"]),
    "table": ("fif", lambda root: (root / "sub-7_run-2.csv").unlink(), {}, ["sub-7_run-2.csv is missing"]),
    "pictures": ("fif", None, {"stimuli_table": "p.csv"}, ["p.csv is missing"]),
    "subject": ("bids", None, {"subjects": ["05", "06"]}, ["sub-06", "--data-root"]),
    "link": ("bids", dangling, {}, [BOLD, "link to a file that is not there", "fetch"]),
    "cut fif": ("fif", cut(RUN_2), {}, [RUN_2, "cannot be read", "whole"]),
    "cut edf": (
        "edf",
        cut("a.edf", 0.99),
        {},
        ["length of", "a.edf does not fit its header", "copy it again"],
    ),
    "cut brainvision": (
        "brainvision",
        cut("a.eeg"),
        {},
        ["a.vhdr does not fit its header or its markers", "copy it again"],
    ),
    "cut muse": ("muse", cut(MUSE, 0.9999), {}, ["data_1.csv: channel(s) TP10 hold NaN"]),
    "cut nifti": ("bids", cut(BOLD), {}, [BOLD, "cut short", "fetch it again"]),
    "cut pickle": (
        "things",
        lambda root: cut(session_file(root))(root),
        {},
        ["ses-01/raw_eeg_training.npy is cut short", "download it again"],
    ),
    "cut arrays": ("arrays", cut("ben.npz"), {}, ["ben.npz", "cannot be read as a file of arrays"]),
    "class": ("things", with_stranger, {}, ["raw_eeg_training.npy holds the class", "system", "run code"]),
    "nan": ("fif", nan_channel, {}, [RUN_2, "channel(s) Cz hold NaN", "`ch_names`"]),
    "flat": ("fif", flat_channel, {}, [RUN_2, "channel(s) O1 are flat", "`ch_names`"]),
    "nan voxel": ("bids", nan_voxel, {}, [BOLD, "NaN", "(1, 2, 0)"]),
    "nan array": (
        "arrays",
        changed("ben.npz", responses=np.full((32, 4, 80), np.nan, np.float32)),
        {},
        ["ben.npz", "Fp1, Cz, O1, O2 of subject ben hold NaN"],
    ),
    "count": (
        "fif",
        fewer_channels,
        {},
        ["Subject 7, session 01, run 2", "`ch_names` (O2 only on one side)"],
    ),
    "beyond": (
        "fif",
        events(onset=ONSETS + 10),
        {},
        [RUN_2, "beyond the recording of 20 s", "event 6 at 20 s", "correct the onsets"],
    ),
    "beyond scan": (
        "bids",
        lambda root: (root / "sub-05_task-view_run-2_events.tsv").write_text(
            "onset\tduration\ttrial_type\n8\t10\tface\n99\t10\thouse\n"
        ),
        {},
        ["run-2_events.tsv", "beyond the scan of 80 s", "house at 99 s"],
    ),
    "no event": ("fif", empty_table, {}, ["sub-7_run-2.csv", "no event"]),
    "no marker": ("brainvision", without_markers, {}, ["a.vhdr has no event"]),
    "no code": ("muse", without_codes, {}, ["has an event of face (2) or house (1)", "`event_id`"]),
    "other markers": ("brainvision", None, {"event_id": {"x": 9}}, ["a.vhdr holds none", "S  1"]),
    "unknown event": (
        "fif",
        events(stimulus=["cat", "horse", *["dog"] * 10]),
        {},
        ["sub-7_run-2.csv", "horse (event 2 of 12)", "stimulus table"],
    ),
    "unknown trial": (
        "arrays",
        changed("ben.npz", shown=np.array(["nothing", *["train01"] * 31])),
        {},
        ["ben.npz shows nothing (event 1 of 32)", "stimulus table"],
    ),
    "unknown picture": (
        "fif",
        lambda root: (root / "pictures.csv").write_text("stimulus,image\ncat,cat.png\ndog,\n"),
        {},
        ["pictures.csv", "cat.png (row 2)"],
    ),
    "other pictures": (
        "things",
        lambda root: shutil.rmtree(root / "image_set/training_images/00004_tr_concept4"),
        {},
        ["raw_eeg_training.npy shows picture number 4", "image set has 3"],
    ),
    "twice": (
        "fif",
        copied(RUN_1, RUN_2),
        {},
        [f"{RUN_2} is the same recording as {RUN_1}", "remove one"],
    ),
    "test twice": (
        "things",
        lambda root: shutil.copy(session_file(root, "test", 1), session_file(root, "test", 2)),
        {},
        ["ses-02/raw_eeg_test.npy is the same recording as", "ses-01/raw_eeg_test.npy"],
    ),
    "resaved": ("arrays", resaved, {}, ["cleo (subject cleo", "same recording as those of ben"]),
    "repacked": ("bids", repacked, {}, ["run view_3", "same recording as those of", "run view_1"]),
    "beside itself": (
        "bids",
        beside_itself,
        {},
        ["2 files hold one and the same scan (sub-05_task-view_run-1_bold.nii", "keep one of them"],
    ),
    "stimulus in both": (
        "fif",
        split_by_run,
        {},
        ["share 2 stimuli, first cat (rows 0, 2, 12, 14", "subject 7", "`split`"],
    ),
    "concept in both": (
        "arrays",
        changed("ben.npz", concepts=np.array(["thing"] * 32)),
        {},
        ["share 1 concept, first thing (rows 32, 33, 44, 45", "subject ben", "`split`"],
    ),
    "microvolt as volt": ("fif", scaled(1e6), {}, [RUN_1, "vary by", " V ", "10^6", "`unit_scale`"]),
    "volt as microvolt": ("fif", scaled(1e-6), {}, [RUN_1, "vary by", " V ", "10^6", "`unit_scale`"]),
    "repetitions": (
        "things",
        None,
        {"train_repetitions": 3},
        ["raw_eeg_training.npy", "picture number 1 only 2 times", "3 repetitions", "`train_repetitions`"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_one_sentence_and_leaves_nothing_half_written(root, capsys, name):
    study, damage, changes, words = BAD[name]
    STUDIES[study][0](root)
    if damage:
        damage(root)
    write_recipe(root.parent / "recipe.yaml", study, changes)
    error = refused(capsys, arguments("prepare", root))
    for word in words:
        assert word in error
    assert not (root.parent / "out/prepared/study.json").exists()
    assert not partials(root.parent)


def test_a_process_of_its_own_says_no_more_than_that(root):
    STUDIES["fif"][0](root)
    flat_channel(root)
    write_recipe(root.parent / "recipe.yaml", "fif")
    code = "import sys; from neurodec.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments("prepare", root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"neurodec: error: .*channel\(s\) O1 are flat.*\n", done.stderr)


@pytest.mark.parametrize("study", STUDIES)
def test_the_same_studies_unspoilt_are_prepared(root, study):
    STUDIES[study][0](root)
    write_recipe(root.parent / "recipe.yaml", study)
    assert main(arguments("prepare", root)) == 0
    assert (root.parent / "out/prepared/study.json").exists()


def test_a_refused_preparation_goes_on_once_the_input_is_mended(root, capsys):
    STUDIES["fif"][0](root)
    write_recipe(root.parent / "recipe.yaml", "fif")
    assert main(arguments("prepare", root, "whole")) == 0
    whole = (root / RUN_2).read_bytes()
    nan_channel(root)
    (root / "pictures.csv").write_text("stimulus,image,split\ncat,,cv\ndog,,cv\n")
    refused(capsys, arguments("prepare", root))
    assert (root.parent / "out/prepared/.parts/sub-7_ses-01_run-1").is_dir()
    (root / RUN_2).write_bytes(whole)
    for name in ("all/responses.npy", "all/trials.csv"):
        assert main(arguments("prepare", root)) == 0
        assert (root.parent / "out/prepared" / name).read_bytes() == (
            root.parent / "whole/prepared" / name
        ).read_bytes()


def test_a_prepared_folder_of_another_configuration_or_other_files(root, capsys):
    STUDIES["arrays"][0](root)
    write_recipe(root.parent / "recipe.yaml", "arrays")
    assert main(arguments("prepare", root)) == 0
    before = (root.parent / "out/prepared/all/responses.npy").read_bytes()
    write_recipe(root.parent / "recipe.yaml", "arrays", {"sfreq": 200.0})
    error = refused(capsys, arguments("prepare", root))
    assert "out/prepared was prepared with another configuration (sfreq was 100.0, now 200.0)" in error
    assert "choose another --out" in error
    write_recipe(root.parent / "recipe.yaml", "arrays")
    (root / "anna.npz").unlink()
    assert "(anna.npz was added, removed or changed since)" in refused(capsys, arguments("prepare", root))
    assert (root.parent / "out/prepared/all/responses.npy").read_bytes() == before


def test_a_damaged_picture_is_named_by_features(root, capsys, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(root.parent / "cache"))
    STUDIES["arrays"][0](root)
    encoder = {"class_path": "neurodec.encoders.ATM"}
    sections = {
        "targets": {"image": {"class_path": "neurodec.features.OpenClip"}},
        "data": {"batch_size": 8},
        "encoder": encoder,
    }
    write_recipe(root.parent / "recipe.yaml", "arrays", **sections)
    assert "run the stage that writes it first" in refused(capsys, arguments("targets", root))
    assert main(arguments("prepare", root)) == 0
    cut("pictures/test03.png")(root)
    assert "pictures/test03.png cannot be read" in refused(capsys, arguments("targets", root))
    (root / "pictures/test03.png").unlink()
    assert "picture of stimulus 'test03' does not exist" in refused(capsys, arguments("targets", root))
    assert not list((root.parent / "out").glob("targets*"))
    assert not partials(root.parent)
