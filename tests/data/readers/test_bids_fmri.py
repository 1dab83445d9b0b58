import gzip
import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiMasker

from neurodec.data import BidsFMRI, Study, Trials, prepare
from neurodec.errors import NeurodecError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
CLASSES = ["face", "house", "cat"]


def write_run(root, subject, run, rng, n_volumes=60, folder=""):
    """One run whose voxels follow the class with weights of their own, five volumes per block."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{subject}_task-view_run-{run:02d}"
    onsets = np.array([8.0, 44.0, 80.0])
    order = rng.permutation(3)
    series = rng.normal(100, 1, size=(4, 3, 2, n_volumes))
    for onset, kind in zip(onsets, order, strict=True):
        first = int((onset + 4) / 2)
        series[kind, ..., first : first + 5] += 4
    image = nibabel.Nifti1Image(series.astype(np.float32), AFFINE)
    image.header.set_zooms((3, 3, 3, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, place / f"{stem}_bold.nii.gz")
    events = pd.DataFrame(
        {"onset": onsets, "duration": 10.0, "trial_type": [CLASSES[kind] for kind in order]}
    )
    events.to_csv(place / f"{stem}_events.tsv", sep="\t", index=False)
    return place / f"{stem}_bold.nii.gz"


def write_mask(folder, subject):
    mask = np.ones((4, 3, 2), np.uint8)
    mask[0, 0] = 0
    nibabel.save(nibabel.Nifti1Image(mask, AFFINE), folder / f"sub-{subject}_desc-brain_mask.nii.gz")
    return mask.astype(bool)


@pytest.fixture
def root(tmp_path, rng):
    write_mask(tmp_path, "01")
    for run in (1, 2):
        write_run(tmp_path, "01", run, rng)
    return tmp_path


def reader(**changes):
    return BidsFMRI(**{"estimate": "block_mean", "hrf_shift": 4.0, "standardise": "none", **changes})


def load(root, **changes):
    dataset = reader(**changes)
    return Trials.concatenate([dataset.load(part, root) for part in dataset.parts(root)])


def test_reads_runs_events_and_mask(root):
    trials = load(root)
    assert trials.responses.shape == (6, 22)
    assert set(trials.table["concept"]) == set(CLASSES)
    assert trials.table["run"].unique().tolist() == ["view_01", "view_02"]
    volume = trials.to_nifti().get_fdata()
    for row, concept in enumerate(trials.table["concept"]):
        means = [volume[kind, 1:, :, row].mean() for kind in range(3)]  # off the hole of the mask
        assert CLASSES[int(np.argmax(means))] == concept


def test_test_events_are_scaled_by_the_training_events_of_their_run(root):
    """And by themselves only where a run has none, which is reported."""
    plain = load(root)
    for run, splits in (("01", ["train", "test", "train"]), ("02", ["test"] * 3)):
        file = root / f"sub-01_task-view_run-{run}_events.tsv"
        pd.read_csv(file, sep="\t").assign(split=splits).to_csv(file, sep="\t", index=False)
    found = load(root, standardise="run")
    values = plain.responses[:3].astype(float)
    kept = values[[0, 2]]
    np.testing.assert_allclose(
        found.responses[:3], (values - kept.mean(axis=0)) / kept.std(axis=0), rtol=1e-3, atol=1e-3
    )
    first, second = (reader(standardise="run").load(part, root) for part in reader().parts(root))
    assert not any("scaled by the test events" in note for note in first.info["account"][0]["notes"])
    assert any("scaled by the test events" in note for note in second.info["account"][0]["notes"])


def test_standardised_within_the_run(root):
    trials = load(root, standardise="run")
    for _, rows in trials.table.groupby("run").indices.items():
        assert np.abs(trials.responses[rows].mean(axis=0)).max() < 1e-5


@pytest.mark.parametrize("estimate", ["lsa", "lss"])
def test_glm_estimates_have_the_same_shape(root, estimate):
    assert load(root, estimate=estimate, standardise="run").responses.shape == (6, 22)


def test_folders_sessions_and_inherited_tables(tmp_path, rng):
    folder = "sub-07/ses-2/func"
    path = write_run(tmp_path, "07", 1, rng, folder=folder)
    path.rename(path.with_name("sub-07_ses-2_task-view_run-01_space-MNI_bold.nii.gz"))
    events = path.with_name("sub-07_task-view_run-01_events.tsv")
    events.rename(tmp_path / "task-view_events.tsv")  # one table for all runs
    write_mask(tmp_path / "sub-07", "07")
    trials = load(tmp_path)
    assert trials.table[["subject", "session", "run"]].iloc[0].tolist() == ["07", "2", "view_01"]


def test_two_repetition_times_are_a_question(root):
    (root / "task-view_bold.json").write_text(json.dumps({"RepetitionTime": 1.0}))
    with pytest.raises(
        NeurodecError, match=r"_bold.json gives a repetition time of 1 s, the image's header 2 s"
    ):
        load(root)


def test_another_number_of_runs_needs_no_change(root, rng):
    for run in range(3, 13):
        write_run(root, "01", run, rng)
    assert load(root).table["run"].nunique() == 12


def test_the_store_refuses_a_run_under_two_names(root, tmp_path_factory):
    for kind in ("bold.nii.gz", "events.tsv"):
        source = root / f"sub-01_task-view_run-01_{kind}"
        (root / f"sub-01_task-view_run-03_{kind}").write_bytes(source.read_bytes())
    with pytest.raises(NeurodecError, match=r"run-03_bold.nii.gz is the same recording as .*run-01"):
        prepare(reader(), root, tmp_path_factory.mktemp("out") / "prepared")


def bold(root):
    return root / "sub-01_task-view_run-01_bold.nii.gz"


def table(root):
    return root / "sub-01_task-view_run-01_events.tsv"


def without_mask(root):
    (root / "sub-01_desc-brain_mask.nii.gz").unlink()


def cut_short(root):
    bold(root).write_bytes(bold(root).read_bytes()[:-2000])


def not_an_image(root):
    bold(root).write_bytes(gzip.compress(b"hello" * 200))


def empty_table(root):
    table(root).write_text("onset\tduration\ttrial_type\n")


def late_event(root):
    table(root).write_text("onset\tduration\ttrial_type\n8\t10\tface\n500\t10\tcat\n")


def no_duration(root):
    table(root).write_text("onset\tduration\ttrial_type\n8\t-1\tface\n")


def no_column(root):
    table(root).write_text("onset\tduration\tkind\n8\t10\tface\n")


def other_grid(root):
    nibabel.save(
        nibabel.Nifti1Image(np.ones((4, 3, 3), np.uint8), AFFINE), root / "sub-01_desc-brain_mask.nii.gz"
    )


def nan_voxel(root):
    image = nibabel.load(bold(root))
    values = image.get_fdata()
    values[2, 1, 1, 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), AFFINE, image.header), bold(root))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_mask, "has no brain mask"),
        (cut_short, "cut short or damaged"),
        (not_an_image, "cannot be read as a NIfTI image"),
        (empty_table, "has no event"),
        (late_event, r"beyond the scan of 120 s .*cat at 500 s"),
        (no_duration, r"negative duration at row 2 \(face\)"),
        (no_column, r"lacks the column\(s\) trial_type"),
        (other_grid, "lies on another grid"),
        (nan_voxel, r"NaN or infinite values in 1 of 22 voxels of the mask, first \(2, 1, 1\)"),
        (lambda root: table(root).unlink(), "run-01_events.tsv is missing"),
    ],
)
def test_bad_input_is_one_sentence(root, damage, sentence):
    damage(root)
    with pytest.raises(NeurodecError, match=sentence) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def write_regions(root, labels, names="index\tname\n1\tV1\n2\tV2\n"):
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.int16), AFFINE), root / "sub-01_desc-areas_dseg.nii.gz")
    (root / "desc-areas_dseg.tsv").write_text(names)


def test_regions_are_named_voxels_of_the_mask(root):
    labels = np.zeros((4, 3, 2))
    labels[0], labels[1] = 2, 1  # the first two voxels of plane 0 lie outside the mask
    write_regions(root, labels)
    trials = load(root, regions="desc-areas_dseg.nii.gz")
    mask = write_mask(root, "01")
    assert trials.info["roi"] == {
        "V1": np.flatnonzero(labels[mask] == 1).tolist(),
        "V2": np.flatnonzero(labels[mask] == 2).tolist(),
    }
    assert len(trials.info["roi"]["V2"]) == 4
    for wrong, sentence in (
        ((labels, "index\tname\n1\tV1\n"), "holds label 2, which .* does not name"),
        ((labels * 0,), "no label within the mask"),
        ((np.zeros((4, 3, 3)),), "lie on another grid"),
        ((labels, "index\tlabel\n1\tV1\n"), "name"),
    ):
        write_regions(root, *wrong)
        with pytest.raises(NeurodecError, match=sentence):
            load(root, regions="desc-areas_dseg.nii.gz")
    with pytest.raises(NeurodecError, match=r"has no \*desc-atlas_dseg.nii.gz"):
        load(root, regions="desc-atlas_dseg.nii.gz")


def test_missing_subject_is_named(root):
    with pytest.raises(NeurodecError, match="No sub-05_"):
        reader(subjects=["05"]).parts(root)


def test_volumes_after_every_event_are_those_of_nilearn(root):
    """Compared with nilearn's masker, unaltered; the event whose window the scan does not hold is left out and told."""
    (root / "sub-01_task-view_run-02_events.tsv").write_text(
        "onset\tduration\ttrial_type\n8\t10\tface\n44\t10\thouse\n112\t4\tcat\n"
    )
    dataset = reader(estimate="volumes", n_volumes=4, hrf_shift=4.6)
    study = Study.load(prepare(dataset, root, root / "prepared"))
    trials = study.trials
    assert trials.dims == ("trial", "voxel", "time")
    assert trials.responses.shape == (5, 22, 4)
    assert trials.info["sfreq"] == 0.5
    assert trials.times.tolist() == [4.0, 6.0, 8.0, 10.0]
    assert "cat at 112 s is left out" in " ".join(study.account[1]["notes"])
    masker = NiftiMasker(
        root / "sub-01_desc-brain_mask.nii.gz", standardize="zscore_sample", detrend=True, t_r=2
    )
    for run, onsets in (("01", [8, 44, 80]), ("02", [8, 44])):
        series = masker.fit_transform(root / f"sub-01_task-view_run-{run}_bold.nii.gz")
        own = trials.responses[np.flatnonzero(trials.table["run"] == f"view_{run}")]
        for found, onset in zip(own, onsets, strict=True):
            first = (onset + 4) // 2  # 4.6 s is nearest to two volumes
            np.testing.assert_allclose(found.T, series[first : first + 4], atol=1e-5)


