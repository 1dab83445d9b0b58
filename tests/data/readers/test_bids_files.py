import json

import pytest

from neurodec.data.readers.bids_files import companion, entities, require_one_each, sidecar, wanted
from neurodec.errors import NeurodecError


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    return [root / name for name in names]


def test_all_entities_count(tmp_path):
    left, right, _, _ = make(
        tmp_path,
        "sub-01/func/sub-01_task-a_dir-LR_run-1_bold.nii.gz",
        "sub-01/func/sub-01_task-a_dir-RL_run-1_bold.nii.gz",
        "sub-01/func/sub-01_task-a_dir-LR_run-1_events.tsv",
        "sub-01/func/sub-01_task-a_dir-RL_run-1_events.tsv",
    )
    assert entities(left) == {"sub": "01", "task": "a", "dir": "LR", "run": "1"}
    assert "dir-LR" in companion(left, tmp_path, "_events.tsv").name
    assert "dir-RL" in companion(right, tmp_path, "_events.tsv").name


def test_the_nearest_file_wins_and_the_fuller_of_a_folder(tmp_path):
    scan, *_ = make(
        tmp_path,
        "sub-01/ses-1/func/sub-01_ses-1_task-a_run-1_bold.nii.gz",
        "task-a_events.tsv",
        "sub-01/sub-01_task-a_events.tsv",
        "sub-01/sub-01_task-a_run-1_events.tsv",
        "sub-01/sub-01_task-b_run-1_events.tsv",
    )
    assert companion(scan, tmp_path, "_events.tsv").name == "sub-01_task-a_run-1_events.tsv"
    (tmp_path / "sub-01/sub-01_task-a_run-1_events.tsv").unlink()
    assert companion(scan, tmp_path, "_events.tsv").name == "sub-01_task-a_events.tsv"
    (tmp_path / "sub-01/sub-01_task-a_events.tsv").unlink()
    assert companion(scan, tmp_path, "_events.tsv") == tmp_path / "task-a_events.tsv"
    (tmp_path / "task-a_events.tsv").unlink()
    assert companion(scan, tmp_path, "_events.tsv") is None


def test_a_tie_is_a_question(tmp_path):
    scan, *_ = make(
        tmp_path,
        "sub-01/func/sub-01_task-a_run-1_bold.nii.gz",
        "sub-01/func/sub-01_task-a_events.tsv",
        "sub-01/func/sub-01_run-1_events.tsv",
    )
    with pytest.raises(
        NeurodecError, match=r"sub-01_run-1_events.tsv and sub-01_task-a_events.tsv .* both belong"
    ):
        companion(scan, tmp_path, "_events.tsv")


def test_a_derivative_belongs_to_a_scan_of_the_raw_tree(tmp_path):
    bold = "sub-01_ses-1_task-a_run-1_space-MNI_res-2_desc-preproc_bold.nii.gz"
    scan, raw_events, mask, _, _ = make(
        tmp_path,
        f"derivatives/fmriprep/sub-01/ses-1/func/{bold}",
        "sub-01/ses-1/func/sub-01_ses-1_task-a_run-1_events.tsv",
        f"derivatives/fmriprep/sub-01/ses-1/func/{bold.replace('desc-preproc_bold', 'desc-brain_mask')}",
        f"derivatives/fmriprep/sub-01/ses-1/func/{bold.replace('run-1', 'run-2')}",
        "sub-01/ses-1/func/sub-01_ses-1_task-a_run-2_events.tsv",
    )
    assert companion(scan, tmp_path, "_events.tsv") == raw_events
    assert companion(scan, tmp_path / "derivatives/fmriprep", "_events.tsv") == raw_events
    assert companion(scan, tmp_path, "mask.nii.gz", ignore=("desc",)) == mask
    assert companion(scan, tmp_path, "mask.nii.gz") is None


def test_metadata_are_inherited_key_by_key(tmp_path):
    scan, far, near = make(
        tmp_path,
        "sub-01/func/sub-01_task-a_run-1_bold.nii.gz",
        "task-a_bold.json",
        "sub-01/func/sub-01_task-a_run-1_bold.json",
    )
    far.write_text(json.dumps({"RepetitionTime": 2.0, "TaskName": "far"}))
    near.write_text(json.dumps({"TaskName": "near"}))
    assert sidecar(scan, tmp_path, "_bold.json") == ({"RepetitionTime": 2.0, "TaskName": "near"}, [near, far])
    near.write_text("[1]")
    with pytest.raises(NeurodecError, match="holds no JSON object"):
        sidecar(scan, tmp_path, "_bold.json")


@pytest.mark.parametrize(
    ("names", "way"),
    [
        (("task-a_echo-1_bold", "task-a_echo-2_bold"), r"entities: {echo: ...}` \(1 or 2\)"),
        (("task-a_part-mag_bold", "task-a_part-phase_bold"), "entities: {part"),
        (("task-a_bold", "task-a_space-T1w_desc-preproc_bold"), r"entities: {space: ...}` \(T1w or null\)"),
        (("task-a_desc-preproc_bold", "task-a_desc-aroma_bold"), "entities: {desc"),
        (("task-a_rec-1_bold", "task-a_rec-2_bold"), "entities: {rec"),
    ],
)
def test_one_scan_under_several_names_is_refused(tmp_path, names, way):
    files = make(tmp_path, *(f"sub-01_{name}.nii.gz" for name in names))
    with pytest.raises(NeurodecError, match=f"2 files hold one and the same scan.*{way}"):
        require_one_each(files, tmp_path)
    require_one_each(files[:1], tmp_path)


def test_runs_directions_and_acquisitions_are_scans_of_their_own(tmp_path):
    names = ("task-a_run-1", "task-a_run-2", "task-b_run-1", "task-a_acq-x_run-1", "task-a_dir-LR_run-1")
    require_one_each(make(tmp_path, *(f"sub-01_{name}_bold.nii.gz" for name in names)), tmp_path)


def test_choosing_by_labels(tmp_path):
    files = make(
        tmp_path, "sub-01_ses-1_task-a_bold.nii", "sub-02_task-a_space-X_bold.nii", "sub-02_task-b_bold.nii"
    )
    assert wanted(files, ["sub-01"], None, None, None) == files[:1]
    assert wanted(files, ["2"], None, ["a"], None) == files[1:2]
    assert wanted(files, None, None, None, {"space": None}) == [files[0], files[2]]
    assert wanted(files, None, None, None, {"space": "X"}) == files[1:2]
    assert wanted(files, None, ["1"], None, None) == files[:1]