def test_volumes_keep_the_voxels_that_all_runs_have(root):
    mask = np.ones((4, 3, 2), np.uint8)
    mask[1] = 0
    nibabel.save(nibabel.Nifti1Image(mask, AFFINE), root / "sub-01_task-view_run-02_desc-brain_mask.nii.gz")
    found = Study.load(prepare(reader(estimate="volumes", n_volumes=3), root, root / "prepared")).trials
    assert found.responses.shape == (6, 16, 3)
    alone = reader(estimate="volumes", n_volumes=3)
    second = alone.load(alone.parts(root)[1], root)
    kept = np.isin(second.info["voxel_indices"], found.info["voxel_indices"])
    np.testing.assert_array_equal(found.responses[3:], second.responses[:, kept])
    with pytest.raises(NeurodecError, match="one volume per trial"):
        found.to_nifti()


def test_windows_of_other_repetition_times_are_refused(root):
    slow = root / "sub-01_task-view_run-02_bold.nii.gz"
    image = nibabel.load(slow)
    image = nibabel.Nifti1Image(image.get_fdata(), AFFINE)
    image.header.set_zooms((3, 3, 3, 2.5))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, slow)
    with pytest.raises(NeurodecError, match="differs from the first recording in `sfreq`"):
        prepare(reader(estimate="volumes", n_volumes=3), root, root / "prepared")
    with pytest.raises(NeurodecError, match="`n_volumes` is 0"):
        reader(estimate="volumes", n_volumes=0).parts(root)
